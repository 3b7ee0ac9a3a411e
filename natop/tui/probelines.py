"""Probes as the lines of a table: one for each target and way, with a strip of what its last probes found. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

from natop.model import ProbeResult, ProbeSeries, Snapshot
from natop.ordering import rows_by, sort_column_or
from natop.probecolumns import PROBE_COLUMNS, ProbeColumn, losses
from natop.tui.formats import count
from natop.tui.glyphs import Glyphs
from natop.tui.layout import Column
from natop.tui.tones import Line, Piece, Tone
from natop.tui.wish import Arranged, Wish

_MOST_SYNS = 9
"""Lost SYNs that one character can tell."""


@dataclass(frozen=True, slots=True)
class StripColumn:
    key: str = "strip"
    title: str = "LAST PROBES"
    width: int = 11
    numeric: bool = False
    help: str = "newest at the right: a dot connected at once, a digit lost so many SYNs, x failed"
    rank: int = 1


STRIP = StripColumn()
_HIDDEN = frozenset(("p99", "first_byte", "later_byte"))
"""Told by the facts about a line where there is no room for them."""
_RANKS = {"p50": 2, "last": 2, "max": 3}
"""On a screen the strip and the SYNs lost come before these."""
COLUMNS: tuple[ProbeColumn | StripColumn, ...] = (
    *(
        replace(column, rank=_RANKS.get(column.key, column.rank))
        for column in PROBE_COLUMNS
        if column.key not in ("error", *_HIDDEN)
    ),
    STRIP,
    *(column for column in PROBE_COLUMNS if column.key == "error"),
)


def arrange_probes(snapshot: Snapshot, wish: Wish, glyphs: Glyphs) -> Arranged:
    """The ways in order; a filter is looked for in the target, the way and the error."""
    series = snapshot.probes or ()
    word = wish.filter_text.strip().casefold()
    found = [each for each in series if word in _searched(each)]
    column, own_way = sort_column_or(PROBE_COLUMNS, wish.sort, "target")
    descending = own_way if wish.descending is None else wish.descending
    rows = rows_by(found, column.order, lambda each: each.last.target, descending)
    return Arranged(ProbeLines(rows, glyphs), column.key, descending, len(rows), len(series))


def _searched(series: ProbeSeries) -> str:
    return " ".join(column.text(series) for column in PROBE_COLUMNS if not column.numeric).casefold()


def strip(results: Sequence[ProbeResult], width: int, glyphs: Glyphs) -> str:
    """A character a probe, the newest at the right end."""
    return "".join(_mark(each, glyphs) for each in results[-width:]).rjust(width) if width > 0 else ""


def _mark(result: ProbeResult, glyphs: Glyphs) -> str:
    if result.error:
        return "x"
    return str(min(result.syns_lost, _MOST_SYNS)) if result.syns_lost else glyphs.dot


class ProbeLines:
    """Ways as the content of a table."""

    columns: Sequence[ProbeColumn | StripColumn] = COLUMNS

    def __init__(self, series: Sequence[ProbeSeries], glyphs: Glyphs) -> None:
        self.series, self._glyphs = series, glyphs

    def __len__(self) -> int:
        return len(self.series)

    def identity(self, line: int) -> Hashable:
        return self.series[line].last.key

    def line_of(self, identity: Hashable) -> int | None:
        return next((line for line, each in enumerate(self.series) if each.last.key == identity), None)

    def text(self, line: int) -> str:
        """The line for the clipboard."""
        return "\t".join(f"{column.title} {column.text(self.series[line])}" for column in PROBE_COLUMNS)

    def facts(self, line: int) -> Sequence[Line]:
        """The strip at full length, how many probes lost how many SYNs, and what that means."""
        return list(self._facts(self.series[line]))

    def _facts(self, series: ProbeSeries) -> Iterator[Line]:
        lost = series.statistics.by_syns_lost
        told = (f"{syns} lost in {count(number)}" for syns, number in lost.items())
        yield [(" SYNs      ", Tone.QUIET), (", ".join(told) or self._glyphs.unknown, Tone.PLAIN)]
        yield [(" probes    ", Tone.QUIET), (strip(series.results, 60, self._glyphs).lstrip(), Tone.TREND)]
        hidden = (column for column in PROBE_COLUMNS if column.key in _HIDDEN)
        more = "   ".join(f"{column.title} {column.text(series)}" for column in hidden)
        yield [(" more      ", Tone.QUIET), (more, Tone.PLAIN)]
        for sentence in losses(series):
            yield [(f" {self._glyphs.alarm} ", Tone.NOTICE), (sentence, Tone.PLAIN)]

    def cell(self, line: int, column: Column, width: int) -> Piece:
        series = self.series[line]
        if isinstance(column, StripColumn):
            return strip(series.results, width, self._glyphs), Tone.TREND
        assert isinstance(column, ProbeColumn)
        text = column.text(series)
        bad = (column.key == "failed" and series.statistics.failed) or (
            column.key == "syns_lost" and series.statistics.syns_lost
        )
        if bad:
            return f"{text} {self._glyphs.alarm}", Tone.ALARM
        return text, Tone.NAME if column.key == "target" else Tone.PLAIN
