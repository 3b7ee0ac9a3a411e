"""The verdict in one line, and what has changed since a marker. Pure."""

from rich.cells import cell_len

from natop.diagnose import verdict
from natop.model import Snapshot
from natop.summarise.window import Marker, Since
from natop.tui.findinglines import severity_mark
from natop.tui.formats import clock, fit, span
from natop.tui.glyphs import Glyphs
from natop.tui.tones import Line, Tone

COMPARED = ("insert_failed", "drop", "found")
"""The counters that a remedy should bring to rest, told whether they rose or not."""
ALSO_COMPARED = ("early_drop", "invalid", "chaintoolong")
"""Those of other faults, told where they rose before the marker or since."""
_TELLS_A_RATE_S = 10
"""What happened in less time is told as it is: nothing in three seconds is no rate of 0."""


def verdict_line(snapshot: Snapshot, room: int, glyphs: Glyphs) -> Line:
    """The gravest finding in its own words, marked; quiet where nothing is wrong."""
    said = verdict(snapshot.findings, snapshot)
    if said.severity is None:
        return [(fit(said.text, min(max(0, room), cell_len(said.text)), glyphs), Tone.QUIET)]
    mark, tone = severity_mark(said.severity, glyphs)
    room = max(0, room - cell_len(mark) - 2)
    return [(f"{mark} ", tone), (fit(said.text, min(room, cell_len(said.text)), glyphs), tone)]


def changes(marker: Marker, snapshot: Snapshot, glyphs: Glyphs) -> list[Line]:
    """As `insert_failed 41/min → 0/min`, `since 19:02:11`, …: the minute before the marker, and the time since.

    In the first seconds after it as `insert_failed 41/min → 0 in 4 s`, `drop …`, and the clock behind them, if it fits.
    """
    numbers = [
        [(f"{name} ", Tone.QUIET), (f"{change}   ", Tone.PLAIN)] for name, change in _numbers(marker, snapshot, glyphs)
    ]
    after = marker.after(snapshot)
    place = 2 if after and after.seconds < _TELLS_A_RATE_S else 1
    return [*numbers[:place], [(f"since {clock(marker.mark.taken_at)}   ", Tone.TITLE)], *numbers[place:]]


def comparison(marker: Marker | None, snapshot: Snapshot, glyphs: Glyphs) -> list[str]:
    """The same as sentences: `insert_failed 41/min → 0/min since the marker`; nothing without a marker."""
    if marker is None:
        return []
    numbers = _numbers(marker, snapshot, glyphs)
    return [f"{name} {change} since the marker" for name, change in numbers if glyphs.unknown not in change]


def _numbers(marker: Marker, snapshot: Snapshot, glyphs: Glyphs) -> list[tuple[str, str]]:
    before, after = marker.before, marker.after(snapshot)
    pairs = [(name, _count(before, name), _count(after, name)) for name in COMPARED]
    pairs.append(("SYN retransmits", _tcp(before, "syn_retrans"), _tcp(after, "syn_retrans")))
    others = [(name, _count(before, name), _count(after, name)) for name in ALSO_COMPARED]
    others.append(("ListenOverflows", _tcp(before, "listen_overflows"), _tcp(after, "listen_overflows")))
    pairs += [each for each in others if each[1] or each[2]]
    return [
        (name, f"{_rate(was, before, glyphs)} {glyphs.arrow} {_so_far(now, after, glyphs)}") for name, was, now in pairs
    ]


def _count(since: Since | None, name: str) -> int | None:
    return since.counters.get(name) if since else None


def _tcp(since: Since | None, name: str) -> int | None:
    return since.tcp_total(name) if since else None


def _so_far(number: int | None, since: Since | None, glyphs: Glyphs) -> str:
    """As `0 in 4 s`, until there is a rate to tell."""
    if number is None or since is None or since.seconds >= _TELLS_A_RATE_S:
        return _rate(number, since, glyphs)
    return f"{number:,} in {span(since.seconds)}"


def _rate(number: int | None, since: Since | None, glyphs: Glyphs) -> str:
    """As `41/min`; what is less than one is not 0."""
    if number is None or since is None:
        return glyphs.unknown
    a_minute = 60 * number / since.seconds
    return "<1/min" if 0 < a_minute < 1 else f"{a_minute:,.0f}/min"
