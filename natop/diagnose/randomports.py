"""The remedy against races for NAT source ports: a table of nft's own that chooses them at random."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_network

from natop.diagnose.evidence import Evidence
from natop.diagnose.places import elsewhere, wanting_nft
from natop.diagnose.repeatable import anew, inserted_once
from natop.model import NatRule, Network, NetworkNat, Remedy, Snippet

TABLE = "natop_random"
PRIORITY = 90
"""Before Docker's own chain at srcnat (100): the first NAT rule that takes a connection wins (nf_nat_core.c)."""
BRIDGES = ("docker0", "br-*")
"""The names that Docker gives its bridges. They stand in rules of their own: before 1.0.3 nft takes no `*` in a set."""
NAMES_COME_IN = (5, 5)
"""Since then a rule after routing can ask for the interface that a packet came in by (nft_meta.c)."""
BOTH_NAT = (4, 18)
"""Since then nft and iptables may both do NAT (the nftables wiki, Performing Network Address Translation)."""
PORTED = ("tcp", "udp")
"""What the table takes; everything else stays with the rules that there are."""
_EITHER = "meta l4proto { tcp, udp }"


def fully_random(evidence: Evidence) -> Remedy:
    """Ports chosen at random for Docker's bridge networks, by a table that Docker leaves alone where nft can do NAT
    beside iptables."""
    return _by_table(evidence) if evidence.kernel_is(BOTH_NAT) is not False else _by_iptables(evidence)


def _by_iptables(evidence: Evidence) -> Remedy:
    """A rule before Docker's for each network that has NAT."""
    rules = [rule for place in _nat_of_today(evidence) for rule in _rule_of_iptables(place)]
    first = rules[0][0] if rules else "iptables"
    return Remedy(
        "Let NAT choose source ports at random, by a rule for each network before Docker's (iptables 1.6.2 or later); "
        "Docker has no option for it. They last until a reboot, but when a network is made anew, as compose does by "
        "down and up, Docker puts its own rule above: undo it then, and run the commands again."
        + ("" if rules else " Not yet: natop knows no bridge network that has NAT.")
        + elsewhere(evidence),
        tuple(inserted_once(f"{tool} -t nat", "POSTROUTING", rule) for tool, rule in rules),
        tuple(f"{tool} -t nat -D POSTROUTING {rule}" for tool, rule in reversed(rules)),
        "source ports are no longer kept, which some UDP, STUN, IPsec and NFS peers rely on; rules that exempt some "
        "destinations from NAT, those of a VPN say, are no longer asked where they come later",
        f"{first} -t nat -nvL POSTROUTING: its counters rise; insert_failed stands still",
    )


def _nat_of_today(evidence: Evidence) -> Iterator[NetworkNat]:
    """Networks with NAT; by the engine's word where the rules could not be read."""
    if evidence.snapshot.firewall:
        yield from (place for place in _places(evidence) if place.rule)
        return
    for network in _networks(evidence):
        if not network.internal:
            yield from (NetworkNat(network.name, each, None, bridge=network.bridge) for each in network.subnets)


def _rule_of_iptables(place: NetworkNat) -> Iterator[tuple[str, str]]:
    """The tool and the rule; none where that of today has a range of ports, maps prefixes, or takes TCP alone."""
    rule = place.rule
    if not (_is_subnet(place.subnet) and place.bridge and _is_plain(place.bridge)):
        return
    if rule and (place.rule_of("udp") != rule or rule.ports or rule.protocols or "/" in (rule.to_address or "")):
        return
    to = rule.to_address if rule else None
    target = f"SNAT --to-source {to}" if to else "MASQUERADE"
    tool = "ip6tables" if _family(place) == "ip6" else "iptables"
    yield tool, f"-s {place.subnet} ! -o {shlex.quote(place.bridge)} -j {target} --random-fully"


def _by_table(evidence: Evidence) -> Remedy:
    families = _families(evidence)
    tables = [f"{anew(family, TABLE)}\n{random_table(family, evidence)}" for family in families]
    kept = () if evidence.snapshot.host.entered else _kept(tables)
    return Remedy(
        "Let NAT choose source ports at random, in a table of its own before Docker's; Docker has no option for it. "
        + _lasts(evidence)
        + wanting_nft(evidence)
        + elsewhere(evidence)
        + (" For the next boot, write the two files and run `systemctl enable natop-random`." if kept else ""),
        tuple(f"nft -f - <<'END'\n{table}\nEND" for table in tables),
        tuple(f"nft delete table {family} {TABLE}" for family in families),
        "source ports are no longer kept, which some UDP, STUN, IPsec and NFS peers rely on; rules that exempt some "
        "destinations from NAT, those of a VPN say, are no longer asked: put such lines before the last ones"
        + ("; bridges of others that are named br-… are taken too" if _by_name(evidence) else ""),
        f"nft list table {families[0]} {TABLE}: its counters rise; insert_failed stands still",
        kept,
        "`systemctl disable natop-random`, where it was enabled" if kept else None,
    )


KEPT = "/etc/natop-random.nft"
_UNIT = f"""[Unit]
Description=NAT source ports at random
Before=docker.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f {KEPT}

[Install]
WantedBy=multi-user.target"""
"""A unit of its own: where nftables.service stands for it, a reload of that flushes Docker's rules too."""


def _kept(tables: Sequence[str]) -> tuple[Snippet, ...]:
    """The tables as a file, and what loads it at boot."""
    return Snippet(KEPT, "\n".join(tables)), Snippet("/etc/systemd/system/natop-random.service", _UNIT)


def _lasts(evidence: Evidence) -> str:
    if not _by_name(evidence):
        return "It survives restarts of dockerd; a new network needs a line of its own."
    lasts = (
        "It survives restarts of dockerd, and holds for new networks; one without NAT needs a line with `return`, and "
        "of one with an address of its own natop says that it is hidden."
    )
    if evidence.snapshot.firewall is None:
        return f"{lasts} The NAT rules could not be read: such networks need that line now."
    return lasts


def _families(evidence: Evidence) -> tuple[str, ...]:
    """Those in which Docker's networks have NAT; IPv4 where nobody knows."""
    translated = {_family(place) for place in _places(evidence) if place.rule}
    return tuple(sorted(translated)) or ("ip",)


def random_table(family: str, evidence: Evidence) -> str:
    """The table of one family (ip, ip6), as nft reads it."""
    lines = "".join(f"    {line}\n" for line in _lines(family, evidence))
    return (
        f"table {family} {TABLE} {{\n"
        "  chain postrouting {\n"
        f"    type nat hook postrouting priority {_priority(evidence)}; policy accept;\n"
        f"{lines}"
        "  }\n"
        "}"
    )


def _priority(evidence: Evidence) -> int:
    """Before the rules that the networks have now; natop's own table, made anew, stays where it is."""
    rules = [place.rule for place in _places(evidence) if place.rule]
    return min([PRIORITY, *(rule.priority - (0 if rule.natop_s else 10) for rule in rules)])


def _lines(family: str, evidence: Evidence) -> Iterator[str]:
    """What stays between bridges is left alone, then what has no NAT or one of its own; the rest is masqueraded."""
    yield from (f'oifname "{bridge}" return' for bridge in _bridges(evidence))
    yield from (f"{family} daddr {subnet} return" for subnet in _unnamed(family, evidence))
    for place in _places(evidence):
        if _family(place) == family:
            yield from _own_lines(place, _source(place, evidence))
    yield from (f"{source} {_EITHER} counter masquerade fully-random" for source in _sources(family, evidence))


def _sources(family: str, evidence: Evidence) -> list[str]:
    """All of Docker's bridges; by their subnets where the kernel cannot ask for a name."""
    if _by_name(evidence):
        routed = {place.subnet for place in _places(evidence) if place.rule is None}
        unnamed = [f"{family} saddr {subnet}" for subnet in _unnamed(family, evidence) if subnet not in routed]
        return [f'iifname "{bridge}"' for bridge in _bridges(evidence)] + unnamed
    if evidence.snapshot.firewall:
        return [_source(place, evidence) for place in _places(evidence) if place.rule and _family(place) == family]
    networks = [network for network in _networks(evidence) if not network.internal]
    return [f"{family} saddr {subnet}" for subnet in _subnets(family, networks)]


def _unnamed(family: str, evidence: Evidence) -> list[str]:
    """The subnets of bridges whose names cannot stand in a rule."""
    return _subnets(family, [each for each in _networks(evidence) if each.bridge and not _is_plain(each.bridge)])


def _subnets(family: str, networks: Iterable[Network]) -> list[str]:
    """Those of that family, and nothing else that an engine might tell."""
    found = (subnet for network in networks for subnet in network.subnets if _is_subnet(subnet))
    return [subnet for subnet in found if (":" in subnet) == (family == "ip6")]


def _is_subnet(text: str) -> bool:
    """Whether it is one and no more: the name of a zone behind a `%` may hold anything."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return "%" not in text


def _own_lines(place: NetworkNat, source: str) -> Iterator[str]:
    """What the last lines of the table would do otherwise than the rules of today."""
    by_rule: dict[NatRule | None, list[str]] = {}
    for proto in PORTED:
        rule = place.rule_of(proto)
        taken = rule if rule is None or not rule.protocols or proto in rule.protocols else None
        by_rule.setdefault(taken, []).append(proto)
    for rule, protocols in by_rule.items():
        is_all = len(protocols) == len(PORTED)
        which = _EITHER if is_all else f"meta l4proto {protocols[0]}"
        if rule is None or "/" in (rule.to_address or ""):
            yield f"{source} return" if is_all else f"{source} {which} return"
        elif rule.to_address or rule.ports:
            yield f"{source} {which} counter {_translation(rule)} fully-random"


def _translation(rule: NatRule) -> str:
    """As `snat to 203.0.113.11:1024-2047` or `masquerade to :1024-2047`; IPv6 addresses in brackets before ports."""
    ports = f":{min(rule.ports)}-{max(rule.ports)}" if rule.ports else ""
    if rule.to_address is None:
        return f"masquerade to {ports}"
    ends = rule.to_address.replace("[", "").replace("]", "").split("-")
    if ports and ":" in rule.to_address:
        ends = [f"[{end}]" for end in ends]
    return f"snat to {'-'.join(ends)}{ports}"


def _source(place: NetworkNat, evidence: Evidence) -> str:
    """What tells a network's packets from others'."""
    if _by_name(evidence) and place.bridge and _is_plain(place.bridge):
        return f'iifname "{place.bridge}"'
    return f"{_family(place)} saddr {place.subnet}"


def _by_name(evidence: Evidence) -> bool:
    return evidence.kernel_is(NAMES_COME_IN) is not False


def _family(place: NetworkNat) -> str:
    return "ip6" if ":" in place.subnet else "ip"


def _places(evidence: Evidence) -> Sequence[NetworkNat]:
    """As they are beneath natop's own tables: a network may have got an address of its own since these were made."""
    firewall = evidence.snapshot.firewall
    networks = firewall.networks if firewall else ()
    beneath = (each.beneath if each.beneath and each.beneath.rule else each for each in networks)
    return [place for place in beneath if _is_subnet(place.subnet)]


def _bridges(evidence: Evidence) -> tuple[str, ...]:
    """Docker's patterns, and the names that people gave."""
    named = {network.bridge for network in _networks(evidence) if network.bridge}
    return (*BRIDGES, *sorted(name for name in named if _is_plain(name) and not _is_docker_s(name)))


def _is_docker_s(name: str) -> bool:
    return name == "docker0" or name.startswith("br-")


def _networks(evidence: Evidence) -> Sequence[Network]:
    inventory = evidence.snapshot.inventory
    return [each for each in inventory.networks if each.driver == "bridge"] if inventory else ()


def _is_plain(name: str) -> bool:
    """Whether an interface's name can stand in a command as it is."""
    return name.replace("-", "").replace("_", "").replace(".", "").isalnum() and name.isascii()
