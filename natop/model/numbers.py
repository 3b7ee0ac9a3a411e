"""Whose flows are, and what they come to: per container, per NAT pool, for the host."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Self

import numpy as np
import numpy.typing as npt

from natop.model.arrays import U8, U16, U32, Addresses, Mask, Rows, freeze
from natop.model.docker import Container
from natop.model.kernel import NetnsTcp


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
class DockerProxy:
    """A process that copies the connections to one published port."""

    pid: int
    command: str
    """Its command line."""
    target: str
    """Address and port of the container, as that says."""


@dataclass(frozen=True, slots=True)
class Halves:
    """What docker-proxy copies: a connection is two flows, one that it accepted and one that it dialled.

    Aligned with the rows of a FlowTable.
    """

    proxies: tuple[DockerProxy, ...]
    proxy: npt.NDArray[np.int32]
    """Index into `proxies`; -1 for flows that none is known to copy."""
    other: npt.NDArray[np.int32]
    """Row of the connection's other flow; -1 where it is not known, or not in the table any more."""
    dialled: Mask
    """True for the flows to the container."""

    def __post_init__(self) -> None:
        for array in (self.proxy, self.other, self.dialled):
            freeze(array)


@dataclass(frozen=True, slots=True)
class Attribution:
    """Whose each flow is: aligned with the rows of a FlowTable."""

    client: npt.NDArray[np.int32]
    """Index into Inventory.containers; -1 nobody known; from -2 downwards `others[-2 - client]`."""
    server: npt.NDArray[np.int32]
    kind: U8
    others: tuple[str, ...] = ()
    """Those that are no container: `host: nginx[812]`, `gone: web`, `host (shared)`; for what docker-proxy dialled,
    the address of who called it from beyond the host."""
    doubtful: Mask | None = None
    """Given to one who is gone by an address that nobody has now, without having been seen when it was theirs."""
    halves: Halves | None = None
    """None where nothing goes through docker-proxy."""

    def __post_init__(self) -> None:
        for array in (self.client, self.server, self.kind, self.doubtful):
            if array is None:
                continue
            if len(array) != len(self.kind):
                raise ValueError("an attribution's columns differ in length")
            freeze(array)

    def take(self, rows: Rows) -> Self:
        """The attribution of these rows, in their order; without `halves`, which speak of rows."""
        doubtful = None if self.doubtful is None else self.doubtful[rows]
        return type(self)(self.client[rows], self.server[rows], self.kind[rows], self.others, doubtful)


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


@dataclass(frozen=True, slots=True)
class TimeWait:
    """The flows of one owner that are in conntrack's TIME_WAIT: how many, why, and whether it matters.

    Conntrack keeps an entry for nf_conntrack_tcp_timeout_time_wait (120 s) after the last ACK, and with it the NAT
    port; a socket's own TIME_WAIT lasts 60 s and is counted apart (`NetnsTcp.time_wait_sockets`).
    """

    count: int
    share: float | None
    """Of the owner's TCP flows; None where there are none."""
    closed_by_client: int | None
    """Of those in TIME_WAIT, by CLOSE_INIT: which side sent the first FIN; None where no flow of the table told it."""
    closed_by_server: int | None
    remotes: tuple[tuple[str, int], ...]
    """Addresses at the other end, most flows first; at most TOP of them."""
    services: tuple[tuple[str, int], ...]
    """Ports called (`443/tcp`), most flows first; at most TOP of them."""
    growth_per_min: float | None = None
    """Over the last minute or, where there were fewer dumps, since the one before; None on a first reading."""
    growth_s: float | None = None
    """Over how many seconds that was."""
    steady_state: float | None = None
    """Flows entering TIME_WAIT per second × its timeout: where the count would settle; None where that is unknown."""
    peak_state: float | None = None
    """The same by the highest rate of the last half minute; None only where the timeout is unknown."""
    concern: str | None = None
    """Why it matters here (NAT ports, table fill, now or at this rate); None where none is known."""

    @property
    def is_unsteady(self) -> bool:
        """Whether flows came too unevenly lately, or too few, to tell where their number would settle."""
        return self.steady_state is None and self.peak_state is not None


@dataclass(frozen=True, slots=True)
class PortChoice:
    """What NAT made of source ports, over flows with SRC_NAT that a rule (not a null binding) changed.

    Nearly all keep theirs by default, hardly any under a rule with `random` or `fully-random`: so it tells those apart
    where no rule can be read. Of a single pool or container it does so too where rules differ from network to network.
    """

    kept: int
    rewritten: int

    @property
    def kept_share(self) -> float | None:
        """None where there is no such flow."""
        return self.kept / (self.kept + self.rewritten) if self.kept + self.rewritten else None

    @property
    def kept_percent(self) -> float | None:
        return None if self.kept_share is None else 100 * self.kept_share


@dataclass(frozen=True, slots=True)
class NatPools:
    """The NAT source ports in use, a row for each pool, fullest first; arrays of one length, read-only.

    A pool is all ports that one SNAT address may use towards one remote address and port: layer 3 and 4 protocol, zone,
    reply.dst, reply.src, reply.sport, and the range NAT may pick from. Only pools that NAT takes ports from are rows.
    """

    proto: U8
    zone: U16
    nat: Addresses
    remote: Addresses
    remote_port: U16
    """For ICMP, as in FlowTable, type << 8 | code of the answers."""
    first_port: U16
    last_port: U16
    """The range NAT picks from, both ends included; its size is the capacity."""
    used: U32
    """Ports of the range that an entry holds, each counted once, as in the columns that follow."""
    soft: U32
    """Of `used`, those in TIME_WAIT or CLOSE that this kernel may evict for a new connection: none before 6.5."""
    time_wait: U32
    time_wait_hard: U32
    """Of `time_wait`, those that this kernel does not evict."""
    rewritten: U32
    """Held by an entry whose source port NAT changed."""
    masqueraded: U32
    """Held by an entry with SRC_NAT."""
    by_rule: U32
    """Of `masqueraded`, those that a rule translated; the others are the host's own, moved by a null binding."""
    kept: U32
    """Of `by_rule`, those whose source port NAT left as it was."""
    draining: U32
    """Held by an entry that goes by itself when nothing new comes: TCP in TIME_WAIT or CLOSE, UDP, ICMP."""
    drain_s: U32
    """Seconds until the last of `draining` is gone; 0 where there is none."""
    new_per_s: npt.NDArray[np.float64] | None
    """None on a first reading."""
    ends_per_s: npt.NDArray[np.float64] | None
    """Connections that enter TIME_WAIT, over the last half minute; NaN where they come too unevenly to tell.

    None where this kernel evicts them, or where it is not known how long they stay.
    """
    loss: npt.NDArray[np.float64]
    """The chance that a new flow whose own port is taken finds no other and is dropped, 0 to 1.

    How it is found is told in `natop.summarise.portsearch`.
    """
    holder: npt.NDArray[np.int32]
    """Codes of `Attribution.client`, those of pool i from `start[i]` to `start[i + 1]`, most ports first."""
    holds: U32
    """The ports that each holder has."""
    start: npt.NDArray[np.intp]
    """One longer than there are pools."""

    def __len__(self) -> int:
        return len(self.used)

    @property
    def capacity(self) -> U32:
        return self.last_port.astype(np.uint32) - self.first_port + 1

    def percent(self, row: int) -> float:
        """How much of a pool's range is taken."""
        return 100 * int(self.used[row]) / (int(self.last_port[row]) - int(self.first_port[row]) + 1)

    def choice(self, row: int) -> PortChoice:
        """What NAT made of the source ports in a pool."""
        kept = int(self.kept[row])
        return PortChoice(kept, int(self.by_rule[row]) - kept)

    @property
    def hard(self) -> U32:
        """Ports that a new connection cannot have."""
        return self.used - self.soft

    def __post_init__(self) -> None:
        for column in fields(self):
            match getattr(self, column.name):
                case Addresses(hi, lo):
                    freeze(hi)
                    freeze(lo)
                case np.ndarray() as array:
                    freeze(array)


@dataclass(frozen=True, slots=True)
class Pile:
    """Flows that are alike in a way that tells something."""

    what: str
    """What they have in common: an end as `198.51.100.7:443/tcp`."""
    count: int
    owners: tuple[str, ...]
    """Whose they are, most flows first; at most MOST_OWNERS names."""
    key: str | None = None
    """The id of the container that most of them are of."""
    answering: str | None = None
    """The address that answers, where they have that in common too."""
    servers: tuple[str, ...] = ()
    """The containers that serve them, most flows first; at most MOST_OWNERS names."""
    calling: str | None = None
    """The address that opened them, where they are told apart by who did and have that in common."""


@dataclass(frozen=True, slots=True)
class FlowFacts:
    """What the flows of a dump tell beside their numbers; each tuple holds its largest piles, largest first."""

    zombies: int
    """TCP flows in ESTABLISHED that have been idle for more than a day, or whose client is gone."""
    zombies_gone: int
    """Of these, those whose client is gone."""
    zombies_of: tuple[Pile, ...]
    """By client."""
    unreplied: tuple[Pile, ...]
    """SYN_SENT that has waited for an answer for 2 s, by what is called; without ends that answer more than they let
    wait."""
    stale: tuple[Pile, ...]
    """Flows to containers that are gone (Kind.STALE), by what was called and who should answer; the owners are those
    who are gone."""
    proxied: tuple[Pile, ...]
    """Flows of containers that go through docker-proxy, by what is called."""
    hairpin: tuple[Pile, ...]
    """By what is called."""
    remapped: int
    """The host's own flows whose port NAT moved."""
    local_ports: tuple[Pile, ...]
    """Local ports that the sockets of one container hold towards one remote end; those first that leave the least of
    the container's range."""
    udp_shared: tuple[Pile, ...]
    """Masqueraded UDP flows of several containers with one source port towards one remote end."""
    dns: tuple[Pile, ...]
    """UDP flows of containers to port 53 that NAT changed, by what is called."""


@dataclass(frozen=True, slots=True)
class ContainerSummary:
    """One container's flows; None where the table could not be read."""

    container: Container
    flows: FlowSummary | None = None
    inbound: int | None = None
    """Flows whose server the container is."""
    outbound: int | None = None
    """Flows whose client the container is."""
    untracked: str | None = None
    """Why none of its flows, or of those of the container that it joined, can be in the table; None where they can."""
    own_table: int | None = None
    """Entries in the conntrack table of its own network namespace; None where that tracks nothing or was not read."""
    rewritten_ports: int | None = None
    """Flows that it opened whose source port NAT changed: collisions that it resolved, or random ports."""
    port_choice: PortChoice | None = None
    """Of the flows that it opened."""
    time_wait: TimeWait | None = None
    busiest_pool: int | None = None
    """Row in `Snapshot.pools` of the fullest pool that it holds ports of."""
    tcp: NetnsTcp | None = None
    """None where it could not be read, or belongs to another: `tcp_of`."""
    tcp_of: str | None = None
    """Whose network namespace it shares (a container's name, or `host`), where TCP's counters are shown once."""
