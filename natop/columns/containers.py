"""The columns of the table of containers, each declared once for the screen, text, CSV, sorting and filtering."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from natop import states
from natop.columns.ordering import Value, rows_by
from natop.formats import milliseconds
from natop.model import (
    UNOWNED,
    Container,
    ContainerSummary,
    FlowSummary,
    NetnsTcp,
    ProbePath,
    ProbeSeries,
    Snapshot,
)
from natop.summarise.pools import percent_of


class Connects(float):
    """How long probes of a container's ports took in ms, 95 % of them at most: the slowest of its ways.

    Infinite, so that it sorts so, where none of them connected.
    """

    last_ms: float | None = None
    """Of the last probes, the slowest way's; None where one of them failed."""
    syns_lost: int = 0
    """By the probes that are remembered."""

    @property
    def p95_ms(self) -> float | None:
        """Itself; None where none connected."""
        return None if math.isinf(self) else float(self)

    @property
    def is_bad(self) -> bool:
        return self.last_ms is None or bool(self.syns_lost)

    def told(self) -> str:
        """As `0.2/2,031`: the last, `x` where it failed, and what 95 % did not exceed."""
        return f"{FAILED if self.last_ms is None else _short(self.last_ms)}/{_short(self.p95_ms)}"


FAILED = "x"
"""In place of a failed probe's time, and in a strip of probes."""


def _short(value_ms: float | None) -> str:
    """In five cells at most, for a time of less than a quarter of an hour."""
    return milliseconds(value_ms) if value_ms is None or value_ms < 9_999.5 else f"{value_ms / 1000:.0f} s"


HOST_KEY = UNOWNED
HOST_NAME = "(host)"
TREND = "time_wait"
"""The number whose past is a column: its key in the history."""


@dataclass(frozen=True, slots=True)
class ContainerRow:
    """A container in the table, or what belongs to the host itself and to nobody (no container)."""

    key: str
    """The container's id, or HOST_KEY."""
    name: str
    container: Container | None
    flows: FlowSummary | None
    inbound: int | None = None
    outbound: int | None = None
    own_table: int | None = None
    """Entries in the conntrack table of the container's own network namespace."""
    summary: ContainerSummary | None = None
    """None for what is no container."""
    pool_use: float | None = None
    """How full the fullest NAT pool is that it holds ports of, in percent."""
    tcp: NetnsTcp | None = None
    connects: Connects | None = None
    """None where nothing of it was probed."""
    trend: tuple[int, ...] = ()
    """Flows in TIME_WAIT at the last dumps, oldest first."""

    @property
    def untracked(self) -> str | None:
        """Why none of the container's flows can be in this table."""
        return self.summary.untracked if self.summary else None

    @property
    def tcp_of(self) -> str | None:
        """Whose network namespace it shares, whose `tcp` is then the one to look at."""
        return self.summary.tcp_of if self.summary else None

    def states(self, *names: str) -> int | None:
        """Flows in any of these TCP states."""
        return sum(self.flows.counts.states[name] for name in names) if self.flows else None


@dataclass(frozen=True, slots=True)
class ContainerColumn:
    key: str
    title: str
    width: int
    """Least width in cells."""
    numeric: bool
    value: Callable[[ContainerRow], Value]
    help: str
    rank: int = 1
    """0 is what a line is about, the last to go; the higher, the more room a screen must have.

    1 tells whose NAT is in trouble, and of which kind: on 80 columns it comes before what only describes.
    """
    drawn: bool = False
    """Its values are trends, which only a screen can draw."""


def container_rows(snapshot: Snapshot) -> tuple[ContainerRow, ...]:
    """A row for each container in the inventory's order, and last the host's."""
    trends = snapshot.history.trends(TREND)
    rows = [
        ContainerRow(
            each.container.id,
            each.container.name,
            each.container,
            each.flows,
            each.inbound,
            each.outbound,
            each.own_table,
            each,
            percent_of(snapshot.pools, each.busiest_pool),
            each.tcp,
            connects_of(snapshot.probes or (), each.container.id),
            trends.get(each.container.id, ()),
        )
        for each in snapshot.containers
    ]
    of_host = trends.get(HOST_KEY, ())
    return (*rows, ContainerRow(HOST_KEY, HOST_NAME, None, snapshot.unowned, tcp=snapshot.tcp, trend=of_host))


LATELY_S = 30.0
"""A way that was called so much earlier than the others is called no longer."""


def connects_of(probes: Sequence[ProbeSeries], container: str) -> Connects | None:
    """What the probes of a container's own ports found by all ways; None where there are none."""
    series = [each for each in probes if each.last.container == container and each.last.path != ProbePath.NETNS]
    if not series:
        return None
    connects = Connects(max((s.statistics.p95_ms for s in series if s.statistics.p95_ms is not None), default=math.inf))
    newest = max(each.last.at for each in series)
    last = [each.last.connect_ms for each in series if each.last.at > newest - LATELY_S]
    connects.last_ms = None if None in last else max(each for each in last if each is not None)
    connects.syns_lost = sum(each.statistics.syns_lost or 0 for each in series)
    return connects


def sorted_rows(rows: Iterable[ContainerRow], column: ContainerColumn, descending: bool) -> list[ContainerRow]:
    return rows_by(rows, column.value, lambda row: row.name, descending)


def published_text(container: Container) -> str:
    """As `docker port` has it, shortest form: 8080→80/tcp, each port once."""
    ports = dict.fromkeys((p.host_port, p.container_port, p.proto) for p in container.published)
    return " ".join(f"{host}→{inside}" + ("" if proto == "tcp" else f"/{proto}") for host, inside, proto in ports)


def network_mode(row: ContainerRow) -> str | None:
    """Docker's word, or why none of the container's flows are in this table."""
    if row.untracked:
        return f"not tracked: {row.untracked}"
    return row.container.network_mode if row.container else None


def _of_container(get: Callable[[Container], str | None]) -> Callable[[ContainerRow], Value]:
    return lambda row: get(row.container) if row.container else None


def _rate(name: str) -> Callable[[ContainerRow], Value]:
    return lambda row: getattr(row.flows.rates, name) if row.flows and row.flows.rates else None


def _tcp_rate(name: str) -> Callable[[ContainerRow], Value]:
    return lambda row: row.tcp.rates.get(name) if row.tcp and row.tcp.rates else None


def _kept_ports(row: ContainerRow) -> Value:
    return row.summary.port_choice.kept_percent if row.summary and row.summary.port_choice else None


CONTAINER_COLUMNS = (
    ContainerColumn("name", "CONTAINER", 14, False, lambda row: row.name, "container, or the host itself", 0),
    ContainerColumn(
        "flows", "FLOWS", 7, True, lambda row: row.flows.counts.total if row.flows else None, "conntrack entries"
    ),
    ContainerColumn(
        "established", "ESTAB", 6, True, lambda row: row.states(*states.ESTABLISHED), "TCP flows in ESTABLISHED", 2
    ),
    ContainerColumn(
        "syn", "SYN", 5, True, lambda row: row.states(*states.OPENING), "TCP flows still in the handshake", 2
    ),
    ContainerColumn(
        "time_wait", "TIME_WAIT", 9, True, lambda row: row.states(*states.TIME_WAIT), "in conntrack's TIME_WAIT"
    ),
    ContainerColumn(
        "trend",
        "TREND",
        8,
        True,
        lambda row: row.trend if row.flows else None,
        "TIME_WAIT over time",
        2,
        drawn=True,
    ),
    ContainerColumn(
        "closing", "CLOSING", 7, True, lambda row: row.states(*states.CLOSING), ", ".join(states.CLOSING), 2
    ),
    ContainerColumn("inbound", "IN", 6, True, lambda row: row.inbound, "flows the container serves", 2),
    ContainerColumn("outbound", "OUT", 6, True, lambda row: row.outbound, "flows the container opened", 2),
    ContainerColumn("pool", "POOL%", 5, True, lambda row: row.pool_use, "how full its fullest NAT port pool is"),
    ContainerColumn(
        "rewritten",
        "REWR",
        5,
        True,
        lambda row: row.summary.rewritten_ports if row.summary else None,
        "flows whose source port NAT changed",
        4,
    ),
    ContainerColumn(
        "kept_ports", "KEPT%", 5, True, _kept_ports, "source ports of its flows that NAT kept, in percent", 4
    ),
    ContainerColumn("new", "NEW/s", 7, True, _rate("new"), "flows new per second"),
    ContainerColumn("syn_retrans", "SYN-RT/s", 8, True, _tcp_rate("syn_retrans"), "SYNs sent again, per second"),
    ContainerColumn(
        "connect",
        "CONNECT",
        12,
        True,
        lambda row: row.connects,
        "probes: last/P95 ms, x failed, ! SYNs lost (P probes)",
        4,
    ),
    ContainerColumn("gone", "GONE/s", 7, True, _rate("gone"), "flows gone per second", 4),
    ContainerColumn("mode", "NETMODE", 9, False, network_mode, "Docker's network mode", 3),
    ContainerColumn("project", "PROJECT", 10, False, _of_container(lambda c: c.project), "compose project", 3),
    ContainerColumn("published", "PUBLISHED", 15, False, _of_container(published_text), "host port→container port", 3),
    ContainerColumn(
        "own_table", "OWN", 6, True, lambda row: row.own_table, "entries in its own network namespace's conntrack", 4
    ),
    ContainerColumn(
        "lost_syns",
        "LOST-SYN/s",
        10,
        True,
        lambda row: row.tcp.lost_syns_per_s if row.tcp else None,
        "SYNs that conntrack lost, per second (estimate)",
        4,
    ),
    ContainerColumn(
        "listen_overflows", "OVERFL/s", 8, True, _tcp_rate("listen_overflows"), "not accepted in time, per second", 4
    ),
    ContainerColumn("retrans_segs", "RETRANS/s", 9, True, _tcp_rate("retrans_segs"), "segments sent again", 4),
    ContainerColumn("attempt_fails", "FAILED/s", 8, True, _tcp_rate("attempt_fails"), "connections that failed", 4),
    ContainerColumn(
        "tw_sockets",
        "TW-SOCK",
        7,
        True,
        lambda row: row.tcp.time_wait_sockets if row.tcp else None,
        "its own sockets in TIME_WAIT (60 s)",
        4,
    ),
    ContainerColumn("state", "STATE", 8, False, _of_container(lambda c: c.state), "running, paused, exited …", 4),
    ContainerColumn("image", "IMAGE", 18, False, _of_container(lambda c: c.image), "image", 4),
)
"""The table of containers, in the order shown."""
DEFAULT_SORT = "flows"
"""Key of the column by which containers are sorted where nobody asked for another."""
