"""A screen that is one text to scroll: a flow, a finding, the counters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget

from natop.tui.frame import Frame
from natop.tui.keys import bind


class FactsScreen(Frame):
    """Subclasses show their lines in the part `facts`, and say what `y` copies."""

    PARTS = (*Frame.PARTS, "facts")
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("escape,backspace", "app.go_back", "Back"),
        bind("y", "copy", "Copy"),
        bind("j", "scroll(1)", "Down"),
        bind("k", "scroll(-1)", "Up"),
        bind("G", "scroll_to_end", "End"),
    ]

    def body(self) -> Sequence[Widget]:
        return (VerticalScroll(self.part("facts")),)

    def on_mount(self) -> None:
        self.scroll.focus()

    @property
    def scroll(self) -> VerticalScroll:
        return self.query_one(VerticalScroll)

    def action_scroll(self, lines: int) -> None:
        self.scroll.scroll_relative(y=lines, animate=False)

    def action_scroll_to_end(self) -> None:
        self.scroll.scroll_end(animate=False)
