"""One flow, with everything the kernel tells of it, for as long as it lives.

     1 Containers  2 Flows   → one flow

     path       198.51.100.7:40112 → 203.0.113.5:443 ⇒ 172.18.0.2:8080
     client     -  nobody known
     server     shop-web-1
     network    shop_default
     kind       PUBLISHED  came in by a published port: DNAT to a container

     original   src 198.51.100.7:40112   dst 203.0.113.5:443
     reply      src 172.18.0.2:8080   dst 198.51.100.7:40112

     state      tcp TIME_WAIT  conntrack's own, not the socket's …
     …

It stays when the flow has gone, and says since when. Of a stale flow it shows the command that deletes it, and `y`
copies that; natop never runs it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from natop.tui.clipboard import copy
from natop.tui.factsscreen import FactsScreen
from natop.tui.formats import clock
from natop.tui.header import News
from natop.tui.keys import Hint
from natop.tui.tones import Line, Piece, Tone, text_of


class FlowScreen(FactsScreen):
    VIEW = "flows"
    HINTS: ClassVar[tuple[Hint, ...]] = (
        Hint("question_mark", "?", "help", 1),
        Hint("escape", "Esc", "back", 1),
        Hint("y", "y", "copy"),
        Hint("p", "p", "pause"),
        Hint("r", "r", "read now", 3),
        Hint("e", "e", "save", 3),
        Hint("N", "N", "namespaces", 4),
        Hint("q", "q", "quit", 1),
    )

    def __init__(self, identity: Hashable) -> None:
        super().__init__()
        self._identity = identity
        self._facts: list[Line] = []
        self._command: str | None = None
        """What would delete the flow, where it is stale."""
        self._gone_at: float | None = None

    def show(self, news: News) -> None:
        self._look_up(news)
        super().show(news)
        self.part("facts").show(self._facts)

    def _look_up(self, news: News) -> None:
        """Its numbers of now; the last ones known when it has gone."""
        from natop.join.flows import Flows
        from natop.tui.arrange import find_flow
        from natop.tui.flowfacts import delete_command, flow_lines

        flows = Flows.of(news.snapshot) if news.snapshot else None
        if news.snapshot is None or news.snapshot.reading is None or flows is None:
            return
        taken_at, entered = news.snapshot.reading.taken_at, news.snapshot.host.entered
        row = find_flow(flows, self._identity)
        if row is None:
            self._gone_at = self._gone_at or taken_at
        else:
            self._gone_at, self._command = None, delete_command(flows, row, entered)
            self._facts = flow_lines(flows, row, taken_at, self.app.size.width - 2, self.glyphs, entered)

    def crumbs(self) -> list[Piece]:
        pieces: list[Piece] = [(f"{self.glyphs.arrow} ", Tone.QUIET), ("one flow  ", Tone.TITLE)]
        if self._gone_at is not None:
            pieces.append((f"gone at {clock(self._gone_at)}; this is the last known of it", Tone.TIME_WAIT))
        return pieces

    async def action_copy(self) -> None:
        await copy(self.app, self._command or "\n".join(text_of(line).strip() for line in self._facts if line))
        self.natop.tell(
            "copied the command that deletes it; natop does not run it" if self._command else "copied the flow"
        )
