"""One finding, with its evidence and what to do about it.

     6 Findings   → snat-race

     ! CRITICAL  host  snat-race
               race for a NAT source port: 41 new connections lost a SYN in 60 s

     evidence  insert_failed +41 and drop with it in 60 s on 2 of 2 CPUs
               …
     remedy 1  Let NAT choose source ports at random …
               nft -f - <<'END'
               …
     undo      nft delete table ip natop_random

`y` copies the commands of the first remedy, then the lines that it says to write, then those of the next. Enter leads
to what the finding is about. It stays when the finding has gone, and says so.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType

from natop.tui.clipboard import copy
from natop.tui.factsscreen import FactsScreen
from natop.tui.flows import FlowsScreen
from natop.tui.formats import clock
from natop.tui.header import News
from natop.tui.keys import Hint, bind
from natop.tui.pools import PoolsScreen
from natop.tui.tones import Piece, Tone
from natop.tui.wish import Wish

if TYPE_CHECKING:
    from natop.model import Finding


class FindingScreen(FactsScreen):
    VIEW = "findings"
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("enter", "follow_lead", "What it is about"),
    ]
    HINTS: ClassVar[tuple[Hint, ...]] = (
        Hint("question_mark", "?", "help", 1),
        Hint("y", "y", "copy commands", 1),
        Hint("enter", "Enter", "what it is about"),
        Hint("escape", "Esc", "back", 1),
        Hint("m", "m", "marker", 2),
        Hint("p", "p", "pause", 3),
        Hint("q", "q", "quit", 1),
    )

    def __init__(self, identity: Hashable) -> None:
        super().__init__()
        self._identity = identity
        self._finding: Finding | None = None
        self._gone_at: float | None = None
        self._copied = 0
        """Blocks copied so far: the next `y` takes the next one."""

    def show(self, news: News) -> None:
        self._look_up(news)
        super().show(news)

    def _look_up(self, news: News) -> None:
        """The finding of now; the last one known where it has gone."""
        from natop.tui.findinglines import finding_lines, identity_of
        from natop.tui.judgement import comparison

        if news.snapshot is None:
            return
        found = next((each for each in news.snapshot.findings or () if identity_of(each) == self._identity), None)
        if found is None:
            self._gone_at = self._gone_at or news.snapshot.taken_at
        else:
            self._finding, self._gone_at = found, None
        if self._finding:
            compared = comparison(news.marker, news.snapshot, self.glyphs)
            self.part("facts").show(finding_lines(self._finding, self.app.size.width - 2, self.glyphs, compared))

    def crumbs(self) -> list[Piece]:
        name = self._finding.rule if self._finding else ""
        pieces: list[Piece] = [(f"{self.glyphs.arrow} ", Tone.QUIET), (f"{name}  ", Tone.TITLE)]
        if self._gone_at is not None:
            pieces.append((f"no longer found since {clock(self._gone_at)}", Tone.ESTABLISHED))
        return pieces

    async def action_copy(self) -> None:
        """One block in turn: the commands of a remedy, then what it says to write, then those of the next."""
        from natop.tui.findinglines import copyable

        blocks = copyable(self._finding) if self._finding else []
        if not blocks:
            self.natop.tell("this finding has nothing to copy: its remedies are words")
            return
        block = blocks[self._copied % len(blocks)]
        self._copied += 1
        await copy(self.app, block.text)
        self.natop.tell(f"copied {block.what}; natop runs and writes nothing")

    async def action_follow_lead(self) -> None:
        lead = self._finding.lead if self._finding else None
        if lead is None:
            self.natop.tell("this finding is about the host as a whole")
        elif lead.scope or lead.filter:
            wish = Wish(lead.filter, lead.filter, scope=lead.scope, named=self.natop.named)
            await self.app.push_screen(PoolsScreen(wish) if lead.view == PoolsScreen.VIEW else FlowsScreen(wish))
        else:
            await self.natop.lead_to(lead.view)
