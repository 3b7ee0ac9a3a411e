"""NAT chains as data, whichever of the firewall's tools told them."""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from natop.model import NatRule, address_number, address_text, address_value

POSTROUTING = "postrouting"
OUTPUT = "output"
NF_IP_PRI_NAT_DST = -100
NF_IP_PRI_NAT_SRC = 100
"""Of OUTPUT and POSTROUTING in iptables (linux/netfilter_ipv4.h, enum nf_ip_hook_priorities)."""


@dataclass(frozen=True, slots=True)
class Span:
    """Addresses from low to high, both included; IPv4 as ::ffff:a.b.c.d."""

    low: int
    high: int

    @property
    def text(self) -> str:
        """An address, a prefix, or a-b."""
        size = self.high - self.low + 1
        first = address_text(self.low)
        if size == 1:
            return first
        if size & (size - 1) or self.low % size:
            return f"{first}-{address_text(self.high)}"
        return f"{first}/{(128 if ':' in first else 32) - size.bit_length() + 1}"


def span(text: str) -> Span | None:
    """`a`, `a/length`, `a/mask` or `a-b` as a span; None for anything else."""
    try:
        first, dash, last = text.partition("-")
        if dash:
            found = Span(address_value(first), address_value(last))
            return found if found.low <= found.high else None
        network = ipaddress.ip_network(text, strict=False)
        return Span(address_number(network.network_address), address_number(network.broadcast_address))
    except ValueError:
        return None


class Field(StrEnum):
    """What a condition looks at, and what its values are."""

    SRC = auto()
    """Span."""
    DST = auto()
    """Span."""
    IIF = auto()
    """Interface name; a `*` at its end stands for any rest."""
    OIF = auto()
    """As IIF."""
    PROTO = auto()
    """Lower-case name of the protocol."""
    FAMILY = auto()
    """4 or 6."""
    MARK = auto()
    """(value, mask)."""
    STATE = auto()
    """Lower-case word of conntrack's: new, dnat, …"""
    SRC_TYPE = auto()
    """Lower-case word of the routing table's: local, unicast, …"""
    DST_TYPE = auto()
    """As SRC_TYPE."""
    IPSEC = auto()
    """none or ipsec."""
    PORT = auto()
    """Never looked at: some port or ICMP type."""
    SET = auto()
    """Never looked at: some set of destinations."""
    LOCAL = auto()
    """Never looked at: only packets of the host's own processes, or bridged ones, have it."""
    UNKNOWN = auto()
    """Something that cannot be judged."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One of a rule's conditions: the field has any of the values, or with `negated` none of them."""

    field: Field
    values: tuple[object, ...] = ()
    negated: bool = False


UNKNOWN = Condition(Field.UNKNOWN)


class Verdict(Enum):
    """What becomes of a packet that meets a rule's conditions."""

    NAT = auto()
    JUMP = auto()
    GOTO = auto()
    RETURN = auto()
    END = auto()
    """accept, drop and their like: this base chain is done with it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that decides something; rules that only count or mark are left out."""

    conditions: tuple[Condition, ...]
    verdict: Verdict
    target: str = ""
    """The chain to jump to."""
    nat: NatRule | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    backend: str
    """nft, iptables-nft, iptables-legacy, and their ip6tables fellows."""
    families: tuple[int, ...]
    """4, 6 or both."""
    table: str
    """As people name it: nat, `ip docker-bridges`."""
    name: str
    rules: tuple[Rule, ...] = ()
    hook: str | None = None
    """Of a base chain: POSTROUTING or OUTPUT."""
    priority: int = 0
    age: int = 0
    """Of a base chain: the larger was made later; 0 is unknown."""


Key = tuple[str, str, str]
"""Backend, table and name of a chain."""


@dataclass(frozen=True, slots=True)
class Ruleset:
    chains: Mapping[Key, Chain]

    def base(self, hook: str, family: int) -> list[Chain]:
        """The chains at a hook in the kernel's order.

        By priority; of equals the newest first (net/netfilter/core.c, nf_hook_entries_grow). When a table was made
        stands for when its chain was, and iptables-legacy's is taken for the oldest: neither is told more exactly.
        """
        found = [chain for chain in self.chains.values() if chain.hook == hook and family in chain.families]
        return sorted(found, key=lambda chain: (chain.priority, -chain.age))

    def target(self, chain: Chain, rule: Rule) -> Chain | None:
        """The chain that a rule of `chain` jumps to."""
        return self.chains.get((chain.backend, chain.table, rule.target))

    def reached(self, start: Chain) -> Iterator[tuple[Chain, Rule]]:
        """Each rule that can be reached from a base chain, in the order of its first use."""
        seen = {start.name}
        waiting = [(start, iter(start.rules))]
        while waiting:
            chain, rules = waiting[-1]
            rule = next(rules, None)
            if rule is None:
                waiting.pop()
                continue
            yield chain, rule
            target = self.target(chain, rule) if rule.verdict in (Verdict.JUMP, Verdict.GOTO) else None
            if target and target.name not in seen:
                seen.add(target.name)
                waiting.append((target, iter(target.rules)))
