"""What the screens may ask of the app that they are in."""

from __future__ import annotations

from typing import Protocol

from natop.tui.glyphs import Glyphs
from natop.tui.header import News
from natop.tui.probechoice import ProbeChoice
from natop.tui.wish import TrendsWish


class Shell(Protocol):
    """NatopApp, without the screens that it knows."""

    glyphs: Glyphs
    past_filters: list[str]
    named: bool
    """Names instead of addresses, in screens opened from now on."""
    trends_wish: TrendsWish
    """What was asked for last in the view of trends; screens opened from now on begin with it."""
    probes: ProbeChoice
    """What is probed, and what could be."""

    @property
    def reading_number(self) -> int:
        """Counts the feeds opened; what an earlier one still has to say is of no interest."""

    @property
    def news(self) -> News:
        """What is shown, and how old it is now."""

    def tell(self, *lines: str, bad: bool = False) -> None:
        """Say something in a corner for some seconds."""

    async def ask_for_target(self, source: str | None = None) -> None:
        """Have the user name a target, to be called from the host and from containers; at first from that one."""

    def remove_target(self, text: str) -> None:
        """Probe the user's target of that name no more, and show it no more."""

    def remember_filter(self, text: str) -> None: ...

    async def action_view(self, name: str) -> None:
        """That view; on the view itself, its first screen."""

    async def lead_to(self, name: str) -> None:
        """That view, from which the way back is to the screen of now."""

    async def action_go_back(self) -> None:
        """One screen back, or to the one that led here; else out of a namespace, or to the containers."""
