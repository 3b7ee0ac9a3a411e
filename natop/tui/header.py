"""The lines above every table: which host, how full, in which states, how fast, how old. Pure.

At 80 columns:

     natop  web-prod-3 · Linux 6.18.5 · Docker 29.0.1             every 2 s · 1 s old
     conntrack ━━──────────────────────────────────────   6,615 of 262,144    2.5 %
     TCP       ████████████████████████████████████████   6,612 flows
               █ ESTAB 553     █ SYN 3      █ TIME_WAIT 5,320    █ closing 736
     flows     new 45.1/s     gone 44.0/s     insert_failed ! 0.5/s   drop 0.0/s

With more room every state has its own number, and more counters stand in line. Numbers have fixed places:
nothing moves when they grow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

from natop.states import PARTS
from natop.tui.bars import gauge, portions, sparkline
from natop.tui.formats import clock, count, fit, interval, rate, share, span
from natop.tui.glyphs import Glyphs
from natop.tui.tones import Line, Piece, Tone, length_of, text_of, tone_of_state

if TYPE_CHECKING:
    from natop.model import FlowSummary, Snapshot
    from natop.summarise.window import Marker, Watched

ROOMY_WIDTH, ROOMY_HEIGHT = 120, 34
"""From this size on, the header takes more lines."""
_LABEL = 11
"""Cells of the label at the left of a line, with the margin before it."""
_LEAST = 4
"""Cells that a name needs to be one."""
_STALE = 3
"""Intervals without a snapshot after which the screen says that none comes."""

_ENTRIES = (("ESTAB", 7), ("SYN", 6), ("TIME_WAIT", 7), ("closing", 6))
"""Name of each of PARTS, which is the order of `Glyphs.fills` too, and cells for its number."""


@dataclass(frozen=True, slots=True)
class News:
    """What the screen knows beside what the host said: how old that is, and whether more is coming."""

    snapshot: Snapshot | None = None
    age_s: float = 0.0
    """Since the snapshot shown was taken."""
    interval_s: float = 2.0
    paused: bool = False
    failure: str | None = None
    """Why no more snapshots come."""
    ended: bool = False
    namespace: str | None = None
    """Name of the network namespace that is read instead of this host's."""
    watched: Watched | None = None
    """How far the counters came since what is read now is watched."""
    marker: Marker | None = None
    """What rates are compared with."""


def is_roomy(width: int, height: int) -> bool:
    return width >= ROOMY_WIDTH and height >= ROOMY_HEIGHT


def header_lines(news: News, width: int, roomy: bool, glyphs: Glyphs) -> list[Line]:
    """The header for a screen of that width; more lines where it is roomy."""
    snapshot = news.snapshot
    host, judged, marked = _host(news, width, glyphs), _judged(news, width, glyphs), _marked(news, width, glyphs)
    bar = _bar(snapshot, width, glyphs)
    if not roomy:
        states = [bar, _groups(snapshot, width, glyphs)]
        speed = [_speed_and_counters(snapshot, width, glyphs)]
        return [host, judged, _fill(snapshot, width, glyphs), *states, *speed, *marked]
    states = [bar, [_label(""), *bar[1:-1]], *_states(snapshot, width, glyphs)]
    speed = [_speed(snapshot, width, glyphs), _counters(snapshot, width, glyphs)]
    return [host, [], judged, [], _fill(snapshot, width, glyphs), [], *states, [], *speed, *marked, []]


# The host, and how fresh this is


def _host(news: News, width: int, glyphs: Glyphs) -> Line:
    """What was read at the left; how old that is, which must not be cut, at the right."""
    status = _status(news, glyphs)
    left: list[Piece] = [(" natop  ", Tone.QUIET)]
    room = width - length_of(left) - length_of(status) - 2
    name = news.namespace or _entered(news.snapshot)
    if name:
        left += _namespace(name, " (N: back)  " if news.namespace else "  ", room, glyphs)
        room = width - length_of(left) - length_of(status) - 2
    if news.snapshot and (room > _LEAST or not name):
        left += _facts(news.snapshot, room, glyphs)
    gap = width - length_of(left) - length_of(status) - 1
    return [*left, (" " * max(1, gap), Tone.PLAIN), *status]


def _entered(snapshot: Snapshot | None) -> str | None:
    """The namespace for which natop was started, by the name under which it is known here, else by its file."""
    entered = snapshot.host.entered if snapshot else None
    names = (each.name for each in snapshot.namespaces if each.path == entered) if snapshot else iter(())
    return next(names, entered)


def _namespace(name: str, after: str, room: int, glyphs: Glyphs) -> Line:
    """That another namespace than this host's is read; what comes after its name gives way."""
    before = "netns "
    if room < len(before) + _LEAST + len(after):
        after = ""
    shown = fit(name, min(cell_len(name), max(_LEAST, room - len(before) - len(after))), glyphs)
    return [(f"{before}{shown}", Tone.NOTICE), (after, Tone.QUIET)]


def _facts(snapshot: Snapshot, room: int, glyphs: Glyphs) -> list[Piece]:
    """The host's name and as much about it as has room."""
    name = snapshot.host.hostname
    host = fit(name, min(cell_len(name), max(_LEAST, room)), glyphs)
    facts: list[Piece] = [(host, Tone.TITLE)]
    room -= cell_len(host)
    for fact in _system(snapshot):
        text = f" {glyphs.dot} {fact}"
        if cell_len(text) > room:
            break
        facts.append((text, Tone.PLAIN))
        room -= cell_len(text)
    return facts


def _system(snapshot: Snapshot) -> Iterable[str]:
    if snapshot.host.kernel:
        yield f"Linux {snapshot.host.kernel}"
    if snapshot.inventory is None:
        yield "no Docker"
        yield clock(snapshot.taken_at)
        return
    engine = snapshot.inventory.engine
    yield f"{engine.product} {engine.version}" if engine.version else engine.product
    if engine.rootless:
        yield "rootless"
    if engine.firewall_backend:
        yield engine.firewall_backend
    yield clock(snapshot.taken_at)


def _status(news: News, glyphs: Glyphs) -> Line:
    """Fresh, paused, waiting or broken, and how old what is shown is."""
    age = span(int(news.age_s))
    if news.failure:
        return [(f"{glyphs.alarm} reading stopped, {age} old", Tone.ALARM)]
    if news.snapshot is None:
        return [(f"reading{glyphs.ellipsis}", Tone.QUIET)]
    if news.paused:
        return [(f"PAUSED, {age} old", Tone.NOTICE)]
    if news.ended:
        return [(f"the end, {clock(news.snapshot.taken_at)}", Tone.NOTICE)]
    if news.age_s > _STALE * news.interval_s + 1:
        return [(f"{glyphs.alarm} nothing new for {age}", Tone.ALARM)]
    return [*_pace(news.snapshot, news.interval_s, glyphs), (f"{span(int(_flows_age_s(news)))} old", Tone.PLAIN)]


def _pace(snapshot: Snapshot, interval_s: float, glyphs: Glyphs) -> Line:
    """How often it reads, and that flows are read less often, where they cost too much."""
    often: Piece = (f"every {interval(interval_s)} {glyphs.dot} ", Tone.QUIET)
    if snapshot.is_probing:
        return [("probing ", Tone.NOTICE), *_reading_pace(snapshot, interval_s, often)]
    return _reading_pace(snapshot, interval_s, often)


def _reading_pace(snapshot: Snapshot, interval_s: float, often: Piece) -> Line:
    if snapshot.pace and snapshot.pace.dump_every_s > interval_s:
        return [often, (f"flows every {span(snapshot.pace.dump_every_s)}", Tone.NOTICE), (", ", Tone.QUIET)]
    return [often]


def _flows_age_s(news: News) -> float:
    """How old the oldest numbers on the screen are: those of the last dump, which may be from an earlier tick."""
    snapshot = news.snapshot
    behind = snapshot.monotonic_s - snapshot.reading.monotonic_s if snapshot and snapshot.reading else 0.0
    return news.age_s + behind


def _judged(news: News, width: int, glyphs: Glyphs) -> Line:
    """The verdict; what was judged before reading stopped is no verdict on now."""
    if news.failure:
        return _fitting("verdict", [[("UNKNOWN: reading stopped, r starts again", Tone.ALARM)]], width)
    if news.snapshot is None:
        return [_label("verdict")]
    from natop.tui.judgement import verdict_line

    return [_label("verdict"), *verdict_line(news.snapshot, width - _LABEL, glyphs)]


def _marked(news: News, width: int, glyphs: Glyphs) -> list[Line]:
    """What changed at the marker; nothing without one."""
    if news.marker is None or news.snapshot is None:
        return []
    from natop.tui.judgement import changes

    return [_fitting("marker", changes(news.marker, news.snapshot, glyphs), width)]


# The table's fill


def _fill(snapshot: Snapshot | None, width: int, glyphs: Glyphs) -> Line:
    table = snapshot.conntrack if snapshot else None
    used, most = (table.count, table.max) if table else (None, None)
    fraction = used / most if used is not None and most else None
    tone = _fill_tone(fraction)
    alarm = f" {glyphs.alarm}" if tone in (Tone.NOTICE, Tone.ALARM) else "  "
    full, empty = gauge(fraction, width - _LABEL - _beside(snapshot, glyphs), glyphs)
    return [
        _label("conntrack"),
        (full, tone),
        (empty, Tone.QUIET),
        (f"{count(used, glyphs):>9}", Tone.TITLE if used is not None else Tone.QUIET),
        (" of ", Tone.QUIET),
        (count(most, glyphs), Tone.PLAIN if most is not None else Tone.QUIET),
        (f"{share(used, most, glyphs) + alarm:>9}", tone),
    ]


def _beside(snapshot: Snapshot | None, glyphs: Glyphs) -> int:
    """Cells for the numbers at the right of the two bars; the largest of them, the maximum, hardly ever changes."""
    return 9 + len(" of ") + len(count(snapshot.conntrack.max if snapshot else None, glyphs)) + 9 + 1


def _fill_tone(fraction: float | None) -> Tone:
    """Calm below 80 %, a warning from there, an alarm from 95 %."""
    if fraction is None:
        return Tone.QUIET
    return Tone.ALARM if fraction >= 0.95 else Tone.NOTICE if fraction >= 0.8 else Tone.ESTABLISHED


# TCP states


def _bar(snapshot: Snapshot | None, width: int, glyphs: Glyphs) -> Line:
    """The four parts in proportion, and their sum."""
    numbers = _grouped(snapshot)
    room = max(0, width - _LABEL - _beside(snapshot, glyphs))
    total = None if numbers is None else sum(numbers)
    words: Piece = (f"{count(total, glyphs):>9} flows", Tone.TITLE if total else Tone.QUIET)
    if numbers is None or not total:
        return [_label("TCP"), (glyphs.track * room, Tone.QUIET), words]
    return [_label("TCP"), *_parts(numbers, room, glyphs), words]


def _parts(numbers: Sequence[int], room: int, glyphs: Glyphs) -> list[Piece]:
    """The parts that are not empty, in proportion, with a gap between them that shows without colour too."""
    gaps = max(0, sum(number > 0 for number in numbers) - 1)
    pieces: list[Piece] = []
    for states, fill, cells in zip(PARTS, glyphs.fills, portions(numbers, room - gaps), strict=True):
        if cells:
            pieces += [(" ", Tone.PLAIN)] if pieces else []
            pieces.append((fill * cells, tone_of_state(states[0])))
    return pieces


def _grouped(snapshot: Snapshot | None) -> tuple[int, ...] | None:
    if snapshot is None or snapshot.whole is None:
        return None
    states = snapshot.whole.counts.states
    return tuple(sum(states.get(name, 0) for name in names) for names in PARTS)


def _groups(snapshot: Snapshot | None, width: int, glyphs: Glyphs) -> Line:
    """What each part of the bar is, and its number."""
    numbers = _grouped(snapshot) or (None,) * len(PARTS)
    entries: list[Line] = []
    for (name, wide), states, mark, number in zip(_ENTRIES, PARTS, glyphs.marks, numbers, strict=True):
        tone = tone_of_state(states[0])
        text = f"{count(number, glyphs):<{wide + 2}}"
        entries.append([(f"{mark} ", tone), (f"{name} ", Tone.QUIET), (text, tone if number else Tone.QUIET)])
    return _fitting("", entries, width)


def _states(snapshot: Snapshot | None, width: int, glyphs: Glyphs) -> list[Line]:
    """Every state, its number and its share under it, in columns."""
    counts = snapshot.whole.counts.states if snapshot and snapshot.whole else {}
    total = sum(counts.values())
    shown = [(name, mark) for names, mark in zip(PARTS, glyphs.marks, strict=True) for name in names]
    shown = [(name, mark) for name, mark in shown if name != "SYN_SENT2" or counts.get(name)]
    wide = min(18, (width - _LABEL) // len(shown))
    names: list[Piece] = [_label("")]
    numbers: list[Piece] = [_label("")]
    for name, mark in shown:
        number, tone = counts.get(name), tone_of_state(name)
        names += [(f"{mark} ", tone), (f"{name:<{wide - 2}}", Tone.QUIET)]
        text = f"  {count(number, glyphs)}"
        part = f" {glyphs.dot} {share(number, total, glyphs)}" if number else ""
        numbers += [(text, tone if number else Tone.QUIET), (part.ljust(wide - len(text)), Tone.QUIET)]
    return [names, numbers]


# Speed and counters


def _speed_and_counters(snapshot: Snapshot | None, width: int, glyphs: Glyphs) -> Line:
    counters = [_counter(snapshot, name, glyphs) for name in ("insert_failed", "drop")]
    return _fitting("flows", [*_new_and_gone(snapshot, glyphs), *counters], width)


def _speed(snapshot: Snapshot | None, width: int, glyphs: Glyphs) -> Line:
    """How the table changes, and the history of TIME_WAIT."""
    whole = snapshot.whole if snapshot else None
    growth = whole.rates.time_wait if whole and whole.rates else None
    tone = Tone.TIME_WAIT if growth else Tone.QUIET
    time_wait = [("TIME_WAIT ", Tone.QUIET), (f"{rate(growth, glyphs, signed=True):<10}", tone)]
    trend = snapshot.history.host_trend("time_wait") if snapshot else ()
    drawn = [("  ", Tone.PLAIN), (sparkline(trend, len(trend), glyphs), Tone.TREND)]
    return _fitting("flows", [*_new_and_gone(snapshot, glyphs), time_wait, drawn], width)


def _new_and_gone(snapshot: Snapshot | None, glyphs: Glyphs) -> list[Line]:
    whole: FlowSummary | None = snapshot.whole if snapshot else None
    new, gone = (whole.rates.new, whole.rates.gone) if whole and whole.rates else (None, None)
    return [
        [(f"{name} ", Tone.QUIET), (f"{rate(value, glyphs):<10}", Tone.PLAIN if value else Tone.QUIET)]
        for name, value in (("new", new), ("gone", gone))
    ]


def _counters(snapshot: Snapshot | None, width: int, glyphs: Glyphs) -> Line:
    names = ("insert_failed", "drop", "early_drop", "clash_resolve", "invalid", "search_restart")
    return _fitting("counters", [_counter(snapshot, name, glyphs) for name in names], width)


_BAD = frozenset(("insert_failed", "drop", "early_drop"))


def _counter(snapshot: Snapshot | None, name: str, glyphs: Glyphs) -> Line:
    """A counter's rate; where it is bad news, marked as such."""
    rates = snapshot.counter_rates if snapshot else None
    value = rates.get(name) if rates else None
    bad = bool(value) and name in _BAD
    text = f"{rate(value, glyphs)} {glyphs.alarm}" if bad else rate(value, glyphs)
    return [(f"{name} ", Tone.QUIET), (f"{text:<11}", Tone.ALARM if bad else Tone.PLAIN if value else Tone.QUIET)]


def _label(text: str) -> Piece:
    return f" {text}".ljust(_LABEL), Tone.QUIET


def _fitting(label: str, entries: Iterable[Line], width: int) -> Line:
    """The entries after the label, up to the first that does not fit as a whole: no name without its number."""
    line = [_label(label)]
    for entry in entries:
        if cell_len(text_of([*line, *entry]).rstrip()) > width:
            break
        line += entry
    return line
