"""View 3: the NAT ports in use, a line for each pool, and under the table more about the one under the cursor.

     1 Cont  2 Flows  3 NAT ports  …   12 pools
     NAT ADDRESS AND REMOTE END                  USED of CAPACITY  USE%▼   BAR LOSS%
     203.0.113.10 → 198.51.100.7:443/tcp         62,210 of 64,512  !96.4 ━━━╍─  !1.2
     203.0.113.10 → 198.51.100.9:53/udp              88 of 64,512    0.1 ━────     0
     ────────────────────────────────────────────────────────────────────────────
     203.0.113.10 → 198.51.100.7:443/tcp   ports 1024-65535
     in use     ━━━━━━━━━━━━━━━━━━╍╍╍╍╍╍╍╍╍╍╍─  62,210 of 64,512  !96.4 %
     of these   hard 41,002  soft 21,208  TIME_WAIT 21,190  host's own 2
     …

Enter shows the flows that hold ports of the pool. A filter speaks of flows, as everywhere: it keeps the pools of which
one of those flows holds a port.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar

from natop.tui.flows import FlowsScreen
from natop.tui.keys import Hint
from natop.tui.layout import ROOMY
from natop.tui.tableview import TableView
from natop.tui.tones import Piece, Tone
from natop.tui.wish import Arranged, Wish

if TYPE_CHECKING:
    from natop.model import FlowReading, Snapshot

ASIDE_HEIGHT = 24
"""From this height on, there is room for more about one pool."""


class PoolsScreen(TableView):
    VIEW = "pools"
    THINGS = "pools"
    HINTS: ClassVar[tuple[Hint, ...]] = (
        Hint("question_mark", "?", "help", 1),
        Hint("slash", "/", "filter", 1),
        Hint("enter", "Enter", "its flows"),
        Hint("escape", "Esc", "back", 3),
        Hint("greater_than_sign", "< >", "sort"),
        Hint("I", "I", "reverse", 4),
        Hint("p", "p", "pause"),
        Hint("r", "r", "read now", 3),
        Hint("plus", "+ -", "interval", 4),
        Hint("e", "e", "save", 3),
        Hint("y", "y", "copy", 3),
        Hint("N", "N", "namespaces", 4),
        Hint("q", "q", "quit", 1),
    )

    def lines_of(self, snapshot: Snapshot, wish: Wish) -> Arranged:
        from natop.tui.poollines import arrange_pools

        return arrange_pools(snapshot, wish, self.glyphs)

    def source(self, snapshot: Snapshot) -> Snapshot | FlowReading:
        return snapshot.reading or snapshot

    @property
    def has_aside(self) -> bool:
        return self.app.size.height >= ASIDE_HEIGHT

    def crumbs(self) -> list[Piece]:
        """With what NAT does to source ports, where there is room for that."""
        return [*super().crumbs(), *(self._kept_ports() if self.app.size.width >= ROOMY else ())]

    def _kept_ports(self) -> list[Piece]:
        snapshot = self.natop.news.snapshot
        choice = snapshot.port_choice if snapshot else None
        if choice is None or choice.kept_share is None:
            return []
        return [(f"{100 * choice.kept_share:.1f} % of source ports kept  ", Tone.QUIET)]

    def empty_text(self) -> str:
        if self.arranged and self.arranged.content is not None and not self.wish.good_filter:
            return "NAT holds no ports"
        return super().empty_text()

    async def open(self, identity: Hashable) -> None:
        from natop.columns.grouping import POOL_SCOPE
        from natop.tui.poollines import PoolLines

        content, line = self.table.content, self.table.cursor
        if isinstance(content, PoolLines) and content.line_of(identity) == line:
            wish = Wish(scope=f"{POOL_SCOPE}:{content.filter_at(line)}", named=self.natop.named)
            await self.app.push_screen(FlowsScreen(wish, content.name_at(line)))
