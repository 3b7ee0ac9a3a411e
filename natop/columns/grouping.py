"""The table of containers seen another way: its flows by compose project, by network, or by what they call.

A flow counts once in each group that it touches. Groups carry no rates: those are kept per container.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from natop.columns.containers import CONTAINER_COLUMNS, HOST_KEY, ContainerColumn, ContainerRow, container_rows
from natop.columns.filters import Filter, parse
from natop.join.addresses import AddressCodes
from natop.join.flows import Flows, service
from natop.join.local import mixed
from natop.model import Attribution, FlowSummary, Mask, Snapshot, address_value
from natop.summarise.summaries import count_groups
from natop.uapi import PORTED

Codes = npt.NDArray[np.int32]

MOST_DESTINATIONS = 500
"""The busiest destinations are shown; a host may call tens of thousands."""


class Grouping(StrEnum):
    """What a row of the table stands for."""

    CONTAINER = "container"
    PROJECT = "project"
    NETWORK = "network"
    DESTINATION = "destination"

    @property
    def following(self) -> "Grouping":
        kinds = list(Grouping)
        return kinds[(kinds.index(self) + 1) % len(kinds)]

    @property
    def things(self) -> str:
        """What the rows are, in the plural."""
        return "compose projects" if self is Grouping.PROJECT else f"{self}s"


_TOLD = ("name", "flows", "established", "syn", "time_wait", "closing", "inbound", "outbound")
"""Columns that a group can tell, by key."""
_WAYS = ("inbound", "outbound")
"""Those of them that mean nothing for a destination, all of whose flows come in."""
_MEANS = {
    Grouping.PROJECT: "compose project: the flows of its containers",
    Grouping.NETWORK: "Docker network: the flows of the containers' addresses on it",
    Grouping.DESTINATION: f"address and port called, the {MOST_DESTINATIONS} busiest",
}


def columns_of(by: Grouping) -> tuple[ContainerColumn, ...]:
    """The columns of the table of containers that a grouping can tell, the first under its own title."""
    if by is Grouping.CONTAINER:
        return CONTAINER_COLUMNS
    told = [
        column
        for column in CONTAINER_COLUMNS
        if column.key in _TOLD and not (by is Grouping.DESTINATION and column.key in _WAYS)
    ]
    return (replace(told[0], title=by.upper(), help=_MEANS[by]), *told[1:])


@dataclass(frozen=True, slots=True)
class _Groups:
    """Names of groups, and the group of each flow's two ends: an index, or -1."""

    names: Sequence[str]
    client: Codes
    server: Codes


def grouped_rows(snapshot: Snapshot, by: Grouping) -> tuple[ContainerRow, ...]:
    """The rows of one grouping, the host's last. Where flows were not read, the containers.

    A group without flows, of which none would be in this table, has no numbers.
    """
    flows = Flows.of(snapshot)
    if by is Grouping.CONTAINER or flows is None:
        return container_rows(snapshot)
    groups = _groups(flows, by)
    size = len(groups.names)
    counts = count_groups(flows.table, Attribution(groups.client, groups.server, flows.attribution.kind), size)
    inbound = np.bincount(groups.server[groups.server >= 0], minlength=size)
    outbound = np.bincount(groups.client[groups.client >= 0], minlength=size)
    passing = _passing(snapshot, by)
    rows = [
        ContainerRow(f"{by}:{name}", name, None, FlowSummary(counts[i]), int(inbound[i]), int(outbound[i]))
        if counts[i].total or name in passing
        else ContainerRow(f"{by}:{name}", name, None, None)
        for i, name in enumerate(groups.names)
    ]
    return tuple(rows) if by is Grouping.DESTINATION else (*rows, container_rows(snapshot)[-1])


def _passing(snapshot: Snapshot, by: Grouping) -> frozenset[str]:
    """Names of the projects, or networks, with a container whose flows would be in this table."""
    counted = [each.container for each in snapshot.containers if each.flows]
    if by is Grouping.PROJECT:
        return frozenset(each.project or NO_PROJECT for each in counted)
    return frozenset(place.network for each in counted for place in each.networks if place.bypass is None)


POOL_SCOPE = "pool"
"""Before the filter expression of a NAT pool, where that is the key of a scope."""


def in_scope(flows: Flows, key: str) -> Mask:
    """The flows of what has this key: a container, the host, a group, a NAT pool."""
    attribution = flows.attribution
    if key == HOST_KEY:
        return np.asarray((attribution.client < 0) & (attribution.server < 0))
    kind, _, name = key.partition(":")
    if kind == POOL_SCOPE:
        return parse(name).rows(flows)
    if kind in set(Grouping):
        groups = _groups(flows, Grouping(kind))
        index = groups.names.index(name) if name in groups.names else -2
        return np.asarray((groups.client == index) | (groups.server == index))
    index = next((i for i, container in enumerate(flows.containers) if container.id == key), -(2**31))
    return np.asarray((attribution.client == index) | (attribution.server == index))


def matching(rows: Sequence[ContainerRow], snapshot: Snapshot, by: Grouping, wanted: Filter) -> tuple[bool, ...]:
    """Which of the `grouped_rows` match: by name where it is of bare words, else by having such flows."""
    flows = Flows.of(snapshot)
    if by is Grouping.CONTAINER or flows is None:
        return wanted.containers(snapshot)
    if wanted.is_bare:
        return tuple(wanted.name(row.name) for row in rows)
    found, groups = wanted.flows(snapshot), _groups(flows, by)
    touched = {*np.unique(groups.client[found]).tolist(), *np.unique(groups.server[found]).tolist()}
    keys = {f"{by}:{name}" for index, name in enumerate(groups.names) if index in touched}
    if (found & in_scope(flows, HOST_KEY)).any():
        keys.add(HOST_KEY)
    return tuple(row.key in keys for row in rows)


def _groups(flows: Flows, by: Grouping) -> _Groups:
    if by is Grouping.PROJECT:
        return _projects(flows)
    return _networks(flows) if by is Grouping.NETWORK else _destinations(flows)


NO_PROJECT = "(no project)"


def _projects(flows: Flows) -> _Groups:
    project = [container.project or NO_PROJECT for container in flows.containers]
    names = sorted(set(project))
    of_container = np.array([*(names.index(each) for each in project), -1], np.int32)
    ends = (np.maximum(codes, -1) for codes in (flows.attribution.client, flows.attribution.server))
    return _Groups(names, *(of_container[codes] for codes in ends))


def _networks(flows: Flows) -> _Groups:
    """By the network that the container's address at either end belongs to."""
    network_of: dict[int, str] = {}
    for container in flows.containers:
        for place in container.networks:
            network_of |= dict.fromkeys(map(address_value, place.addresses), place.network)
    names = sorted(set(network_of.values()))
    places = AddressCodes({value: names.index(name) for value, name in network_of.items()})
    return _Groups(names, places.of(flows.table.orig_src), places.of(flows.table.reply_src))


def _destinations(flows: Flows) -> _Groups:
    """By protocol, address and, where it has ports, port called; the ends of a flow are all its client's."""
    table = flows.table
    ports = np.where(np.isin(table.proto, tuple(PORTED)), table.orig_dport, np.uint16(0))
    keys = mixed(table.proto, table.orig_dst.lo, ports, table.orig_dst.hi, np.zeros_like(ports))
    _, first, group, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    busiest = np.argsort(-counts, kind="stable")[:MOST_DESTINATIONS]
    rank = np.full(len(first), -1, np.int32)
    rank[busiest] = np.arange(len(busiest), dtype=np.int32)
    names = [_destination(flows, int(first[each])) for each in busiest]
    return _Groups(names, rank[group], np.full(len(table), -1, np.int32))


def _destination(flows: Flows, row: int) -> str:
    table = flows.table
    return service(table.orig_dst.text(row), int(table.orig_dport[row]), int(table.proto[row]))
