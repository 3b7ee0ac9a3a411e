"""The numbers that are compared, each declared once: how it is read and written, and whether more of it is worse."""

from collections.abc import Mapping
from dataclasses import dataclass

from natop import states
from natop.columns.containers import connects_of
from natop.decode.counters import MODULUS
from natop.diff.change import Measure, Number, Unit
from natop.diff.reread import ContainerPart, PoolPart
from natop.diff.sides import ALL_SYN_RETRANS, Rates, Side, probe_series
from natop.meanings import BAD
from natop.model import COUNTER_NAMES, TCP_NAMES, ProbeSeries
from natop.uapi import TcpState


@dataclass(frozen=True, slots=True)
class Member:
    """A container on one side."""

    part: ContainerPart
    rates: Rates
    """Per second."""

    def states(self, *names: str) -> int | None:
        return states_sum(self.part.states, *names)


def states_sum(counts: Mapping[str, int] | None, *names: str) -> int | None:
    return None if counts is None else sum(counts.get(name, 0) for name in names)


def _times(factor: int, value: Number | None) -> Number | None:
    return None if value is None else factor * value


def _full(pool: PoolPart | None) -> float | None:
    return 100 * pool.used / pool.capacity if pool and pool.capacity else None


def _busiest(side: Side) -> PoolPart | None:
    return max(side.state.nat_pools or (), key=lambda pool: _full(pool) or 0.0, default=None)


def _fill(side: Side) -> float | None:
    table = side.state.conntrack
    return 100 * table.count / table.max if table.count is not None and table.max else None


_LEADING = ("insert_failed", "drop", "early_drop")
_BAD_TCP = ("syn_retrans", "retrans_segs", "attempt_fails", "listen_overflows", "listen_drops", "timeouts")
_TCP_TITLES = {
    "syn_retrans": "SYN retransmits",
    "retrans_segs": "segments sent again",
    "out_segs": "segments sent",
    "attempt_fails": "failed connects",
    "listen_overflows": "accept queue overflows",
    "listen_drops": "listen drops",
    "timeouts": "TCP timeouts",
    "active_opens": "connections begun",
    "passive_opens": "connections accepted",
    "time_wait_overflow": "TIME_WAIT overflows",
}


def _counter(name: str) -> Measure[Side]:
    return Measure(
        name,
        name,
        Unit.PER_MINUTE,
        lambda side: _times(60, side.rates.get(name)),
        0 if name in _LEADING else 1,
        worse=name in BAD,
        counter=lambda side: side.state.conntrack.counters.get(name),
        modulus=MODULUS,
    )


def _host_tcp(name: str) -> Measure[Side]:
    return Measure(
        f"tcp_{name}",
        f"host's {_TCP_TITLES[name]}",
        Unit.PER_MINUTE,
        lambda side: _times(60, side.rates.get(f"tcp.{name}")),
        2,
        worse=name in _BAD_TCP,
        counter=lambda side: getattr(side.state.host.tcp, name, None),
    )


def _per_min(key: str, title: str, rate: str, rank: int) -> Measure[Side]:
    return Measure(key, title, Unit.PER_MINUTE, lambda side: _times(60, side.rates.get(rate)), rank, worse=True)


def _state(name: str) -> Measure[Side]:
    return Measure(
        name.lower(),
        name,
        Unit.COUNT,
        lambda side: states_sum(side.state.conntrack.states, name),
        0 if name in ("ESTABLISHED", "TIME_WAIT") else 1,
        worse=name == "SYN_SENT",
    )


HOST_MEASURES: tuple[Measure[Side], ...] = (
    *(_counter(name) for name in COUNTER_NAMES),
    _per_min("syn_retrans", "SYN retransmits", ALL_SYN_RETRANS, 0),
    _per_min("lost_syns", "SYNs that conntrack lost", "lost_syns_per_s", 0),
    _per_min("clash_lost", "lost to a clash", "clash_lost_per_s", 1),
    _per_min("table_full", "lost to a full table", "table_full_per_s", 0),
    Measure("found_per_new", "found per new flow", Unit.RATIO, lambda side: side.rates.get("found_per_new"), 1, True),
    Measure(
        "pool",
        "busiest NAT pool",
        Unit.PERCENT,
        lambda side: None if side.state.nat_pools is None else _full(_busiest(side)) or 0.0,
        0,
        worse=True,
    ),
    Measure(
        "pool_loss",
        "its chance of a loss",
        Unit.PERCENT,
        lambda side: (
            _times(100, pool.loss) if (pool := _busiest(side)) else None if side.state.nat_pools is None else 0
        ),
        0,
        worse=True,
    ),
    Measure(
        "kept_share",
        "source ports kept",
        Unit.PERCENT,
        lambda side: _times(100, choice.kept_share) if (choice := side.state.conntrack.port_choice) else None,
        1,
    ),
    Measure("fill", "conntrack table", Unit.PERCENT, _fill, 0, worse=True),
    Measure("count", "entries", Unit.COUNT, lambda side: side.state.conntrack.count, 1),
    Measure("flows", "flows", Unit.COUNT, lambda side: side.state.conntrack.flows, 1),
    Measure(
        "unowned",
        "flows of no container",
        Unit.COUNT,
        lambda side: side.state.unowned.flows if side.state.unowned else None,
        1,
    ),
    *(_state(state.name) for state in TcpState),
    Measure("new", "new flows", Unit.PER_SECOND, lambda side: side.rates.get("new"), 1),
    Measure("gone", "gone flows", Unit.PER_SECOND, lambda side: side.rates.get("gone"), 2),
    Measure(
        "time_wait_steady",
        "TIME_WAIT would settle at",
        Unit.COUNT,
        lambda side: waiting.steady_state if (waiting := side.state.conntrack.time_wait) else None,
        2,
    ),
    *(_host_tcp(name) for name in TCP_NAMES),
    Measure(
        "tcp_time_wait_sockets",
        "host's TIME_WAIT sockets",
        Unit.COUNT,
        lambda side: side.state.host.tcp.time_wait_sockets if side.state.host.tcp else None,
        2,
    ),
    Measure(
        "tcp_sockets_in_use",
        "host's sockets in use",
        Unit.COUNT,
        lambda side: side.state.host.tcp.sockets_in_use if side.state.host.tcp else None,
        2,
    ),
)
"""Of the host; the kernel's words where it has some."""


def _tcp_of(key: str, title: str, rank: int) -> Measure[Member]:
    return Measure(
        key,
        title,
        Unit.PER_MINUTE,
        lambda member: _times(60, member.rates.get(key)),
        rank,
        worse=key in _BAD_TCP,
        counter=lambda member: getattr(member.part.tcp, key, None),
    )


def _connect_p95(member: Member) -> float | None:
    if member.part.probes is None:
        return None
    connects = connects_of(probe_series(member.part.probes, member.part.id), member.part.id)
    return None if connects is None else connects.p95_ms


def _pool(member: Member) -> float | None:
    """0 of a container that holds no NAT ports."""
    nat = member.part.nat
    return None if nat is None else _full(nat.busiest_pool) or 0.0


CONTAINER_MEASURES: tuple[Measure[Member], ...] = (
    Measure("flows", "FLOWS", Unit.COUNT, lambda m: m.part.flows.total if m.part.flows else None, 1),
    Measure("established", "ESTAB", Unit.COUNT, lambda m: m.states(*states.ESTABLISHED), 1),
    Measure("syn", "SYN", Unit.COUNT, lambda m: m.states(*states.OPENING), 1, worse=True),
    Measure("time_wait", "TIME_WAIT", Unit.COUNT, lambda m: m.states(*states.TIME_WAIT), 0),
    Measure("closing", "CLOSING", Unit.COUNT, lambda m: m.states(*states.CLOSING), 2),
    Measure("pool", "POOL%", Unit.PERCENT, _pool, 0, worse=True),
    _tcp_of("syn_retrans", "SYN-RT", 0),
    Measure(
        "lost_syns",
        "LOST-SYN",
        Unit.PER_MINUTE,
        lambda m: _times(60, m.rates.get("lost_syns_per_s")),
        1,
        worse=True,
    ),
    Measure("connect", "CONNECT P95", Unit.MILLISECONDS, _connect_p95, 0, worse=True),
    Measure("inbound", "IN", Unit.COUNT, lambda m: m.part.flows.inbound if m.part.flows else None, 2),
    Measure("outbound", "OUT", Unit.COUNT, lambda m: m.part.flows.outbound if m.part.flows else None, 2),
    Measure("rewritten", "REWR", Unit.COUNT, lambda m: m.part.nat.rewritten_ports if m.part.nat else None, 2),
    Measure("new", "NEW", Unit.PER_SECOND, lambda m: m.rates.get("new"), 1),
    Measure("gone", "GONE", Unit.PER_SECOND, lambda m: m.rates.get("gone"), 2),
    _tcp_of("retrans_segs", "RETRANS", 2),
    _tcp_of("attempt_fails", "FAILED", 1),
    _tcp_of("listen_overflows", "OVERFL", 0),
    _tcp_of("listen_drops", "DROPS", 1),
    _tcp_of("timeouts", "TIMEOUTS", 2),
    _tcp_of("active_opens", "OPENS", 2),
    _tcp_of("passive_opens", "ACCEPTS", 2),
    _tcp_of("out_segs", "SEGS", 2),
    _tcp_of("time_wait_overflow", "TW-OVERFL", 2),
    Measure("own_table", "OWN", Unit.COUNT, lambda m: m.part.own_table, 2),
    Measure("tw_sockets", "TW-SOCK", Unit.COUNT, lambda m: m.part.tcp.time_wait_sockets if m.part.tcp else None, 2),
    Measure("sockets", "SOCKETS", Unit.COUNT, lambda m: m.part.tcp.sockets_in_use if m.part.tcp else None, 2),
)
"""Of a container, by the keys of the table of containers where that has the number."""

WAY_MEASURES: tuple[Measure[ProbeSeries], ...] = (
    Measure("p50", "P50", Unit.MILLISECONDS, lambda series: series.statistics.p50_ms, 1, worse=True),
    Measure("p95", "P95", Unit.MILLISECONDS, lambda series: series.statistics.p95_ms, 0, worse=True),
    Measure("max", "MAX", Unit.MILLISECONDS, lambda series: series.statistics.max_ms, 1, worse=True),
    Measure("syns_lost", "SYNS LOST", Unit.COUNT, lambda series: series.statistics.syns_lost, 0, worse=True),
    Measure("failed", "FAILED", Unit.COUNT, lambda series: series.statistics.failed, 0, worse=True),
    Measure("count", "PROBES", Unit.COUNT, lambda series: series.statistics.count, 2),
)
"""Of one way that was probed."""
