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
    """As `19:02:11`, `insert_failed 41 → 0/min`, …: the minute before the marker, and the time since."""
    before, after = marker.before, marker.after(snapshot)
    numbers = [_change(name, _per_minute(before, name), _per_minute(after, name), glyphs) for name in COMPARED]
    syns = _change("SYN retransmits", _syns_a_minute(before), _syns_a_minute(after), glyphs)
    return [[(f"{clock(marker.mark.taken_at)}  ", Tone.TITLE)], *numbers, syns]


def _per_minute(since: Since | None, name: str) -> float | None:
    return since.per_minute(name) if since else None


def _syns_a_minute(since: Since | None) -> float | None:
    total = since.tcp_total("syn_retrans") if since else None
    return 60 * total / since.seconds if since and total is not None else None


def _change(name: str, before: float | None, after: float | None, glyphs: Glyphs) -> Line:
    was, now = (glyphs.unknown if each is None else f"{each:,.0f}" for each in (before, after))
    return [(f"{name} ", Tone.QUIET), (f"{was} {glyphs.arrow} {now}/min   ", Tone.PLAIN)]
