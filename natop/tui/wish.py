"""What the user asked a view to show, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from natop.columns.ordering import sort_column_or
from natop.tui.layout import Column
from natop.tui.table import Content

if TYPE_CHECKING:
    from natop.columns.grouping import Grouping

C = TypeVar("C", bound=Column)
FIRST_RANGE_S = 300.0
FIRST_PLOTS = ("time_wait", "flows", "new", "insert_failed", "pool_use")
"""Keys of the numbers that are plotted at first."""


@dataclass(frozen=True, slots=True)
class Wish:
    filter_text: str = ""
    good_filter: str = ""
    """In force where `filter_text` holds a mistake."""
    sort: str | None = None
    """A column's key, with `-` before it the other way round; None, or no column of the table, is its default."""
    descending: bool | None = None
    """None is the column's own way: numbers from the largest, text from A."""
    scope: str | None = None
    """Only flows of what has this key (`columns.grouping.in_scope`): a container, the host, a group, a NAT pool."""
    by: Grouping | None = None
    """What a row of the table of containers stands for; None is a container."""
    named: bool = False
    """Containers' names instead of their addresses."""


@dataclass(frozen=True, slots=True)
class TrendsWish:
    """What the view of trends shows."""

    subject: str | None = None
    """A container's id, or what stands for the flows that no container owns; None is the whole host."""
    metrics: tuple[str, ...] = FIRST_PLOTS
    selected: int = 0
    span_s: float = FIRST_RANGE_S
    alone: bool = False
    """Only the selected plot."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with a filter, and at which column (from 0) of its text."""

    message: str
    column: int


@dataclass(frozen=True, slots=True)
class Arranged:
    content: Content | None
    """None where flows could not be read."""
    sort: str
    descending: bool
    found: int = 0
    """Things shown; the host's row is none."""
    of: int | None = 0
    """Things there would be without the filter; None is unknown."""
    mistake: Mistake | None = None
    things: str = ""
    """What the lines are, in the plural."""


def order(columns: Sequence[C], wish: Wish, default: str) -> tuple[C, bool]:
    """The column to sort by and whether from the largest, for a table with these columns and that default."""
    column, descending = sort_column_or(columns, wish.sort, default)
    return column, descending if wish.descending is None else wish.descending
