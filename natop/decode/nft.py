"""What `nft -j list table` and `nft -a list table` print, to chains. What is unknown is skipped, never an error.

The JSON (libnftables-json(5)) is what is judged; the text gives each rule's own spelling, by its handle. Rules made by
iptables-nft are in it as `xt` expressions without their arguments.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from natop.decode.chains import OUTPUT, POSTROUTING, UNKNOWN, Chain, Condition, Field, Rule, Verdict, span
from natop.decode.fields import Fields, inner, mapping, raw_text
from natop.decode.iptables import destination, protocols, sources
from natop.model import NatRule
from natop.text import clean
from natop.uapi import proto_name

BACKEND = "nft"
MAX_PORT = 0xFFFF
MAX_PRIORITY = 1 << 31
FAMILIES = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
Named = Mapping[tuple[str, str, str], Sequence[object]]
"""Elements of named sets and maps, by family, table and name."""

_NEUTRAL = {"counter", "log", "mangle", "set", "comment", "notrack"}
"""Statements that limit nothing and decide nothing."""
_VERDICTS = {"return": Verdict.RETURN, "accept": Verdict.END, "drop": Verdict.END, "queue": Verdict.END}
_VERDICTS |= {"reject": Verdict.END, "dnat": Verdict.END, "redirect": Verdict.END}
_JUMPS = {"jump": Verdict.JUMP, "goto": Verdict.GOTO}
_COUNT = re.compile(r" packets \d+ bytes \d+")


def objects(text: str, kind: str) -> Iterator[Fields]:
    """The objects of a kind (table, chain, rule, set, map) in one of nft's answers; none where it is no JSON."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return
    for item in _list(mapping(answer).get("nftables")):
        found = mapping(item).get(kind)
        if isinstance(found, Mapping) and raw_text(found, "family") in FAMILIES:
            yield found


def has_iptables_rules(text: str) -> bool:
    """Whether a listing has rules that iptables-nft made."""
    return any("xt" in mapping(part) for rule in objects(text, "rule") for part in _list(rule.get("expr")))


def decode_tables(
    listings: Sequence[str], spellings: Sequence[str], ages: Mapping[tuple[str, str], int]
) -> list[Chain]:
    """The chains of the tables listed, as JSON and as text; `ages` by family and name of the table."""
    spelled = {key: text for listing in spellings for key, text in _spelled(listing)}
    found = []
    for listing in listings:
        named = {_key(each): _list(each.get("elem")) for kind in ("set", "map") for each in objects(listing, kind)}
        rules: dict[tuple[str, str, str], list[Fields]] = {}
        for each in objects(listing, "rule"):
            rules.setdefault(_key(each, "chain"), []).append(each)
        for each in objects(listing, "chain"):
            found.append(_chain(each, rules.get(_key(each), []), _Table(named, spelled), ages))
    return found


def _spelled(listing: str) -> Iterator[tuple[tuple[str, str, str, int], str]]:
    """Each rule's own spelling without its counters, by family, table, chain and handle."""
    family = table = chain = ""
    for line in listing.splitlines():
        if found := re.match(r"table (\S+) (\S+) \{", line):
            family, table = found.groups()
        elif found := re.match(r"\t(\S+) (\S+) \{", line):
            chain = found[2] if found[1] == "chain" else ""
        elif chain and (found := re.fullmatch(r"\t\t(.+) # handle (\d{1,18})", line)):
            yield (family, table, chain, int(found[2])), _COUNT.sub("", found[1])


@dataclass(frozen=True, slots=True)
class _Table:
    """What the rules of a table refer to."""

    named: Named
    spelled: Mapping[tuple[str, str, str, int], str]


def _chain(fields: Fields, rules: Sequence[Fields], table: _Table, ages: Mapping[tuple[str, str], int]) -> Chain:
    family, owner, name = _key(fields)
    hook = raw_text(fields, "hook") if raw_text(fields, "type") == "nat" else ""
    priority = fields.get("prio")
    known = priority if isinstance(priority, int) and abs(priority) <= MAX_PRIORITY else 0
    base = NatRule(BACKEND, clean(f"{family} {owner} {name}"), known, "")
    return Chain(
        BACKEND,
        FAMILIES[family],
        f"{family} {owner}",
        name,
        tuple(rule for each in rules for rule in _rules(each, _Reading(table, (family, owner), base))),
        hook if hook in (POSTROUTING, OUTPUT) else None,
        base.priority,
        ages.get((family, owner), 0),
    )


@dataclass(slots=True)
class _Reading:
    """One rule while its expressions are read."""

    table: _Table
    owner: tuple[str, str]
    place: NatRule
    conditions: list[Condition] = field(default_factory=list)

    def elements(self, value: object) -> Sequence[object] | None:
        """What a right-hand side stands for, one by one; None where a named set is not in the listing."""
        if isinstance(value, str) and value.startswith("@"):
            return self.table.named.get((*self.owner, value[1:]))
        inner = mapping(value).get("set")
        return _list(inner) if inner is not None else value if isinstance(value, list) else [value]

    def nat(self, action: str, **more: object) -> Rule:
        limits = tuple(self.conditions)
        given = {"sources": sources(limits), "protocols": protocols(limits)} | more
        return Rule(limits, Verdict.NAT, nat=replace(self.place, action=action, **given))  # type: ignore[arg-type]


def _rules(fields: Fields, reading: _Reading) -> Iterator[Rule]:
    """The rule, or one for each element of its verdict map."""
    handle = fields.get("handle")
    key = (*_key(fields, "chain"), handle if isinstance(handle, int) else -1)
    reading.place = replace(reading.place, text=clean(reading.table.spelled.get(key, "")))
    for part in _list(fields.get("expr")):
        for name, value in mapping(part).items():
            rules = list(_statement(name, value, reading))
            yield from rules
            if rules and name != "vmap":
                return


def _statement(name: str, value: object, reading: _Reading) -> Iterator[Rule]:
    """The rules that end with this statement; without one it adds to the conditions, or does nothing."""
    options = mapping(value)
    if name == "match":
        reading.conditions += _match(options, reading)
    elif name in _VERDICTS:
        yield Rule(tuple(reading.conditions), _VERDICTS[name])
    elif name in _JUMPS:
        yield Rule(tuple(reading.conditions), _JUMPS[name], raw_text(options, "target"))
    elif name == "vmap":
        yield from _verdict_map(options, reading)
    elif name in ("masquerade", "snat"):
        action = "MASQUERADE" if name == "masquerade" else "SNAT"
        if _may_miss(options.get("addr")) or _may_miss(options.get("port")):
            reading.conditions.append(UNKNOWN)
        yield reading.nat(
            action, to_address=_to(options.get("addr")), ports=_ports(options.get("port")), **_flags(options)
        )
    elif name == "xt":
        yield from _xt(options, reading)
    elif name not in _NEUTRAL:
        reading.conditions.append(UNKNOWN)


def _may_miss(to: object) -> bool:
    """Whether NAT's address or port is looked up by something of the packet's own.

    Where the map lacks that, the rule does not apply (nft_lookup_eval); a number that nft makes up it has.
    """
    key = inner(mapping(to), "map", "key")
    return bool(key) and key.keys().isdisjoint(("numgen", "jhash", "symhash"))


def _verdict_map(options: Fields, reading: _Reading) -> Iterator[Rule]:
    before = tuple(reading.conditions)
    for element in reading.elements(options.get("data")) or ():
        if not isinstance(element, list) or len(element) != 2:
            continue
        reading.conditions[:] = [*before, *_compared(options.get("key"), "==", [element[0]])]
        for name, value in mapping(element[1]).items():
            if name in _VERDICTS or name in _JUMPS:
                yield from _statement(name, value, reading)
    reading.conditions[:] = before


def _xt(options: Fields, reading: _Reading) -> Iterator[Rule]:
    """A match or target of iptables; its options are in the text alone, where nft can spell it."""
    name, text = raw_text(options, "name"), reading.place.text
    if options.get("type") == "target" and name in ("MASQUERADE", "SNAT"):
        to = re.search(r"\b(?:masquerade|snat) to (\S+)", text)
        address, ports = destination(to[1] if to else "")
        yield reading.nat(
            name,
            to_address=address,
            ports=ports,
            random=bool(re.search(r"(?<!fully-)\brandom\b", text)),
            fully_random="fully-random" in text,
        )
    elif options.get("type") != "target" and name != "comment":
        reading.conditions.append(UNKNOWN)


def _match(options: Fields, reading: _Reading) -> list[Condition]:
    values = reading.elements(options.get("right"))
    return [UNKNOWN] if values is None else _compared(options.get("left"), raw_text(options, "op"), values)


def _compared(left: object, operator: str, values: Sequence[object]) -> list[Condition]:
    """The conditions that `left operator values` means: what a field's protocol implies, and the comparison itself."""
    mask = _list(mapping(left).get("&"))
    kind = _kind(mask[0] if mask else left)
    if kind is None or operator not in ("==", "!=", "in", ""):
        return [*_implied(left), UNKNOWN]
    decoded = [_value(kind, each, mask[1] if len(mask) == 2 else _WHOLE) for each in values]
    if any(each is None for each in decoded):
        return [*_implied(left), UNKNOWN]
    return [*_implied(left), Condition(kind, tuple(decoded), operator == "!=" and kind is not Field.LOCAL)]


_WHOLE = 0xFFFFFFFF
_META = {
    **dict.fromkeys(("iifname", "iif"), Field.IIF),
    **dict.fromkeys(("oifname", "oif"), Field.OIF),
    **dict.fromkeys(("nfproto", "protocol"), Field.FAMILY),
    **dict.fromkeys(("skuid", "skgid"), Field.LOCAL),  # matches nothing without a socket, negated or not
    "l4proto": Field.PROTO,
    "mark": Field.MARK,
}
_CT = {"state": Field.STATE, "status": Field.STATE, "mark": Field.MARK}
_IP = {"saddr": Field.SRC, "daddr": Field.DST, "protocol": Field.PROTO, "nexthdr": Field.PROTO}
_FIB = {"saddr": Field.SRC_TYPE, "daddr": Field.DST_TYPE}
_FAMILY = {"ipv4": 4, "ip": 4, "ipv6": 6, "ip6": 6}


def _kind(left: object) -> Field | None:
    """What a left-hand side looks at; None for what cannot be judged."""
    sides = {name: mapping(options) for name, options in mapping(left).items()}
    match sides:
        case {"meta": {"key": str(key)}}:
            return _META.get(key)
        case {"ct": {"key": str(key), **others}} if not others:
            return _CT.get(key)
        case {"payload": {"protocol": "ip" | "ip6", "field": str(name)}}:
            return _IP.get(name)
        case {"payload": {"field": "sport" | "dport" | "type"}}:
            return Field.PORT
        case {"fib": {"result": "type", "flags": [str(flag)]}}:
            return _FIB.get(flag)
        case {"fib": {"result": "type", "flags": str(flag)}}:
            return _FIB.get(flag)
    return None


def _implied(left: object) -> list[Condition]:
    """nft leaves out the conditions that a header's field brings with it: the address family, the protocol."""
    protocol = raw_text(inner(mapping(left), "payload"), "protocol")
    if protocol in _FAMILY:
        return [Condition(Field.FAMILY, (_FAMILY[protocol],))]
    return [Condition(Field.PROTO, (protocol,))] if protocol and protocol != "th" else []


def _value(kind: Field, element: object, mask: object) -> object:
    """One value of a comparison as `Condition` has it; None for what cannot be judged."""
    match element:
        case {"elem": {"val": inner}}:
            return _value(kind, inner, mask)
        case {"prefix": _} | {"range": _} if kind in (Field.SRC, Field.DST):
            return span(_to(element) or "")
        case str(text) if kind in (Field.SRC, Field.DST):
            return span(text)
        case int(number) if kind is Field.MARK and isinstance(mask, int):
            return number, mask
        case int(number) if kind is Field.PROTO:
            return proto_name(number)
        case str(text) if kind is Field.FAMILY:
            return _FAMILY.get(text)
        case str(text) if kind not in (Field.MARK, Field.PORT) and text != "*":
            return text
    return element if kind is Field.PORT else None


def _to(address: object) -> str | None:
    """An address, a range a-b, or a prefix; None for a map."""
    match address:
        case str(text):
            return clean(text)
        case {"range": [str(first), str(last)]}:
            return clean(f"{first}-{last}")
        case {"prefix": {"addr": str(first), "len": int(length)}}:
            return clean(f"{first}/{length}")
    return None


def _ports(ports: object) -> tuple[int, int] | None:
    match ports:
        case int(port) if 0 <= port <= MAX_PORT:
            return port, port
        case {"range": [int(first), int(last)]} if 0 <= first <= last <= MAX_PORT:
            return first, last
    return None


def _flags(options: Fields) -> dict[str, bool]:
    given = options.get("flags")
    flags = [given] if isinstance(given, str) else _list(given)
    return {"random": "random" in flags, "fully_random": "fully-random" in flags}


def _key(fields: Fields, name: str = "name") -> tuple[str, str, str]:
    return raw_text(fields, "family"), raw_text(fields, "table"), raw_text(fields, name)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
