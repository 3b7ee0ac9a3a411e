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

Of a connection through docker-proxy the path has both flows; Enter shows the other. It stays when the flow has gone,
and says since when. Of a stale flow it shows the command that deletes it, and `y`
copies that; natop never runs it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import ClassVar

from textual.binding import BindingType

from natop.tui.clipboard import copy
from natop.tui.factsscreen import FactsScreen
from natop.tui.formats import clock
from natop.tui.header import News
from natop.tui.keys import Hint, bind
from natop.tui.tones import Line, Piece, Tone, text_of

_OTHER_HALF = Hint("enter", "Enter", "other half", 1)


class FlowScreen(FactsScreen):
    VIEW = "flows"
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("enter", "other_half", "The other half"),
    ]
    HINTS: ClassVar[tuple[Hint, ...]] = (
        Hint("question_mark", "?", "help", 1),
        Hint("escape", "Esc", "back", 1),
        _OTHER_HALF,
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
        self._other_half: Hashable | None = None
        """The other flow of its connection, where that goes through docker-proxy."""
        self._gone_at: float | None = None

    @property
    def hints(self) -> Sequence[Hint]:
        return [hint for hint in super().hints if hint is not _OTHER_HALF or self._other_half]

    def show(self, news: News) -> None:
        self._look_up(news)
        super().show(news)
        self.part("facts").show(self._facts)

    def _look_up(self, news: News) -> None:
        """Its numbers of now; the last ones known when it has gone."""
        from natop.join.flows import Flows
        from natop.tui.arrange import find_flow, flow_id
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
            other = flows.other_half(row)
            self._other_half = None if other is None else flow_id(flows, other)
            self._facts = flow_lines(flows, row, taken_at, self.app.size.width - 2, self.glyphs, entered)

    def crumbs(self) -> list[Piece]:
        pieces: list[Piece] = [(f"{self.glyphs.arrow} ", Tone.QUIET), ("one flow  ", Tone.TITLE)]
        if self._gone_at is not None:
            pieces.append((f"gone at {clock(self._gone_at)}; this is the last known of it", Tone.TIME_WAIT))
        return pieces

    def action_other_half(self) -> None:
        """Show the flow that docker-proxy copies this one to, or from; Enter again comes back."""
        if self._other_half is not None:
            self._identity = self._other_half
            self.show(self.natop.news)

    async def action_copy(self) -> None:
        await copy(self.app, self._command or "\n".join(text_of(line).strip() for line in self._facts if line))
        self.natop.tell(
            "copied the command that deletes it; natop does not run it" if self._command else "copied the flow"
        )
