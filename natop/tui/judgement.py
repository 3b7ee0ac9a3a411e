"""The verdict in one line, and what has changed since a marker. Pure."""

from rich.cells import cell_len

from natop.diagnose import verdict
from natop.model import Snapshot
from natop.summarise.window import Marker, Since
from natop.tui.findinglines import severity_mark
from natop.tui.formats import clock, fit
from natop.tui.glyphs import Glyphs
from natop.tui.tones import Line, Tone

COMPARED = ("insert_failed", "drop", "found")
"""The counters that a remedy should bring to rest."""


def verdict_line(snapshot: Snapshot, room: int, glyphs: Glyphs) -> Line:
    """The gravest finding in its own words, marked; quiet where nothing is wrong."""
    said = verdict(snapshot.findings, snapshot)
    if said.severity is None:
        return [(fit(said.text, min(max(0, room), cell_len(said.text)), glyphs), Tone.QUIET)]
    mark, tone = severity_mark(said.severity, glyphs)
    room = max(0, room - cell_len(mark) - 2)
    return [(f"{mark} ", tone), (fit(said.text, min(room, cell_len(said.text)), glyphs), tone)]


def changes(marker: Marker, snapshot: Snapshot, glyphs: Glyphs) -> list[Line]:
    """As `insert_failed 41/min → 0/min`, `since 19:02:11`, …: the minute before the marker, and the time since."""
    first, *others = [
        [(f"{name} ", Tone.QUIET), (f"{change}   ", Tone.PLAIN)] for name, change in _numbers(marker, snapshot, glyphs)
    ]
    return [first, [(f"since {clock(marker.mark.taken_at)}   ", Tone.TITLE)], *others]


def comparison(marker: Marker | None, snapshot: Snapshot, glyphs: Glyphs) -> list[str]:
    """The same as sentences: `insert_failed 41/min → 0/min since the marker`; nothing without a marker."""
    if marker is None:
        return []
    numbers = _numbers(marker, snapshot, glyphs)
    return [f"{name} {change} since the marker" for name, change in numbers if glyphs.unknown not in change]


def _numbers(marker: Marker, snapshot: Snapshot, glyphs: Glyphs) -> list[tuple[str, str]]:
    before, after = marker.before, marker.after(snapshot)
    pairs = [(name, _per_minute(before, name), _per_minute(after, name)) for name in COMPARED]
    pairs.append(("SYN retransmits", _syns_a_minute(before), _syns_a_minute(after)))
    return [(name, f"{_rate(was, glyphs)} {glyphs.arrow} {_rate(now, glyphs)}") for name, was, now in pairs]


def _per_minute(since: Since | None, name: str) -> float | None:
    return since.per_minute(name) if since else None


def _syns_a_minute(since: Since | None) -> float | None:
    total = since.tcp_total("syn_retrans") if since else None
    return 60 * total / since.seconds if since and total is not None else None


def _rate(a_minute: float | None, glyphs: Glyphs) -> str:
    """As `41/min`; what is less than one is not 0."""
    if a_minute is None:
        return glyphs.unknown
    return "<1/min" if 0 < a_minute < 1 else f"{a_minute:,.0f}/min"
