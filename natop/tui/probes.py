"""View 4: how long connects take and how many SYNs they lose, by target and way.

     4 Probes   6 ways   probing
     TARGET               PATH          N FAILED LAST ms  P50 ms  P95 ms  MAX ms SYNS LOST LAST PROBES
     172.17.0.2:80        container web 9      0    0.18    0.18   2,031   2,031  4 in 2 ! ··!!··!!·
     198.18.0.1:8080      published web 9      0    0.11    0.11    0.12    0.12         0 ·········
     ─────────────────────────────────────────────────────────────────────────────────────────────
     SYNs      0 lost in 7, 2 lost in 2
     probes    ··!!··!!····
     ms        LAST 0.18  P50 0.18  P95 2,031  P99 2,031  MAX 2,031
     ! 2 of 9 probes: 2 SYNs lost, sent again after 1 and 2 s

One line or two below the table name the containers that the host cannot call, and why:

     this host cannot call lan (macvlan) · job (no network)

Nothing is probed until `P` is pressed, then the published ports of all containers; and targets of the user's own, which
`a` adds and `A` takes away.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.widget import Widget

from natop.tui.flows import FlowsScreen
from natop.tui.header import News
from natop.tui.keys import Hint, bind
from natop.tui.probechoice import NOTHING_PROBED
from natop.tui.tableview import TableView
from natop.tui.tones import Piece, Tone
from natop.tui.wish import Arranged, Wish

if TYPE_CHECKING:
    from natop.model import Snapshot
    from natop.tui.probechoice import ProbeChoice


HEADER_AND_ASIDE = 17
"""Lines of a small screen that are not the table's own."""
ASIDE_HEIGHT = 24
"""From this height on the distribution stands below the table, however many lines that has: nothing else tells it."""


class ProbesScreen(TableView):
    VIEW = "probes"
    THINGS = "ways"
    HINTS: ClassVar[tuple[Hint, ...]] = (
        Hint("question_mark", "?", "help", 1),
        Hint("P", "P", "probe", 1),
        Hint("a", "a", "add target", 2),
        Hint("A", "A", "remove", 3),
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

    PARTS = (*TableView.PARTS, "uncalled")
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("a", "add_target", "Add a target"),
        bind("A,delete", "remove_target", "Remove the target"),
    ]

    def __init__(self, wish: Wish) -> None:
        super().__init__(wish)
        self._shown_choice: ProbeChoice | None = None

    def body(self) -> Sequence[Widget]:
        *above, aside = super().body()
        return *above, self.part("uncalled"), aside

    def lines_of(self, snapshot: Snapshot, wish: Wish) -> Arranged:
        from natop.tui.probelines import arrange_probes

        return arrange_probes(snapshot, wish, self.natop.probes, self.glyphs)

    def show(self, news: News) -> None:
        """What is asked for makes lines too."""
        if self._shown_choice is not self.natop.probes:
            self._shown_choice, self._shown_source = self.natop.probes, None
        super().show(news)
        if news.snapshot:
            from natop.tui.probelines import uncalled_lines

            width, height = self.app.size
            most = 2 if height >= ASIDE_HEIGHT else 1
            self.part("uncalled").show(uncalled_lines(news.snapshot, self.natop.probes, width, most, self.glyphs))

    def place(self) -> list[Piece]:
        snapshot = self.natop.news.snapshot
        if snapshot and snapshot.is_probing:
            return [("probing  ", Tone.NOTICE)]
        return [("not probing  ", Tone.QUIET)] if snapshot and snapshot.probes else []

    @property
    def has_aside(self) -> bool:
        """On a smaller screen too, where it hides no line of the table."""
        uncalled = self.part("uncalled").text
        height = self.app.size.height - (uncalled.count("\n") + 1 if uncalled else 0)
        return self.app.size.height >= ASIDE_HEIGHT or self.table.line_count <= height - HEADER_AND_ASIDE

    def empty_text(self) -> str:
        snapshot = self.natop.news.snapshot
        if snapshot is None or self.wish.good_filter:
            return super().empty_text()
        if self.natop.probes.is_on and snapshot.inventory is None:
            reason = next((gap.reason for gap in snapshot.gaps_of("docker")), "Docker was not asked")
            return f"no container is known: {reason}; a adds a target"
        if self.natop.probes.is_on:
            return "probing; results come within seconds, where containers publish ports"
        return NOTHING_PROBED

    async def action_add_target(self) -> None:
        await self.natop.ask_for_target()

    def action_remove_target(self) -> None:
        """That of the row under the cursor, with all its ways."""
        identity = self.table.choose()
        target = identity[0] if isinstance(identity, tuple) else None
        if any(each.text == target for each in self.natop.probes.targets):
            self.natop.remove_target(str(target))
        elif identity is not None:
            self.natop.tell("only a target of yours is removed; P ends all probing")

    async def open(self, identity: Hashable) -> None:
        """The flows of the container whose port it is, or from whose namespace the call starts."""
        assert isinstance(identity, tuple)
        _, _, container = identity
        if container.startswith("?"):
            self.natop.tell(f"no such container: {container[1:]}")
        else:
            await self.app.push_screen(FlowsScreen(Wish(scope=container or None, named=self.natop.named)))
