"""Flows × inventory: the client and the server container of each flow, and the way it takes.

The client is who owns the source of the original tuple, the server who owns the source of the reply tuple: the
reply's source is the address that answers, whatever DNAT made of the address that was called.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from natop.model import U64, Addresses, Attribution, Container, FlowTable, Kind, Mask, address_value
from natop.uapi import Ips

Owners = npt.NDArray[np.int32]

NOBODY = -1
THE_HOST = -2


def attribute(flows: FlowTable, containers: Sequence[Container], host_addresses: Iterable[str]) -> Attribution:
    """Whose each flow is. A container's address wins over the host's where both claim one."""
    owners = _Owners(containers, host_addresses)
    source = owners.of(flows.orig_src)
    answering = owners.of(flows.reply_src)
    called = owners.of(flows.orig_dst)
    client = np.where(source >= 0, source, np.int32(NOBODY))
    server = np.where(answering >= 0, answering, np.int32(NOBODY))
    touches_host = (source == THE_HOST) | (answering == THE_HOST) | (called == THE_HOST)
    return Attribution(client, server, _kinds(flows, client, server, touches_host))


class _Owners:
    """Sorted addresses and whose each is, so that a whole column is looked up at once."""

    def __init__(self, containers: Sequence[Container], host_addresses: Iterable[str]) -> None:
        owner_of = dict.fromkeys(_values(host_addresses), THE_HOST)
        for index, container in enumerate(containers):
            texts = (text for place in container.networks for text in (place.ipv4, place.ipv6) if text)
            owner_of.update(dict.fromkeys(_values(texts), index))
        known = sorted(owner_of, key=lambda value: (value & _LOW, value >> 64))
        self._hi: U64 = np.array([value >> 64 for value in known], np.uint64)
        self._lo: U64 = np.array([value & _LOW for value in known], np.uint64)
        self._owners: Owners = np.array([owner_of[value] for value in known], np.int32)
        self._longest = _longest_run(self._lo)

    def of(self, addresses: Addresses) -> Owners:
        """Index of the container, THE_HOST or NOBODY, for each address."""
        result = np.full(len(addresses), NOBODY, np.int32)
        if len(self._lo) == 0:
            return result
        first = np.searchsorted(self._lo, addresses.lo)
        for step in range(self._longest):
            at = np.minimum(first + step, len(self._lo) - 1)
            same = (self._lo[at] == addresses.lo) & (self._hi[at] == addresses.hi)
            result[same] = self._owners[at[same]]
        return result


_LOW = 2**64 - 1


def _values(texts: Iterable[str]) -> list[int]:
    values = []
    for text in texts:
        try:
            values.append(address_value(text.partition("%")[0]))
        except ValueError:
            continue
    return values


def _longest_run(sorted_values: U64) -> int:
    """The most addresses that share their low half, as two networks' ::2 do."""
    _, counts = np.unique(sorted_values, return_counts=True)
    return int(counts.max(initial=0))


def _kinds(flows: FlowTable, client: Owners, server: Owners, touches_host: Mask) -> npt.NDArray[np.uint8]:
    snat = (flows.status & Ips.SRC_NAT) != 0
    dnat = (flows.status & Ips.DST_NAT) != 0
    from_container, to_container = client >= 0, server >= 0
    return np.select(
        [
            to_container & dnat & snat,
            to_container & dnat,
            from_container & snat,
            from_container & to_container,
            from_container | to_container,
            touches_host,
        ],
        [
            np.uint8(kind)
            for kind in (
                Kind.HAIRPIN, Kind.PUBLISHED, Kind.MASQUERADED, Kind.INTERNAL, Kind.ROUTED, Kind.HOST
            )
        ],
        np.uint8(Kind.FORWARDED),
    )  # fmt: skip
