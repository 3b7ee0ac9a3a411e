"""Flows and whose they are, to the numbers people look at: per container, for what is unowned, for the host.

All counting is numpy's, over the rows of the table at once; Python loops run over containers only.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import numpy.typing as npt

from natop.model import (
    UNOWNED,
    Attribution,
    Conntrack,
    Container,
    ContainerSummary,
    Firewall,
    FlowCounts,
    FlowRates,
    FlowReading,
    FlowSummary,
    FlowTable,
    History,
    Kind,
    Mask,
    NatPools,
    PortChoice,
    Snapshot,
    TimeWait,
    homes,
)
from natop.summarise.ownership import Ints, Ownership
from natop.summarise.pools import (
    Arrivals,
    busiest_pools,
    evicts,
    nat_pools,
    port_choice,
    rewritten,
    sustainable_per_s,
    translated_by_rule,
)
from natop.summarise.timewait import Room, first_pools, growth, in_time_wait, time_waits
from natop.uapi import TCP_STATES, IpProto, Ips, proto_name

WHOLE = "whole"
"""Beside the containers' ids and UNOWNED: the key of the whole table's numbers."""

_NO_TCP_STATE = len(TCP_STATES)
_PROTOCOLS = 256


def _count(flows: FlowTable, attribution: Attribution, groups: Ownership) -> list[FlowCounts]:
    """The numbers of each group."""
    is_tcp = (flows.proto == IpProto.TCP) & (flows.state < _NO_TCP_STATE)
    states = groups.table(np.where(is_tcp, flows.state, np.uint8(_NO_TCP_STATE)), _NO_TCP_STATE + 1)
    kinds = groups.table(attribution.kind, len(Kind))
    protocols = groups.table(flows.proto, _PROTOCOLS)
    dnat = groups.count((flows.status & Ips.DST_NAT) != 0)
    snat = groups.count((flows.status & Ips.SRC_NAT) != 0)
    return [
        FlowCounts(
            total=int(kinds[group].sum()),
            states=dict(zip(TCP_STATES, states[group].tolist(), strict=False)),
            kinds={kind.name: int(kinds[group, kind]) for kind in Kind},
            protocols={proto_name(int(proto)): int(protocols[group, proto]) for proto in protocols[group].nonzero()[0]},
            dnat=int(dnat[group]),
            snat=int(snat[group]),
        )
        for group in range(groups.groups)
    ]


def count_groups(flows: FlowTable, attribution: Attribution, groups: int) -> list[FlowCounts]:
    """The numbers of each of so many groups, by whose index the attribution names clients and servers."""
    return _count(flows, attribution, Ownership.of(attribution, groups))[:groups]


@dataclass(frozen=True, slots=True)
class Setting:
    """What the numbers of a dump depend on beside its flows."""

    containers: Sequence[Container] = ()
    """In the order of the inventory that the attribution's codes are of."""
    kernel: str | None = None
    """Its release."""
    sysctls: Mapping[str, int | tuple[int, ...]] = field(default_factory=dict)
    """By their last name component."""
    conntrack: Conntrack = field(default_factory=Conntrack)
    firewall: Firewall | None = None
    addresses: Collection[str] = ()
    """Of the network namespace read; none where it has none, or they are not known."""

    def passing(self) -> frozenset[str]:
        """Ids of the containers whose flows pass the namespace read, so that none in its table means 0.

        The engine's host has the gateways of the containers' bridges. Another namespace with a container's own address
        is that container's, and of those that joined it. Where no gateway is known, any other is taken for the host's.
        """
        namespaces, gateways = homes(self.containers), _gateways(self.containers)
        here = frozenset(self.addresses)
        inside = frozenset(identity for identity, home in namespaces.items() if not here.isdisjoint(home.addresses))
        if here.isdisjoint(gateways) and (inside or gateways):
            return inside
        return frozenset(identity for identity, home in namespaces.items() if not home.untracked)


def _gateways(containers: Sequence[Container]) -> set[str]:
    """Addresses of the bridges on the engine's host; those of other drivers' networks are not the host's."""
    bridges = (place for each in containers for place in each.networks if place.driver == "bridge")
    return {place.gateway for place in bridges if place.gateway}


@dataclass(frozen=True, slots=True)
class Summary:
    """All numbers of one dump; None where none was read."""

    containers: tuple[ContainerSummary, ...]
    whole: FlowSummary | None = None
    unowned: FlowSummary | None = None
    pools: NatPools | None = None
    port_choice: PortChoice | None = None
    time_wait: TimeWait | None = None
    unowned_time_wait: TimeWait | None = None

    @classmethod
    def unread(cls, containers: Sequence[Container]) -> "Summary":
        """Containers whose flows are unknown."""
        reasons = untracked(containers)
        return cls(tuple(ContainerSummary(each, untracked=reasons[each.id]) for each in containers))

    @classmethod
    def of(cls, snapshot: Snapshot) -> "Summary":
        """The very numbers of a snapshot."""
        return cls(**{each.name: getattr(snapshot, each.name) for each in fields(cls)})


@dataclass(frozen=True, slots=True)
class _Change:
    """What came and went between two dumps, `seconds` apart."""

    seconds: float
    new: Mask
    """Rows of the present table."""
    gone: Mask
    """Rows of the table before."""


def summarise(reading: FlowReading, setting: Setting, previous: Snapshot | None) -> Summary:
    """The numbers of a dump, and how they changed since the dump of `previous`.

    Where `previous` holds the very same dump (only the containers have changed), rates stay as they were.
    """
    before = previous.reading if previous else None
    change = _change(reading, before) if before else None
    flows = _flow_summaries(reading, setting.containers, previous, change)
    pools = _pools(reading, setting, previous, change)
    time_wait = _time_waits(reading, setting, flows, pools, previous)
    containers = _containers(reading, setting, flows, pools)
    return Summary(
        containers=tuple(
            replace(each, time_wait=time_wait[each.container.id]) if each.flows else each for each in containers
        ),
        whole=flows[WHOLE],
        unowned=flows[UNOWNED],
        pools=pools,
        port_choice=port_choice(reading.flows, reading.attribution),
        time_wait=time_wait[WHOLE],
        unowned_time_wait=time_wait[UNOWNED],
    )


def _flow_summaries(
    reading: FlowReading, containers: Sequence[Container], previous: Snapshot | None, change: _Change | None
) -> dict[str, FlowSummary]:
    """By container id, UNOWNED and WHOLE."""
    groups = Ownership.of(reading.attribution, len(containers))
    keys = [*(container.id for container in containers), UNOWNED]
    rates = _rates(groups, keys, reading.flows, previous, change) if previous and change else {}
    counts = dict(zip(keys, _count(reading.flows, reading.attribution, groups), strict=True))
    [counts[WHOLE]] = _count(reading.flows, reading.attribution, Ownership.whole(len(reading.flows)))
    past = _past(previous)
    is_same = previous is not None and previous.reading is not None and change is None

    def summary(key: str, now: FlowCounts) -> FlowSummary:
        earlier = past.get(key, FlowSummary(now))
        if is_same:
            return FlowSummary(now, earlier.rates)
        return FlowSummary(now, rates.get(key) if key in past else None)

    return {key: summary(key, now) for key, now in counts.items()}


def untracked(containers: Sequence[Container]) -> dict[str, str | None]:
    """Why none of each container's flows can be in the host's table, by id; of one that joined, the other's reason."""
    return {identity: home.untracked for identity, home in homes(containers).items()}


def _containers(
    reading: FlowReading, setting: Setting, flows: Mapping[str, FlowSummary], pools: NatPools
) -> tuple[ContainerSummary, ...]:
    """None for the flows of a container that has none here, where they would not pass."""
    attribution, containers, passing = reading.attribution, setting.containers, setting.passing()
    inbound = _per_container(attribution.server, len(containers))
    outbound = _per_container(attribution.client, len(containers))
    is_moved, by_rule = rewritten(reading.flows), translated_by_rule(reading.flows, attribution)
    moved, chosen, kept = (
        _per_container(attribution.client[rows], len(containers)) for rows in (is_moved, by_rule, by_rule & ~is_moved)
    )
    busiest = busiest_pools(pools, len(containers))
    reasons = untracked(containers)
    return tuple(
        ContainerSummary(
            container,
            flows[container.id],
            inbound=int(inbound[i]),
            outbound=int(outbound[i]),
            rewritten_ports=int(moved[i]),
            port_choice=PortChoice(int(kept[i]), int(chosen[i] - kept[i])),
            busiest_pool=busiest[i],
        )
        if container.id in passing or flows[container.id].counts.total
        else ContainerSummary(container, untracked=reasons[container.id])
        for i, container in enumerate(containers)
    )


def _pools(reading: FlowReading, setting: Setting, previous: Snapshot | None, change: _Change | None) -> NatPools:
    arrivals = Arrivals(change.new, change.seconds) if change else None
    pools = nat_pools(
        reading.flows,
        reading.attribution,
        evicts(setting.kernel),
        setting.firewall,
        arrivals,
        _time_wait_s(setting),
    )
    earlier = previous.pools if previous else None
    if change is None and earlier is not None and _are_the_same(pools, earlier):
        return replace(pools, new_per_s=earlier.new_per_s)
    return pools


def _are_the_same(pools: NatPools, others: NatPools) -> bool:
    """Whether these are the same pools in the same order, as in one dump whose flows got other owners."""
    return all(
        np.array_equal(mine, theirs)
        for mine, theirs in (
            (pools.remote.lo, others.remote.lo),
            (pools.remote_port, others.remote_port),
            (pools.nat.lo, others.nat.lo),
            (pools.first_port, others.first_port),
            (pools.used, others.used),
        )
    )


def _time_waits(
    reading: FlowReading,
    setting: Setting,
    summaries: Mapping[str, FlowSummary],
    pools: NatPools,
    previous: Snapshot | None,
) -> dict[str, TimeWait]:
    """By container id, UNOWNED and WHOLE."""
    flows, attribution, containers = reading.flows, reading.attribution, setting.containers
    timeout_s = _time_wait_s(setting)
    keys = [*(container.id for container in containers), UNOWNED, WHOLE]
    tcp = [sum(summaries[key].counts.states.values()) for key in keys]
    found = time_waits(flows, attribution, Ownership.of(attribution, len(containers)), tcp[:-1], timeout_s)
    found += time_waits(flows, attribution, Ownership.whole(len(flows)), tcp[-1:], timeout_s)
    room = Room(
        pools, sustainable_per_s(pools, setting.sysctls), evicts(setting.kernel), setting.conntrack, whole=found[-1]
    )
    crowded, filling = (first_pools(pools, rows, len(containers)) for rows in (room.crowded(), room.filling()))
    history = previous.history if previous else History()
    subjects = [None if key == WHOLE else key for key in keys]
    counts = {subject: each.count for subject, each in zip(subjects, found, strict=True)}
    grown = growth(history, reading.monotonic_s, counts)
    return {
        key: replace(
            each,
            growth_per_min=grown[subject].per_min if subject in grown else None,
            growth_s=grown[subject].seconds if subject in grown else None,
            concern=room.concern(each, crowded.get(group), filling.get(group)),
        )
        for group, (key, subject, each) in enumerate(zip(keys, subjects, found, strict=True))
    }


def _time_wait_s(setting: Setting) -> int | None:
    """How long a flow is in TIME_WAIT; None where that could not be read."""
    lasts = setting.sysctls.get("nf_conntrack_tcp_timeout_time_wait")
    return lasts if isinstance(lasts, int) else None


def _past(previous: Snapshot | None) -> dict[str, FlowSummary]:
    """The summaries of the snapshot before, by container id, UNOWNED and WHOLE."""
    if previous is None:
        return {}
    past = {summary.container.id: summary.flows for summary in previous.containers}
    past |= {WHOLE: previous.whole, UNOWNED: previous.unowned}
    return {key: summary for key, summary in past.items() if summary}


def _change(now: FlowReading, before: FlowReading) -> _Change | None:
    """None where both are the same dump."""
    seconds = now.monotonic_s - before.monotonic_s
    if seconds <= 0:
        return None
    return _Change(seconds, _unseen(now.flows, before.flows), _unseen(before.flows, now.flows))


def _unseen(flows: FlowTable, others: FlowTable) -> Mask:
    """Rows whose entry is not in the other table, by CTA_ID.

    Sorting and searching let other threads go on, as np.isin does not: the screen's must answer keys meanwhile.
    """
    known = np.sort(others.id)
    if len(known) == 0:
        return np.ones(len(flows), np.bool_)
    unseen: Mask = known[np.minimum(np.searchsorted(known, flows.id), len(known) - 1)] != flows.id
    return unseen


def _rates(
    now: Ownership, keys: Sequence[str], flows: FlowTable, previous: Snapshot, change: _Change
) -> dict[str, FlowRates]:
    """By key, for those that both dumps know."""
    before = previous.reading
    assert before is not None
    past_keys = [*(summary.container.id for summary in previous.containers), UNOWNED]
    past = Ownership.of(before.attribution, len(previous.containers))
    new = _by_key(now, keys, change.new)
    gone = _by_key(past, past_keys, change.gone)
    time_wait = _by_key(now, keys, in_time_wait(flows))
    time_wait_before = _by_key(past, past_keys, in_time_wait(before.flows))
    return {
        key: FlowRates(
            new[key] / change.seconds,
            gone[key] / change.seconds,
            (time_wait[key] - time_wait_before[key]) / change.seconds,
        )
        for key in new.keys() & gone.keys()
    }


def _by_key(groups: Ownership, keys: Sequence[str], selected: Mask) -> dict[str, int]:
    """Selected rows of each group, and of the whole table."""
    return dict(zip(keys, groups.count(selected).tolist(), strict=True)) | {WHOLE: int(selected.sum())}


def _per_container(owner: npt.NDArray[np.int32], containers: int) -> Ints:
    return np.bincount(owner[owner >= 0], minlength=containers)
