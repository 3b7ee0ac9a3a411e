"""View 1: the containers, and one row for what belongs to the host itself.

     1 Containers  2 Flows   4 containers
     CONTAINER        FLOWS▼  ESTAB   SYN TIME_WAIT TREND    POOL%   NEW/s SYN-RT/s
     shop-web-1       6,512    541     3     5,320 ▂▃▄▅▆▇▇█      -    45.1      0.0
     shop-app-1          88     12     0        70 ▁▁▁▂▂▁▁▁   97.2     8.3      2.5
     (host)              12      0     0         0 ▁▁▁▁▁▁▁▁      -     0.1      0.0

Enter shows the flows of the row under the cursor, `t` its trends, `i` its details and probes. `g` groups: by compose
project, network, destination.

     1 Containers  2 Flows   2 compose projects
     PROJECT          FLOWS▼  ESTAB   SYN TIME_WAIT CLOSING     IN    OUT
     shop             6,600    553     3     5,390      654  5,983    617
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType

from natop.tui.container import ContainerScreen
from natop.tui.flows import FlowsScreen
from natop.tui.keys import Hint, bind
from natop.tui.tableview import TableView
from natop.tui.trends import TrendsScreen
from natop.tui.wish import Arranged, Wish

if TYPE_CHECKING:
    from natop.columns.grouping import Grouping
    from natop.model import Snapshot


class ContainersScreen(TableView):
    VIEW = "containers"
    THINGS = "containers"
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("g", "group", "Group"),
        bind("t", "trends", "Trends"),
        bind("i", "details", "Details"),
    ]
    HINTS: ClassVar[tuple[Hint, ...]] = (
        Hint("question_mark", "?", "help", 1),
        Hint("slash", "/", "filter", 1),
        Hint("enter", "Enter", "its flows"),
        Hint("greater_than_sign", "< >", "sort"),
        Hint("I", "I", "reverse", 4),
        Hint("g", "g", "group", 3),
        Hint("t", "t", "trends", 3),
        Hint("i", "i", "details", 3),
        Hint("p", "p", "pause"),
        Hint("r", "r", "read now", 3),
        Hint("plus", "+ -", "interval", 3),
        Hint("e", "e", "save"),
        Hint("y", "y", "copy", 4),
        Hint("N", "N", "namespaces", 4),
        Hint("2", "2", "all flows"),
        Hint("q", "q", "quit", 1),
    )

    def __init__(self, wish: Wish) -> None:
        super().__init__(wish)
        self._shown_by: Grouping | None = None
        self._picked: dict[Grouping | None, Hashable] = {}
        """The row that the user put the cursor on, by grouping."""

    def lines_of(self, snapshot: Snapshot, wish: Wish) -> Arranged:
        from natop.tui.arrange import arrange_containers

        return arrange_containers(snapshot, wish, self.glyphs)

    def take(self, arranged: Arranged, wish: Wish) -> None:
        """On another grouping, the cursor goes to the row it had there, or to the top."""
        regrouped = wish.by is not self._shown_by
        if regrouped:
            self._picked[self._shown_by] = self.table.picked
            self.table.action_top()
        super().take(arranged, wish)
        if regrouped:
            self._shown_by = wish.by
            self.table.place_cursor(self._picked.get(wish.by))

    def action_group(self) -> None:
        """What the rows stand for: the next grouping."""
        from natop.columns.grouping import Grouping

        by = (self.wish.by or Grouping.CONTAINER).following
        self.ask(replace(self.wish, by=None if by is Grouping.CONTAINER else by))

    async def action_trends(self) -> None:
        """How the numbers of the row under the cursor went."""
        if self.wish.by is not None:
            self.natop.tell("trends are remembered of containers, not of groups")
            return
        identity = self.table.choose()
        if identity is not None:
            wish = replace(self.natop.trends_wish, subject=str(identity), selected=0, alone=False)
            await self.app.push_screen(TrendsScreen(wish))

    async def action_details(self) -> None:
        """What the table has no column for, and the container's probes side by side."""
        from natop.columns.containers import HOST_KEY

        identity = self.table.choose()
        if self.wish.by is not None or identity in (None, HOST_KEY):
            self.natop.tell("only a container has details")
        else:
            await self.app.push_screen(ContainerScreen(str(identity)))

    async def open(self, identity: Hashable) -> None:
        await self.app.push_screen(FlowsScreen(Wish(scope=str(identity), named=self.natop.named)))
