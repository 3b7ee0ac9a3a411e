"""What the NAT chains do to packets of Docker's bridge networks.

The kernel asks the base chains of a hook one after the other until one has set up NAT for a connection
(net/netfilter/nf_nat_core.c, nf_nat_inet_fn): `accept` and `return` end a chain, not the search.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from natop.decode.chains import OUTPUT, POSTROUTING, Chain, Condition, Field, Rule, Ruleset, Span, Verdict, span
from natop.model import NATOP_S, V4_MAPPED, Firewall, NatRule, Network, NetworkNat

BRIDGE = "bridge"
DEEPEST = 16
"""Jumps within one another; the kernel's own bound (linux/netfilter/nf_tables.h, NFT_JUMP_STACK_SIZE)."""
MOST_RULES = 50_000
"""Rules looked at for one packet; real ones do not come near."""

DOCKER_NFT = ("ip docker-bridges", "ip6 docker-bridges")
DOCKER_CHAIN = "DOCKER"
NETAVARK_NFT = "inet netavark"
NETAVARK_CHAIN = "NETAVARK-HOSTPORT-DNAT"
"""Of Podman's netavark."""
DOCKER_PUBLISHED = {DOCKER_CHAIN, "nat-prerouting-and-output"}
"""The chains in which Docker's rules for published ports are, by iptables and by nft."""
_BACKENDS = {"nft": "nftables", "iptables-nft": "iptables-nft", "iptables-legacy": "iptables-legacy"}
LOOPBACK = span("127.0.0.0/8")


class Match(IntEnum):
    """Which packets of a network something matches. The lesser is the conjunction, the greater the disjunction."""

    NEVER = 0
    SELDOM = 1
    """Some, but not the ordinary one."""
    ORDINARILY = 2
    """The ordinary one, but not all."""
    ALWAYS = 3

    def inverted(self) -> "Match":
        return Match(3 - self)


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection from a container, at the hook POSTROUTING."""

    family: int
    source: Span
    bridge: str | None
    ways_out: frozenset[str]
    """The interfaces that the ordinary packet leaves by; empty is unknown."""
    proto: str = "tcp"
    turned_back: bool = False
    """It leaves by the bridge that it came in by, for a port published by the same network."""


def judge(ruleset: Ruleset, networks: Iterable[Network], ways_out: Mapping[int, frozenset[str]]) -> Firewall:
    """The source-NAT rules, and which of them takes what each bridge network sends out."""
    bridges = [each for each in networks if each.driver == BRIDGE]
    return Firewall(
        _rules(ruleset),
        tuple(_network(ruleset, each, subnet, ways_out) for each in bridges for subnet in each.subnets if span(subnet)),
        backend(ruleset),
        userland_proxy(ruleset),
    )


def placed(networks: Iterable[Network], interfaces: Mapping[str, str]) -> tuple[Network, ...]:
    """The networks with their bridges' names where the engine tells none: `interfaces` by the subnets on them."""
    return tuple(
        each
        if each.bridge or each.driver != BRIDGE
        else replace(each, bridge=next((interfaces[subnet] for subnet in each.subnets if subnet in interfaces), None))
        for each in networks
    )


def backend(ruleset: Ruleset) -> str | None:
    """Where the engine's rules are; nft before iptables, where rules of an engine before have been left behind."""
    found = {
        chain.backend
        for chain in ruleset.chains.values()
        if chain.table in (*DOCKER_NFT, NETAVARK_NFT)
        or any(rule.target in (DOCKER_CHAIN, NETAVARK_CHAIN) for rule in chain.rules)
    }
    return next((name for key, name in _BACKENDS.items() if key in found), None)


def userland_proxy(ruleset: Ruleset) -> bool | None:
    """Whether Docker leaves calls to 127.0.0.1 to docker-proxy: then its rule for the host's own packets spares them.

    So it is in moby, with iptables (addNATJumpRules) and nftables; None where there is no such rule.
    """
    for chain in ruleset.base(OUTPUT, 4):
        for rule in chain.rules:
            if rule.target in DOCKER_PUBLISHED:
                return any(c.field is Field.DST and c.negated and LOOPBACK in c.values for c in rule.conditions)
    return None


def described(firewall: Firewall, network: str) -> str:
    """What becomes of a network's source addresses, in a few words; empty where it is not known."""
    subnets = (each for each in firewall.networks if each.network == network)
    found = {nat_words(each.rule, each.internal): ":" in each.subnet for each in subnets}
    if len(found) < 2:
        return next(iter(found), "")
    return ", ".join(f"IPv{6 if is_six else 4} {words}" for words, is_six in found.items())


def nat_words(rule: NatRule | None, internal: bool) -> str:
    """What becomes of source addresses that this rule takes, or none."""
    if rule is None:
        return "internal" if internal else "no NAT"
    return rule_words(rule)


def rule_words(rule: NatRule) -> str:
    """What a rule does to source addresses, as `MASQUERADE fully-random`."""
    words = [rule.action, f"to {rule.to_address}" if rule.to_address else ""]
    words += [f"ports {rule.ports[0]}-{rule.ports[1]}" if rule.ports else ""]
    words += ["fully-random" if rule.fully_random else "random" if rule.random else ""]
    return " ".join(filter(None, words))


def _rules(ruleset: Ruleset) -> tuple[NatRule, ...]:
    """All source-NAT rules in the order in which the kernel consults them, IPv4's first."""
    found: dict[int, NatRule] = {}
    for family in (4, 6):
        for base in ruleset.base(POSTROUTING, family):
            for _, rule in ruleset.reached(base):
                if rule.nat:
                    found.setdefault(id(rule), _placed(rule.nat, base))
    return tuple(found.values())


def _placed(rule: NatRule, base: Chain) -> NatRule:
    """A rule with the priority of the base chain that it is reached from."""
    return rule if rule.priority == base.priority else replace(rule, priority=base.priority)


def _network(ruleset: Ruleset, network: Network, subnet: str, ways_out: Mapping[int, frozenset[str]]) -> NetworkNat:
    """What becomes of one subnet's packets; nothing leaves an internal network."""
    if network.internal:
        return NetworkNat(network.name, subnet, None, bridge=network.bridge, internal=True)
    family = 6 if ":" in subnet else 4
    packet = Packet(family, span(subnet) or Span(0, 0), network.bridge, ways_out.get(family, frozenset()))
    rule, others = _consult(ruleset, packet)
    udp_rule, udp_others = _consult(ruleset, replace(packet, proto="udp"))
    is_natop_s = any(each and each.natop_s for each in (rule, udp_rule))
    back = replace(packet, ways_out=frozenset(filter(None, (network.bridge,))), turned_back=True)
    taker, some = (None, ()) if userland_proxy(ruleset) else _consult(ruleset, back)
    return NetworkNat(
        network.name,
        subnet,
        rule=rule,
        by_protocol={} if udp_rule == rule else {"udp": udp_rule},
        others=tuple(dict.fromkeys((*others, *udp_others))),
        hairpin=next(iter(some), taker),
        bridge=network.bridge,
        beneath=_network(_without_natop_s(ruleset), network, subnet, ways_out) if is_natop_s else None,
    )


def _without_natop_s(ruleset: Ruleset) -> Ruleset:
    """The chains of all others."""
    chains = ruleset.chains.items()
    return Ruleset({key: each for key, each in chains if not each.table.partition(" ")[2].startswith(NATOP_S)})


@dataclass(slots=True)
class _Search:
    """One packet on its way through the chains."""

    ruleset: Ruleset
    packet: Packet
    base: Chain
    taker: NatRule | None = None
    others: list[NatRule] = field(default_factory=list)
    left: int = MOST_RULES
    """How many rules it may yet look at."""

    def walk(self, chain: Chain, weight: Match, depth: int = 0) -> bool:
        """Go through a chain that is reached with `weight`; True where the base chain is done with the ordinary packet.

        A rule that takes some packets only is noted, and the ordinary packet goes on.
        """
        for rule in chain.rules:
            self.left -= 1
            match = min(weight, self.matches(rule))
            if match is Match.NEVER:
                continue
            ordinary = match >= Match.ORDINARILY
            if rule.nat and not ordinary:
                self.others.append(_placed(rule.nat, self.base))
            elif rule.nat:
                self.taker = _placed(rule.nat, self.base)
                return True
            elif rule.verdict in (Verdict.JUMP, Verdict.GOTO):
                target = self.ruleset.target(chain, rule)
                done = target is not None and self.may_go(depth) and self.walk(target, match, depth + 1)
                if ordinary and (done or rule.verdict is Verdict.GOTO):
                    return done
            elif ordinary:
                return rule.verdict is Verdict.END
        return False

    def may_go(self, depth: int) -> bool:
        return depth < DEEPEST and self.left > 0

    def matches(self, rule: Rule) -> Match:
        return min((_matches(each, self.packet) for each in rule.conditions), default=Match.ALWAYS)


def _consult(ruleset: Ruleset, packet: Packet) -> tuple[NatRule | None, tuple[NatRule, ...]]:
    """The first rule that takes the ordinary packet, and those before it that take some."""
    others: list[NatRule] = []
    for base in ruleset.base(POSTROUTING, packet.family):
        search = _Search(ruleset, packet, base)
        search.walk(base, Match.ALWAYS)
        others += search.others
        if search.taker:
            return search.taker, tuple(others)
    return None, tuple(others)


def _matches(condition: Condition, packet: Packet) -> Match:
    """What is unknown fits some packets, negated or not."""
    if condition.field is Field.UNKNOWN:
        return Match.SELDOM
    found = max((_fit(condition.field, value, packet) for value in condition.values), default=Match.NEVER)
    return found.inverted() if condition.negated else found


def _fit(kind: Field, value: object, packet: Packet) -> Match:
    """Which packets have this value of a condition's field."""
    match kind:
        case Field.SRC:
            return _within(value, packet.source)
        case Field.DST if packet.turned_back:
            return _within(value, packet.source)
        case Field.DST:
            return Match.ALWAYS if _within(value, EVERYWHERE[packet.family]) is Match.ALWAYS else Match.SELDOM
        case Field.IIF:
            return _incoming(value, packet)
        case Field.OIF:
            return _outgoing(value, packet)
        case Field.MARK:
            return Match.ORDINARILY if _is_unmarked(value) else Match.SELDOM
        case Field.STATE if value == "dnat" and packet.turned_back:
            return Match.ALWAYS
        case Field.STATE:
            return Match.ORDINARILY if value == "new" else Match.SELDOM
        case Field.PORT | Field.SET:
            return Match.SELDOM
    return Match.ALWAYS if value == _constant(kind, packet) else Match.NEVER


def _constant(kind: Field, packet: Packet) -> object:
    """What all packets have in a field; None for what none has."""
    match kind:
        case Field.PROTO:
            return packet.proto
        case Field.FAMILY:
            return packet.family
        case Field.SRC_TYPE | Field.DST_TYPE:
            return "unicast"
        case Field.IPSEC:
            return "none"
    return None


EVERYWHERE = {4: Span(V4_MAPPED, V4_MAPPED | 0xFFFFFFFF), 6: Span(0, (1 << 128) - 1)}


def _within(value: object, mine: Span) -> Match:
    """Whether addresses of `mine` are in a span."""
    if not isinstance(value, Span) or value.high < mine.low or mine.high < value.low:
        return Match.NEVER
    return Match.ALWAYS if value.low <= mine.low and mine.high <= value.high else Match.SELDOM


def _is_named(pattern: object, name: str) -> bool:
    """Whether an interface has this name; a `*` at the end stands for any rest."""
    if not isinstance(pattern, str):
        return False
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _incoming(value: object, packet: Packet) -> Match:
    if packet.bridge is None:
        return Match.SELDOM
    return Match.ALWAYS if _is_named(value, packet.bridge) else Match.NEVER


def _outgoing(value: object, packet: Packet) -> Match:
    """Any interface but its own bridge may be the way out; those of the default route are the ordinary ones."""
    named = [name for name in packet.ways_out if _is_named(value, name)]
    if packet.turned_back:
        return Match.ALWAYS if named else Match.SELDOM if packet.bridge is None else Match.NEVER
    if named:
        return Match.ORDINARILY if len(named) == len(packet.ways_out) else Match.SELDOM
    if value == "*":
        return Match.ALWAYS
    return Match.NEVER if value == packet.bridge else Match.SELDOM


def _is_unmarked(value: object) -> bool:
    """Whether 0 fits (value, mask): a packet is unmarked until a rule marks it."""
    match value:
        case (0, int()):
            return True
    return False
