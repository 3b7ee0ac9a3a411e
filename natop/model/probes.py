"""Timed TCP connects: what is called and by which ways, what each call found, and what many of them come to."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ProbePath(StrEnum):
    """Where a probe starts, and what it calls."""

    CONTAINER = "container"
    """The host calls a container's own address: the bridge and the accept queue, no NAT."""
    PUBLISHED = "published"
    """The host calls one of its addresses at a published port: DNAT."""
    PROXY = "proxy"
    """The host calls a published port at the loopback address, where docker-proxy answers."""
    LOOPBACK = "loopback"
    """The same where the engine runs no docker-proxy, and NAT leads the call on; or where nobody knows which it is."""
    HOST = "host"
    """The host calls a target that the user named."""
    NETNS = "netns"
    """A container's network namespace calls it: the same through the container's NAT."""


class ProbeError(StrEnum):
    """Why a probe failed. What has no name here is spelt as the system spells it."""

    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed out"
    NO_LOCAL_PORT = "no free local port"
    UNKNOWN_HOST = "unknown host"
    UNRESOLVED = "no answer from the name server"
    NAMESPACE_GONE = "namespace gone"
    NOT_PERMITTED = "not permitted"
    RESET = "reset"
    """The other end broke off before it answered a request."""
    NO_ANSWER = "no answer"
    """It connected, but no answer to the request came in time."""
    NOT_HTTP = "not HTTP"


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """What a user asked to be probed."""

    text: str
    """As asked for: HOST:PORT or http://HOST[:PORT]/PATH."""
    host: str
    port: int
    request: str | None = None
    """Path and query of the HTTP request; None where a connect is all."""
    sources: tuple[str, ...] = ()
    """Containers by name, or by the beginning of their id, from inside which it is called too."""


@dataclass(frozen=True, slots=True)
class ProbeWay:
    """One way to what is probed: where the call starts, and whom it calls."""

    path: ProbePath
    target: str
    host: str
    """Name or address to call."""
    port: int
    container: str | None = None
    """The id of the container whose port it is, or in whose namespace the call starts."""
    container_name: str | None = None
    netns: str | None = None
    """The file of the network namespace in which the call starts; None is the one that natop reads."""
    request: str | None = None
    subject: str = ""
    """What all ways of a round lead to: a published port as `web 8080→80`, or the target as it was asked for."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What the results of this way have in common."""
        return self.target, self.path, self.container or ""


@dataclass(frozen=True, slots=True)
class Aim:
    """What is probed in one round: the ways to one thing, all called in the same second."""

    key: str
    ways: tuple[ProbeWay, ...]


@dataclass(frozen=True, slots=True)
class OwnFlow:
    """A TCP connection that natop opened, as conntrack's original tuple has it."""

    src: str
    sport: int
    dst: str
    dport: int


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One timed TCP connect and, where asked for, two HTTP requests on the connection."""

    target: str
    """HOST:PORT (or http://…) as it was asked for."""
    path: str
    """A `ProbePath`."""
    at: float
    """Wall clock at its start, seconds since the epoch."""
    container: str | None = None
    """The id of the container whose port it called, or from whose namespace it called."""
    container_name: str | None = None
    connect_ms: float | None = None
    """None where it did not connect."""
    syns_lost: int | None = None
    """tcpi_total_retrans after the connect or the failure (linux/tcp.h): SYNs sent again because the one before, or
    its answer, was lost. None where no SYN was sent, or the kernel could not tell."""
    rtt_ms: float | None = None
    """The kernel's own measure of the handshake (tcpi_rtt), free of natop's delays; None where it did not connect."""
    error: str | None = None
    """A `ProbeError`, or the system's word; None where all went well."""
    first_byte_ms: float | None = None
    """From the first HTTP request to the first byte of its answer, without the connect; None where none was sent."""
    later_byte_ms: float | None = None
    """The same of a second request on the same connection; None where the server closed it after the first."""
    http_status: int | None = None
    """Of the first answer."""
    linear_timeouts: int | None = None
    """tcp_syn_linear_timeouts where the call started, 0 where the kernel (before 6.5) has none; None: not read."""
    own: OwnFlow | None = None
    """The connection; None where none was begun."""
    subject: str = ""
    """As that of its `ProbeWay`."""

    @property
    def key(self) -> tuple[str, str, str]:
        """As that of its `ProbeWay`."""
        return self.target, self.path, self.container or ""


@dataclass(frozen=True, slots=True)
class ProbeStatistics:
    """What some probes of one way come to. Times are of those that connected; None where none did."""

    count: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    first_byte_p50_ms: float | None
    later_byte_p50_ms: float | None
    by_syns_lost: Mapping[int, int]
    """How many of those that connected had lost so many SYNs, fewest lost first."""
    failed_by_syns_lost: Mapping[int, int]
    """The same of those that failed; without those that sent none, or of which the kernel could not tell."""
    errors: Mapping[str, int]
    """How many failed for each reason, most frequent first."""

    @property
    def syns_lost(self) -> int | None:
        """SYNs lost by all of them, connected or not; None where nobody could tell of any."""
        known = (*self.by_syns_lost.items(), *self.failed_by_syns_lost.items())
        return sum(lost * count for lost, count in known) if known else None

    @property
    def losers(self) -> int:
        """How many of them lost a SYN."""
        known = (*self.by_syns_lost.items(), *self.failed_by_syns_lost.items())
        return sum(count for lost, count in known if lost)


@dataclass(frozen=True, slots=True)
class ProbeSeries:
    """The last probes by one way, oldest first, and what they come to. There is always one."""

    results: tuple[ProbeResult, ...]
    """At most `summarise.probed.HISTORY`, but for `natop probe`, which keeps all."""
    statistics: ProbeStatistics
    """Of `results`."""

    @property
    def last(self) -> ProbeResult:
        return self.results[-1]
