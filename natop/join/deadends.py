"""Flows to or from an address where nobody is, in a network where containers live."""

import ipaddress
from collections.abc import Collection, Iterable, Iterator

import numpy as np

from natop.model import GATEWAYS, Addresses, Network, Rows, address_text, address_value

_LOW = 2**64 - 1


def bridged_subnets(networks: Iterable[Network]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Where containers of bridge networks live; swarm's ingress sandbox, which is none, has an address on GATEWAYS."""
    return [
        ipaddress.ip_network(subnet, strict=False)
        for network in networks
        if network.driver == "bridge" and network.name != GATEWAYS
        for subnet in network.subnets
    ]


def dead_ends(networks: Iterable[Network], unanswered: Iterable[str]) -> frozenset[int]:
    """Of the IPv4 addresses that nobody answers for, as text, those in subnets of bridge networks, as 128-bit numbers.

    An address there is the host's, a container's, that of another machine on the bridge, or nobody's.
    """
    subnets = bridged_subnets(networks)
    asked = (ipaddress.IPv4Address(address) for address in unanswered)
    return frozenset(address_value(str(each)) for each in asked if any(each in subnet for subnet in subnets))


def among(addresses: Addresses, rows: Rows, wanted: Collection[int] | None = None) -> Iterator[tuple[str, Rows]]:
    """Each wanted address (None: whichever) that some of these rows have, with the rows."""
    if wanted is not None:
        low = np.array([value & _LOW for value in wanted], np.uint64)
        rows = rows[np.isin(addresses.lo[rows], low)]
    if not len(rows):
        return
    halves = np.stack([addresses.hi[rows], addresses.lo[rows]])
    distinct, which = np.unique(halves, axis=1, return_inverse=True)
    for index, (high, low) in enumerate(zip(*distinct.tolist(), strict=True)):
        value = high << 64 | low
        if wanted is None or value in wanted:
            yield address_text(value), rows[which.reshape(-1) == index]
