"""The ways to one container and from inside it, side by side, as lines. Pure.

CONNECTS           ms LAST    P50    P95    MAX SYNS LOST LAST PROBES
shop-web-1 8080→80
  container 172.18.0.2:80      0.18   0.18  2,031  2,031    4 in 2 ··2·2····
  published 198.18.0.1:8080    0.21   0.21   0.30   0.30         0 ·········
  proxy     -                     -      -      -      -         -
203.0.113.7:443
  host                         0.80   0.81   0.90   1.20         0 ·········
  from inside                      -  2,001  2,002  2,002    9 in 9 x1x11x111
    last error  timed out, at 14:03:05 (3 of 9 failed)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from natop.columns.probes import syns_text
from natop.formats import milliseconds
from natop.model import Container, ProbePath, ProbeSeries, Snapshot
from natop.probing import Asked, published_ways
from natop.tui.formats import clock, fit
from natop.tui.glyphs import Glyphs
from natop.tui.probechoice import NOTHING_PROBED, ProbeChoice
from natop.tui.probelines import own_ways, strip, why
from natop.tui.tones import Line, Piece, Tone

_NUMBER, _SYNS, _STRIP = 7, 10, 12
"""Cells of a column, with the blank before it."""
_TITLES = ("LAST", "P50", "P95", "MAX")
_MOST_LABEL = 44


@dataclass(frozen=True, slots=True)
class _Way:
    """A line: a way, and what is known of it."""

    label: str
    series: ProbeSeries | None
    note: str = ""
    """Why nothing is, or nothing more."""


@dataclass(frozen=True, slots=True)
class _Group:
    """The ways to one thing."""

    subject: str
    ways: Sequence[_Way]


def probe_lines(
    container: Container, snapshot: Snapshot, choice: ProbeChoice, width: int, glyphs: Glyphs
) -> list[Line]:
    """In at most so many cells, the ways to each published port, and those to the user's targets from inside it."""
    groups = [*_published(container, snapshot), *_own(container, snapshot, choice)]
    lines: list[Line] = [_heading(width), *_switch(choice)]
    for group in groups:
        lines.append([(f" {fit(group.subject, min(len(group.subject), width - 2), glyphs)}", Tone.NAME)])
        for way in group.ways:
            lines += _way_lines(way, width, glyphs)
    if not groups:
        lines.append([(" it publishes no TCP port now; a adds a target that it calls", Tone.QUIET)])
    return lines


def _switch(choice: ProbeChoice) -> Iterator[Line]:
    """How to have probes, where there are none."""
    if not choice.is_on:
        yield [(f" {NOTHING_PROBED}", Tone.NOTICE)]
    elif not choice.published:
        yield [(" published ports are not probed: P calls them too", Tone.NOTICE)]


def _published(container: Container, snapshot: Snapshot) -> Iterator[_Group]:
    known = {
        (each.last.subject, each.last.path): each
        for each in snapshot.probes or ()
        if each.last.container == container.id and each.last.path != ProbePath.NETNS
    }
    for subject, paths in dict(published_ways(container)).items():
        found = [(path, known.get((subject, path))) for path in paths]
        yield _Group(subject, [_Way(f"{path:<9} {each.last.target if each else ''}", each) for path, each in found])


def _own(container: Container, snapshot: Snapshot, choice: ProbeChoice) -> Iterator[_Group]:
    """The host's call beside the container's."""
    asked = own_ways(snapshot, choice)
    known = {each.last.key: each for each in snapshot.probes or ()}
    for mine in asked.values():
        if mine.container == container.id:
            host = asked[(mine.target, ProbePath.HOST, "")]
            yield _Group(mine.target, [_own_way(each, known, choice) for each in (host, mine)])


def _own_way(way: Asked, known: Mapping[tuple[str, str, str], ProbeSeries], choice: ProbeChoice) -> _Way:
    series = known.get(way.key)
    return _Way("from inside" if way.name else "host", series, way.obstacle if series else why(way, choice))


def _heading(width: int) -> Line:
    titles = "".join(f"{title:>{_NUMBER}}" for title in _TITLES)
    return [(f" {'CONNECTS, ms':<{_label(width)}}{titles}{'SYNS LOST':>{_SYNS}} LAST PROBES", Tone.QUIET)]


def _label(width: int) -> int:
    """Cells of a way's name."""
    return max(12, min(_MOST_LABEL, width - 1 - _NUMBER * len(_TITLES) - _SYNS - _STRIP))


def _way_lines(way: _Way, width: int, glyphs: Glyphs) -> Iterator[Line]:
    room, series = _label(width), way.series
    label: Piece = (f"   {fit(way.label, room - 2, glyphs)}", Tone.PLAIN)
    if series is None:
        dashes = "".join(f"{glyphs.unknown:>{_NUMBER}}" for _ in _TITLES) + f"{glyphs.unknown:>{_SYNS}}"
        yield [label, (dashes, Tone.QUIET), (f" {way.note}", Tone.QUIET)]
        return
    numbers = series.statistics
    times = (series.last.connect_ms, numbers.p50_ms, numbers.p95_ms, numbers.max_ms)
    lost = syns_text(series) if numbers.by_syns_lost else glyphs.unknown
    lost = f"{glyphs.alarm} {lost}" if numbers.syns_lost else lost
    yield [
        label,
        ("".join(f"{milliseconds(each, glyphs.unknown):>{_NUMBER}}" for each in times), Tone.PLAIN),
        (f"{lost:>{_SYNS}}", Tone.ALARM if numbers.syns_lost else Tone.PLAIN),
        (
            f" {strip(series.results, max(_STRIP - 1, width - room - 1 - 4 * _NUMBER - _SYNS - 1), glyphs).strip()}",
            Tone.TREND,
        ),
    ]
    if way.note:
        yield [(f"     {way.note}", Tone.NOTICE)]
    failed = next((each for each in reversed(series.results) if each.error), None)
    if failed:
        of = f"{numbers.failed:,} of {numbers.count:,} failed"
        yield [
            (f"     {glyphs.alarm} last error ", Tone.NOTICE),
            (f"{failed.error}, at {clock(failed.at)} ({of})", Tone.PLAIN),
        ]
