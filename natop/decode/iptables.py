"""What `iptables-save -t nat` and its IPv6 fellow print, to chains. What is unknown is skipped, never an error."""

import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace

from natop.decode.chains import (
    NF_IP_PRI_NAT_DST,
    NF_IP_PRI_NAT_SRC,
    OUTPUT,
    POSTROUTING,
    UNKNOWN,
    Chain,
    Condition,
    Field,
    Rule,
    Span,
    Verdict,
    span,
)
from natop.model import NatRule
from natop.text import clean
from natop.uapi import proto_name

TABLE = "nat"
_HOOKS = {"POSTROUTING": (POSTROUTING, NF_IP_PRI_NAT_SRC), "OUTPUT": (OUTPUT, NF_IP_PRI_NAT_DST)}
BUILT_IN = frozenset({"PREROUTING", "INPUT", *_HOOKS})
_ENDING = {"ACCEPT", "DROP", "QUEUE", "NFQUEUE", "DNAT", "REDIRECT"}
_NAT = {"MASQUERADE": "MASQUERADE", "SNAT": "SNAT", "NETMAP": "SNAT"}
Arguments = list[str]
Option = tuple[bool, str, Arguments]
"""Whether `!` stands before it, its name, its arguments."""


def decode_save(text: str, backend: str, family: int, age: int = 0) -> list[Chain]:
    """The chains that packets leaving the host or made by it can come through, of the table nat."""
    lines = _lines_by_chain(text)
    found: dict[str, Chain] = {}
    waiting = [name for name in _HOOKS if name in lines]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        hook, priority = _HOOKS.get(name, (None, NF_IP_PRI_NAT_SRC))
        place = NatRule(backend, clean(f"{TABLE} {name}"), priority, "")
        rules = tuple(rule for line in lines[name] if (rule := _rule(line, lines.keys(), place)))
        found[name] = Chain(backend, (family,), TABLE, name, rules, hook, priority, age)
        waiting += [rule.target for rule in rules if rule.target]
    return list(found.values())


def _lines_by_chain(text: str) -> dict[str, list[str]]:
    """The rules' lines of the table nat, by chain; a chain without any is there too."""
    found: dict[str, list[str]] = {}
    inside = False
    for line in text.splitlines():
        if line.startswith("*"):
            inside = line.strip() == f"*{TABLE}"
        elif inside and line.startswith(":"):
            found.setdefault(line[1:].partition(" ")[0], [])
        elif inside and line.startswith("-A "):
            found.setdefault(line.split(" ", 2)[1], []).append(line)
    return found


def _rule(line: str, chains: Collection[str], place: NatRule) -> Rule | None:
    """None where the line makes no sense, or the rule decides nothing."""
    try:
        words = shlex.split(line) if '"' in line or "\\" in line else line.split()
    except ValueError:
        return None
    conditions: list[Condition] = []
    options = list(_options(words[2:]))
    for number, (negated, name, arguments) in enumerate(options):
        if name in ("-j", "-g") and len(arguments) == 1:
            target, rest = arguments[0], {name: values for _, name, values in options[number + 1 :]}
            if target in chains:
                return Rule(tuple(conditions), Verdict.JUMP if name == "-j" else Verdict.GOTO, target)
            nat = replace(place, text=clean(line)) if target in _NAT else None
            return _decision(tuple(conditions), target, nat and _nat(nat, target, conditions, rest))
        condition = _condition(negated, name, arguments)
        if condition:
            conditions.append(condition)
    return None


def _options(words: list[str]) -> Iterator[Option]:
    negated, position = False, 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "!":
            negated = True
            continue
        arguments = []
        while position < len(words) and (word == "--comment" or not words[position].startswith(("-", "!"))):
            arguments.append(words[position])
            position += 1
            if word == "--comment":
                break
        yield negated, word, arguments
        negated = False


def _decision(conditions: tuple[Condition, ...], target: str, nat: NatRule | None) -> Rule | None:
    if nat:
        return Rule(conditions, Verdict.NAT, nat=nat)
    if target == "RETURN":
        return Rule(conditions, Verdict.RETURN)
    return Rule(conditions, Verdict.END) if target in _ENDING else None


def _nat(rule: NatRule, target: str, conditions: list[Condition], options: Mapping[str, Arguments]) -> NatRule:
    """`rule` with what the target's options say."""
    address, ports = destination(" ".join(options.get("--to-source", options.get("--to", []))))
    return replace(
        rule,
        action=_NAT[target],
        sources=sources(conditions),
        protocols=protocols(conditions),
        to_address=address,
        ports=_ports(" ".join(options.get("--to-ports", []))) or ports,
        random="--random" in options,
        fully_random="--random-fully" in options,
    )


def sources(conditions: Collection[Condition]) -> tuple[str, ...]:
    """The subnets that a rule's conditions limit it to."""
    spans = [each for c in conditions if c.field is Field.SRC and not c.negated for each in c.values]
    return tuple(each.text for each in spans if isinstance(each, Span))


def protocols(conditions: Collection[Condition]) -> tuple[str, ...]:
    """The protocols that a rule's conditions limit it to."""
    return tuple(str(each) for c in conditions if c.field is Field.PROTO and not c.negated for each in c.values)


def destination(text: str) -> tuple[str | None, tuple[int, int] | None]:
    """`1.2.3.4`, `1.2.3.4-1.2.3.9:1024-2047`, `[fd00::1]:1024`, `:1024-2047` as addresses and ports."""
    if text.startswith("["):
        address, _, ports = text[1:].partition("]")
    elif text.count(":") == 1:
        address, _, ports = text.partition(":")
    else:
        address, ports = text, ""
    return clean(address) or None, _ports(ports.removeprefix(":"))


def _ports(text: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/[0-9]+)?", text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    return (first, last) if first <= last <= 0xFFFF else None


def _condition(negated: bool, name: str, arguments: Arguments) -> Condition | None:
    """None for what limits nothing by itself: the name of a match module, a comment, the side of an IPsec policy."""
    if name in ("-m", "--comment", "--dir"):
        return None
    field, decode = _CONDITIONS.get(name, (Field.UNKNOWN, _words))
    values = decode(arguments)
    if field is Field.SET and any("src" in word.split(",") for word in arguments[1:]):
        return UNKNOWN
    if field is Field.PROTO and values in (("all",), ("ip",)):
        return None
    return UNKNOWN if values is None else Condition(field, values, negated)


Values = tuple[object, ...] | None
"""None where the arguments cannot be judged."""


def _words(arguments: Arguments) -> Values:
    return tuple(word.lower() for argument in arguments for word in argument.split(","))


def _spans(arguments: Arguments) -> Values:
    found = [span(argument) for argument in arguments]
    return tuple(each for each in found if each) if found and all(found) else None


def _interfaces(arguments: Arguments) -> Values:
    """A `+` at the end of a name stands for any rest."""
    return tuple(re.sub(r"\+$", "*", argument) for argument in arguments)


def _protocols(arguments: Arguments) -> Values:
    return tuple(proto_name(int(word)) if re.fullmatch("[0-9]{1,3}", word) else word.lower() for word in arguments)


def _marks(arguments: Arguments) -> Values:
    try:
        value, _, mask = " ".join(arguments).partition("/")
        return ((int(value, 0), int(mask or "0xffffffff", 0)),)
    except ValueError:
        return None


_CONDITIONS: Mapping[str, tuple[Field, Callable[[Arguments], Values]]] = {
    "-s": (Field.SRC, _spans),
    "--src-range": (Field.SRC, _spans),
    "-d": (Field.DST, _spans),
    "--dst-range": (Field.DST, _spans),
    "-i": (Field.IIF, _interfaces),
    "-o": (Field.OIF, _interfaces),
    "-p": (Field.PROTO, _protocols),
    "--mark": (Field.MARK, _marks),
    "--ctstate": (Field.STATE, _words),
    "--state": (Field.STATE, _words),
    "--src-type": (Field.SRC_TYPE, _words),
    "--dst-type": (Field.DST_TYPE, _words),
    "--physdev-is-bridged": (Field.LOCAL, _words),
    "--uid-owner": (Field.LOCAL, _words),
    "--gid-owner": (Field.LOCAL, _words),
    "--socket-exists": (Field.LOCAL, _words),
    "--pol": (Field.IPSEC, _words),
    "--match-set": (Field.SET, _words),
    **dict.fromkeys(("--dport", "--dports", "--sport", "--sports", "--ports", "--icmp-type"), (Field.PORT, _words)),
}
