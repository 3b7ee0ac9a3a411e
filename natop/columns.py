"""The columns of natop's tables, each declared once for the screen, the text table, CSV, sorting and filtering."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from natop import states
from natop.formats import milliseconds
from natop.model import (
    NO_STATE,
    U8,
    U32,
    U64,
    UNKNOWN32,
    UNKNOWN64,
    UNOWNED,
    V4_MAPPED,
    Addresses,
    Attachment,
    Attribution,
    Container,
    ContainerSummary,
    FlowReading,
    FlowSummary,
    FlowTable,
    Kind,
    NatPools,
    NetnsTcp,
    ProbePath,
    ProbeSeries,
    Rows,
    Snapshot,
)
from natop.ordering import Value, numbers_by, rows_by
from natop.uapi import PORTED, IpProto, Ips, proto_name, state_name


class Connects(float):
    """How long probes of a container's ports took in ms, 95 % of them at most: all its ways together."""

    last_ms: float | None = None
    """Of the newest probe that connected."""
    syns_lost: int = 0
    """By the probes that are remembered."""

    def told(self) -> str:
        """As `0.2/2,031`: the last, and what 95 % did not exceed."""
        return f"{milliseconds(self.last_ms)}/{milliseconds(self)}"


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
    """None where nothing of it was probed, or nothing connected."""
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
    """0 is what a line is about, the last to go; the higher, the more room a screen must have."""
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
            _pool_use(snapshot.pools, each.busiest_pool),
            each.tcp,
            connects_of(snapshot.probes or (), each.container.id),
            trends.get(each.container.id, ()),
        )
        for each in snapshot.containers
    ]
    of_host = trends.get(HOST_KEY, ())
    return (*rows, ContainerRow(HOST_KEY, HOST_NAME, None, snapshot.unowned, tcp=snapshot.tcp, trend=of_host))


def _pool_use(pools: NatPools | None, row: int | None) -> float | None:
    return None if pools is None or row is None else pools.percent(row)


def connects_of(probes: Sequence[ProbeSeries], container: str) -> Connects | None:
    """What the probes of a container's own ports found, the slowest way of them."""
    series = [each for each in probes if each.last.container == container and each.last.path != ProbePath.NETNS]
    slowest = [each.statistics.p95_ms for each in series if each.statistics.p95_ms is not None]
    if not slowest:
        return None
    connects = Connects(max(slowest))
    newest = max((each for one in series for each in one.results if each.connect_ms is not None), key=lambda r: r.at)
    connects.last_ms = newest.connect_ms
    connects.syns_lost = sum(each.statistics.syns_lost for each in series)
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


CONTAINER_COLUMNS = (
    ContainerColumn("name", "CONTAINER", 14, False, lambda row: row.name, "container, or the host itself", 0),
    ContainerColumn(
        "flows", "FLOWS", 7, True, lambda row: row.flows.counts.total if row.flows else None, "conntrack entries"
    ),
    ContainerColumn(
        "established", "ESTAB", 6, True, lambda row: row.states(*states.ESTABLISHED), "TCP flows in ESTABLISHED"
    ),
    ContainerColumn("syn", "SYN", 5, True, lambda row: row.states(*states.OPENING), "TCP flows still in the handshake"),
    ContainerColumn(
        "time_wait", "TIME_WAIT", 9, True, lambda row: row.states(*states.TIME_WAIT), "in conntrack's TIME_WAIT (120 s)"
    ),
    ContainerColumn(
        "trend",
        "TREND",
        8,
        True,
        lambda row: row.trend if row.flows else None,
        "TIME_WAIT over time",
        drawn=True,
    ),
    ContainerColumn("closing", "CLOSING", 7, True, lambda row: row.states(*states.CLOSING), ", ".join(states.CLOSING)),
    ContainerColumn("inbound", "IN", 6, True, lambda row: row.inbound, "flows the container serves"),
    ContainerColumn("outbound", "OUT", 6, True, lambda row: row.outbound, "flows the container opened"),
    ContainerColumn("pool", "POOL%", 5, True, lambda row: row.pool_use, "how full its fullest NAT port pool is", 2),
    ContainerColumn(
        "rewritten",
        "REWR",
        5,
        True,
        lambda row: row.summary.rewritten_ports if row.summary else None,
        "flows whose source port NAT changed",
        4,
    ),
    ContainerColumn("new", "NEW/s", 7, True, _rate("new"), "flows new per second", 2),
    ContainerColumn("syn_retrans", "SYN-RT/s", 8, True, _tcp_rate("syn_retrans"), "SYNs sent again, per second", 2),
    ContainerColumn(
        "connect", "CONNECT", 9, True, lambda row: row.connects, "probes: last/P95 ms; SYNs lost marked (P probes)", 4
    ),
    ContainerColumn("gone", "GONE/s", 7, True, _rate("gone"), "flows gone per second", 4),
    ContainerColumn("mode", "NETMODE", 9, False, network_mode, "Docker's network mode", 2),
    ContainerColumn("project", "PROJECT", 10, False, _of_container(lambda c: c.project), "compose project", 2),
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


class Flows(NamedTuple):
    """A flow table and the containers that its attribution names."""

    table: FlowTable
    attribution: Attribution
    containers: Sequence[Container]

    @classmethod
    def of(cls, snapshot: Snapshot) -> "Flows | None":
        reading: FlowReading | None = snapshot.reading
        containers = snapshot.inventory.containers if snapshot.inventory else ()
        return cls(reading.flows, reading.attribution, containers) if reading else None

    def client(self, row: int) -> str | None:
        return self._name(int(self.attribution.client[row]))

    def server(self, row: int) -> str | None:
        return self._name(int(self.attribution.server[row]))

    def _name(self, code: int) -> str | None:
        return self.container(code) or self.other(code)

    def container(self, code: int) -> str | None:
        """The name of the container that a code of the attribution stands for."""
        return self.containers[code].name if code >= 0 else None

    def other(self, code: int) -> str | None:
        """The name of whom a code stands for who is no container."""
        return self.attribution.others[-2 - code] if code < -1 else None

    def network(self, row: int) -> str | None:
        """The network of the client container that the flow left by, else of the server's that it came in by."""
        ends = (
            (int(self.attribution.client[row]), self.table.orig_src),
            (int(self.attribution.server[row]), self.table.reply_src),
        )
        for code, addresses in ends:
            if code >= 0:
                address = addresses.text(row)
                for place in self._places(self.containers[code]):
                    if address in (place.ipv4, place.ipv6):
                        return place.network
        return None

    def _places(self, container: Container) -> Sequence[Attachment]:
        """Its own places on networks, or those of the container whose namespace it joined."""
        if not container.joined:
            return container.networks
        return next((each.networks for each in self.containers if each.id == container.joined), ())


@dataclass(frozen=True, slots=True)
class FlowColumn:
    key: str
    title: str
    width: int
    numeric: bool
    text: Callable[[Flows, int], str]
    """One cell; empty where there is nothing to tell."""
    order: Callable[[Flows], np.ndarray]
    """A key a row, by which the column sorts."""
    help: str
    rank: int = 1
    unknown: int | None = None
    """The key of rows for which the value is unknown."""


def sorted_flows(flows: Flows, rows: Rows, column: FlowColumn, descending: bool) -> Rows:
    """These rows of the flow table in the column's order; equal ones in the order in which they are given."""
    return numbers_by(column.order(flows), rows, descending, column.unknown)


def has_ports(proto: int) -> bool:
    """False for ICMP, whose port columns hold id, type and code; those of an unknown protocol hold 0."""
    return proto not in (IpProto.ICMP, IpProto.ICMPV6)


def endpoint(address: str, port: int, proto: int) -> str:
    """address:port, an IPv6 address in brackets; the address alone where the protocol has no ports."""
    if proto not in PORTED:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def status_names(status: int) -> tuple[str, ...]:
    """The names of the IPS bits that are set, lowest bit first."""
    return tuple(flag.name for flag in Ips if status & flag and flag.name)


def flow_state(table: FlowTable, row: int) -> str:
    """State as `conntrack -L` shows it; where there is none, the word of STATELESS that the status bits give."""
    state = int(table.state[row])
    if state != NO_STATE:
        return state_name(int(table.proto[row]), state) or str(state)
    return STATELESS[int(stateless(table.status[row : row + 1])[0])]


STATELESS = ("OFFLOAD", "ASSURED", "SEEN_REPLY", "UNREPLIED")
"""What stands for a state where conntrack has, or tells, none: by the IPS bits, the first that holds."""


def stateless(status: U32) -> U8:
    """The index in STATELESS for each row's status bits."""
    bits = [(status & bit) != 0 for bit in (Ips.OFFLOAD, Ips.ASSURED, Ips.SEEN_REPLY)]
    return np.select(bits, [np.uint8(index) for index in range(len(bits))], np.uint8(len(bits)))


def _state_order(flows: "Flows") -> npt.NDArray[np.uint16]:
    """By protocol, then by state in the kernel's order; those without a state by STATELESS, behind."""
    table = flows.table
    without = np.uint16(NO_STATE) - np.uint16(len(STATELESS)) + stateless(table.status)
    return table.proto.astype(np.uint16) << np.uint16(8) | np.where(table.state == NO_STATE, without, table.state)


def nat_text(table: FlowTable, row: int) -> str:
    status = int(table.status[row])
    return "+".join(name for flag, name in ((Ips.DST_NAT, "DNAT"), (Ips.SRC_NAT, "SNAT")) if status & flag)


def _client(flows: Flows, row: int) -> str:
    table = flows.table
    return endpoint(table.orig_src.text(row), int(table.orig_sport[row]), int(table.proto[row]))


def _called(flows: Flows, row: int) -> str:
    table = flows.table
    return endpoint(table.orig_dst.text(row), int(table.orig_dport[row]), int(table.proto[row]))


def _answering(flows: Flows, row: int) -> str:
    table = flows.table
    return endpoint(table.reply_src.text(row), int(table.reply_sport[row]), int(table.proto[row]))


def path_text(flows: Flows, row: int) -> str:
    """The whole way in one line: client (⇒ as NATed) → called (⇒ who answers)."""
    table, proto = flows.table, int(flows.table.proto[row])
    status = int(table.status[row])
    seen_as = endpoint(table.reply_dst.text(row), int(table.reply_dport[row]), proto)
    source = f"{_client(flows, row)} ⇒ {seen_as}" if status & Ips.SRC_NAT else _client(flows, row)
    target = f"{_called(flows, row)} ⇒ {_answering(flows, row)}" if status & Ips.DST_NAT else _called(flows, row)
    return f"{source} → {target}"


def address_order(addresses: Addresses, ports: npt.NDArray[np.uint16]) -> U64:
    """By address, then port. IPv6 addresses, of whose 128 bits a key holds 48, come near each other at the end."""
    v6 = (addresses.hi != 0) | (addresses.lo >> np.uint64(32) != V4_MAPPED >> 32)
    key = (addresses.lo & np.uint64(0xFFFF_FFFF)) << np.uint64(16) | ports
    if v6.any():
        key = np.where(v6, np.uint64(1 << 63) | addresses.hi ^ addresses.lo >> np.uint64(16), key)
    return key


NOBODY = -1
"""The key of an end whose owner is unknown."""


def _name_order(flows: Flows, owner: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """By name, without regard to case, be it a container's or that of others."""
    names = [*(container.name for container in flows.containers), *flows.attribution.others]
    _, ranks = np.unique([name.casefold() for name in names], return_inverse=True)
    keys = np.append(ranks, NOBODY).astype(np.int32)  # NOBODY is the last, where an owner of -1 looks
    return keys[np.where(owner < -1, len(flows.containers) - 2 - owner, owner)]


def _optional(column: U64 | None, row: int) -> str:
    value = UNKNOWN64 if column is None else int(column[row])
    return "" if value == UNKNOWN64 else f"{value:,}"


def _optional_order(column: U64 | None, flows: Flows) -> np.ndarray:
    return np.broadcast_to(np.uint64(UNKNOWN64), len(flows.table)) if column is None else column


def _timeout(flows: Flows, row: int) -> str:
    value = int(flows.table.timeout_s[row])
    return "" if value == UNKNOWN32 else f"{value:,}"


FLOW_COLUMNS = (
    FlowColumn(
        "proto",
        "PROTO",
        6,
        False,
        lambda f, r: proto_name(int(f.table.proto[r])),
        lambda f: f.table.proto,
        "protocol",
        2,
    ),
    FlowColumn(
        "state",
        "STATE",
        11,
        False,
        lambda f, r: flow_state(f.table, r),
        _state_order,
        "conntrack's state",
    ),
    FlowColumn(
        "src",
        "CLIENT",
        22,
        False,
        _client,
        lambda f: address_order(f.table.orig_src, f.table.orig_sport),
        "who called",
        0,
    ),
    FlowColumn(
        "dst",
        "CALLED",
        22,
        False,
        _called,
        lambda f: address_order(f.table.orig_dst, f.table.orig_dport),
        "what it called",
        0,
    ),
    FlowColumn(
        "answers",
        "ANSWERS",
        22,
        False,
        _answering,
        lambda f: address_order(f.table.reply_src, f.table.reply_sport),
        "who answers, after DNAT",
        2,
    ),
    FlowColumn(
        "kind",
        "KIND",
        11,
        False,
        lambda f, r: Kind(int(f.attribution.kind[r])).name,
        lambda f: f.attribution.kind,
        "the way through NAT",
    ),
    FlowColumn(
        "timeout",
        "TIMEOUT",
        7,
        True,
        _timeout,
        lambda f: f.table.timeout_s,
        "seconds until the entry goes",
        2,
        UNKNOWN32,
    ),
    FlowColumn(
        "client",
        "FROM",
        14,
        False,
        lambda f, r: f.client(r) or "",
        lambda f: _name_order(f, f.attribution.client),
        "client container",
        2,
        NOBODY,
    ),
    FlowColumn(
        "server",
        "TO",
        14,
        False,
        lambda f, r: f.server(r) or "",
        lambda f: _name_order(f, f.attribution.server),
        "server container",
        2,
        NOBODY,
    ),
    FlowColumn(
        "nat",
        "NAT",
        9,
        False,
        lambda f, r: nat_text(f.table, r),
        lambda f: (f.table.status & np.uint32(Ips.DST_NAT | Ips.SRC_NAT)).astype(np.uint8),
        "which addresses NAT changed",
        3,
    ),
    FlowColumn(
        "bytes",
        "BYTES",
        10,
        True,
        lambda f, r: _optional(f.table.bytes, r),
        lambda f: _optional_order(f.table.bytes, f),
        "both ways; needs nf_conntrack_acct",
        3,
        UNKNOWN64,
    ),
    FlowColumn(
        "packets",
        "PACKETS",
        8,
        True,
        lambda f, r: _optional(f.table.packets, r),
        lambda f: _optional_order(f.table.packets, f),
        "both ways; needs nf_conntrack_acct",
        4,
        UNKNOWN64,
    ),
)
"""The table of flows, in the order shown."""
