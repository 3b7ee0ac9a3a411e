"""View 1: the containers, and one row for what belongs to the host itself.

     1 Containers  2 Flows   4 containers
     CONTAINER        FLOWS▼  ESTAB   SYN TIME_WAIT TREND    CLOSING     IN    OUT
     shop-web-1       6,512    541     3     5,320 ▂▃▄▅▆▇▇█      648  5,903    609
     shop-app-1          88     12     0        70 ▁▁▁▂▂▁▁▁        6     80      8
     (host)              12      0     0         0 ▁▁▁▁▁▁▁▁        0      -      -

Enter shows the flows of the row under the cursor.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar

from natop.tui.flows import FlowsScreen
from natop.tui.keys import Hint
from natop.tui.tableview import TableView
from natop.tui.wish import Arranged, Wish

if TYPE_CHECKING:
    from natop.model import Snapshot


class ContainersScreen(TableView):
    VIEW = "containers"
    THINGS = "containers"
    HINTS: ClassVar[tuple[Hint, ...]] = (
        Hint("question_mark", "?", "help", 1),
        Hint("slash", "/", "filter", 1),
        Hint("enter", "Enter", "its flows"),
        Hint("greater_than_sign", "< >", "sort"),
        Hint("I", "I", "reverse", 4),
        Hint("p", "p", "pause"),
        Hint("r", "r", "read now", 3),
        Hint("plus", "+ -", "interval", 3),
        Hint("e", "e", "save"),
        Hint("y", "y", "copy", 4),
        Hint("2", "2", "all flows"),
        Hint("q", "q", "quit", 1),
    )

    def lines_of(self, snapshot: Snapshot, wish: Wish) -> Arranged:
        from natop.tui.arrange import arrange_containers

        return arrange_containers(snapshot, wish, self.glyphs)

    async def open(self, identity: Hashable) -> None:
        await self.app.push_screen(FlowsScreen(Wish(scope=str(identity), named=self.natop.named)))
