"""Tables as lines of text, fitted to a width, and as Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from natop.formats import cells_of, padded
from natop.markdown import escaped


class Titled(Protocol):
    """What must be known of a column to write it."""

    @property
    def title(self) -> str: ...
    @property
    def numeric(self) -> bool:
        """Its cells stand flush right."""

    @property
    def rank(self) -> int:
        """The higher, the sooner it is left out where there is no room."""


def as_text(columns: Sequence[Titled], cells: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    """Lines with columns two spaces apart, those left out that do not fit into `width` cells, if that is given."""
    widths = _widths(columns, cells)
    shown = _fitting([column.rank for column in columns], widths, width)
    for line in ([column.title for column in columns], *cells):
        placed = [padded(line[index], widths[index], columns[index].numeric) for index in shown]
        yield "  ".join(placed).rstrip() + "\n"


def left_out(columns: Sequence[Titled], cells: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """The titles of the columns that `as_text` leaves out."""
    shown = _fitting([column.rank for column in columns], _widths(columns, cells), width)
    return [column.title for index, column in enumerate(columns) if index not in shown]


def _widths(columns: Sequence[Titled], cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cells_of, texts)) for texts in zip([column.title for column in columns], *cells, strict=True)]


def _fitting(ranks: Sequence[int], widths: Sequence[int], width: int | None) -> list[int]:
    """The columns that fit, those of the highest rank left out first, of equal rank the rightmost."""
    shown = list(range(len(widths)))
    while width is not None and len(shown) > 1 and sum(widths[index] + 2 for index in shown) - 2 > width:
        shown.remove(max(shown, key=lambda index: (ranks[index], index)))
    return shown


def as_markdown(columns: Sequence[Titled], cells: Iterable[Sequence[str]]) -> Iterator[str]:
    """Cells letter by letter, whatever they hold."""
    yield _pipes([column.title for column in columns])
    yield _pipes(["--:" if column.numeric else ":--" for column in columns])
    for line in cells:
        yield _pipes([escaped(cell) for cell in line])


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"
