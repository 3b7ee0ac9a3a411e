"""View 4: how long connects take and how many SYNs they lose, by target and way.

     4 Probes   6 ways   probing
     TARGET               PATH          N FAILED LAST ms  P50 ms  P95 ms  MAX ms SYNS LOST LAST PROBES
     198.18.0.1:8080      published web 9      0    0.11    0.11    0.12    0.12         0 ·········
     172.17.0.2:80        container web 9      0    0.18    2,031   2,031   2,031   4 in 2 ··2·2····

Nothing is probed until `P` is pressed; then the published ports of all containers, and what the command line named.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar

from natop.tui.flows import FlowsScreen
from natop.tui.keys import Hint
from natop.tui.tableview import TableView
from natop.tui.tones import Piece, Tone
from natop.tui.wish import Arranged, Wish

if TYPE_CHECKING:
    from natop.model import Snapshot


class ProbesScreen(TableView):
    VIEW = "probes"
    THINGS = "ways"
    HINTS: ClassVar[tuple[Hint, ...]] = (
        Hint("question_mark", "?", "help", 1),
        Hint("P", "P", "probe", 1),
        Hint("slash", "/", "filter", 3),
        Hint("enter", "Enter", "flows"),
        Hint("greater_than_sign", "< >", "sort"),
        Hint("p", "p", "pause", 3),
        Hint("r", "r", "read now", 4),
        Hint("e", "e", "save", 3),
        Hint("y", "y", "copy", 3),
        Hint("escape", "Esc", "back", 4),
        Hint("q", "q", "quit", 1),
    )

    def lines_of(self, snapshot: Snapshot, wish: Wish) -> Arranged:
        from natop.tui.probelines import arrange_probes

        return arrange_probes(snapshot, wish, self.glyphs)

    def place(self) -> list[Piece]:
        snapshot = self.natop.news.snapshot
        if snapshot and snapshot.is_probing:
            return [("probing  ", Tone.NOTICE)]
        return [("not probing  ", Tone.QUIET)] if snapshot and snapshot.probes else []

    def empty_text(self) -> str:
        snapshot = self.natop.news.snapshot
        if snapshot is None or self.wish.good_filter:
            return super().empty_text()
        if snapshot.is_probing:
            return "probing; results come within seconds, where containers publish ports"
        return "nothing is probed; P connects to the published ports of this host, every 2 s each"

    async def open(self, identity: Hashable) -> None:
        """The flows of the container whose port it is, or from whose namespace the call starts."""
        assert isinstance(identity, tuple)
        _, _, container = identity
        await self.app.push_screen(FlowsScreen(Wish(scope=container or None, named=self.natop.named)))
