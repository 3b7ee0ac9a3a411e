"""One container: what the table has no column for, and how long connects to it and from inside it take.

     1 Containers  2 Flows   → shop-web-1  details

     shop-web-1  image shop/web:1.4   state running   id 4f1a7c20be11   pid 812
     networks   shop_default 172.18.0.2 MASQUERADE
     …

     CONNECTS, ms                LAST    P50    P95    MAX SYNS LOST LAST PROBES
     …

It stays when the container has gone, and says so.
"""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType

from natop.tui.clipboard import copy
from natop.tui.factsscreen import FactsScreen
from natop.tui.flows import FlowsScreen
from natop.tui.header import News
from natop.tui.keys import Hint, bind
from natop.tui.tones import Line, Piece, Tone, text_of
from natop.tui.wish import Wish


class ContainerScreen(FactsScreen):
    VIEW = "containers"
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("a", "add_target", "Add a target"),
        bind("enter", "flows", "Its flows"),
    ]
    HINTS: ClassVar[tuple[Hint, ...]] = (
        Hint("question_mark", "?", "help", 1),
        Hint("escape", "Esc", "back", 1),
        Hint("P", "P", "probe", 1),
        Hint("a", "a", "add target", 2),
        Hint("enter", "Enter", "its flows", 2),
        Hint("y", "y", "copy", 3),
        Hint("p", "p", "pause", 3),
        Hint("e", "e", "save", 3),
        Hint("q", "q", "quit", 1),
    )

    def __init__(self, identity: str) -> None:
        super().__init__()
        self._identity = identity
        self._name = ""
        self._is_gone = False
        self._facts: list[Line] = []
        self._targets: int | None = None
        """How many the user has named, as shown last."""

    def show(self, news: News) -> None:
        self._look_up(news)
        super().show(news)
        self.part("facts").show(self._facts)
        self._show_new_target()

    def _show_new_target(self) -> None:
        """Scroll to what has just been added: targets stand last."""
        before, self._targets = self._targets, len(self.natop.probes.targets)
        if before is not None and self._targets > before:
            self.call_after_refresh(self.scroll.scroll_end, animate=False)

    def _look_up(self, news: News) -> None:
        """What is known of it now; the last when it has gone."""
        from natop.columns.containers import container_rows
        from natop.tui.containerfacts import Around, container_lines, folded
        from natop.tui.containernat import container_nat_lines
        from natop.tui.containerprobes import probe_lines
        from natop.tui.containertcp import container_tcp_line

        if news.snapshot is None:
            return
        row = next((each for each in container_rows(news.snapshot) if each.key == self._identity), None)
        self._is_gone = row is None
        if row and row.container:
            self._name = row.container.name
            width = self.app.size.width - 2
            lines = container_lines(row, Around.of(news.snapshot), self.glyphs)
            if row.summary:
                lines += container_nat_lines(row.summary, news.snapshot, self.glyphs)
                lines.append(container_tcp_line(row.summary, self.glyphs))
            about = [part for line in lines for part in folded(line, width)]
            probes = probe_lines(row.container, news.snapshot, self.natop.probes, width, self.glyphs)
            self._facts = [*about, [], *probes]

    def crumbs(self) -> list[Piece]:
        pieces: list[Piece] = [(f"{self.glyphs.arrow} ", Tone.QUIET), (f"{self._name}  ", Tone.TITLE)]
        return [*pieces, ("gone; this is the last known of it", Tone.TIME_WAIT)] if self._is_gone else pieces

    async def action_add_target(self) -> None:
        """One that is called from inside this container."""
        await self.natop.ask_for_target(self._name)

    async def action_flows(self) -> None:
        await self.app.push_screen(FlowsScreen(Wish(scope=self._identity, named=self.natop.named)))

    async def action_copy(self) -> None:
        await copy(self.app, "\n".join(text_of(line).rstrip() for line in self._facts))
        self.natop.tell("copied the container")
