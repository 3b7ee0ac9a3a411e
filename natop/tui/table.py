"""The one table of natop: it draws the lines in sight and no others, so that 250,000 cost what 40 do.

    CONTAINER        FLOWS▼  ESTAB   SYN TIME_WAIT TREND      the header; a click sorts by that column
    shop-web-1       6,512    541     3     5,320 ▂▃▄▅▆▇▇█
    shop-app-2          88     12     0        70 ▁▁▁▂▂▁▁▁

The cursor sits on what a line is about (its identity), not on its number.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import ClassVar, Protocol

from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from natop.tui.glyphs import UNICODE, Glyphs
from natop.tui.keys import bind
from natop.tui.layout import Column, Place, place
from natop.tui.painter import LEFT, PAINTER_CLASSES, Painter
from natop.tui.tones import TONE_CLASSES, Line, Piece

HEADER = 1
"""Lines of the header."""


class Content(Protocol):
    """What a table shows: lines already filtered and sorted."""

    @property
    def columns(self) -> Sequence[Column]: ...
    def __len__(self) -> int: ...
    def identity(self, line: int) -> Hashable:
        """What the thing on that line is known by from one refresh to the next."""

    def line_of(self, identity: Hashable) -> int | None: ...
    def cell(self, line: int, column: Column, width: int) -> Piece: ...
    def text(self, line: int) -> str:
        """The line for the clipboard."""

    def facts(self, line: int) -> Sequence[Line]:
        """What there is to tell about it beside its cells."""


class VirtualTable(ScrollView, can_focus=True):
    """Content as lines under a header, with a cursor that follows the identity it sits on."""

    ALLOW_SELECT = False
    FOCUS_ON_CLICK = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {*PAINTER_CLASSES, *TONE_CLASSES}
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("up,k", "move(-1)", "Up"),
        bind("down,j", "move(1)", "Down"),
        bind("pageup", "page(-1)", "Page up"),
        bind("pagedown", "page(1)", "Page down"),
        bind("home", "top", "Top"),
        bind("end,G", "bottom", "Bottom"),
    ]

    class Chosen(Message):
        """A second click on the line under the cursor."""

    class Pointed(Message):
        """The cursor is on another line, or the line is new."""

    class SortAsked(Message):
        """A click on a column's title."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, glyphs: Glyphs = UNICODE) -> None:
        super().__init__()
        self.glyphs = glyphs
        self.content: Content | None = None
        self.cursor = 0
        """Line number within the content."""
        self.follow = True
        self._identity: Hashable | None = None
        self._placed = False
        """Whether the user has put the cursor where it is; the top line is nobody's choice."""
        self._sort: tuple[str, bool] = ("", False)
        self._empty = ""
        self._painter: Painter | None = None
        self._height = 0
        self._strips: dict[int, Strip] = {}

    # What is shown

    def show(self, content: Content | None, sort: str = "", descending: bool = False, empty: str = "") -> None:
        """Show new content, or `empty` where it has no lines; only lines that look different are drawn again."""
        above = self.cursor - self._top
        if self.line_count < 2 and not self._placed:
            self._identity = None  # the only line there was is nobody's choice
        self.content, self._sort, self._empty = content, (sort, descending), empty
        self._prepare()
        self._settle(above)
        self._redraw()

    @property
    def line_count(self) -> int:
        return len(self.content) if self.content is not None else 0

    @property
    def places(self) -> Sequence[Place]:
        """The columns in sight, from left to right."""
        return self.painter.places

    @property
    def chosen(self) -> Hashable | None:
        """The identity under the cursor; None in an empty table."""
        return self.content.identity(self.cursor) if self.content is not None and self.line_count else None

    @property
    def picked(self) -> Hashable | None:
        """The identity that the user put the cursor on; None while it is nobody's choice."""
        return self._identity if self._placed else None

    def place_cursor(self, identity: Hashable | None) -> None:
        """Put the cursor on that line, if it is there."""
        line = self.content.line_of(identity) if self.content is not None else None
        if line is not None:
            self._move_to(line)

    def follow_rows(self, follow: bool) -> None:
        """Whether the cursor goes where its row goes, or stays on its line of the screen."""
        self.follow = follow
        self._placed = True
        self._identity = self.chosen

    # The cursor after new content

    def _settle(self, above: int) -> None:
        """Find the cursor's row again and, with it, the screen line it was on: `above` lines from the top."""
        line = self._line_followed()
        in_sight = 0 <= above < self._page
        self.cursor = max(0, min(self.cursor if line is None else line, self.line_count - 1))
        if line is None or not self.follow:
            self._identity = self.chosen
        if in_sight:
            self._scroll(self.cursor - above if self._placed else self._top)
            self._show_cursor()

    def _line_followed(self) -> int | None:
        """Where the row under the cursor is now; None leaves the cursor on its line number."""
        if not self.follow or self._identity is None or self.content is None:
            return None
        line = self.content.line_of(self._identity)
        strayed = line is not None and not self._placed and line >= self._page
        return None if strayed else line

    @property
    def _top(self) -> int:
        """The first line in sight."""
        return self.scroll_offset.y

    @property
    def _page(self) -> int:
        """How many lines are in sight."""
        return max(1, self._height - HEADER)

    def _scroll(self, top: int) -> None:
        self.scroll_to(y=max(0, min(top, self.line_count - self._page)), animate=False)

    def _show_cursor(self) -> None:
        if self.cursor < self._top:
            self._scroll(self.cursor)
        elif self.cursor >= self._top + self._page:
            self._scroll(self.cursor - self._page + 1)

    def _move_to(self, line: int) -> None:
        before, top = self.cursor, self._top
        self.cursor = max(0, min(line, self.line_count - 1))
        self._placed = True
        self._identity = self.chosen
        self._show_cursor()
        self._redraw((before, self.cursor) if self._top == top and self._strips else None)

    def action_move(self, lines: int) -> None:
        self._move_to(self.cursor + lines)

    def action_page(self, pages: int) -> None:
        self._scroll(self._top + pages * self._page)
        self._move_to(self.cursor + pages * self._page)

    def action_top(self) -> None:
        self._move_to(0)
        self._placed = False

    def action_bottom(self) -> None:
        self._move_to(self.line_count - 1)

    def choose(self) -> Hashable | None:
        """What the cursor is on, and with that it is a choice."""
        if self.chosen is not None:
            self._placed = True
            self._identity = self.chosen
        return self.chosen

    # The mouse

    def on_click(self, event: events.Click) -> None:
        """A title sorts, a line takes the cursor, and the line that has it opens."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        line = offset.y - HEADER + self._top
        if offset.y < HEADER:
            self._ask_sort(offset.x)
        elif line < self.line_count and line == self.cursor and event.chain > 1:
            self.post_message(self.Chosen())
        elif line < self.line_count:
            self._move_to(line)

    def _ask_sort(self, x: int) -> None:
        for spot in self.places:
            if LEFT + spot.start <= x <= LEFT + spot.start + spot.width:
                self.post_message(self.SortAsked(spot.column.key))
                return

    # Drawing

    def on_resize(self) -> None:
        self._prepare()
        self._show_cursor()
        self._redraw()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._painter = None
        self._strips.clear()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self._strips.clear()

    def _prepare(self) -> None:
        """Place the columns for this content and this size."""
        region = self.scrollable_content_region
        self._height = region.height
        self._painter = None  # made for the first line that is drawn: the styles may come after the first content
        self.virtual_size = Size(region.width, HEADER + self.line_count)

    @property
    def painter(self) -> Painter:
        if self._painter is None:
            columns, width = (
                self.content.columns if self.content is not None else (),
                self.scrollable_content_region.width,
            )
            self._painter = Painter(self, place(columns, width - LEFT, self._sort[0]), width, self.glyphs)
        return self._painter

    def _redraw(self, lines: Iterable[int] | None = None) -> None:
        """Draw what is in sight, or of that only these lines, and send the lines that changed."""
        before = self._strips
        if lines is None:
            self._strips, drawn = {}, list(range(self._height))
        else:
            self._strips, drawn = before.copy(), [line - self._top + HEADER for line in lines]
            for y in drawn:
                self._strips.pop(y, None)
        changed = [y for y in drawn if before.get(y) != self.render_line(y)]
        self.post_message(self.Pointed())
        if changed:
            self.refresh(*(Region(0, y, self.painter.width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        strip = self._strips.get(y)
        if strip is None or strip.cell_length != self.painter.width:
            strip = self._strips[y] = self._draw(y)
        return strip

    def _draw(self, y: int) -> Strip:
        line = y - HEADER + self._top
        if y < HEADER:
            return self.painter.titles(*self._sort)
        if self.content is not None and line < self.line_count:
            cells = [self.content.cell(line, spot.column, spot.width) for spot in self.places]
            return self.painter.line(cells, line == self.cursor)
        return self.painter.note(self._empty if line == 1 and not self.line_count else "")
