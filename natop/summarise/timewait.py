"""The flows in conntrack's TIME_WAIT: how many, which side closes first, whom they were with, and whether it matters.

An entry stays for nf_conntrack_tcp_timeout_time_wait (120 s) after the last ACK and holds its NAT port as long. It is
harmless by itself; it matters where it keeps NAT ports from others or fills the table, or will at the present rate.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from natop.join.flows import service
from natop.model import (
    U8,
    U64,
    UNOWNED,
    Attribution,
    Closer,
    Conntrack,
    FlowTable,
    History,
    Mask,
    Moment,
    NatPools,
    Rows,
    TimeWait,
)
from natop.summarise.alike import kinds, order_of
from natop.summarise.lately import Lately
from natop.summarise.ownership import Ints, Ownership
from natop.summarise.portsearch import POOL_WARN
from natop.sysctls import FULL_WARNING
from natop.uapi import IpProto, TcpState

TOP = 5
"""Remotes and services told of."""
METRIC = "time_wait"
"""The key of the number in the history, from which its growth is."""
LARGE_PART = 0.25
"""TIME_WAIT is a concern where it is so large a part of what is full."""


def in_time_wait(flows: FlowTable) -> Mask:
    waiting: Mask = (flows.proto == IpProto.TCP) & (flows.state == TcpState.TIME_WAIT)
    return waiting


def time_waits(
    flows: FlowTable, attribution: Attribution, owners: Ownership, tcp: Sequence[int], timeout_s: int | None
) -> list[TimeWait]:
    """For each group of owners, which has so many TCP flows, those in TIME_WAIT; without growth and concern.

    `steady_state` comes from the time that each entry has left, so one dump suffices: where as many came in each part
    of the last half minute, that rate × the timeout is where their number would settle (`lately`).
    """
    ends = _Ends.of(flows, attribution, owners)
    told = flows.closed_by is not None
    closed_by = np.zeros(len(flows), np.uint8) if flows.closed_by is None else flows.closed_by
    closers = ends.table(closed_by[ends.row] & np.uint8(Closer.BOTH), len(Closer))
    count = closers.sum(axis=1)
    settling = _settling(flows, ends, timeout_s)
    remotes, services = ends.remotes(), ends.services()
    return [
        TimeWait(
            count=int(count[group]),
            share=int(count[group]) / tcp[group] if tcp[group] else None,
            closed_by_client=int(closers[group, Closer.CLIENT]) if told or not count[group] else None,
            closed_by_server=int(closers[group, Closer.SERVER]) if told or not count[group] else None,
            remotes=remotes[group],
            services=services[group],
            steady_state=settling[group][0],
            peak_state=settling[group][1],
        )
        for group in range(owners.groups)
    ]


def _settling(flows: FlowTable, ends: "_Ends", timeout_s: int | None) -> Sequence[tuple[float | None, float | None]]:
    """Where each group would settle at the rate of the last half minute, and at the highest of any part of it."""
    if not timeout_s:
        return [(None, None)] * ends.groups
    lately = Lately.of(timeout_s)
    rates = lately.rates(ends.table(lately.part(flows.timeout_s[ends.row]), lately.width))
    pairs = zip((rates.even * timeout_s).tolist(), (rates.peak * timeout_s).tolist(), strict=True)
    return [(None if isnan(even) else even, peak) for even, peak in pairs]


@dataclass(frozen=True, slots=True)
class _Ends:
    """Flows in TIME_WAIT as their owners see them: a flow of two owners is there twice."""

    groups: int
    row: Rows
    """Of the flow table."""
    group: Ints
    remote: tuple[U64, ...]
    """Halves of the address at the other end, of whom the owner called, or who called it; one where none is IPv6."""
    address: Callable[[int], str]
    """The text of that address."""
    service: Rows
    """The port called."""

    @classmethod
    def of(cls, flows: FlowTable, attribution: Attribution, owners: Ownership) -> "_Ends":
        """What is nobody's was called where a client is known, else it called."""
        waiting = np.flatnonzero(in_time_wait(flows))
        clients = waiting[owners.client[waiting] >= 0]
        servers = waiting[owners.server[waiting] >= 0]
        row = np.concatenate((clients, servers))
        calls = np.concatenate((attribution.client[clients] != -1, np.zeros(len(servers), np.bool_)))
        group = np.concatenate((owners.client[clients], owners.server[servers]))
        dst, src = flows.orig_dst, flows.orig_src
        halves = [(dst.lo, src.lo), *([(dst.hi, src.hi)] if dst.hi.any() or src.hi.any() else [])]
        remote = tuple(np.where(calls, called[row], caller[row]) for called, caller in halves)

        def address(place: int) -> str:
            return (dst if calls[place] else src).text(int(row[place]))

        return cls(owners.groups, row, group, remote, address, flows.orig_dport[row].astype(np.intp))

    def table(self, column: U8, width: int) -> Ints:
        """Flows counted by group and by the value of `column`, which is below `width`."""
        counts = np.bincount(self.group * width + column, minlength=self.groups * width)
        return counts.reshape(self.groups, width)

    def remotes(self) -> list[tuple[tuple[str, int], ...]]:
        alike = kinds((self.group.astype(np.uint64), *self.remote))
        begins = np.flatnonzero(alike.begins)
        counts = np.diff(begins, append=len(alike.order))
        example = alike.order[begins]
        tops = _tops(self.group[example], counts, self.groups)
        return [tuple((self.address(int(example[i])), int(counts[i])) for i in top) for top in tops]

    def services(self) -> list[tuple[tuple[str, int], ...]]:
        keys, counts = np.unique(self.group << 16 | self.service, return_counts=True)
        tops = _tops(keys >> 16, counts, self.groups)
        return [tuple((f"{keys[i] & 0xFFFF}/tcp", int(counts[i])) for i in top) for top in tops]


def _tops(group: Ints, counts: Ints, groups: int) -> list[list[int]]:
    """The places of the largest counts of each group, largest first, at most TOP."""
    bits = int(counts.max(initial=0)).bit_length()
    keys = (group << bits) + (1 << bits) - counts
    order = order_of(keys.astype(np.uint64), bits + groups.bit_length())
    ordered = group[order]
    starts = np.searchsorted(ordered, np.arange(groups + 1))
    return [order[start : min(start + TOP, end)].tolist() for start, end in pairwise(starts)]


Subject = str | None
"""A container's id or UNOWNED; None is the whole table."""


GROWTH_S = 60.0
"""Growth is that of so long: what came of a spike, or of a remedy, is soon seen."""


class Growth(NamedTuple):
    per_min: float
    seconds: float
    """Between the two dumps that it is of."""


def growth(history: History, monotonic_s: float, counts: Mapping[Subject, int]) -> dict[Subject, Growth]:
    """How fast the number in TIME_WAIT of each subject grows: since its first dump within GROWTH_S, else its last one.

    The dumps from before containers were known are left out, so that the whole and its parts have one base.
    `monotonic_s` is when these counts were taken. Those of whom nothing is known from before are left out.
    """
    found: dict[Subject, Growth] = {}
    roster, known = None, list(counts)
    for moment in _compared(history, monotonic_s, counts) if METRIC in history.container_metrics else ():
        if len(found) == len(counts):
            break
        if moment.roster is not roster:
            roster = moment.roster
            known = [each for each in counts if each not in found and (each is None or each in roster.rows)]
        if known:
            seconds = monotonic_s - moment.monotonic_s
            then = {each: _at(history, moment, each) for each in known}
            found |= {
                each: Growth(60 * (counts[each] - at) / seconds, seconds) for each, at in then.items() if at is not None
            }
            known = [each for each in known if each not in found]
    return found


def _compared(history: History, monotonic_s: float, counts: Mapping[Subject, int]) -> Sequence[Moment]:
    """The dumps before that instant by which growth is told, in the order in which they are asked."""
    dumps = [each for each in history.moments if each.has_dump and each.monotonic_s < monotonic_s]
    lately = [each for each in dumps if monotonic_s - each.monotonic_s <= GROWTH_S] or dumps[-1:]
    containers = [each for each in counts if each not in (None, UNOWNED)]
    first = next((place for place, each in enumerate(lately) if _tells_of_any(history, each, containers)), 0)
    return lately[first:]


def _tells_of_any(history: History, moment: Moment, containers: Sequence[Subject]) -> bool:
    return any(each in moment.roster.rows and _at(history, moment, each) is not None for each in containers)


def _at(history: History, moment: Moment, subject: Subject) -> float | None:
    if subject is None:
        value = float(moment.host[history.host_metrics.index(METRIC)])
    else:
        value = float(moment.containers[moment.roster.rows[subject], history.container_metrics.index(METRIC)])
    return None if np.isnan(value) else value


@dataclass(frozen=True, slots=True)
class Room:
    """What TIME_WAIT takes room in, and whether there is enough: now, and where the present rate leads."""

    pools: NatPools
    sustainable: npt.NDArray[np.float64]
    """New flows per second that each pool can sustain where nothing is evicted; NaN is unknown."""
    evicting: bool
    """Whether the kernel evicts: then a pool of TIME_WAIT never runs out by its rate."""
    conntrack: Conntrack
    whole: TimeWait
    """Of the whole table."""

    def crowded(self) -> Rows:
        """The pools that TIME_WAIT which cannot be evicted has a large part in filling."""
        return np.flatnonzero((self.pools.hard >= POOL_WARN * self.pools.capacity) & self._is_of_time_wait())

    def filling(self) -> Rows:
        """The pools with such a part of which more connections end than they can sustain; a burst is no rate."""
        if self.evicting or self.pools.ends_per_s is None:
            return np.zeros(0, np.intp)
        return np.flatnonzero((self.pools.ends_per_s > self.sustainable) & self._is_of_time_wait())

    def _is_of_time_wait(self) -> Mask:
        found: Mask = self.pools.time_wait_hard >= LARGE_PART * self.pools.capacity
        return found

    def concern(self, waiting: TimeWait, crowded: int | None, filling: int | None) -> str | None:
        """Why so many flows in TIME_WAIT matter: a pool is full of them or will be, or the table; None where none is.

        The pools are those that their owner holds ports of.
        """
        if not waiting.count:
            return None
        if crowded is not None:
            return self._of_crowded(crowded)
        return self._of_table(waiting) or (None if filling is None else self._of_filling(filling))

    def _of_crowded(self, row: int) -> str:
        hard, capacity = int(self.pools.hard[row]), int(self.pools.capacity[row])
        return (
            f"{100 * hard / capacity:.0f} % of the {capacity:,} NAT ports to {self._remote(row)} cannot be had, "
            f"{int(self.pools.time_wait_hard[row]):,} of them for TIME_WAIT that this kernel does not evict"
        )

    def _of_filling(self, row: int) -> str:
        assert self.pools.ends_per_s is not None
        return (
            f"the {int(self.pools.capacity[row]):,} NAT ports to {self._remote(row)} will fill: "
            f"{self.pools.ends_per_s[row]:,.0f} connections end each second, {self.sustainable[row]:,.0f} sustainable "
            "on this kernel"
        )

    def _of_table(self, waiting: TimeWait) -> str | None:
        """Of the table as it is, else as it will be once as many leave TIME_WAIT as come."""
        count, most = self.conntrack.count, self.conntrack.max
        if not count or not most:
            return None
        if count >= FULL_WARNING * most and waiting.count >= LARGE_PART * count:
            return (
                f"the conntrack table is {100 * count / most:.0f} % full ({count:,} of {most:,} entries), "
                f"{waiting.count:,} of them in TIME_WAIT"
            )
        if self.whole.steady_state is None or waiting.steady_state is None:
            return None
        settled = max(0, count - self.whole.count) + self.whole.steady_state
        if settled <= most or waiting.steady_state < LARGE_PART * settled:
            return None
        return (
            f"the conntrack table will fill: at this rate it settles at about {settled:,.0f} entries, "
            f"{waiting.steady_state:,.0f} of them in TIME_WAIT, and {most:,} is its limit"
        )

    def _remote(self, row: int) -> str:
        return service(self.pools.remote.text(row), int(self.pools.remote_port[row]), int(self.pools.proto[row]))


def calm_text(waiting: TimeWait, conntrack: Conntrack) -> str:
    """What is to be said of TIME_WAIT that gives no concern: harmless, so far, or that nobody can tell."""
    if conntrack.count is None or not conntrack.max:
        return "not judged: how full the table is was not told"
    if waiting.steady_state is not None:
        return "harmless"
    if waiting.peak_state is None:
        return "not judged: how long they stay was not told"
    peak = max(0, conntrack.count - waiting.count) + waiting.peak_state
    return "harmless" if peak <= conntrack.max else "harmless so far"


def first_pools(pools: NatPools, rows: Rows, containers: int) -> Mapping[int, int]:
    """The first, and so the fullest, of some pools by container that holds ports of it.

    `containers`, their number, stands for those who are no container, one more for all together.
    """
    found: dict[int, int] = {}
    for pool in rows.tolist():
        for code in pools.holder[pools.start[pool] : pools.start[pool + 1]].tolist():
            found.setdefault(code if code >= 0 else containers, pool)
        found.setdefault(containers + 1, pool)
    return found
