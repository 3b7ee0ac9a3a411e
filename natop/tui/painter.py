"""The lines of a table as strips of styled cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from natop.tui.glyphs import Glyphs
from natop.tui.layout import Place
from natop.tui.tones import Piece, Tone, cell

LEFT = 1
"""Empty cells before the first column."""
PAINTER_CLASSES = frozenset(("table--header", "table--sorted", "table--cursor"))
"""For the COMPONENT_CLASSES of the widget whose lines are painted, beside TONE_CLASSES."""

Styled = tuple[str, Style]
_BRIGHTER = {Tone.QUIET: Tone.PLAIN, Tone.TREND: Tone.TIME_WAIT}
"""What would be hard to read on the cursor's ground, and what stands for it there."""


class Painter:
    """Paints for one width, one set of columns and the theme of the moment; its styles are looked up once."""

    def __init__(self, widget: Widget, places: Sequence[Place], width: int, glyphs: Glyphs) -> None:
        self.places, self.width = places, width
        self._glyphs = glyphs
        style = widget.get_component_rich_style
        self._tones = {tone: style(f"tone--{tone}") for tone in Tone}
        self._header, self._sorted, self._cursor = (style(f"table--{part}") for part in ("header", "sorted", "cursor"))

    def titles(self, sort: str, descending: bool) -> Strip:
        """The header: titles over their columns, the sort column marked in the gap that follows it.

        A number at the right edge has none: there the mark stands in the gap before.
        """
        pieces, at = [(" " * LEFT, self._header)], 0
        for spot in self.places:
            is_sorted = spot.column.key == sort
            mark = (self._glyphs.descending if descending else self._glyphs.ascending) if is_sorted else ""
            before = len(mark) if spot.column.numeric and LEFT + spot.start + spot.width >= self.width else 0
            text = self._title(spot, mark, before)
            pieces.append((" " * (spot.start - before - at), self._header))
            pieces.append((text, self._sorted if is_sorted else self._header))
            at = spot.start - before + len(text)
        return self._strip(pieces, self._header)

    def _title(self, spot: Place, mark: str, before: int) -> str:
        title, width = spot.column.title, spot.width
        if before:
            return cell(mark + title, width + before, self._glyphs, right=True)
        text = cell(title, width, self._glyphs, right=True) if spot.column.numeric else title
        return cell(text + mark, width + len(mark), self._glyphs)

    def line(self, cells: Iterable[Piece], at_cursor: bool) -> Strip:
        """One line; `cells` are those of the columns in place, in their order."""
        styles = self._at_cursor if at_cursor else self._tones
        ground = styles[Tone.PLAIN]
        pieces, at = [(" " * LEFT, ground)], 0
        for spot, (text, tone) in zip(self.places, cells, strict=True):
            sized = cell(text, spot.width, self._glyphs, spot.column.numeric)
            pieces.append((" " * (spot.start - at), ground))
            pieces.append((sized, styles[tone]))
            at = spot.start + spot.width
        return self._strip(pieces, self._cursor if at_cursor else ground)

    def note(self, text: str) -> Strip:
        """A line that is no row of the table."""
        quiet = self._tones[Tone.QUIET]
        return self._strip([(" " * LEFT, quiet), (cell(text, self.width - LEFT, self._glyphs), quiet)], quiet)

    @cached_property
    def _at_cursor(self) -> dict[Tone, Style]:
        """On the cursor's line: each tone's colour on the cursor's ground, or all plainly reversed."""
        cursor = self._cursor
        if cursor.reverse:
            return dict.fromkeys(Tone, cursor)
        ground = Style(bgcolor=cursor.bgcolor, bold=cursor.bold)
        return {tone: self._tones[_BRIGHTER.get(tone, tone)] + ground for tone in Tone}

    def _strip(self, pieces: Iterable[Styled], ground: Style) -> Strip:
        segments = [Segment(text, style) for text, style in pieces if text]
        return Strip(segments).adjust_cell_length(self.width, ground).simplify()
