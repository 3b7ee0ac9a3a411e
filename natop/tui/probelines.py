"""Probes as the lines of a table: one for each target and way, with a strip of what its last probes found. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from textwrap import wrap

from natop.columns.containers import FAILED
from natop.columns.ordering import rows_by, sort_column_or
from natop.columns.probes import PROBE_COLUMNS, ProbeColumn, errors_text, losses
from natop.formats import UNKNOWN
from natop.model import ProbePath, ProbeResult, ProbeSeries, Snapshot
from natop.probing import Asked, asked, out_of_reach
from natop.tui.formats import count, shortened
from natop.tui.glyphs import Glyphs
from natop.tui.layout import Column
from natop.tui.probechoice import ProbeChoice
from natop.tui.tones import Line, Piece, Tone
from natop.tui.wish import Arranged, Wish

_NONE: Mapping[Hashable, Asked] = {}


@dataclass(frozen=True, slots=True)
class StripColumn:
    key: str = "strip"
    title: str = "LAST PROBES"
    width: int = 11
    numeric: bool = True
    help: str = "newest at the right: each ! is a SYN that the next probe lost, a dot connected, x failed"
    rank: int = 1

    @staticmethod
    def order(series: ProbeSeries) -> float | None:
        """By when the last bad one was, the latest first."""
        return max((each.at for each in series.results if each.error or each.syns_lost), default=None)


STRIP = StripColumn()
_HIDDEN = frozenset(("p99", "first_byte", "later_byte", "http_status"))
"""Told by the facts about a line, for which there is room more often."""
_TIMES = ("last", "p50", "p95", "p99", "max", "first_byte", "later_byte")
"""Told by the facts about a line."""
_RANKS = {"syns_lost": 2, "failed": 2, "p95": 2, "error": 3, "p50": 4, "last": 4, "count": 5, "max": 5}
"""On a screen the strip comes before these."""
_WIDTHS = {"target": 14, "path": 9}
"""Ends and ways give way where a screen is narrow; elsewhere they have room first."""
COLUMNS: tuple[ProbeColumn | StripColumn, ...] = (
    *(
        replace(column, rank=_RANKS.get(column.key, column.rank), width=_WIDTHS.get(column.key, column.width))
        for column in PROBE_COLUMNS
        if column.key not in ("error", *_HIDDEN)
    ),
    STRIP,
    *(replace(column, rank=_RANKS["error"]) for column in PROBE_COLUMNS if column.key == "error"),
)


_TIME_COLUMNS = tuple(column for column in PROBE_COLUMNS if column.key in _TIMES)


def _is_told(column: ProbeColumn, series: ProbeSeries) -> bool:
    return column.order(series) is not None


WAITING = "waiting"
"""In place of an error, where there is no result yet."""
_OFF = "not probed now"


def arrange_probes(snapshot: Snapshot, wish: Wish, choice: ProbeChoice, glyphs: Glyphs) -> Arranged:
    """The ways in order; a filter is looked for in the target, the way and the error.

    Of targets that a user named there are the ways asked for now, below the others those without a result.
    """
    own = own_ways(snapshot, choice)
    shown = [each for each in snapshot.probes or () if not _is_own(each) or each.last.key in own]
    known = {each.last.key for each in shown}
    awaited = [replace(each, obstacle=why(each, choice)) for key, each in own.items() if key not in known]
    word = wish.filter_text.strip().casefold()
    found = [each for each in shown if word in _searched(each)]
    column, own_way = sort_column_or(COLUMNS, wish.sort, "target")
    descending = own_way if wish.descending is None else wish.descending
    rows = rows_by(found, column.order, lambda each: each.last.target, descending)
    rest = [each for each in awaited if word in f"{each.target} {each.text} {each.obstacle}".casefold()]
    content = ProbeLines(rows, glyphs, rest, own)
    return Arranged(content, column.key, descending, len(content), len(shown) + len(awaited))


_MOST_NAMES = 3
"""Of containers, for one reason."""


def uncalled_lines(snapshot: Snapshot, choice: ProbeChoice, width: int, most: int, glyphs: Glyphs) -> list[Line]:
    """Which containers the host cannot call and why, in at most so many lines.

    None where it can call all, or is not to call any.
    """
    if not (choice.is_on and choice.published and snapshot.inventory):
        return []
    reasons = out_of_reach(snapshot.inventory, snapshot.host.addresses)
    names = {each.id: each.name for each in snapshot.inventory.containers}
    by_reason: dict[str, list[str]] = {}
    for identity, reason in reasons.items():
        by_reason.setdefault(reason, []).append(names[identity])
    told = f" {glyphs.dot} ".join(f"{_listed(found)} ({reason})" for reason, found in by_reason.items())
    if not told:
        return []
    end = f" {glyphs.ellipsis}"
    said, room = f"this host cannot call {told}", max(20, width - 1)
    parts = wrap(said, room, max_lines=most, placeholder=end, break_on_hyphens=False)
    return [[(f" {part}", Tone.PLAIN)] for part in parts]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def own_ways(snapshot: Snapshot, choice: ProbeChoice) -> dict[Hashable, Asked]:
    """The ways to the user's own targets by their keys."""
    containers = snapshot.inventory.containers if snapshot.inventory else ()
    return {each.key: each for each in asked(choice.targets, containers)}


def why(way: Asked, choice: ProbeChoice) -> str:
    """Why there is no result of it yet."""
    return way.obstacle or (WAITING if choice.is_on else _OFF)


def _is_own(series: ProbeSeries) -> bool:
    return series.last.path in (ProbePath.HOST, ProbePath.NETNS)


def _searched(series: ProbeSeries) -> str:
    return " ".join(column.text(series) for column in PROBE_COLUMNS if not column.numeric).casefold()


def strip(results: Sequence[ProbeResult], width: int, glyphs: Glyphs) -> str:
    """A mark for each lost SYN and one for how the probe ended, the newest at the right end."""
    return "".join(_marks(each, glyphs) for each in results)[-width:].rjust(width) if width > 0 else ""


def strip_line(results: Sequence[ProbeResult], width: int, glyphs: Glyphs) -> Line:
    """The same without blanks, what is bad in its tone."""
    marks = groupby(strip(results, width, glyphs).strip(), key=lambda mark: mark == glyphs.dot)
    return [("".join(alike), Tone.TREND if is_good else Tone.ALARM) for is_good, alike in marks]


def _marks(result: ProbeResult, glyphs: Glyphs) -> str:
    return glyphs.alarm * (result.syns_lost or 0) + (FAILED if result.error else glyphs.dot)


def _way_in(text: str, width: int, glyphs: Glyphs) -> str:
    """A way in so many cells: the name gives way, as `published …r-1`."""
    way, _, name = text.partition(" ")
    return f"{way} {shortened(name, width - len(way) - 1, glyphs)}" if name and width > len(way) + 1 else text


class ProbeLines:
    """Ways as the content of a table."""

    columns: Sequence[ProbeColumn | StripColumn] = COLUMNS

    def __init__(
        self,
        series: Sequence[ProbeSeries],
        glyphs: Glyphs,
        awaited: Sequence[Asked] = (),
        own: Mapping[Hashable, Asked] = _NONE,
    ) -> None:
        """`awaited` are ways without a result, for the reason that they name; `own` all that the user asked for."""
        self.series, self.awaited, self._own, self._glyphs = series, awaited, own, glyphs
        self._keys = [*(each.last.key for each in series), *(each.key for each in awaited)]

    def __len__(self) -> int:
        return len(self._keys)

    def identity(self, line: int) -> Hashable:
        return self._keys[line]

    def line_of(self, identity: Hashable) -> int | None:
        return next((line for line, key in enumerate(self._keys) if key == identity), None)

    def text(self, line: int) -> str:
        """The line for the clipboard."""
        return "\t".join(f"{column.title} {self._text(line, column)}" for column in PROBE_COLUMNS)

    def _text(self, line: int, column: ProbeColumn) -> str:
        if line < len(self.series):
            series = self.series[line]
            obstacle = self._own[series.last.key].obstacle if series.last.key in self._own else ""
            text = column.text(series)
            return ", ".join(part for part in (obstacle, text) if part) if column.key == "error" else text
        return self._awaited_cell(self.awaited[line - len(self.series)], column)

    def _awaited_cell(self, way: Asked, column: Column) -> str:
        """The reason stands in the strip too, which is in sight where errors are not."""
        told = {"target": way.target, "path": way.text, "count": "0", "error": way.obstacle, STRIP.key: way.obstacle}
        return told.get(column.key, self._glyphs.unknown)

    def facts(self, line: int) -> Sequence[Line]:
        """The strip at full length, how many probes lost how many SYNs, and what that means, the slowest first."""
        return list(self._facts(self.series[line])) if line < len(self.series) else []

    def _facts(self, series: ProbeSeries) -> Iterator[Line]:
        told = series.statistics
        parts = [f"{lost} lost in {count(number)}" for lost, number in told.by_syns_lost.items()]
        parts += [f"failed {count(told.failed)}: {errors_text(series)}"] if told.failed else []
        yield [(" SYNs      ", Tone.QUIET), (", ".join(parts), Tone.PLAIN)]
        yield [(" probes    ", Tone.QUIET), *strip_line(series.results, 60, self._glyphs)]
        times = (
            f"{each.title.removesuffix(' ms')} {each.text(series)}" for each in _TIME_COLUMNS if _is_told(each, series)
        )
        yield [(" ms        ", Tone.QUIET), ("  ".join(times) or self._glyphs.unknown, Tone.PLAIN)]
        for sentence in reversed(list(losses(series))):
            yield [(f" {self._glyphs.alarm} ", Tone.NOTICE), (sentence, Tone.PLAIN)]

    def cell(self, line: int, column: Column, width: int) -> Piece:
        text, tone = self._whole_cell(line, column, width)
        if column.key == "target":
            return shortened(text, width, self._glyphs), tone
        return (_way_in(text, width, self._glyphs) if column.key == "path" else text), tone

    def _whole_cell(self, line: int, column: Column, width: int) -> Piece:
        """The strip alone goes by the width."""
        if line >= len(self.series):
            return self._awaited_cell(self.awaited[line - len(self.series)], column), Tone.QUIET
        series = self.series[line]
        if isinstance(column, StripColumn):
            shown = strip(series.results, width, self._glyphs)
            return shown, Tone.TREND if set(shown) <= {" ", self._glyphs.dot} else Tone.ALARM
        assert isinstance(column, ProbeColumn)
        text = self._text(line, column)
        if text == UNKNOWN:
            return self._glyphs.unknown, Tone.QUIET
        bad = (column.key == "failed" and series.statistics.failed) or (
            column.key == "syns_lost" and series.statistics.syns_lost
        )
        if bad:
            return f"{text} {self._glyphs.alarm}", Tone.ALARM
        return text, Tone.NAME if column.key == "target" else Tone.PLAIN
