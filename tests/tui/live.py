"""The live view on a synthetic host, driven by a pilot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from textual.pilot import Pilot

from natop.model import Snapshot
from natop.tui.app import NatopApp, Save
from natop.tui.frame import Frame
from natop.tui.messages import Feed
from natop.tui.table import VirtualTable
from natop.tui.tableview import TableView
from tests.tui.worlds import ListFeed, save_nowhere


@dataclass
class Live:
    """A running app, its feed, and what a test asks of them."""

    app: NatopApp
    feed: ListFeed
    pilot: Pilot[None]

    @property
    def view(self) -> TableView:
        assert isinstance(self.app.screen, TableView)
        return self.app.screen

    @property
    def table(self) -> VirtualTable:
        return self.view.table

    @property
    def names(self) -> list[str]:
        """The first cells of all lines, whole."""
        content = self.table.content
        assert content is not None
        return [content.cell(line, content.columns[0], 40)[0] for line in range(self.table.line_count)]

    def cells(self, line: int) -> list[str]:
        """The cells of one line, those in sight."""
        content = self.table.content
        assert content is not None
        return [content.cell(line, spot.column, spot.width)[0] for spot in self.table.places]

    def cell(self, line: int, key: str) -> str:
        content = self.table.content
        assert content is not None
        column = next(each for each in content.columns if each.key == key)
        return content.cell(line, column, 30)[0]

    @property
    def frame(self) -> list[str]:
        """The screen as lines of text."""
        return [strip.text.rstrip() for strip in self.app.screen._compositor.render_strips()]

    @property
    def title(self) -> str:
        assert isinstance(self.app.screen, Frame)
        return self.app.screen.part("title").text

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.settle()

    async def type(self, text: str) -> None:
        await self.press(*("space" if letter == " " else letter for letter in text))

    async def step(self) -> None:
        """Let the feed give its next snapshot, and see it drawn."""
        before = self.app.showing.newest_at
        self.feed.step()
        await self.until(lambda: self.app.showing.newest_at != before)
        await self.settle()

    async def settle(self) -> None:
        """Until every message is handled and no table is being made."""
        await self.pilot.pause()
        await self.until(lambda: not (isinstance(self.app.screen, TableView) and self.app.screen.is_busy))
        await self.pilot.pause()

    async def still(self) -> list[str]:
        """The screen once nothing on it moves any more, which takes a layout and a drawing where it has plots."""
        before: list[str] = []
        for _ in range(100):
            await self.settle()
            if before == (before := self.frame):
                return before
            await self.pilot.pause(0.02)
        raise AssertionError("it never stands still")

    async def until(self, so: Callable[[], bool], seconds: float = 60.0) -> None:
        for _ in range(int(seconds / 0.01)):
            if so():
                return
            await self.pilot.pause(0.01)
        raise AssertionError("it did not come to that")


@asynccontextmanager
async def open_live(
    snapshots: Iterable[Snapshot],
    size: tuple[int, int] = (80, 24),
    *,
    at_once: int = 1,
    endless: bool = True,
    save: Save = save_nowhere,
    others: Mapping[str, Callable[[], Feed]] | None = None,
    **options: object,
) -> AsyncIterator[Live]:
    """The app on these snapshots, shown up to the `at_once`th; `others` open the feeds of namespaces."""
    given = list(snapshots)
    feed = ListFeed(given, at_once, endless)

    def open_feed(namespace: str | None) -> Feed:
        return (others or {})[namespace]() if namespace else feed

    app = NatopApp(open_feed, interval_s=2.0, save_dir=Path("/tickets"), save=save, **options)  # type: ignore[arg-type]  # NatopApp's own
    async with app.run_test(size=size, notifications=True) as pilot:
        live = Live(app, feed, pilot)
        await live.until(lambda: app.news.snapshot is given[:at_once][-1])
        await live.settle()
        yield live
