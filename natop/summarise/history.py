"""The numbers of which natop remembers the past, each declared once, and how a snapshot joins the past before it.

One more number is one more line of METRICS.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from natop import states
from natop.meanings import TCP_MEANINGS, meaning
from natop.model import (
    UNOWNED,
    ContainerSummary,
    Derived,
    FlowSummary,
    GapSource,
    History,
    Moment,
    NetnsTcp,
    Roster,
    Snapshot,
)
from natop.model.history import F32
from natop.summarise.pools import percent_of

SPAN_S = 900.0
"""How far back the past goes."""
MOST_MOMENTS = 2_000
"""No more are kept, however fast they come: 15 minutes of two a second, and some that were asked for between."""
MOST_NUMBERS = 16_000_000
"""No more are kept, however many containers there are: 64 MB. Beyond that the past is shorter than SPAN_S."""

OfFlows = Callable[[FlowSummary], float | None]
OfHost = Callable[[Snapshot], float | None]
OfContainer = Callable[[ContainerSummary, Snapshot], float | None]


@dataclass(frozen=True, slots=True)
class Metric:
    """A number with a past."""

    key: str
    title: str
    unit: str
    """Behind the number: nothing for a count, `/s`, ` %`."""
    help: str
    host: OfHost | None
    """None where the host has no such number; gives None where it is not known."""
    container: OfContainer | None
    of_dumps: bool = False
    """Whether it comes of a dump, so that there is none at a tick without."""
    flows: OfFlows | None = None
    """What tells it of any set of flows."""
    source: GapSource = "counters"
    """A gap of this source is why it is not known."""


def _flows(key: str, title: str, unit: str, help: str, value: OfFlows) -> Metric:
    """Of the flows of the whole table, of a container, of what is unowned."""

    def host(snapshot: Snapshot) -> float | None:
        return value(snapshot.whole) if snapshot.whole else None

    def container(summary: ContainerSummary, _: Snapshot) -> float | None:
        return value(summary.flows) if summary.flows else None

    return Metric(key, title, unit, help, host, container, of_dumps=True, flows=value, source="flows")


def _states(key: str, title: str, help: str, *names: str) -> Metric:
    return _flows(key, title, "", help, lambda flows: sum(flows.counts.states[name] for name in names))


def _counter(key: str) -> Metric:
    """One of COUNTER_NAMES."""
    return Metric(
        key, key, "/s", meaning(key, None), lambda s: s.counter_rates.get(key) if s.counter_rates else None, None
    )


def _of_tcp(key: str, title: str, unit: str, help: str, value: Callable[[NetnsTcp], float | None]) -> Metric:
    """Of the network namespace read, and of each container's own."""

    def host(snapshot: Snapshot) -> float | None:
        return value(snapshot.tcp) if snapshot.tcp else None

    def container(summary: ContainerSummary, _: Snapshot) -> float | None:
        return value(summary.tcp) if summary.tcp else None

    return Metric(key, title, unit, help, host, container, source="tcp")


def _tcp(key: str, title: str) -> Metric:
    """One of TCP_NAMES."""
    return _of_tcp(key, title, "/s", TCP_MEANINGS[key], lambda tcp: tcp.rates.get(key) if tcp.rates else None)


def _fill(snapshot: Snapshot) -> float | None:
    used, most = snapshot.conntrack.count, snapshot.conntrack.max
    return 100 * used / most if used is not None and most else None


def _derived(key: str, title: str, help: str, value: Callable[[Derived], float | None]) -> Metric:
    return Metric(key, title, "/s", help, lambda snapshot: value(snapshot.derived), None)


METRICS = (
    _flows("flows", "flows", "", "conntrack entries", lambda flows: flows.counts.total),
    _states("established", "ESTABLISHED", "TCP flows in ESTABLISHED", *states.ESTABLISHED),
    _states("syn", "SYN", "TCP flows still in the handshake", *states.OPENING),
    _states("time_wait", "TIME_WAIT", "TCP flows in conntrack's TIME_WAIT", *states.TIME_WAIT),
    _states("closing", "closing", ", ".join(states.CLOSING), *states.CLOSING),
    _flows("new", "new", "/s", "flows new between two dumps", lambda flows: flows.rates.new if flows.rates else None),
    _flows(
        "gone", "gone", "/s", "flows gone between two dumps", lambda flows: flows.rates.gone if flows.rates else None
    ),
    Metric("inbound", "in", "", "flows the container serves", None, lambda each, _: each.inbound, True, source="flows"),
    Metric(
        "outbound", "out", "", "flows the container opened", None, lambda each, _: each.outbound, True, source="flows"
    ),
    Metric("fill", "table fill", " %", "entries of nf_conntrack_max", _fill, None),
    Metric(
        "own_table", "own table", "", "entries in its own namespace's conntrack", None, lambda e, _: e.own_table, True
    ),
    Metric(
        "pool_use",
        "pool use",
        " %",
        "NAT ports in use of the fullest pool, of those it has",
        lambda s: percent_of(s.pools, 0),
        lambda each, s: percent_of(s.pools, each.busiest_pool),
        True,
        source="flows",
    ),
    Metric(
        "rewritten",
        "rewritten ports",
        "",
        "flows whose source port NAT changed",
        lambda s: s.port_choice.rewritten if s.port_choice else None,
        lambda each, _: each.rewritten_ports,
        True,
        source="flows",
    ),
    Metric(
        "kept_ports",
        "kept ports",
        " %",
        "source ports that NAT left as they were",
        lambda s: s.port_choice.kept_percent if s.port_choice else None,
        lambda each, _: each.port_choice.kept_percent if each.port_choice else None,
        True,
        source="flows",
    ),
    _counter("insert_failed"),
    _counter("drop"),
    _counter("early_drop"),
    _counter("found"),
    Metric(
        "found_per_new",
        "found per new flow",
        "",
        "NAT ports tried in vain for each new flow: about 9 where 90 % of a pool are in use",
        lambda s: s.derived.found_per_new,
        None,
        True,
        source="flows",
    ),
    _derived("clash_lost", "lost to clashes", "new flows lost, as another was first", lambda d: d.clash_lost_per_s),
    _derived(
        "table_full",
        "table full",
        "packets dropped for no clash: for a full table or, where it had room, by a helper",
        lambda d: d.table_full_per_s,
    ),
    _counter("clash_resolve"),
    _counter("invalid"),
    _counter("error"),
    _counter("insert"),
    _counter("search_restart"),
    _counter("chaintoolong"),
    _tcp("syn_retrans", "SYN retransmits"),
    Metric(
        "lost_syns",
        "SYNs lost to NAT",
        "/s",
        "new flows that conntrack refused; of a container an estimate, by its SYN retransmits",
        lambda s: s.derived.lost_syns_per_s,
        lambda each, _: each.tcp.lost_syns_per_s if each.tcp else None,
        source="tcp",
    ),
    _tcp("retrans_segs", "retransmits"),
    _tcp("out_segs", "segments sent"),
    _tcp("attempt_fails", "failed connects"),
    _tcp("listen_overflows", "listen overflows"),
    _tcp("listen_drops", "listen drops"),
    _tcp("timeouts", "TCP timeouts"),
    _tcp("active_opens", "connects"),
    _tcp("passive_opens", "accepts"),
    _tcp("time_wait_overflow", "TIME_WAIT overflow"),
    _of_tcp("sockets_in_use", "sockets", "", "TCP sockets in use, TIME_WAIT left out", lambda tcp: tcp.sockets_in_use),
    _of_tcp(
        "time_wait_sockets",
        "TIME_WAIT sockets",
        "",
        "sockets in TIME_WAIT (60 s), not conntrack's entries",
        lambda tcp: tcp.time_wait_sockets,
    ),
)
"""In the order in which they are offered."""

OF_HOST = tuple(each for each in METRICS if each.host)
OF_CONTAINER = tuple(each for each in METRICS if each.container)
HOST_KEYS = tuple(each.key for each in OF_HOST)
CONTAINER_KEYS = tuple(each.key for each in OF_CONTAINER)
BY_KEY: Mapping[str, Metric] = {each.key: each for each in METRICS}


def remembered(previous: Snapshot | None, snapshot: Snapshot) -> Snapshot:
    """The snapshot with the past of the one before it and itself as the newest moment."""
    past = previous.history.moments if previous else ()
    moment = _moment(snapshot, past[-1].roster if past else None)
    oldest = moment.monotonic_s - SPAN_S
    first = next((i for i, each in enumerate(past) if each.monotonic_s >= oldest), len(past))
    most = min(MOST_MOMENTS, MOST_NUMBERS // moment.containers.size)
    moments = (*past[max(first, len(past) + 1 - most) :], moment)
    return replace(snapshot, history=History(HOST_KEYS, CONTAINER_KEYS, moments))


def _moment(snapshot: Snapshot, roster: Roster | None) -> Moment:
    has_dump = snapshot.reading is not None and snapshot.reading.monotonic_s == snapshot.monotonic_s
    names = {each.container.id: each.container.name for each in snapshot.containers} | {UNOWNED: "(host)"}
    if roster is None or list(roster.names.items()) != list(names.items()):
        roster = Roster(names)
    return Moment(snapshot.monotonic_s, has_dump, _host(snapshot, has_dump), roster, _containers(snapshot, has_dump))


def _host(snapshot: Snapshot, has_dump: bool) -> F32:
    told = [each.host(snapshot) if each.host and (has_dump or not each.of_dumps) else None for each in OF_HOST]
    return _array(told)


def _containers(snapshot: Snapshot, has_dump: bool) -> F32:
    """A row for each container, and last that of what is unowned."""
    getters = [each.container if has_dump or not each.of_dumps else None for each in OF_CONTAINER]
    rows = [[get(summary, snapshot) if get else None for get in getters] for summary in snapshot.containers]
    unowned = snapshot.unowned if has_dump else None
    rows.append([each.flows(unowned) if each.flows and unowned else None for each in OF_CONTAINER])
    return _array(rows)


def _array(values: Sequence[float | None] | Sequence[Sequence[float | None]]) -> F32:
    """None becomes NaN."""
    return np.array(values, np.float32)
