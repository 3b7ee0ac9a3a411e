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

    def take(self, rows: Rows | Mask) -> Self:
        return type(self)(self.hi[rows], self.lo[rows])

    def value(self, row: int) -> int:
        return int(self.hi[row]) << 64 | int(self.lo[row])

    def text(self, row: int) -> str:
        return address_text(self.value(row))


@lru_cache(maxsize=1 << 13)
def address_value(text: str) -> int:
    """An address as the 128-bit number that `Addresses` holds. Raises ValueError."""
    address = ipaddress.ip_address(text)
    return int(address) | V4_MAPPED if address.version == 4 else int(address)


def address_text(value: int) -> str:
    """The usual spelling of a 128-bit address number."""
    if value >> 32 == V4_MAPPED >> 32:
        return f"{value >> 24 & 255}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
    return str(ipaddress.IPv6Address(value))
