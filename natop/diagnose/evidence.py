"""What the rules judge by: one snapshot, what happened in the last minute, and what became of the lost SYNs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import Enum, auto
from functools import cached_property

from natop import meanings
from natop.diagnose.callers import (
    HOST,
    Caller,
    Elsewhere,
    callers_of,
    elsewhere_of,
    refused_of,
    sent_by_probes,
    syns_of,
    unread,
)
from natop.diagnose.losses import Clashes, Losses, clashes_of, is_crowded, losses_of
from natop.join.flows import UNKNOWN
from natop.model import (
    HOST_MARK,
    ContainerSummary,
    FlowFacts,
    Pile,
    Pool,
    Snapshot,
    Version,
)
from natop.summarise.pools import evicts
from natop.summarise.scarce import scarcest
from natop.summarise.testimony import SYN_PATIENCE_S
from natop.summarise.window import Since, ended, over, since
from natop.sysctls import FULL_CRITICAL, FULL_WARNING
from natop.uapi import IpProto

LEAST_WATCH_S = 1.0
"""Rates over less say nothing."""
SYN_LOSS_LEAST = 5
"""A single lost SYN in a minute is weather."""
RARE = 0.0001
"""Of the connections: fewer than that are no alarm, though this host loses them: one in 10,000 waits a second."""
UNREPLIED_LEAST = 50


class Cause(Enum):
    """Why conntrack lost first packets to clashes: one for all of them."""

    RACE = auto()
    EXHAUSTION = auto()
    UDP_PORT = auto()
    """Datagrams of several containers from one source port."""
    UDP_TWINS = auto()
    """Two datagrams of one socket, on a kernel that loses one."""
    UNCLEAR = auto()


class Evidence:
    """A snapshot as the rules see it. What could not be read is None or empty, and the rules are silent about it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        gone_by = over(snapshot.marks)
        self.since: Since | None = gone_by if gone_by and gone_by.seconds >= LEAST_WATCH_S else None
        """What happened in the last minute; None while natop has not watched long enough."""

    def risen(self, name: str) -> int | None:
        """How far one of conntrack's counters rose; None is unknown."""
        return self.since.counters.get(name) if self.since else None

    def risen_lately(self, name: str, seconds: float) -> int | None:
        """How far one of the counters rose in the last `seconds`; None where no mark is as old as that."""
        marks = self.snapshot.marks
        old = [each for each in marks if marks[-1].monotonic_s - each.monotonic_s >= seconds]
        lately = since(old[-1], marks[-1]) if old else None
        return lately.counters.get(name) if lately else None

    def tcp(self, container: ContainerSummary, name: str) -> int | None:
        """How far one of TCP's counters rose in the container's namespace."""
        return self.since.tcp.get(container.container.id, {}).get(name) if self.since else None

    def host_tcp(self, name: str) -> int | None:
        return self.since.tcp.get(HOST_MARK, {}).get(name) if self.since else None

    @property
    def span(self) -> str:
        """As `in 60 s`."""
        return f"in {self.since.seconds:.0f} s" if self.since else "so far"

    def kernel_is(self, since: Version) -> bool | None:
        """Whether the kernel is of that version or later; None where it does not tell."""
        version = self.snapshot.host.version
        return version >= since if version else None

    def sysctl(self, name: str) -> int | None:
        value = self.snapshot.host.sysctls.get(name)
        return value if isinstance(value, int) else None

    @property
    def facts(self) -> FlowFacts | None:
        return self.snapshot.facts

    @cached_property
    def pools(self) -> tuple[Pool, ...]:
        """The pools that a rule may name: those with the fewest ports to be had, and the fullest."""
        return scarcest(self.snapshot, POOLS_LOOKED_AT) or ()

    @cached_property
    def fullest(self) -> Pool | None:
        return max(self.pools, key=lambda pool: pool.use, default=None)

    @cached_property
    def fullest_of_all(self) -> Pool | None:
        """As it was at the dump of the last minute at which it was fullest."""
        pools = [pool for mark in self.snapshot.marks for pool in mark.pools or ()]
        return max((*self.pools, *pools), key=lambda pool: pool.use, default=None)

    @property
    def knows_pools(self) -> bool:
        """Whether the NAT pools were read, and lately."""
        return bool(self.snapshot.marks) and self.snapshot.marks[-1].pools is not None

    def evicts(self, proto: int) -> bool:
        """Whether the kernel gives ports in TIME_WAIT to new connections of that protocol: to TCP's alone."""
        return proto == IpProto.TCP and evicts(self.snapshot.host.kernel)

    @cached_property
    def new_flows(self) -> float | None:
        """New flows in the time watched, from the rates between dumps; None is unknown.

        Without dumps it is the connections that sockets opened and accepted.
        """
        if self.since is None:
            return None
        rates = [mark.new_per_s for mark in self.snapshot.marks if mark.new_per_s is not None]
        if rates:
            return sum(rates) / len(rates) * self.since.seconds
        counts = [self.since.tcp_total(name) for name in ("active_opens", "passive_opens")]
        return float(sum(count or 0 for count in counts)) if counts != [None, None] else None

    @property
    def found_per_new(self) -> float | None:
        """NAT ports tried in vain for each new flow of the time watched; None where it is unknown, or of too few."""
        new, version = self.new_flows, self.snapshot.host.version
        if self.since is None or new is None or meanings.tried(new, self.since.counters, version) < FLOWS_TELL:
            return None
        return meanings.found_per_new(new, self.since.counters, version)

    @cached_property
    def found_warns(self) -> bool:
        """Whether `found` says that a pool is nearly full, and no pool was seen that would be one."""
        found = self.found_per_new
        seen = any(is_crowded(pool) for mark in self.snapshot.marks for pool in mark.pools or ())
        return found is not None and found > FOUND_WARN and not seen

    @cached_property
    def peak(self) -> tuple[int, int] | None:
        """Entries and limit of the conntrack table when it was fullest in the last minute."""
        tables = (mark.conntrack for mark in self.snapshot.marks)
        known = [(table.count, table.max) for table in tables if table.count is not None and table.max]
        return max(known, key=lambda table: table[0] / table[1], default=None)

    @property
    def table_was_full(self) -> bool | None:
        """Whether the conntrack table was nearly full in the last minute, as seen, or by what was thrown out of it."""
        if self.risen("early_drop"):
            return True
        return None if self.peak is None else self.peak[0] >= FULL_WARNING * self.peak[1]

    @cached_property
    def losses(self) -> Losses | None:
        """What conntrack dropped, split by cause; None while the counters are unknown."""
        return losses_of(self.since.counters, self.snapshot.host.version) if self.since else None

    @cached_property
    def clashes(self) -> Clashes:
        """Those of the losses that are clashes, by how full the pools were when they came."""
        if not self.losses or not self.losses.clash:
            return Clashes()
        return clashes_of(self.snapshot.marks, self.snapshot.host.version, self.losses.clash)

    @cached_property
    def cause(self) -> Cause | None:
        """Of the clashes; None where there was none.

        What pools say comes first: a race is what is left where none of them explains a loss.
        """
        if not self.losses or not self.losses.clash:
            return None
        if self.clashes.scarce or (self.found_warns and not self.clashes.crowded):
            return Cause.EXHAUSTION
        if not self.knows_pools or self.clashes.crowded:
            return Cause.UNCLEAR
        return self._raced(self.losses.clash - self.clashes.young)

    def _raced(self, settled: int) -> Cause:
        """Who raced, where no pool was full: TCP, as far as SYNs sent again explain what is `settled`, else UDP.

        Where it is not sure that these were SYNs, it is TCP only if nothing speaks for UDP.
        """
        syns, facts = self.syns_again, self.facts
        if syns is None or (syns and syns * 2 >= settled):
            is_udp = not self.race_is_sure and facts and facts.udp_shared
            return Cause.UNCLEAR if self.ports_are_random or is_udp else Cause.RACE
        if not settled:
            return Cause.UNCLEAR
        if facts and facts.udp_shared and not self.ports_are_random:
            return Cause.UDP_PORT
        if facts and facts.dns and self.kernel_is(meanings.TWINS_RESOLVED) is False:
            return Cause.UDP_TWINS
        return Cause.UNCLEAR

    @cached_property
    def race_is_sure(self) -> bool:
        """Whether SYNs that are no answers explain half of the clashes; or all are as many, and no UDP is suspect."""
        again, facts = self.syns_again, self.facts
        if again is None or not self.losses:
            return False
        sure = syns_of(self._sure(self.callers))
        is_alike = 0 < again <= 2 * self.losses.clash and not (facts and facts.udp_shared)
        return 0 < sure >= (self.losses.clash - self.clashes.young) / 2 or is_alike

    @cached_property
    def callers(self) -> tuple[Caller, ...]:
        """Who sent SYNs, or answers to SYNs, again, most SYNs first."""
        return callers_of(self.snapshot, self.since, self._ended) if self.since else ()

    @cached_property
    def _ended(self) -> Mapping[str, int]:
        return ended(self.snapshot.marks)

    @cached_property
    def unread(self) -> list[str]:
        """The containers whose counters could not be read."""
        return unread(self.snapshot)

    @property
    def syns_again(self) -> int | None:
        """SYNs that were sent again, without answers to SYNs.

        None where nobody was read; or where some containers were not, and none of the others opened a connection.
        """
        read = {key: counts for key, counts in self.since.tcp.items() if "syn_retrans" in counts} if self.since else {}
        opening = {key for key, counts in read.items() if counts.get("active_opens") != 0} - {HOST_MARK}
        is_read = bool(opening or self._ended if self.unread else read)
        return syns_of(self.callers) if is_read else None

    @cached_property
    def refused(self) -> int:
        """SYNs and connections dropped at listeners here."""
        return sum(refused_of(tcp) for tcp in self.since.tcp.values()) if self.since else 0

    @cached_property
    def elsewhere(self) -> Elsewhere | None:
        """SYNs that were lost neither in conntrack nor at a listener here; None while that is unknown.

        A SYN is sent again a second after it was lost, or later: those of the first seconds were lost before natop
        looked, and do not count.
        """
        if self.since is None or self.losses is None:
            return None
        here = self.losses.total + self.refused
        callers, late = self._unexplained(self.since), self._unexplained(self._since_settled)
        surely = elsewhere_of(self._sure(callers), self._sure(late), here, is_sure=True)
        return surely if surely.lost >= SYN_LOSS_LEAST else elsewhere_of(callers, late, here, is_sure=False)

    def _sure(self, callers: Sequence[Caller]) -> Sequence[Caller]:
        """Those who cannot have sent answers."""
        piles = self.facts.unreplied if self.facts else ()
        waiting = {name for pile in piles for name in pile.owners}
        return [caller for caller in callers if not caller.accepts or caller.name in waiting]

    @property
    def _since_settled(self) -> Since | None:
        """From when what was lost before the first mark has been sent again; half of the time at least."""
        marks = self.snapshot.marks
        patience = min(SYN_PATIENCE_S, (marks[-1].monotonic_s - marks[0].monotonic_s) / 2)
        early = sum(each.monotonic_s <= marks[0].monotonic_s + patience for each in marks)
        return over(marks[early - 1 :])

    def _unexplained(self, since: Since | None) -> tuple[Caller, ...]:
        """The callers of whom no other rule tells, and whose loss is no weather; the host only where containers use its
        network.

        Without what natop's own probes sent again: whom they call in vain is in the view of probes.
        """
        if since is None:
            return ()
        explained = {each.container.id for each in self.snapshot.containers if self._is_explained(each)}
        by_probes = sent_by_probes(self.snapshot, since.seconds)
        callers = (
            replace(each, syns=max(0, each.syns - by_probes.get(each.container.id if each.container else each.name, 0)))
            for each in callers_of(self.snapshot, since, self._ended)
        )
        left = (
            each
            for each in callers
            if each.syns
            and not each.is_weather
            and (each.container is None or each.container.id not in explained)
            and (each.name != HOST or each.container or self.on_host_network)
        )
        return tuple(sorted(left, key=lambda caller: -caller.syns))

    def _is_explained(self, container: ContainerSummary) -> bool:
        """Whether its own table is full, or an end that never answers is what it calls."""
        most = self.snapshot.conntrack.max
        full = bool(most and container.own_table and container.own_table >= FULL_CRITICAL * most)
        return full or any(container.container.name in pile.owners for pile in self.unanswered)

    @cached_property
    def unanswered(self) -> tuple[Pile, ...]:
        """The ends that let more than UNREPLIED_LEAST connections wait."""
        piles = self.facts.unreplied if self.facts else ()
        return tuple(pile for pile in piles if pile.count > UNREPLIED_LEAST)

    def is_minor(self, lost: int, of: float | None = None) -> bool:
        """Whether so few are next to nothing beside all connections; where nobody says of which, all new flows."""
        connections = of if of is not None else self.new_flows
        return lost < max(SYN_LOSS_LEAST, RARE * (connections or 0))

    @property
    def on_host_network(self) -> list[str]:
        """The containers whose TCP is the host's."""
        containers = (each.container for each in self.snapshot.containers)
        return [each.name for each in containers if each.uses_host_network and each.state == "running"]

    @cached_property
    def ports_are_random(self) -> bool | None:
        """Whether NAT picks source ports at random for every network in use that it masquerades; None is unknown."""
        firewall = self.snapshot.firewall
        known = [(place.network, place.rule) for place in firewall.networks if place.rule] if firewall else []
        running = (each.container for each in self.snapshot.containers if each.container.state == "running")
        used = {place.network for container in running for place in container.networks}
        rules = [rule for network, rule in known if network in used] or [rule for _, rule in known]
        if rules:
            return all(rule.random or rule.fully_random for rule in rules)
        choice = self.snapshot.port_choice
        if choice is None or choice.kept_share is None or choice.kept + choice.rewritten < LEAST_PORTS:
            return None
        return choice.kept_share < RANDOM_KEEPS

    def on_cpus(self, name: str) -> str:
        """As ` on 2 of 2 CPUs`; empty where it is unknown."""
        if self.since is None or not self.since.cpus_known:
            return ""
        return f" on {self.since.cpus.get(name, 0)} of {self.since.cpus_known} CPUs"


LEAST_PORTS = 50
"""Flows from which on the share of kept ports tells how NAT chooses."""
RANDOM_KEEPS = 0.05
"""Random choice keeps one port in 64,512; the default keeps all that are free."""
POOLS_LOOKED_AT = 50
FOUND_WARN, FOUND_CRITICAL = 9, 20
"""NAT ports tried in vain for each new flow (`found`): 9 where 90 % of a pool are taken, 21 at 95 %, 129 when all are,
measured on Linux 6.18; fewer where other flows come in between."""
FLOWS_TELL = 20
"""New flows from which on `found` for each says something: where it is 9, it varies by as much from flow to flow."""


def named(counts: Iterable[tuple[str, int]], most: int = 3) -> str:
    """As `web (28) and php (11)`, the rest as a number."""
    return few([f"{name} ({count:,})" for name, count in counts], most)


def few(words: Sequence[str], most: int = 3) -> str:
    """As `web, app and php`, or `web, app, php and 2 more`."""
    rest = len(words) - most
    return f"{', '.join(words[:most])} and {rest} more" if rest > 0 else listed(words)


def listed(words: Sequence[str]) -> str:
    """As `web, app and php`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def address_of(end: str) -> str:
    """The address in `198.51.100.7:443/tcp`, `[2001:db8::7]:443/tcp` or, without ports, `198.51.100.7/icmp`."""
    address, _, _ = end.rpartition("/")
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


def port_of(end: str) -> str:
    """The port in `198.51.100.7:443/tcp` or `[2001:db8::7]:443/tcp`."""
    return end.rpartition("/")[0].rpartition(":")[2]


def known_caller(pile: Pile) -> str:
    """Whose most flows of a pile are; the host where nobody known is."""
    return next((name for name in pile.owners if name != UNKNOWN), HOST)


def percent_of(part: int, whole: int) -> str:
    """As `97`; 100 only where it is all: `99.6`, never rounded up, where little is left."""
    rounded = f"{100 * part / whole:.0f}"
    return f"{1000 * part // whole / 10}" if rounded == "100" and part < whole else rounded
