"""The ways to one container and from inside it, side by side, as lines. Pure.

CONNECTS, ms                         LAST    P50    P95    MAX SYNS LOST LAST PROBES
shop-web-1 8080→80
  container 172.18.0.2:80            0.18   0.18  2,031  2,031  ! 4 in 2 ··!!··!!·
  published 198.18.0.1:8080          0.21   0.21   0.30   0.30         0 ·········
  proxy                                 -      -      -      -         -
203.0.113.7:443
  host                               0.80   0.81   0.90   1.20         0 ·········
  from inside                           -  1,001  1,002  1,002 ! 18 in 9 !x!·!!x!·
    ! last error timed out, at 14:03:05 (3 of 9 failed)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from natop.columns.probes import syns_text
from natop.formats import milliseconds
from natop.model import Container, ProbePath, ProbeSeries, Snapshot
from natop.probing import Asked, ProbeWish, aims, out_of_reach, published_ways
from natop.tui.formats import clock, fit, shortened
from natop.tui.glyphs import Glyphs
from natop.tui.probechoice import NOTHING_PROBED, ProbeChoice
from natop.tui.probelines import WAITING, own_ways, strip_line, why
from natop.tui.tones import Line, Piece, Tone

_NUMBER, _SYNS, _STRIP = 7, 10, 12
"""Cells of a column, with the blank before it."""
_LEAST_LABEL, _MOST_LABEL = 34, 44
"""Cells of a way's name; the first hold any IPv4 address with its port."""
_TIMES: Sequence[tuple[str, Callable[[ProbeSeries], float | None]]] = (
    ("LAST", lambda series: series.last.connect_ms),
    ("P50", lambda series: series.statistics.p50_ms),
    ("P95", lambda series: series.statistics.p95_ms),
    ("MAX", lambda series: series.statistics.max_ms),
)


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
    reasons = out_of_reach(snapshot.inventory, snapshot.host.addresses) if snapshot.inventory else {}
    obstacle = reasons.get(container.id, "")
    groups = [*_published(container, snapshot, choice), *_own(container, snapshot, choice)]
    lines: list[Line] = [_heading(width), *_switch(choice)]
    if obstacle:
        lines.append([(f" this host cannot call it: {obstacle}", Tone.NOTICE)])
    for group in groups:
        lines.append([(f" {fit(group.subject, min(len(group.subject), width - 2), glyphs)}", Tone.NAME)])
        for way in group.ways:
            lines += _way_lines(way, width, glyphs)
    if not groups:
        lines.append([(f" {_without_ports(container, snapshot)}; a adds a target that it calls", Tone.QUIET)])
    return lines


def _without_ports(container: Container, snapshot: Snapshot) -> str:
    containers = snapshot.inventory.containers if snapshot.inventory else ()
    host = next((each for each in containers if each.id == container.joined), None)
    return f"its ports are those of {host.name}, whose network it shares" if host else "it publishes no TCP port now"


def _switch(choice: ProbeChoice) -> Iterator[Line]:
    """How to have probes, where there are none."""
    if not choice.is_on:
        yield [(f" {NOTHING_PROBED}", Tone.NOTICE)]
    elif not choice.published:
        yield [(" published ports are not probed: P calls them too", Tone.NOTICE)]


def _published(container: Container, snapshot: Snapshot, choice: ProbeChoice) -> Iterator[_Group]:
    known: dict[tuple[str, str], list[ProbeSeries]] = {}
    for each in snapshot.probes or ():
        if each.last.container == container.id and each.last.path != ProbePath.NETNS:
            known.setdefault((each.last.subject, each.last.path), []).append(each)
    called = _called(container, snapshot) if choice.is_on and choice.published else ()
    userland_proxy = snapshot.inventory.engine.userland_proxy if snapshot.inventory else None
    for subject, paths in published_ways(container, userland_proxy):
        ways = [
            _Way(f"{path:<9} {each.last.target}", each)
            if each
            else _Way(f"{path:<9} ", None, WAITING if (subject, path) in called else "")
            for path in paths
            for each in known.get((subject, path), [None])
        ]
        yield _Group(subject, ways)


def _called(container: Container, snapshot: Snapshot) -> frozenset[tuple[str, str]]:
    """The ways to its published ports that there are from here: of what, and how."""
    wanted = aims(ProbeWish(), snapshot.inventory, snapshot.host.addresses or ())
    return frozenset((way.subject, way.path) for aim in wanted for way in aim.ways if way.container == container.id)


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


@dataclass(frozen=True, slots=True)
class _Columns:
    """What stands in a line, in at most so many cells."""

    width: int

    @property
    def times(self) -> Sequence[tuple[str, Callable[[ProbeSeries], float | None]]]:
        """Without the median where there is no room for whole addresses."""
        return _TIMES if self._left(len(_TIMES)) >= _LEAST_LABEL else [each for each in _TIMES if each[0] != "P50"]

    @property
    def label(self) -> int:
        """Cells of a way's name."""
        return max(12, min(_MOST_LABEL, self._left(len(self.times))))

    @property
    def strip(self) -> int:
        return max(_STRIP, self.width - 1 - self.label - _NUMBER * len(self.times) - _SYNS) - 1

    def _left(self, times: int) -> int:
        return self.width - 1 - _NUMBER * times - _SYNS - _STRIP


def _heading(width: int) -> Line:
    columns = _Columns(width)
    titles = "".join(f"{title:>{_NUMBER}}" for title, _ in columns.times)
    return [(f" {'CONNECTS, ms':<{columns.label}}{titles}{'SYNS LOST':>{_SYNS}} LAST PROBES", Tone.QUIET)]


def _syns(series: ProbeSeries, glyphs: Glyphs) -> Piece:
    """Marked where any was lost and there is room for that."""
    text = syns_text(series, glyphs.unknown)
    if not series.statistics.syns_lost:
        return f"{text:>{_SYNS}}", Tone.PLAIN
    marked = f"{glyphs.alarm} {text}"
    return f"{marked if len(marked) < _SYNS else text:>{_SYNS}}", Tone.ALARM


def _way_lines(way: _Way, width: int, glyphs: Glyphs) -> Iterator[Line]:
    columns, series = _Columns(width), way.series
    room = columns.label - 2
    label: Piece = (f"   {fit(shortened(way.label, room, glyphs), room, glyphs)}", Tone.PLAIN)
    if series is None:
        dashes = "".join(f"{glyphs.unknown:>{_NUMBER}}" for _ in columns.times) + f"{glyphs.unknown:>{_SYNS}}"
        yield [label, (dashes, Tone.QUIET), (f" {way.note}", Tone.QUIET)]
        return
    times = "".join(f"{milliseconds(get(series), glyphs.unknown):>{_NUMBER}}" for _, get in columns.times)
    marks = strip_line(series.results, columns.strip, glyphs)
    yield [label, (times, Tone.PLAIN), _syns(series, glyphs), (" ", Tone.PLAIN), *marks]
    if way.note:
        yield [(f"     {way.note}", Tone.NOTICE)]
    failed = next((each for each in reversed(series.results) if each.error), None)
    if failed:
        of = f"{series.statistics.failed:,} of {series.statistics.count:,} failed"
        yield [
            (f"     {glyphs.alarm} last error ", Tone.NOTICE),
            (f"{failed.error}, at {clock(failed.at)} ({of})", Tone.PLAIN),
        ]
