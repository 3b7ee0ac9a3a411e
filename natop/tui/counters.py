"""View 5: what the kernel counts, in plain words: conntrack, TCP by namespace, NAT rules, kernel parameters.

conntrack's counters
COUNTER                TOTAL  PER SECOND      2 CPUs
found                  1,204       0.0/s
  a NAT port was already taken …
insert_failed             41     0.7/s !  0.4 + 0.3
  …

TCP by network namespace …
NAMESPACE OF     SYN-RT/s RETRANS/s   FAILS/s  OVERFL/s     OUT/s      IN/s  SOCKETS TIME_WAIT
this host             0.0       0.0 …
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget

from natop.tui.clipboard import copy
from natop.tui.frame import Frame
from natop.tui.header import News
from natop.tui.keys import Hint, bind
from natop.tui.tones import Line, text_of


class CountersScreen(Frame):
    VIEW = "counters"
    PARTS = (*Frame.PARTS, "facts")
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("escape,backspace", "app.go_back", "Back"),
        bind("y", "copy", "Copy"),
        bind("j", "scroll(1)", "Down"),
        bind("k", "scroll(-1)", "Up"),
    ]
    HINTS: ClassVar[tuple[Hint, ...]] = (
        Hint("question_mark", "?", "help", 1),
        Hint("j", "j k", "scroll"),
        Hint("m", "m", "marker"),
        Hint("y", "y", "copy", 3),
        Hint("p", "p", "pause"),
        Hint("r", "r", "read now", 3),
        Hint("e", "e", "save", 3),
        Hint("escape", "Esc", "back", 2),
        Hint("q", "q", "quit", 1),
    )

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[Line] = []

    def body(self) -> Sequence[Widget]:
        return (VerticalScroll(self.part("facts")),)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def show(self, news: News) -> None:
        super().show(news)
        if news.snapshot is None:
            self._lines = []
        else:
            from natop.tui.counterlines import counter_lines

            self._lines = counter_lines(news.snapshot, self.app.size.width - 2, self.glyphs)
        self.part("facts").show(self._lines)

    async def action_copy(self) -> None:
        await copy(self.app, "\n".join(text_of(line).rstrip() for line in self._lines))
        self.natop.tell("copied the counters")

    def action_scroll(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)
