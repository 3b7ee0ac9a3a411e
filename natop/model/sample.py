"""What the collectors return, untouched."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from natop.model.probes import OwnFlow, ProbeResult


@dataclass(frozen=True, slots=True)
class Process:
    """A process that holds sockets."""

    pid: int
    name: str
    command: tuple[str, ...] = ()
    cgroups: str = ""
    """As /proc/PID/cgroup reads, of every version: hierarchy:controllers:path lines."""
    uid: int | None = None
    """The user who started it, as natop's user namespace has it; None where that could not be read."""


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
    engine_uids: frozenset[int] | None = None
    """Whose a docker-proxy of the engine may be; None where that is not known."""


GapSource = Literal["bridge", "counters", "docker", "flows", "probes", "rules", "sockets", "tcp"]
"""What natop reads, by the word that the screen and JSON have for it."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A thing natop could not read. The source fails alone; the rest goes on."""

    source: GapSource
    reason: str
    remedy: str | None = None

    def told(self, between: str = "; ") -> str:
        """Why, and what would help."""
        return self.reason + (between + self.remedy if self.remedy else "")


AskSockets = Callable[[str], Sockets | Gap | None]
"""The sockets of the netns read (HOST_SOCKETS), or of one that several containers share, by the id of the container it
is of. A gap where they were refused, None where there is nothing to read. A live sample reads them when it is asked."""
HOST_SOCKETS = ""


def no_sockets(_key: str) -> None:
    """Where no sockets were read."""


@dataclass(frozen=True, slots=True)
class EngineReading:
    """What the Docker Engine said, cut down to the fields natop needs, under the engine's own names."""

    version: Mapping[str, object]
    info: Mapping[str, object]
    containers: tuple[Mapping[str, object], ...]
    networks: tuple[Mapping[str, object], ...]
    pid: int | None = None
    """The process that listens on its socket; None where it is on another machine, or that cannot be told."""
    netns: str | None = None
    """The file of the network namespace that its bridges are in, where they are in its process's or rootlesskit's."""
    options: tuple[str, ...] = ()
    """What `docker` needs to speak to that engine where it was named: --host URL, or --context NAME."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often natop reads."""

    interval_s: float
    dump_every_s: float
    """Longer than the interval where dumps would cost more than their share of a core."""


@dataclass(frozen=True, slots=True)
class NetnsText:
    """What one network namespace tells of its TCP, untouched."""

    files: Mapping[str, str]
    """Text of net/snmp, net/netstat, net/sockstat and net/sockstat6, by their last names."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """Text of the namespace's own sysctls by path below /proc/sys; empty where they were not read at this tick."""


@dataclass(frozen=True, slots=True)
class FirewallText:
    """The NAT rules of one network namespace, as the firewall's own tools tell them."""

    answers: Mapping[str, str]
    """What each command printed, by the command: `iptables-nft-save -t nat`, `nft -j list chains`, …"""
    absent: tuple[str, ...] = ()
    """Tools that are not installed here though there may be rules that only they tell."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why a command gave no answer, by the command or the file that was to be read."""
    routes: Mapping[str, str] = field(default_factory=dict)
    """Text of net/route and net/ipv6_route: the default routes are the ways out."""
    netns: str = ""
    """net:[inode]."""


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
    entered: str | None = None
    """The file of that network namespace where it is not natop's own."""
    proc: Mapping[str, str] = field(default_factory=dict)
    """Text of the /proc files read, by path below /proc."""
    addresses: tuple[str, ...] = ()
    """The netns's own addresses."""
    stats: bytes = b""
    """Replies to CT_GET_STATS and CT_GET_STATS_CPU."""
    dump: Iterable[bytes | bytearray | memoryview] | None = None
    engine: EngineReading | None = None
    sockets: AskSockets = no_sockets
    """Asked once for each namespace in which a dump has flows of its sockets."""
    tables: Mapping[str, bytes] = field(default_factory=dict)
    """Replies to CT_GET_STATS from inside containers' own network namespaces, by container id."""
    namespaces: tuple[str, ...] = ()
    """Paths of the network namespaces that can be read instead of this one; read with a dump."""
    pace: Pace | None = None
    tcp: Mapping[str, NetnsText] = field(default_factory=dict)
    """TCP's counters of network namespaces, by net:[inode]; the one read is among them."""
    members: Mapping[str, str] = field(default_factory=dict)
    """The network namespace (net:[inode]) of each running container, by its id."""
    rules: FirewallText | None = None
    """The NAT rules as the firewall's own tools tell them; None at a tick that did not ask."""
    probes: tuple[ProbeResult, ...] | None = None
    """Those that ended since the sample before; None while nobody has asked for probes."""
    own: Iterable[OwnFlow] | None = None
    """Connections that natop opened of late, to be left out of every count; None leaves out nothing. Iterated once the
    dump is through, so that those opened meanwhile are among them."""
    gaps: tuple[Gap, ...] = ()

    def beside(self, earlier: Self) -> Self:
        """With what only an earlier sample of the same tick was told: some things are told once, when they are new.

        Two samples of one tick are compared with the same snapshot before, which knows nothing of the first.
        """
        tcp = {
            netns: replace(text, sysctls=text.sysctls or earlier.tcp[netns].sysctls) if netns in earlier.tcp else text
            for netns, text in self.tcp.items()
        }
        probes = self.probes if self.probes is None else (*(earlier.probes or ()), *self.probes)
        return replace(self, tcp=tcp, rules=self.rules or earlier.rules, probes=probes)
