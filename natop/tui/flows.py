"""View 2: the flows, all of them or, from the table of containers, those of one of its rows.

     1 Containers  2 Flows   shop-web-1  6,512 flows  filter state:time_wait
     PROTO  STATE       CLIENT                 CALLED▲                KIND
     tcp    TIME_WAIT   198.51.100.7:40112     203.0.113.5:443        PUBLISHED
     tcp    ESTABLISHED 172.18.0.3:51234       172.18.0.2:8080        INTERNAL

Enter shows everything about the flow under the cursor.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType

from natop.tui.flow import FlowScreen
from natop.tui.keys import Hint, bind
from natop.tui.tableview import TableView
from natop.tui.tones import Piece, Tone
from natop.tui.wish import Arranged, Wish

if TYPE_CHECKING:
    from natop.model import FlowReading, Snapshot


class FlowsScreen(TableView):
    VIEW = "flows"
    THINGS = "flows"
    BINDINGS: ClassVar[list[BindingType]] = [bind("d", "names", "Names")]
    HINTS: ClassVar[tuple[Hint, ...]] = (
        Hint("question_mark", "?", "help", 1),
        Hint("slash", "/", "filter", 1),
        Hint("enter", "Enter", "details"),
        Hint("escape", "Esc", "back", 2),
        Hint("greater_than_sign", "< >", "sort"),
        Hint("I", "I", "reverse", 4),
        Hint("d", "d", "names"),
        Hint("p", "p", "pause"),
        Hint("r", "r", "read now", 3),
        Hint("plus", "+ -", "interval", 4),
        Hint("e", "e", "save", 3),
        Hint("y", "y", "copy", 3),
        Hint("N", "N", "namespaces", 4),
        Hint("q", "q", "quit", 1),
    )

    def __init__(self, wish: Wish, pool: str = "") -> None:
        super().__init__(wish)
        self._pool = pool
        """Name of the NAT pool whose flows these are."""
        self._scope_name = ""

    def lines_of(self, snapshot: Snapshot, wish: Wish) -> Arranged:
        from natop.tui.arrange import arrange_flows

        return arrange_flows(snapshot, wish, self.glyphs)

    def source(self, snapshot: Snapshot) -> Snapshot | FlowReading:
        return snapshot.reading or snapshot

    def place(self) -> list[Piece]:
        """Whose flows these are: a container's, the host's, a group's, a NAT pool's."""
        if self.wish.scope is None:
            return []
        arrow: Piece = (f"{self.glyphs.arrow} ", Tone.QUIET)
        if self._pool:
            return [arrow, (f"{self._pool}  ", Tone.TITLE)]
        group, _, name = self.wish.scope.partition(":")
        if name:
            return [arrow, (f"{group} ", Tone.QUIET), (f"{name}  ", Tone.TITLE)]
        pieces: list[Piece] = [arrow, (f"{self._container_name() or '(host)'}  ", Tone.TITLE)]
        return [*pieces, ("gone  ", Tone.TIME_WAIT)] if self._is_gone else pieces

    def _container_name(self) -> str:
        """Of the container whose flows these are, also once it is gone; nothing for the host's."""
        snapshot, scope = self.natop.news.snapshot, self.wish.scope or ""
        names = {each.container.id: each.container.name for each in snapshot.containers} if snapshot else {}
        self._scope_name = names.get(scope, self._scope_name or (scope[:12] if self._is_gone else ""))
        return self._scope_name

    @property
    def _is_gone(self) -> bool:
        """Whether these are the flows of a container that the engine does not have any more."""
        from natop.model import UNOWNED

        snapshot, scope = self.natop.news.snapshot, self.wish.scope
        if snapshot is None or snapshot.inventory is None or scope in (None, UNOWNED) or ":" in scope:
            return False
        return all(each.container.id != scope for each in snapshot.containers)

    def empty_text(self) -> str:
        return f"{self._container_name()} is gone" if self._is_gone else super().empty_text()

    def action_names(self) -> None:
        self.natop.named = not self.wish.named
        self.ask(replace(self.wish, named=self.natop.named))

    async def open(self, identity: Hashable) -> None:
        await self.app.push_screen(FlowScreen(identity))
