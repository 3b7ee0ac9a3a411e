"""Whose an address is: a container's, the host's own, or that of a container that is gone."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from natop.join.local import GONE, NOBODY, Codes, Parties
from natop.model import V4_MAPPED, Addresses, Container, Mask, Rows, address_value

THE_HOST = -(2**31)
"""While addresses are looked up: one of the host's own."""
_LOW = 2**64 - 1


class AddressCodes:
    """Addresses as 128-bit numbers and a code for each, so that a whole column is looked up at once.

    A table of SLOTS places by a hash of the address gives the only one that it may be; where several known addresses
    fall into one slot, further tables hold the others.
    """

    def __init__(self, codes: Mapping[int, int]) -> None:
        high = np.array([value >> 64 for value in codes], np.uint64)
        low = np.array([value & _LOW for value in codes], np.uint64)
        self._known = Addresses(high, low)
        self._codes: Codes = np.array(list(codes.values()), np.int32)
        self._tables = list(_tables(_slots(self._known)))

    def of(self, addresses: Addresses) -> Codes:
        """The code of each address; NOBODY for those that have none."""
        result = np.full(len(addresses), NOBODY, np.int32)
        slots = _slots(addresses)
        for table, used in self._tables:
            rows = np.flatnonzero(used[slots])
            at = table[slots[rows]]
            same = self._known.take(at).equal(addresses.take(rows))
            result[rows[same]] = self._codes[at[same]]
        return result


class AddressOwners:
    """Addresses and whose each is."""

    def __init__(
        self, containers: Sequence[Container], host: Sequence[str], former: Mapping[str, str], parties: Parties
    ) -> None:
        """`host` are the host's own addresses, `former` who had an address before; who has it now goes before."""
        past = former.items()
        owner_of = {value: parties.code(GONE + name) for text, name in past for value in _values([text])}
        owner_of |= dict.fromkeys(_values(host), THE_HOST)
        for index, container in enumerate(containers):
            owner_of |= dict.fromkeys(_values(container.addresses), index)
        self._codes = AddressCodes(owner_of)

    def of(self, addresses: Addresses) -> Codes:
        """The container's index, THE_HOST, one that is gone, or NOBODY, for each address."""
        result = self._codes.of(addresses)
        on_loopback = _on_loopback(addresses)
        result[on_loopback[result[on_loopback] == NOBODY]] = THE_HOST
        return result


def _on_loopback(addresses: Addresses) -> Rows:
    """127.0.0.0/8 is the host's own, whichever of it an interface has: systemd-resolved answers at 127.0.0.53."""
    near = np.flatnonzero(addresses.lo - np.uint64(V4_MAPPED + (127 << 24)) < np.uint64(1 << 24))
    on_loopback: Rows = near[addresses.hi[near] == 0]
    return on_loopback


SLOTS = 1 << 16


def _slots(addresses: Addresses) -> npt.NDArray[np.uint16]:
    with np.errstate(over="ignore"):
        mixed = (addresses.lo ^ addresses.hi * np.uint64(0xC2B2AE3D27D4EB4F)) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(48)).astype(np.uint16)


def _tables(slots: npt.NDArray[np.uint16]) -> Iterator[tuple[npt.NDArray[np.int32], Mask]]:
    """The index of an address by its slot, and which slots have one: of the first with that slot, of the second, until
    all have a place.
    """
    left = np.arange(len(slots), dtype=np.int32)
    while len(left):
        table, used = np.zeros(SLOTS, np.int32), np.zeros(SLOTS, np.bool_)
        table[slots[left]], used[slots[left]] = left, True
        yield table, used
        left = left[table[slots[left]] != left]


def _values(texts: Iterable[str]) -> list[int]:
    values = []
    for text in texts:
        try:
            values.append(address_value(text.partition("%")[0]))
        except ValueError:
            continue
    return values
