"""The vocabulary: every type that crosses a border between natop's parts.

All are immutable. What could not be read is None, never 0; in a column of numbers, where None has no
place, it is `UNKNOWN32` or `UNKNOWN64`.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from functools import lru_cache
from typing import Self

import numpy as np
import numpy.typing as npt

from natop.uapi import AF_INET

U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

UNKNOWN32 = 0xFFFF_FFFF
UNKNOWN64 = 0xFFFF_FFFF_FFFF_FFFF
NO_STATE = 0xFF
"""In the state column: the protocol has no conntrack state, or the kernel did not tell (offloaded)."""
V4_MAPPED = 0xFFFF_0000_0000
"""The low 64 bits of ::ffff:0:0, under which IPv4 addresses are kept."""


def _freeze(array: np.ndarray) -> None:
    array.setflags(write=False)


@dataclass(frozen=True, slots=True)
class Addresses:
    """A column of IP addresses of 128 bits, IPv4 as ::ffff:a.b.c.d."""

    hi: U64
    lo: U64

    def __len__(self) -> int:
        return len(self.lo)

    def take(self, rows: Rows) -> Self:
        return type(self)(self.hi[rows], self.lo[rows])

    def value(self, row: int) -> int:
        return int(self.hi[row]) << 64 | int(self.lo[row])

    def text(self, row: int) -> str:
        return address_text(self.value(row))


@lru_cache(maxsize=1 << 13)
def address_value(text: str) -> int:
    """An address as the 128-bit number that `Addresses` holds. Raises ValueError."""
    address = ipaddress.ip_address(text)
    return int(address) | V4_MAPPED if address.version == 4 else int(address)


def address_text(value: int) -> str:
    """The usual spelling of a 128-bit address number."""
    if value >> 32 == V4_MAPPED >> 32:
        return f"{value >> 24 & 255}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
    return str(ipaddress.IPv6Address(value))


@dataclass(frozen=True, slots=True)
class FlowTable:
    """One row per conntrack entry, one array per column, all of the same length and read-only.

    For ICMP the ports hold what tells its flows apart: `*_sport` the id, `*_dport` type << 8 | code.
    `packets`, `bytes` (both directions together) and `started_ns` (since the epoch) are None where no
    entry carries them: nf_conntrack_acct or nf_conntrack_timestamp is off.
    """

    family: U8
    proto: U8
    state: U8
    """Number within the protocol's own states (`uapi.STATEFUL`), or NO_STATE."""
    status: U32
    """`uapi.Ips` bits."""
    timeout_s: U32
    """Seconds left, or UNKNOWN32 (offloaded flows have none)."""
    zone: U16
    mark: U32
    id: U32
    """CTA_ID, equal for one entry's whole life and of no other meaning; read as `conntrack -o id` reads it."""
    orig_src: Addresses
    orig_dst: Addresses
    reply_src: Addresses
    reply_dst: Addresses
    orig_sport: U16
    orig_dport: U16
    reply_sport: U16
    reply_dport: U16
    packets: U64 | None = None
    bytes: U64 | None = None
    started_ns: U64 | None = None

    def __post_init__(self) -> None:
        for array in self._arrays():
            if len(array) != len(self.id):
                raise ValueError(f"columns of {len(array)} and {len(self.id)} rows in one table")
            _freeze(array)

    def _arrays(self) -> Iterable[np.ndarray]:
        for column in fields(self):
            match getattr(self, column.name):
                case Addresses(hi, lo):
                    yield hi
                    yield lo
                case np.ndarray() as array:
                    yield array

    def __len__(self) -> int:
        return len(self.id)

    def take(self, rows: Rows) -> Self:
        """The table of these rows, in their order."""

        def part(column: object) -> object:
            if isinstance(column, Addresses):
                return column.take(rows)
            return column[rows] if isinstance(column, np.ndarray) else None

        return type(self)(*(part(getattr(self, column.name)) for column in fields(self)))  # type: ignore[arg-type]  # each column keeps its type

    def is_ipv4(self, row: int) -> bool:
        return int(self.family[row]) == AF_INET


@dataclass(frozen=True, slots=True)
class SocketTable:
    """One row per TCP or UDP socket of a network namespace, one array per column, read-only.

    An unconnected socket has the remote address :: or 0.0.0.0 and the remote port 0.
    """

    proto: U8
    state: U8
    """TCP_ESTABLISHED … of net/tcp_states.h."""
    local: Addresses
    remote: Addresses
    local_port: U16
    remote_port: U16
    inode: U32
    """By which /proc/PID/fd names it; 0 where no process holds it any more."""
    cgroup: U64
    """cgroup-v2 id of who opened it, or UNKNOWN64 (before Linux 5.8)."""

    def __post_init__(self) -> None:
        for array in (self.proto, self.state, self.local_port, self.remote_port, self.inode, self.cgroup):
            _freeze(array)

    def __len__(self) -> int:
        return len(self.inode)


@dataclass(frozen=True, slots=True)
class Process:
    """A process that holds sockets."""

    pid: int
    name: str
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A file descriptor that is a socket."""

    fd: int
    inode: int


@dataclass(frozen=True, slots=True)
class Sockets:
    """The sockets of the namespace read, and what is known of those who hold them."""

    answers: bytes
    """Of sock_diag, the protocol in each message's sequence number."""
    cgroups: Mapping[int, str]
    """Path of each cgroup below the cgroup-v2 root, by its id."""
    held: Mapping[Process, tuple[Descriptor, ...]]
    """The sockets that each process holds; processes may be missing where looking at all takes too long."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """What a dump held that natop does not understand."""

    messages: int = 0
    attributes: int = 0


@dataclass(frozen=True, slots=True)
class FlowDump:
    """A decoded dump: its flows, what was skipped, and how it ended."""

    flows: FlowTable
    skipped: Skipped = Skipped()
    complete: bool = True
    """False where the kernel's NLMSG_DONE never came: flows are missing."""
    errno: int = 0
    """The kernel's refusal (EPERM …), or 0."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A thing natop could not read. The source fails alone; the rest goes on."""

    source: str
    reason: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class EngineReading:
    """What the Docker Engine said, cut down to the fields natop needs, under the engine's own names."""

    version: Mapping[str, object]
    info: Mapping[str, object]
    containers: tuple[Mapping[str, object], ...]
    networks: tuple[Mapping[str, object], ...]


@dataclass(frozen=True, slots=True)
class Pace:
    """How often natop reads, and what a dump cost it."""

    interval_s: float
    dump_every_s: float
    """Longer than the interval where dumps would cost more than their share of a core."""
    dump_cost_s: float | None = None
    """CPU seconds of the last dump with all that is computed from it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the collectors returned at one tick, untouched.

    `dump` yields blocks of whole netlink messages, each valid until the next one is asked for; it can be
    iterated once when it comes from the kernel. None means that no dump was due at this tick.
    """

    taken_at: float
    """Wall clock, seconds since the epoch."""
    monotonic_s: float
    hostname: str
    netns: str
    """As /proc/PID/ns/net reads: net:[inode]."""
    proc: Mapping[str, str] = field(default_factory=dict)
    """Text of the /proc files read, by path below /proc."""
    addresses: tuple[str, ...] = ()
    """The netns's own addresses."""
    stats: bytes = b""
    """Replies to CT_GET_STATS and CT_GET_STATS_CPU."""
    dump: Iterable[bytes | bytearray | memoryview] | None = None
    engine: EngineReading | None = None
    sockets: Sockets | None = None
    """Those of the netns; read with a dump."""
    shared: Mapping[str, Sockets] = field(default_factory=dict)
    """Those of network namespaces that several containers share, by the id of the one that the namespace is of."""
    tables: Mapping[str, bytes] = field(default_factory=dict)
    """Replies to CT_GET_STATS from inside containers' own network namespaces, by container id."""
    namespaces: tuple[str, ...] = ()
    """Paths of the network namespaces that can be read instead of this one; read with a dump."""
    pace: Pace | None = None
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class Engine:
    """The Docker Engine (or a compatible one). None is what the engine does not tell."""

    version: str
    api_version: str
    rootless: bool | None = None
    userland_proxy: bool | None = None
    firewall_backend: str | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A container's place on one network."""

    network: str
    driver: str | None = None
    ipv4: str | None = None
    ipv6: str | None = None
    gateway: str | None = None


@dataclass(frozen=True, slots=True)
class PublishedPort:
    proto: str
    host_ip: str
    host_port: int
    container_port: int


@dataclass(frozen=True, slots=True)
class Container:
    id: str
    """The full 64 digits."""
    name: str
    image: str
    state: str
    """Docker's word: running, paused, exited, created …"""
    project: str | None = None
    """Compose project."""
    service: str | None = None
    """Compose service."""
    network_mode: str = ""
    """Docker's word: a network's name, host, none, container:ID."""
    pid: int | None = None
    started_at: str | None = None
    networks: tuple[Attachment, ...] = ()
    published: tuple[PublishedPort, ...] = ()
    sandbox: str | None = None
    """Path of its network namespace on the engine's host."""

    @property
    def joined(self) -> str | None:
        """The container whose network namespace it uses (`--network container:ID`)."""
        kind, _, identity = self.network_mode.partition(":")
        return identity if kind == "container" and identity else None

    @property
    def untracked(self) -> str | None:
        """Why none of its flows can be in the host's conntrack table; None where they can.

        Traffic of macvlan and ipvlan (L2, L3) networks bypasses the host's netfilter
        (Documentation/networking/ipvlan.rst).
        """
        if self.state not in ("running", "paused") or self.network_mode == "host" or self.joined:
            return None
        drivers = {place.driver for place in self.networks if place.driver}
        if drivers and drivers <= BYPASSING:
            return "/".join(sorted(drivers)).replace("null", "no network")
        return None if any(place.ipv4 or place.ipv6 for place in self.networks) else "no network"


BYPASSING = frozenset({"macvlan", "ipvlan", "null"})
"""Network drivers whose traffic the host's conntrack does not see."""


@dataclass(frozen=True, slots=True)
class Network:
    id: str
    name: str
    driver: str
    subnets: tuple[str, ...] = ()
    internal: bool = False


@dataclass(frozen=True, slots=True)
class Inventory:
    """Docker's side of the join."""

    engine: Engine
    containers: tuple[Container, ...] = ()
    networks: tuple[Network, ...] = ()


COUNTER_NAMES = (
    "found",
    "invalid",
    "insert",
    "insert_failed",
    "drop",
    "early_drop",
    "error",
    "search_restart",
    "clash_resolve",
    "chaintoolong",
)
"""The names of `conntrack -S`."""


@dataclass(frozen=True, slots=True)
class Conntrack:
    """The fill of the table and its cumulative counters, all of one netns, summed over CPUs."""

    count: int | None = None
    max: int | None = None
    buckets: int | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    """By COUNTER_NAMES; modulo 2**32; a name is missing where the kernel does not tell it."""


class Kind(IntEnum):
    """The way a flow takes through the host's NAT."""

    PUBLISHED = 0
    """Came in by a published port: DNAT to a container."""
    MASQUERADED = 1
    """Left a container under another source address: SNAT or MASQUERADE."""
    INTERNAL = 2
    """Container to container, no NAT."""
    HAIRPIN = 3
    """Both DNAT and SNAT on the way to a container, as when one calls its own published port."""
    ROUTED = 4
    """To or from a container whose own end NAT left alone, the other end no container."""
    PROXIED = 5
    """One of the two flows of a connection that docker-proxy copies."""
    HOST = 6
    """One end is an address of the host itself, neither is a container's address."""
    REMAPPED = 7
    """The host's own, whose source port NAT moved without a rule, because another flow held it."""
    STALE = 8
    """Of a container that is gone, or that began before the present owner of its address did."""
    FORWARDED = 9
    """Neither end is the host's or a container's."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """Whose each flow is: aligned with the rows of a FlowTable."""

    client: npt.NDArray[np.int32]
    """Index into Inventory.containers; -1 nobody known; from -2 downwards `others[-2 - client]`."""
    server: npt.NDArray[np.int32]
    kind: U8
    others: tuple[str, ...] = ()
    """Those that are no container: `host: nginx[812]`, `gone: web`, `host (shared)`."""

    def __post_init__(self) -> None:
        for array in (self.client, self.server, self.kind):
            if len(array) != len(self.kind):
                raise ValueError("an attribution's columns differ in length")
            _freeze(array)

    def take(self, rows: Rows) -> Self:
        """The attribution of these rows, in their order."""
        return type(self)(self.client[rows], self.server[rows], self.kind[rows], self.others)


@dataclass(frozen=True, slots=True)
class FlowCounts:
    """Numbers about a set of flows, each flow counted once in `total`, `states`, `kinds` and `protocols`."""

    total: int
    states: Mapping[str, int]
    """TCP flows by conntrack state; every state is there."""
    kinds: Mapping[str, int]
    protocols: Mapping[str, int]
    """Only protocols that occur."""
    dnat: int
    snat: int


@dataclass(frozen=True, slots=True)
class FlowRates:
    """Per second, between the last two dumps."""

    new: float
    gone: float
    time_wait: float
    """Growth of the number of flows in TIME_WAIT; negative where it shrinks."""


@dataclass(frozen=True, slots=True)
class FlowSummary:
    """The numbers of a set of flows at the last dump, and how they change."""

    counts: FlowCounts
    rates: FlowRates | None = None
    """None until there are two dumps to compare."""
    time_wait_trend: tuple[int, ...] = ()
    """Flows in TIME_WAIT at the last dumps, oldest first."""


@dataclass(frozen=True, slots=True)
class ContainerSummary:
    """One container's flows; None where the table could not be read."""

    container: Container
    flows: FlowSummary | None = None
    inbound: int | None = None
    """Flows whose server the container is."""
    outbound: int | None = None
    """Flows whose client the container is."""
    own_table: int | None = None
    """Entries in the conntrack table of its own network namespace; None where that tracks nothing or was not read."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace that natop can read instead of the host's."""

    name: str
    """Of the container it is of, or of its file: ingress_sbox, a name of `ip netns`."""
    path: str


@dataclass(frozen=True, slots=True)
class HostFacts:
    hostname: str
    kernel: str | None
    netns: str
    sysctls: Mapping[str, int | tuple[int, ...]] = field(default_factory=dict)
    """By their last name component, as `nf_conntrack_max`."""


@dataclass(frozen=True, slots=True)
class FlowReading:
    """A dump: its flows, whose they are, and when it was taken."""

    flows: FlowTable
    attribution: Attribution
    """Its indices are those of the snapshot's own inventory."""
    taken_at: float
    monotonic_s: float
    skipped: Skipped


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything known about one host at one instant."""

    taken_at: float
    monotonic_s: float
    interval_s: float | None
    """Since the snapshot before; None on the first."""
    host: HostFacts
    inventory: Inventory | None
    conntrack: Conntrack
    counter_rates: Mapping[str, float] | None
    """Per second since the snapshot before, by COUNTER_NAMES."""
    reading: FlowReading | None
    """The last dump that succeeded; older than the snapshot where none was due at this tick."""
    whole: FlowSummary | None
    """All flows of the table."""
    containers: tuple[ContainerSummary, ...]
    """In the order of the inventory."""
    unowned: FlowSummary | None
    """The flows of the host itself and those nobody owns."""
    pace: Pace | None = None
    gaps: tuple[Gap, ...] = ()
    former: Mapping[str, str] = field(default_factory=dict)
    """Names of containers that are gone, by the address each had."""
    namespaces: tuple[Namespace, ...] = ()
