"""Which columns fit a width, and how wide each one is. Pure.

Widths depend on the columns and the room alone, never on what the cells hold, so that nothing moves from one
refresh to the next.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

ROOMY = 110
"""From this width on, two cells stand between columns."""
COMFORT = {"name": 20, "project": 10, "client": 16, "server": 16, "ends": 43, "finding": 40}
COMFORT |= {"target": 21, "path": 20}
"""Cells that make a column pleasant to read, by key; a column of rank 3 or more must leave room for them."""
USE = {"name": 40, "trend": 40, "project": 18, "mode": 24, "published": 40, "image": 40}
USE |= {"src": 40, "dst": 40, "answers": 40, "client": 26, "server": 26, "ends": 60, "gauge": 20, "holder": 40}
USE |= {"subject": 40, "finding": 120}
USE |= {"target": 44, "path": 30, "strip": 60, "error": 60}
"""Cells beyond which a column has no use for more, by key."""
_COMFORTABLE_RANK = 3


class Column(Protocol):
    """What a table must know of a column to place it and to name it."""

    @property
    def key(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def numeric(self) -> bool: ...
    @property
    def help(self) -> str: ...
    @property
    def rank(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Place:
    """A column on the screen: its cells are start … start + width."""

    column: Column
    start: int
    width: int


def place(columns: Sequence[Column], room: int, sort_key: str | None = None) -> tuple[Place, ...]:
    """The columns that fit, in their own order: rank by rank, and the sort column in any case."""
    gap = 2 if room >= ROOMY else 1
    chosen = _choose(columns, room, gap, sort_key)
    widths = [_narrowest(column) for column in chosen]
    for wish in (_least, _comfort, _use):
        spare = room - sum(widths) - gap * max(0, len(chosen) - 1)
        widths = _grown(widths, [wish(column) for column in chosen], spare)
    return _put(chosen, widths, gap)


def _choose(columns: Sequence[Column], room: int, gap: int, sort_key: str | None) -> list[Column]:
    """The lowest rank and the sort column; then rank by rank, from the left, up to one that does not fit as a whole."""
    lowest = min((column.rank for column in columns), default=0)
    wanted = [column for column in columns if column.rank == lowest or column.key == sort_key]
    _drop(wanted, room, gap, sort_key)
    full_from = None
    for column in sorted(columns, key=lambda column: column.rank):
        if column in wanted:
            continue
        if full_from is not None and column.rank > full_from:
            break
        measure = _comfort if column.rank >= _COMFORTABLE_RANK else _least
        if _total([*wanted, column], gap, measure) <= room:
            wanted.append(column)
        else:
            full_from = column.rank
    return [column for column in columns if column in wanted]


def _drop(wanted: list[Column], room: int, gap: int, sort_key: str | None) -> None:
    """Take columns away from the right until the others fit; the first and the sort column stay."""
    for column in reversed(wanted[1:]):
        if _total(wanted, gap, _narrowest) <= room:
            return
        if column.key != sort_key:
            wanted.remove(column)


def _total(columns: Sequence[Column], gap: int, measure: Callable[[Column], int]) -> int:
    return sum(measure(column) + gap for column in columns) - gap


def _narrowest(column: Column) -> int:
    """What a line is about is cut short rather than left out."""
    return len(column.title) if column.rank == 0 else _least(column)


def _least(column: Column) -> int:
    """Room for the title with its sort mark, and for the narrowest cells."""
    return max(column.width, len(column.title))


def _comfort(column: Column) -> int:
    return max(_least(column), COMFORT.get(column.key, 0))


def _use(column: Column) -> int:
    return USE.get(column.key, 0)


def _grown(widths: Sequence[int], wishes: Sequence[int], spare: int) -> list[int]:
    """Each width with its share of the spare room, in proportion to what it lacks of its wish."""
    lacking = [max(0, wish - width) for width, wish in zip(widths, wishes, strict=True)]
    given = min(max(0, spare), sum(lacking))
    grown, owed = [], 0.0
    for width, lack in zip(widths, lacking, strict=True):
        owed += given * lack / (sum(lacking) or 1)
        extra = min(lack, int(owed + 1e-9))
        owed -= extra
        grown.append(width + extra)
    return grown


def _put(chosen: Sequence[Column], widths: Sequence[int], gap: int) -> tuple[Place, ...]:
    places, start = [], 0
    for column, width in zip(chosen, widths, strict=True):
        places.append(Place(column, start, width))
        start += width + gap
    return tuple(places)
