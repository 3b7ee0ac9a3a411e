"""Columns of numbers and of addresses, the stuff that tables are made of."""

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]


U16 = npt.NDArray[np.uint16]


U32 = npt.NDArray[np.uint32]


U64 = npt.NDArray[np.uint64]


Rows = npt.NDArray[np.intp]


Mask = npt.NDArray[np.bool_]


UNKNOWN32 = 0xFFFF_FFFF


UNKNOWN64 = 0xFFFF_FFFF_FFFF_FFFF


NO_STATE = 0xFF
"""In the state column: the protocol has no conntrack state, or the kernel did not tell (offloaded)."""


V4_MAPPED = 0xFFFF_0000_0000
"""The low 64 bits of ::ffff:0:0, under which IPv4 addresses are kept."""


def freeze(array: np.ndarray) -> None:
    array.setflags(write=False)


@dataclass(frozen=True, slots=True)
class Addresses:
    """A column of IP addresses of 128 bits, IPv4 as ::ffff:a.b.c.d."""

    hi: U64
    lo: U64

    def __len__(self) -> int:
        return len(self.lo)

    def take(self, rows: npt.NDArray[np.signedinteger] | Mask) -> Self:
        return type(self)(self.hi[rows], self.lo[rows])

    def is_ipv4(self) -> Mask:
        is_ipv4: Mask = (self.hi == 0) & (self.lo >> np.uint64(32) == np.uint64(V4_MAPPED >> 32))
        return is_ipv4

    def equal(self, others: Self | int) -> Mask:
        """Where each is the one of `others` in the same row, or that single one."""
        hi, lo = map(np.uint64, divmod(others, 1 << 64)) if isinstance(others, int) else (others.hi, others.lo)
        equal: Mask = (self.lo == lo) & (self.hi == hi)
        return equal

    def within(self, first: int, last: int) -> Mask:
        """Which are from `first` to `last`, both included."""
        (first_hi, first_lo), (last_hi, last_lo) = (map(np.uint64, divmod(end, 1 << 64)) for end in (first, last))
        if first_hi == last_hi:
            within: Mask = (self.hi == first_hi) & (self.lo >= first_lo) & (self.lo <= last_lo)
        else:
            within = (self.hi > first_hi) | ((self.hi == first_hi) & (self.lo >= first_lo))
            within &= (self.hi < last_hi) | ((self.hi == last_hi) & (self.lo <= last_lo))
        return within

    def value(self, row: int) -> int:
        return int(self.hi[row]) << 64 | int(self.lo[row])

    def text(self, row: int) -> str:
        return address_text(self.value(row))


@lru_cache(maxsize=1 << 13)
def address_value(text: str) -> int:
    """An address as the 128-bit number that `Addresses` holds. Raises ValueError."""
    return address_number(ipaddress.ip_address(text))


def address_number(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int:
    """The same of an address that has been read."""
    return int(address) | V4_MAPPED if address.version == 4 else int(address)


def is_ipv4(value: int) -> bool:
    """Whether a 128-bit address number is an IPv4 address."""
    return value >> 32 == V4_MAPPED >> 32


def address_text(value: int) -> str:
    """The usual spelling of a 128-bit address number."""
    if is_ipv4(value):
        return f"{value >> 24 & 255}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
    return str(ipaddress.IPv6Address(value))
