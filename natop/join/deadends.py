"""Flows that DNAT leads to an address which no container has, in a network where containers live."""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from natop.model import V4_MAPPED, Addresses, Network, Rows, address_text

SWARMS_OWN = "docker_gwbridge"
"""Swarm's ingress sandbox has an address there, and the engine lists it as no container."""
Range = tuple[int, int]
"""First and last address, as numbers."""


def ranges_of(networks: Iterable[Network]) -> tuple[Range, ...]:
    """The subnets of bridge networks: an address in them is the host's, a container's or nobody's."""
    subnets = (
        ipaddress.ip_network(subnet, strict=False)
        for network in networks
        if network.driver == "bridge" and network.name != SWARMS_OWN
        for subnet in network.subnets
    )
    return tuple(_range(subnet) for subnet in subnets)


def _range(subnet: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Range:
    offset = V4_MAPPED if subnet.version == 4 else 0
    return int(subnet.network_address) + offset, int(subnet.broadcast_address) + offset


def within(addresses: Addresses, rows: Rows, ranges: Sequence[Range]) -> Iterator[tuple[str, Rows]]:
    """Each address of these rows that lies in one of the ranges, with the rows that have it."""
    if not ranges or not len(rows):
        return
    halves = np.stack([addresses.hi[rows], addresses.lo[rows]])
    distinct, which = np.unique(halves, axis=1, return_inverse=True)
    for index, (high, low) in enumerate(zip(*distinct.tolist(), strict=True)):
        value = high << 64 | low
        if any(first <= value <= last for first, last in ranges):
            yield address_text(value), rows[which.reshape(-1) == index]
