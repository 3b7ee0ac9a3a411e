"""Counters, TCP's testimony, kernel parameters and NAT rules as lines of text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import wrap

from natop import sysctls
from natop.firewall import described
from natop.meanings import meaning
from natop.model import COUNTER_NAMES, NetnsTcp, Snapshot
from natop.sysctls import About, Verdict
from natop.tui.formats import count, fit, rate
from natop.tui.glyphs import Glyphs
from natop.tui.tones import Line, Piece, Tone

_NAME, _NUMBER = 15, 12
BAD = frozenset(("insert_failed", "drop", "early_drop", "chaintoolong"))
"""Counters whose rise is bad news."""
_VERDICT_TONES = {Verdict.CRITICAL: Tone.ALARM, Verdict.WARNING: Tone.NOTICE, Verdict.NOTE: Tone.TITLE}
_TCP = (
    ("syn_retrans", "SYN-RT/s"),
    ("retrans_segs", "RETRANS/s"),
    ("attempt_fails", "FAILS/s"),
    ("listen_overflows", "OVERFL/s"),
    ("active_opens", "OUT/s"),
    ("passive_opens", "IN/s"),
)
_TCP_WIDTH = 96
"""Cells that TCP's lines take with all columns."""
_TCP_SPARED = frozenset(("retrans_segs", "attempt_fails"))
"""Columns left out where there is less room, so that those of sockets are seen."""


def counter_lines(snapshot: Snapshot, width: int, glyphs: Glyphs) -> list[Line]:
    """All sections, for a screen of that width."""
    sections = (
        ("conntrack's counters", _counters(snapshot, width, glyphs)),
        ("what follows from them", _derived(snapshot, width, glyphs)),
        ("flows in TIME_WAIT (conntrack's, 120 s)", _time_wait(snapshot, width, glyphs)),
        ("TCP by network namespace: connections, SYNs sent again, sockets in TIME_WAIT", _tcp(snapshot, width, glyphs)),
        ("what becomes of source addresses", _nat(snapshot, glyphs)),
        ("kernel parameters", _sysctls(snapshot, width)),
    )
    lines: list[Line] = []
    for title, section in sections:
        lines += [[], [(f" {title}", Tone.TITLE)], *section]
    return lines


def _counters(snapshot: Snapshot, width: int, glyphs: Glyphs) -> Iterator[Line]:
    conntrack, version = snapshot.conntrack, snapshot.host.version
    numbers = len(conntrack.cpus)
    heads = ["TOTAL", "PER SECOND", *([f"{numbers} CPUs" if numbers > 1 else "1 CPU"] if numbers else [])]
    yield [(" " + "COUNTER".ljust(_NAME) + "".join(head.rjust(_NUMBER) for head in heads), Tone.QUIET)]
    for name in COUNTER_NAMES:
        value = (snapshot.counter_rates or {}).get(name)
        bad = bool(value) and name in BAD
        text = rate(value, glyphs) + (f" {glyphs.alarm}" if bad else "")
        cpus = " + ".join(f"{each.get(name, 0.0):,.1f}" for each in snapshot.cpu_rates) if value else ""
        yield [
            (f" {name:<{_NAME}}", Tone.NAME),
            (f"{count(conntrack.counters.get(name), glyphs):>{_NUMBER}}", Tone.PLAIN),
            (f"{text:>{_NUMBER}}", Tone.ALARM if bad else Tone.PLAIN if value else Tone.QUIET),
            (f"  {cpus}" if cpus else "", Tone.QUIET),
        ]
        yield from _explained(meaning(name, version, conntrack.counters), width)


def _explained(text: str, width: int) -> Iterator[Line]:
    for part in wrap(text, max(20, width - 4)):
        yield [(f"   {part}", Tone.QUIET)]


def _derived(snapshot: Snapshot, width: int, glyphs: Glyphs) -> Iterator[Line]:
    derived = snapshot.derived
    found = derived.found_per_new
    for name, text, words in (
        ("table full", rate(derived.table_full_per_s, glyphs), "drop less insert_failed: refused for want of room"),
        (
            "clash lost",
            rate(derived.clash_lost_per_s, glyphs),
            "insert_failed less chaintoolong: another flow took the same addresses and ports first",
        ),
        (
            "found per new",
            glyphs.unknown if found is None else f"{found:,.1f}",
            "NAT ports tried in vain for each new flow: about 1 when half full, 9 at 90 %, 21 at 95 %, "
            "129 and more when full",
        ),
    ):
        yield [(f" {name:<{_NAME}}", Tone.NAME), (f"{text:>{_NUMBER}}", Tone.PLAIN)]
        yield from _explained(words, width)


def _time_wait(snapshot: Snapshot, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Of the whole table, then of each container that has some."""
    owners = [("this host", snapshot.time_wait)]
    owners += [(each.container.name, each.time_wait) for each in snapshot.containers]
    for name, waiting in owners:
        if waiting is None or (waiting.count == 0 and name != "this host"):
            continue
        part = glyphs.unknown if waiting.share is None else f"{100 * waiting.share:.1f} %"
        growth = glyphs.unknown if waiting.growth_per_min is None else f"{waiting.growth_per_min:+,.0f}/min"
        yield [
            (f" {fit(name, _NAME, glyphs)}", Tone.NAME),
            (f"{count(waiting.count, glyphs):>9}", Tone.TIME_WAIT),
            (f"  {part} of TCP  {growth}  ", Tone.PLAIN),
            (f"closed first by client {waiting.closed_by_client:,}, server {waiting.closed_by_server:,}", Tone.QUIET),
        ]
        settles = "" if waiting.steady_state is None else f"settles at about {waiting.steady_state:,.0f}; "
        services = ", ".join(f"{what} {number:,}" for what, number in waiting.services)
        remotes = ", ".join(f"{what} {number:,}" for what, number in waiting.remotes)
        yield from _explained(f"{settles}services {services or 'none'}; remote ends {remotes or 'none'}", width)
        yield from _explained(waiting.concern or "harmless", width)
    if snapshot.time_wait is None:
        yield [(f" {glyphs.unknown} the flows were not read", Tone.QUIET)]


def _tcp(snapshot: Snapshot, width: int, glyphs: Glyphs) -> Iterator[Line]:
    columns = {key: title for key, title in _TCP if width >= _TCP_WIDTH or key not in _TCP_SPARED}
    heads = "".join(title.rjust(10) for title in columns.values()) + "SOCKETS".rjust(9) + "TIME_WAIT".rjust(10)
    yield [(" " + "NAMESPACE OF".ljust(_NAME) + heads, Tone.QUIET)]
    yield _tcp_line("this host", snapshot.tcp, columns, glyphs)
    for each in snapshot.containers:
        if each.tcp_of:
            shared: list[Piece] = [(f" {fit(each.container.name, _NAME, glyphs)}", Tone.NAME)]
            yield [*shared, (f"  counted with {each.tcp_of}, whose namespace it shares", Tone.QUIET)]
        elif each.container.state == "running":
            yield _tcp_line(each.container.name, each.tcp, columns, glyphs)


def _tcp_line(name: str, tcp: NetnsTcp | None, columns: Iterable[str], glyphs: Glyphs) -> Line:
    rates: Mapping[str, float] = (tcp.rates if tcp else None) or {}
    line: list[Piece] = [(f" {fit(name, _NAME, glyphs)}", Tone.NAME)]
    for key in columns:
        value = rates.get(key)
        bad = bool(value) and key in ("syn_retrans", "listen_overflows")
        text = rate(value, glyphs).removesuffix("/s") + (glyphs.alarm if bad else "")
        line.append((f"{text:>10}", Tone.ALARM if bad else Tone.PLAIN if value else Tone.QUIET))
    sockets = (tcp.sockets_in_use, tcp.time_wait_sockets) if tcp else (None, None)
    return [*line, (f"{count(sockets[0], glyphs):>9}{count(sockets[1], glyphs):>10}", Tone.PLAIN)]


def _nat(snapshot: Snapshot, glyphs: Glyphs) -> Iterator[Line]:
    firewall = snapshot.firewall
    if firewall is None:
        yield [(f" {glyphs.unknown} the NAT rules could not be read, or Docker was not asked", Tone.QUIET)]
        return
    for name in dict.fromkeys(each.network for each in firewall.networks):
        words = described(firewall, name) or glyphs.unknown
        yield [(f" {fit(name, _NAME, glyphs)}", Tone.NAME), (f" {words}", Tone.PLAIN)]
    if not firewall.networks:
        yield [(" no bridge network of Docker's", Tone.QUIET)]
    choice = snapshot.port_choice
    if choice and choice.kept_share is not None:
        words = f"{100 * choice.kept_share:.0f} % of {choice.kept + choice.rewritten:,} flows kept their source port"
        yield [(f" {'kept ports':<{_NAME}}", Tone.NAME), (f" {words}", Tone.PLAIN)]


def _sysctls(snapshot: Snapshot, width: int) -> Iterator[Line]:
    """Those that are not as they should be first, then those worth a note; what is fine in one line each."""
    host = snapshot.host
    about = About(host.version, host.sysctls, snapshot.conntrack.count)
    found = [(name, value, sysctls.judge(name, value, about)) for name, value in host.sysctls.items()]
    order = list(reversed(Verdict))
    for name, value, judgement in sorted(found, key=lambda each: order.index(each[2].verdict) if each[2] else 9):
        known = sysctls.BY_NAME.get(name)
        default = known.default(host.version) if known else None
        text = f" {name} = {_value(value)} {known.unit if known else ''}".rstrip()
        text += "" if default in (None, value) else f"  (default {_value(default)})"
        verdict = judgement.verdict if judgement else Verdict.FINE
        tone = _VERDICT_TONES.get(verdict, Tone.QUIET)
        yield [(text, Tone.NAME), (f"  {verdict.upper() if verdict is not Verdict.FINE else verdict}", tone)]
        if judgement and verdict is not Verdict.FINE:
            yield from _explained(judgement.sentence, width)


def _value(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
