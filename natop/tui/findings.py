"""View 6: what is wrong, gravest first.

     6 Findings   2 findings
     SEVERITY   ABOUT            FINDING
     ! CRITICAL host             race for a NAT source port: 41 new connections lost a SYN in 60 s
     · INFO     shop-web-1       5,320 flows in TIME_WAIT, 80 % of TCP: harmless
     ────────────────────────────────────────────────────────────────────────────
      · insert_failed +41 and drop with it in 60 s on 2 of 2 CPUs
      · SYN retransmits +39 in 60 s: shop-web-1 (28) and shop-app-1 (11)

Enter shows all of a finding, with what to do.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar

from natop.tui.finding import FindingScreen
from natop.tui.keys import Hint
from natop.tui.tableview import TableView
from natop.tui.wish import Arranged, Wish

if TYPE_CHECKING:
    from natop.model import Snapshot

ASIDE_HEIGHT = 16
"""From this height on, what says so stands under the table, which keeps two lines of its own."""
_NOT_HERE = frozenset(("filter", "sort_by", "choose_sort", "reverse"))
"""Findings are few and in the order of their weight."""


class FindingsScreen(TableView):
    VIEW = "findings"
    THINGS = "findings"
    HINTS: ClassVar[tuple[Hint, ...]] = (
        Hint("question_mark", "?", "help", 1),
        Hint("enter", "Enter", "what to do", 1),
        Hint("y", "y", "copy"),
        Hint("m", "m", "marker", 2),
        Hint("p", "p", "pause"),
        Hint("r", "r", "read now", 3),
        Hint("e", "e", "save", 3),
        Hint("escape", "Esc", "back", 3),
        Hint("q", "q", "quit", 1),
    )

    def __init__(self) -> None:
        super().__init__(Wish())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return False if action in _NOT_HERE else super().check_action(action, parameters)

    def lines_of(self, snapshot: Snapshot, wish: Wish) -> Arranged:
        del wish
        from natop.tui.findinglines import arrange_findings
        from natop.tui.judgement import comparison

        compared = comparison(self.natop.news.marker, snapshot, self.glyphs)
        return arrange_findings(snapshot, self.glyphs, self.app.size.width, compared)

    def on_resize(self) -> None:
        self._shown_source = None  # lines go by the width
        super().on_resize()

    @property
    def has_aside(self) -> bool:
        """Not where the finding itself would have no line left; the verdict on top and Enter tell more of it there."""
        return self.app.size.height >= ASIDE_HEIGHT

    def empty_text(self) -> str:
        snapshot = self.natop.news.snapshot
        if snapshot is None:
            return super().empty_text()
        from natop.diagnose import verdict

        return verdict(snapshot.findings, snapshot).text

    async def open(self, identity: Hashable) -> None:
        await self.app.push_screen(FindingScreen(identity))
