"""What becomes of source addresses, and the kernel parameters that matter, as lines of text. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from natop import sysctls
from natop.join.firewall import described
from natop.model import GapSource, NetworkNat, Snapshot
from natop.sysctls import About, Value, Verdict
from natop.tui.formats import fit
from natop.tui.glyphs import Glyphs
from natop.tui.tones import Line, Tone

NAME = 15
"""Cells of what a line is about."""
_TONES = {Verdict.CRITICAL: Tone.ALARM, Verdict.WARNING: Tone.NOTICE, Verdict.NOTE: Tone.TITLE}


_UNPARTED = "\u00a0%"


def explained(text: str, width: int) -> Iterator[Line]:
    """In as many lines as it takes; a number and its `%` stay together."""
    for part in wrap(text.replace(" %", _UNPARTED), max(20, width - 4)):
        yield [(f"   {part.replace(_UNPARTED, ' %')}", Tone.QUIET)]


def unknown(snapshot: Snapshot, text: str, source: GapSource, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """What is not known, and the reason that its source gave."""
    yield [(f" {glyphs.unknown} {text}", Tone.QUIET)]
    for gap in snapshot.gaps_of(source):
        yield from explained(gap.told(), width)


# NAT rules


def nat_lines(snapshot: Snapshot, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """By network the rule that takes what its containers send out, then what NAT made of source ports."""
    firewall = snapshot.firewall
    if firewall is None:
        yield from unknown(snapshot, "the NAT rules could not be read, or Docker was not asked", "rules", width, glyphs)
    else:
        for name in dict.fromkeys(each.network for each in firewall.networks):
            words = described(firewall, name) or glyphs.unknown
            yield [(f" {fit(name, NAME, glyphs)}", Tone.NAME), (f" {words}", Tone.PLAIN)]
            for place in firewall.networks:
                if place.network == name:
                    yield from _rules(place, width)
        if not firewall.networks:
            yield [(" no bridge network of Docker's", Tone.QUIET)]
        yield _fact("backend", firewall.backend or f"{glyphs.unknown} no rule of Docker's was found")
        ways = {None: glyphs.unknown, True: "docker-proxy answers where DNAT does not", False: "off: hairpin NAT"}
        yield _fact("userland-proxy", ways[firewall.userland_proxy])
    choice = snapshot.port_choice
    if choice and choice.kept_share is not None:
        words = f"{100 * choice.kept_share:.0f} % of {choice.kept + choice.rewritten:,} flows kept their source port"
        yield _fact("kept ports", words)


def _fact(name: str, words: str) -> Line:
    return [(f" {name:<{NAME}}", Tone.NAME), (f" {words}", Tone.PLAIN)]


def _rules(place: NetworkNat, width: int) -> Iterator[Line]:
    """Where the rule of a network stands and how its tool spells it, and what other rules do to some packets."""
    if place.rule:
        words = (place.subnet, f"{place.rule.backend}, {place.rule.chain}", place.rule.text)
        yield from explained(": ".join(filter(None, words)), width)
    for proto, rule in place.by_protocol.items():
        yield from explained(f"{proto}: {rule.text or rule.action if rule else 'no NAT'}", width)
    for rule in place.others:
        yield from explained(f"before it, for some packets: {rule.text or rule.action}", width)
    if place.hairpin:
        yield from explained(f"to a port that it publishes itself: {place.hairpin.text or place.hairpin.action}", width)


# Kernel parameters


def sysctl_lines(snapshot: Snapshot, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Those that are not as they should be first, then those worth a note; what is fine in one line each.

    After the host's come those of containers that differ from them, and those that the host did not tell.
    """
    host = snapshot.host
    about = About(host.version, host.sysctls, snapshot.conntrack.count)
    found = [(_rank(name, value, about), name, value) for name, value in host.sysctls.items()]
    for _, name, value in sorted(found, key=lambda each: each[0]):
        yield from _sysctl(name, value, about, _default(name, about), width)
    for each in snapshot.containers:
        own = each.tcp.sysctls if each.tcp else {}
        inside = About(host.version, own, each.own_table)
        for name, value in sysctls.differing(own, host.sysctls, tracks=each.own_table is not None).items():
            outside = host.sysctls.get(name)
            beside = "" if outside is None else f"host {_text(outside)}"
            yield from _sysctl(name, value, inside, beside, width, f"{each.container.name}: ")
    missing = [each.name for each in sysctls.CATALOGUE if each.name not in host.sysctls]
    if missing:
        yield [(f" {glyphs.unknown} not told by this kernel, or by a module that is not loaded:", Tone.QUIET)]
        yield from explained(" ".join(missing), width)


def _rank(name: str, value: Value, about: About) -> int:
    judgement = sysctls.judge(name, value, about)
    order = list(reversed(Verdict))
    return order.index(judgement.verdict) if judgement else len(order)


def _default(name: str, about: About) -> str:
    known = sysctls.BY_NAME.get(name)
    default = known.default(about.version) if known else None
    return "" if default in (None, about.values.get(name)) else f"default {_text(default)}"


def _sysctl(name: str, value: Value, about: About, beside: str, width: int, whose: str = "") -> Iterator[Line]:
    known, judgement = sysctls.BY_NAME.get(name), sysctls.judge(name, value, about)
    verdict = judgement.verdict if judgement else Verdict.FINE
    unit = f" {known.unit}" if known and known.unit and value != () else ""
    text = f"{name} = {_text(value)}{unit}" + (f"  ({beside})" if beside else "")
    word = verdict.upper() if verdict is not Verdict.FINE else verdict
    yield [(f" {whose}", Tone.NAME), (text, Tone.NAME), (f"  {word}", _TONES.get(verdict, Tone.QUIET))]
    if judgement and verdict is not Verdict.FINE:
        yield from explained(judgement.sentence, width)


def _text(value: object) -> str:
    """An empty list of ports is none."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(str, value)) or "none"
    return str(value)
