"""The order of lines, one for the screen and for all that is written: unknown values last in either direction.

numpy is not imported: the screen asks for the order of a table before it needs that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np

    from natop.model import Rows

Value = int | float | str | tuple[int, ...] | None
"""A cell's value; None is unknown."""


class Sortable(Protocol):
    """What must be known of a column to sort by it."""

    @property
    def key(self) -> str: ...
    @property
    def numeric(self) -> bool:
        """Its own way is then from the largest, else from A."""


C = TypeVar("C", bound=Sortable)
R = TypeVar("R")


def sort_column(columns: Sequence[C], sort: str | None) -> tuple[C, bool] | None:
    """The column that `sort` names (with `-` before its key the other way round), and whether from the largest.

    None where it names none of these.
    """
    sort = sort or ""
    key, reverse = sort.removeprefix("-"), sort.startswith("-")
    return next(((column, column.numeric != reverse) for column in columns if column.key == key), None)


def sort_column_or(columns: Sequence[C], sort: str | None, default: str) -> tuple[C, bool]:
    """As `sort_column`; the column with the key `default`, its own way, where `sort` names none of these."""
    own = next(column for column in columns if column.key == default)
    return sort_column(columns, sort) or (own, own.numeric)


def rows_by(rows: Iterable[R], value: Callable[[R], Value], name: Callable[[R], str], descending: bool) -> list[R]:
    """Rows by a value of each; equal ones, and those whose value is unknown, by name."""
    known: list[tuple[float | str, R]] = []
    unknown: list[R] = []
    for row in sorted(rows, key=name):
        comparable = _comparable(value(row))
        if comparable is None:
            unknown.append(row)
        else:
            known.append((comparable, row))
    known.sort(key=lambda pair: pair[0], reverse=descending)
    return [row for _, row in known] + unknown


def _comparable(value: Value) -> float | str | None:
    """Trends compare by their last value, text without regard to case."""
    if isinstance(value, tuple):
        return value[-1] if value else None
    return value.casefold() if isinstance(value, str) else value


def numbers_by(keys: np.ndarray, numbers: Rows, descending: bool, unknown: int | None = None) -> Rows:
    """Row numbers of a table by the keys of their rows; equal ones, and those with the key `unknown`, as they come."""
    chosen = keys[numbers]
    if unknown is None or not (missing := chosen == unknown).any():
        return numbers[_order(chosen, descending)]
    ordered, known = numbers.copy(), numbers[~missing]
    ordered[: len(known)] = known[_order(chosen[~missing], descending)]
    ordered[len(known) :] = numbers[missing]
    return ordered


def _order(keys: np.ndarray, descending: bool) -> Rows:
    """Stable in either direction."""
    if not descending:
        return keys.argsort(kind="stable")
    backwards: Rows = keys[::-1].argsort(kind="stable")[::-1]
    return len(keys) - 1 - backwards
