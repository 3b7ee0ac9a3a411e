"""A screen whose body is one table: filtered, sorted, followed.

     1 Containers  2 Flows   3 of 12  filter state:time_wait
     / state:time_wait                                   only while a filter is typed
       ^ no field 'stat'; there are …                    only with a mistake, under its column
     CONTAINER        FLOWS▼  ESTAB   SYN TIME_WAIT …

Subclasses say what the lines are made from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import BindingType
from textual.widget import Widget
from textual.widgets import Input

from natop.tui.clipboard import copy
from natop.tui.filterline import FilterLine, mistake_lines
from natop.tui.formats import count
from natop.tui.frame import Explained, Frame
from natop.tui.glyphs import Glyphs
from natop.tui.header import News
from natop.tui.keys import bind
from natop.tui.sorting import SortScreen
from natop.tui.table import VirtualTable
from natop.tui.tones import Line, Piece, Tone
from natop.tui.wish import Arranged, Mistake, Wish, order

if TYPE_CHECKING:
    from natop.model import FlowReading, Snapshot

ASIDE_HEIGHT = 40
"""From this height on, there is room under the table for more about one line."""


def fitting(lines: Sequence[Line], height: int, glyphs: Glyphs) -> Sequence[Line]:
    """As many lines as there is room for, a sign where that is not all; all where the height is not known. Pure."""
    if not 0 < height < len(lines):
        return lines
    return [*lines[: height - 1], [(f" {glyphs.ellipsis}", Tone.QUIET)]]


class TableView(Frame):
    """Filtering and sorting happen in a thread, one at a time, always on the newest snapshot and wish."""

    AUTO_FOCUS = "VirtualTable"
    """And never the line for filters, which is there out of sight."""
    THINGS: ClassVar[str] = ""
    """What the lines are as a rule, in the plural."""
    PARTS = (*Frame.PARTS, "mistake", "aside")
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("enter", "open", "Open"),
        bind("slash", "filter", "Filter"),
        bind("less_than_sign", "sort_by(-1)", "Sort by the column to the left"),
        bind("greater_than_sign", "sort_by(1)", "Sort by the column to the right"),
        bind("f6", "choose_sort", "Choose the sort column"),
        bind("I", "reverse", "Reverse"),
        bind("F", "follow", "Follow"),
        bind("y", "copy", "Copy"),
        bind("escape", "back(True)", "Back"),
        bind("backspace", "back(False)", "Back"),
    ]

    def __init__(self, wish: Wish) -> None:
        super().__init__()
        self.wish = wish
        self.table = VirtualTable(self.glyphs)
        self.filter_line = FilterLine(self._accepts_filter, self._close_filter)
        self.arranged: Arranged | None = None
        self._filter_before = ""
        """The filter in force before another was typed."""
        self._wanted = False
        self._busy = False
        self._shown_source: object = None
        self._shown_wish: Wish | None = None
        self._kept: Hashable | None = None
        """What the cursor was on before the table was cleared."""

    def body(self) -> Sequence[Widget]:
        return self.filter_line, self.part("mistake"), self.table, self.part("aside")

    def on_mount(self) -> None:
        self.table.show(None, empty=self.empty_text())
        self.set_focus(self.table)

    @property
    def is_busy(self) -> bool:
        """Whether lines are being made."""
        return self._busy

    @property
    def is_typing(self) -> bool:
        return self.filter_line.is_open

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return False if self.is_typing else super().check_action(action, parameters)

    def on_screen_suspend(self) -> None:
        self._shown_source = None  # a screen out of sight keeps no old snapshot

    # From snapshot and wish to lines

    def show(self, news: News) -> None:
        super().show(news)
        self._rearrange()

    def lines_of(self, snapshot: Snapshot, wish: Wish) -> Arranged:
        """Make the lines; called in a thread, where it imports what it needs."""
        raise NotImplementedError

    def source(self, snapshot: Snapshot) -> Snapshot | FlowReading:
        """The part of a snapshot that the lines come from: while it is the same object, so are the lines."""
        return snapshot

    def ask(self, wish: Wish) -> None:
        self.wish = wish
        self._rearrange()

    def _rearrange(self) -> None:
        snapshot = self.natop.news.snapshot
        if snapshot is None:
            self._clear()
            return
        if self._shown_source is self.source(snapshot) and self._shown_wish == self.wish:
            return
        self._wanted = True
        if not self._busy:
            self._busy = True
            self.run_worker(self._make_lines())

    def _clear(self) -> None:
        """Before the first snapshot of what is read now, lines of something else are wrong."""
        self._wanted = False
        if self.arranged is not None:
            self.arranged = self._shown_source = None
            self._kept = self.table.picked
            self.table.show(None, empty=self.empty_text())
            self.show_title()

    async def _make_lines(self) -> None:
        """Until nothing newer is wanted."""
        while self._wanted and self.is_attached:
            self._wanted = False
            snapshot, wish, number = self.natop.news.snapshot, self.wish, self.natop.reading_number
            assert snapshot is not None
            arranged = await asyncio.to_thread(self.lines_of, snapshot, wish)
            if self.is_attached and self.natop.reading_number == number:
                self._shown_source, self._shown_wish = self.source(snapshot), wish
                self.take(arranged, wish)
        self._busy = False

    def take(self, arranged: Arranged, wish: Wish) -> None:
        """Show lines that were made for this wish."""
        self.arranged = arranged
        if arranged.mistake is None:
            self.wish = replace(self.wish, good_filter=wish.filter_text)
            self._shown_wish = replace(wish, good_filter=wish.filter_text)
        self.table.show(arranged.content, arranged.sort, arranged.descending, self.empty_text())
        if self._kept is not None:
            self.table.place_cursor(self._kept)
            self._kept = None
        self._show_mistake(arranged.mistake)
        self.show_title()

    def on_virtual_table_pointed(self) -> None:
        """More about the line under the cursor, where there is room for that."""
        aside = self.part("aside")
        aside.set_class(self.has_aside, "-shown")
        table = self.table
        if self.has_aside:
            facts = table.content.facts(table.cursor) if table.content is not None and table.line_count else []
            aside.show(fitting(facts, aside.size.height, self.glyphs))

    @property
    def has_aside(self) -> bool:
        """Whether more about one line stands under the table."""
        return self.app.size.height >= ASIDE_HEIGHT

    # Words

    @property
    def things(self) -> str:
        return (self.arranged.things if self.arranged else "") or self.THINGS

    def crumbs(self) -> list[Piece]:
        """How many lines, and what the filter and the cursor do."""
        pieces = self.place()
        if self.arranged and self.arranged.content is not None:
            found, of = self.arranged.found, self.arranged.of
            text = count(of, self.glyphs) if of in (None, found) else f"{count(found)} of {count(of)}"
            things = self.things.removesuffix("s") if text == "1" else self.things
            pieces.append((f"{text} {things}  ", Tone.QUIET))
        if self.wish.good_filter and not self.filter_line.is_open:
            pieces += [("filter ", Tone.QUIET), (f"{self.wish.good_filter}  ", Tone.TIME_WAIT)]
        if not self.table.follow:
            pieces.append(("follow off  ", Tone.QUIET))
        return pieces

    def place(self) -> list[Piece]:
        """Where in the view this is, when it is not the whole."""
        return []

    def explained(self) -> Sequence[Explained]:
        return self.table.content.columns if self.table.content is not None else ()

    def empty_text(self) -> str:
        """Why the table has no lines."""
        snapshot = self.natop.news.snapshot
        if snapshot is None:
            return self.natop.news.failure or f"reading{self.glyphs.ellipsis}"
        if self.arranged and self.arranged.content is None:
            return next((gap.reason for gap in snapshot.gaps_of("flows")), "flows were not read yet")
        if self.wish.good_filter:
            return f"no {self.things} match the filter; Esc clears it"
        return f"no {self.things}"

    # The filter

    def action_filter(self) -> None:
        self._filter_before = self.wish.filter_text
        self.filter_line.open(self.wish.filter_text, self.natop.past_filters)
        self.show_title()

    @on(Input.Changed)
    def filter_typed(self, event: Input.Changed) -> None:
        if self.filter_line.is_open:
            self.ask(replace(self.wish, filter_text=event.value))

    def _accepts_filter(self, text: str) -> bool:
        """Whether it can be read; where it cannot, what is wrong with it is shown."""
        from natop.tui.arrange import mistake_in

        mistake = mistake_in(text)
        self._show_mistake(mistake)
        return mistake is None

    def _close_filter(self, text: str, keep: bool) -> None:
        """Back to the table."""
        self.set_focus(self.table)
        self.natop.remember_filter(text)
        self.ask(replace(self.wish, filter_text=text if keep else self._filter_before))
        self.show_title()

    def _show_mistake(self, mistake: Mistake | None) -> None:
        line = self.part("mistake")
        line.set_class(mistake is not None, "-shown")
        if mistake:
            texts = mistake_lines(mistake, self.app.size.width - 1, self.glyphs)
            line.show([[(text, Tone.ALARM)] for text in texts])

    # Sorting

    def action_sort_by(self, step: int) -> None:
        """The next column in sight, to the left or to the right."""
        keys = [spot.column.key for spot in self.table.places]
        key, _ = self._order()
        if keys:
            self._sort(keys[(keys.index(key) + step) % len(keys)] if key in keys else keys[0])

    def _sort(self, key: str | None) -> None:
        if key is not None:
            self.ask(replace(self.wish, sort=key, descending=None))

    def _order(self) -> tuple[str, bool]:
        """The key of the sort column wished for, be it in force or not yet, and whether from the largest."""
        if self.arranged is None or self.arranged.content is None:
            return "", False
        column, descending = order(self.arranged.content.columns, self.wish, self.arranged.sort)
        return column.key, descending

    def action_reverse(self) -> None:
        key, descending = self._order()
        if key:
            self.ask(replace(self.wish, sort=key, descending=not descending))

    def action_choose_sort(self) -> None:
        if self.arranged and self.arranged.content is not None:
            screen = SortScreen(self.arranged.content.columns, self._order()[0])
            self.app.push_screen(screen, lambda choice: self._sort(choice.value if choice else None))

    @on(VirtualTable.SortAsked)
    def title_clicked(self, event: VirtualTable.SortAsked) -> None:
        if self._order()[0] == event.key:
            self.action_reverse()
        else:
            self._sort(event.key)

    # The row, and the way there and back

    async def open(self, identity: Hashable) -> None:
        """Show more about that line."""
        raise NotImplementedError

    @on(VirtualTable.Chosen)
    async def action_open(self) -> None:
        identity = self.table.choose()
        if identity is not None:
            await self.open(identity)

    def action_follow(self) -> None:
        self.table.follow_rows(not self.table.follow)
        self.show_title()

    async def action_copy(self) -> None:
        content = self.table.content
        if content is None or not self.table.line_count:
            return
        await copy(self.app, content.text(self.table.cursor))
        self.natop.tell("copied the row")

    async def action_back(self, clear: bool) -> None:
        """Esc takes the filter away first; then, and with Backspace, one screen back."""
        if clear and self.wish.filter_text:
            self.ask(replace(self.wish, filter_text=""))
            self.show_title()
        else:
            await self.natop.action_go_back()
