"""What the rules judge by: one snapshot, what happened in the last minute, and what became of the lost SYNs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from natop import meanings
from natop.model import (
    HOST_MARK,
    ContainerSummary,
    FlowFacts,
    NatPools,
    Pile,
    Snapshot,
    Version,
)
from natop.summarise.facts import UNKNOWN
from natop.summarise.pools import evicts, filter_of, pool_name
from natop.summarise.window import Since, over, since
from natop.uapi import IpProto

HOST = "host"
"""The subject of what is not one container's."""
POOL_WARN, POOL_CRITICAL = 0.80, 0.95
"""Use of a NAT pool: measured, a new SYN costs some 5 probes at 80 % and 20 at 95 %, and the first is lost at 98 %."""
POOL_NO_RACE = 0.90
"""From this use on, a lost SYN is the pool's doing and never called a race."""
LEAST_WATCH_S = 1.0
"""Rates over less say nothing."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One row of `NatPools`, as text and numbers."""

    proto: int
    name: str
    """As `203.0.113.10 → 198.51.100.7:443/tcp`."""
    filter: str
    """The expression for its flows."""
    used: int
    soft: int
    capacity: int
    time_wait: int
    loss: float
    holders: tuple[tuple[str, int], ...]

    @property
    def use(self) -> float:
        return self.used / self.capacity

    @property
    def hard_use(self) -> float:
        """Without what a kernel of 6.5 or later may evict."""
        return (self.used - self.soft) / self.capacity


@dataclass(frozen=True, slots=True)
class Losses:
    """New connections that conntrack dropped, each counted under one cause."""

    clash: int
    """Two entries claimed one tuple; the later lost its first packet."""
    table_full: int
    chain: int
    """Refused because a hash chain was too long."""
    deleted: int
    """Refused because the entry was deleted before it was in the table, as by a flush."""


class Evidence:
    """A snapshot as the rules see it. What could not be read is None or empty, and the rules are silent about it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        marks = snapshot.marks
        gone_by = over(marks)
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
        """The fullest pools, those that a rule may name."""
        pools = self.snapshot.pools
        return tuple(_pools(pools, self._names)) if pools else ()

    @cached_property
    def fullest(self) -> Pool | None:
        return max(self.pools, key=lambda pool: pool.use, default=None)

    def _names(self, code: int) -> str:
        containers = self.snapshot.inventory.containers if self.snapshot.inventory else ()
        reading = self.snapshot.reading
        others = reading.attribution.others if reading else ()
        if code >= 0:
            return containers[code].name
        return others[-2 - code] if code < -1 else UNKNOWN

    def evicts(self, proto: int) -> bool:
        """Whether the kernel gives ports in TIME_WAIT to new connections of that protocol: to TCP's alone."""
        return proto == IpProto.TCP and evicts(self.snapshot.host.kernel)

    @cached_property
    def new_flows(self) -> float | None:
        """New flows in the time watched, from the rates between dumps; None is unknown."""
        rates = [mark.new_per_s for mark in self.snapshot.marks if mark.new_per_s is not None]
        return sum(rates) / len(rates) * self.since.seconds if rates and self.since else None

    @property
    def found_per_new(self) -> float | None:
        """NAT ports tried in vain for each new flow."""
        found, new = self.risen("found"), self.new_flows
        return found / new if found is not None and new else None

    @cached_property
    def peak(self) -> tuple[int, int] | None:
        """Entries and limit of the conntrack table when it was fullest in the last minute."""
        tables = (mark.conntrack for mark in self.snapshot.marks)
        known = [(table.count, table.max) for table in tables if table.count is not None and table.max]
        return max(known, key=lambda table: table[0] / table[1], default=None)

    @cached_property
    def losses(self) -> Losses | None:
        """What conntrack dropped, split by cause (see `natop.meanings`); None while the counters are unknown.

        Who loses a clash is counted under `drop` as well; a deleted entry is not (__nf_conntrack_confirm).
        """
        counters, version = self.since.counters if self.since else {}, self.snapshot.host.version
        refused, full = meanings.clash_lost(counters, version), meanings.table_full(counters, version)
        if refused is None or full is None:
            return None
        chain = min(counters["insert_failed"], counters.get("chaintoolong", 0))
        clash = min(int(refused), counters["drop"])
        is_told_apart = "clash_resolve" in counters or self.kernel_is(meanings.CLASHES_APART)
        return Losses(clash, int(full), chain, int(refused) - clash if is_told_apart else 0)

    @cached_property
    def retransmitting(self) -> tuple[tuple[ContainerSummary, int], ...]:
        """The containers that sent SYNs, or answers to SYNs, again, and how many, most first."""
        counts = [(each, self.tcp(each, "syn_retrans") or 0) for each in self.snapshot.containers]
        return tuple(sorted((pair for pair in counts if pair[1]), key=lambda pair: -pair[1]))

    @property
    def senders(self) -> str:
        """As `web (28), host (4) and php (2)`: whose sent SYNs again."""
        counts = [*((each.container.name, count) for each, count in self.retransmitting)]
        counts += [(HOST, count)] if (count := self.host_tcp("syn_retrans")) else []
        return named(sorted(counts, key=lambda pair: -pair[1]))

    @property
    def on_host_network(self) -> list[str]:
        """The containers whose TCP is the host's."""
        containers = (each.container for each in self.snapshot.containers)
        return [each.name for each in containers if each.network_mode == HOST and each.state == "running"]

    @property
    def syn_retransmits(self) -> int | None:
        """In all network namespaces; None where none was read."""
        return self.since.tcp_total("syn_retrans") if self.since else None

    @cached_property
    def ports_are_random(self) -> bool | None:
        """Whether NAT picks source ports at random for every network that it masquerades; None is unknown."""
        firewall = self.snapshot.firewall
        rules = [place.rule for place in firewall.networks if place.rule] if firewall else []
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


def _pools(pools: NatPools, name_of: Callable[[int], str]) -> Iterator[Pool]:
    for i in range(min(len(pools), POOLS_LOOKED_AT)):
        shares = slice(int(pools.start[i]), int(pools.start[i + 1]))
        yield Pool(
            int(pools.proto[i]),
            pool_name(pools, i),
            filter_of(pools, i),
            int(pools.used[i]),
            int(pools.soft[i]),
            int(pools.capacity[i]),
            int(pools.time_wait[i]),
            float(pools.loss[i]),
            tuple(
                (name_of(int(code)), int(count))
                for code, count in zip(pools.holder[shares], pools.holds[shares], strict=True)
            ),
        )


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


def known_caller(pile: Pile) -> str:
    """Whose most flows of a pile are; the host where nobody known is."""
    return next((name for name in pile.owners if name != UNKNOWN), HOST)


def many(number: int, thing: str, things: str = "") -> str:
    """As `1 new connection`, `2 new connections`; `things` where an s does not make it several."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def percent_of(part: int, whole: int) -> str:
    """As `97`; 100 only where it is all: `99.9` where little is left."""
    rounded = f"{100 * part / whole:.0f}"
    return "99.9" if rounded == "100" and part < whole else rounded
