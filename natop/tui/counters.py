"""View 5: what the kernel counts, in plain words: conntrack, TCP by namespace, NAT rules, kernel parameters.

conntrack's counters
COUNTER                TOTAL  PER SECOND  SINCE 19:02:11  2 CPUs
found                  1,204       0.0/s               0
  a NAT port was already taken …
insert_failed             41     0.7/s !             +12  0.4 + 0.3
  …

TCP by network namespace …
NAMESPACE OF     SYN-RT/s   LOST~/s RETRANS/s   FAILS/s  OVERFL/s     OUT/s      IN/s  SOCKETS TIME_WAIT
this host             0.0       0.0 …
"""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType

from natop.tui.clipboard import copy
from natop.tui.factsscreen import FactsScreen
from natop.tui.header import News
from natop.tui.keys import Hint, bind
from natop.tui.tones import Line, Tone, text_of


class CountersScreen(FactsScreen):
    VIEW = "counters"
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("left_square_bracket", "section(-1)", "Section before"),
        bind("right_square_bracket", "section(1)", "Next section"),
    ]
    HINTS: ClassVar[tuple[Hint, ...]] = (
        Hint("question_mark", "?", "help", 1),
        Hint("j", "j k", "scroll"),
        Hint("right_square_bracket", "[ ]", "sections"),
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

    def show(self, news: News) -> None:
        super().show(news)
        if news.snapshot is None:
            self._lines = []
        else:
            from natop.tui.counterlines import come_since, counter_lines

            come = come_since(news.snapshot, news.watched, news.marker)
            self._lines = counter_lines(news.snapshot, self.app.size.width - 2, self.glyphs, come)
        self.part("facts").show(self._lines)

    async def action_copy(self) -> None:
        await copy(self.app, "\n".join(text_of(line).rstrip() for line in self._lines))
        self.natop.tell("copied the counters")

    def action_section(self, step: int) -> None:
        """To the title of the next section, or of the one before; the first is above, as long as nothing has moved."""
        scroll = self.scroll
        now = max(scroll.scroll_offset.y, 1)
        titles = [y for y, line in enumerate(self._lines) if line and line[0][1] is Tone.TITLE]
        found = [y for y in titles if y > now][:1] if step > 0 else [y for y in titles if y < now][-1:]
        scroll.scroll_to(y=found[0] if found else now if step > 0 else 0, animate=False, immediate=True)
