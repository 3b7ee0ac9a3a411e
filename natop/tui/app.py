"""The live view: it holds the newest snapshot and what the user chose for all screens, and hands both on.

A thread reads (reading.py); screens draw (containers.py, flows.py, flow.py); nothing here waits for the host.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from dataclasses import replace
from os import environ
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import App
from textual.binding import BindingType
from textual.notifications import SeverityLevel

from natop.text import clean
from natop.tui import terminal
from natop.tui.containers import ContainersScreen
from natop.tui.flows import FlowsScreen
from natop.tui.frame import VIEWS, Frame
from natop.tui.glyphs import ASCII, COLOURLESS, UNICODE, plain
from natop.tui.header import News
from natop.tui.help import HelpScreen
from natop.tui.keys import bind
from natop.tui.messages import Feed, FeedFailed, FeedOpened, SnapshotTaken
from natop.tui.reading import start_reading
from natop.tui.tableview import TableView
from natop.tui.themes import DARK, LIGHT, first_theme, tone_variables
from natop.tui.wish import Wish

if TYPE_CHECKING:
    from natop.model import Snapshot

Save = Callable[["Snapshot", Path], tuple[Path, ...]]

INTERVALS_S = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 30.0, 60.0)
EXIT_UNREADABLE = 3
"""Exit status when the feed cannot be opened."""
_PAST_FILTERS = 50
_OF_VIEWS = frozenset(("leave", "help", "view", "next_view", "go_back", "pause", "read_now", "interval", "save"))
"""Actions that belong to the views and not to the panels over them."""


class NatopApp(App[None]):
    TITLE = "natop"
    CSS_PATH = Path(__file__).with_name("natop.tcss")
    ENABLE_COMMAND_PALETTE = False
    DEFAULT_MODE = "containers"
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("q", "leave", "Quit"),
        bind("ctrl+c", "quit", "Quit"),
        bind("ctrl+z", "suspend_process", "Suspend"),
        bind("question_mark,h,f1", "help", "Help"),
        bind("1", "view('containers')", "Containers"),
        bind("2", "view('flows')", "Flows"),
        bind("p", "pause", "Pause"),
        bind("r", "read_now", "Read now"),
        bind("plus", "interval(1)", "Longer interval"),
        bind("minus", "interval(-1)", "Shorter interval"),
        bind("e", "save", "Save"),
    ]

    def __init__(
        self,
        open_feed: Callable[[], Feed],
        *,
        interval_s: float,
        filter_text: str = "",
        sort: str | None = None,
        save_dir: Path,
        ascii: bool = False,
        save: Save,
    ) -> None:
        terminal.prepare()
        super().__init__(ansi_color=True if "NO_COLOR" in environ else None)
        self.glyphs = ASCII if ascii or terminal.needs_ascii() else COLOURLESS if self.no_color else UNICODE
        self.past_filters: list[str] = []
        self.named = False
        """Names instead of addresses, in screens opened from now on."""
        self.failure: str | None = None
        """Why the app ended with EXIT_UNREADABLE."""
        self._open_feed = open_feed
        self._feed: Feed | None = None
        self._save, self._save_dir = save, save_dir
        self._newest: SnapshotTaken | None = None
        self._news = News(interval_s=interval_s)
        self._taken_s = monotonic()
        """When the snapshot shown came, on this process's clock."""
        self._one_more = False
        """Whether the next snapshot is shown although the screen is paused."""
        wish = Wish(filter_text, sort=sort)
        self.add_mode("containers", lambda: ContainersScreen(wish))
        self.add_mode("flows", lambda: FlowsScreen(wish))
        self.animation_level = "none"
        self._set_theme()

    def _set_theme(self) -> None:
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        chosen = environ.get("TEXTUAL_THEME", "")
        first = first_theme(self.console.color_system, self.no_color)
        self.theme = chosen if chosen in self.available_themes else first
        self.set_class(self.glyphs is ASCII, "-ascii")

    def get_css_variables(self) -> dict[str, str]:
        variables = super().get_css_variables()
        return variables | tone_variables(variables, self.current_theme.ansi)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The keys of the views are nothing but letters while a filter is typed, and mean nothing in a panel."""
        if action in _OF_VIEWS and not (isinstance(self.screen, Frame) and not self.screen.is_typing):
            return False
        return super().check_action(action, parameters)

    def on_mount(self) -> None:
        if not self.is_headless:
            terminal.on_end(lambda status: self.exit(return_code=status))
        self.app_resume_signal.subscribe(self, self._draw_all)
        self.set_interval(1.0, self._deliver)
        self._start_reading()

    def _draw_all(self, _app: App[None]) -> None:
        """The terminal is blank when a suspended process comes back."""
        self.refresh(layout=True)

    def _start_reading(self) -> None:
        start_reading(self._open_feed, self.post_message)

    # What the thread tells

    @property
    def news(self) -> News:
        """What is shown, and how old it is now."""
        return replace(self._news, age_s=max(0.0, monotonic() - self._taken_s))

    @property
    def newest_at(self) -> float | None:
        """When the newest snapshot came, shown or not."""
        return self._newest.taken_s if self._newest else None

    def on_feed_opened(self, message: FeedOpened) -> None:
        self._feed = message.feed
        self._feed.interval_s = self._news.interval_s

    def on_snapshot_taken(self, message: SnapshotTaken) -> None:
        self._newest = message
        if not self._news.paused or self._one_more or self._news.snapshot is None:
            self._show_newest()

    def _show_newest(self) -> None:
        if self._news.snapshot is None and not self.is_headless:
            self.call_after_refresh(_settle_memory)
        self._one_more = False
        if self._newest:
            self._taken_s = self._newest.taken_s
            self._news = replace(self._news, snapshot=self._newest.snapshot)
        self._deliver()

    def on_feed_failed(self, message: FeedFailed) -> None:
        """Without a feed there is nothing to show; one that breaks leaves its last snapshot on the screen."""
        if not message.opened:
            self.failure = _reason(message.error)
            self.exit(return_code=EXIT_UNREADABLE, message=Text(f"natop: {self.failure}"))
            return
        self._news = replace(self._news, failure=_reason(message.error))
        self._deliver()

    def on_feed_ended(self) -> None:
        self._news = replace(self._news, ended=True)
        self._deliver()

    def _deliver(self) -> None:
        """Show the news on the topmost screen that has any, be it below a panel."""
        frames = [screen for screen in self.screen_stack if isinstance(screen, Frame)]
        if frames and frames[-1].is_mounted:
            frames[-1].show(self.news)

    # Keys

    def action_pause(self) -> None:
        self._news = replace(self._news, paused=not self._news.paused)
        if self._news.paused:
            self._deliver()
        else:
            self._show_newest()

    def action_read_now(self) -> None:
        """Read at once; while paused the one snapshot is shown. After a failure, start again."""
        self._one_more = True
        if self._news.failure:
            self._news = replace(self._news, failure=None)
            self._start_reading()
        elif self._feed:
            self._feed.read_now()

    def action_interval(self, step: int) -> None:
        now = self._news.interval_s
        longer = [each for each in INTERVALS_S if each > now]
        shorter = [each for each in INTERVALS_S if each < now]
        chosen = longer[:1] if step > 0 else shorter[-1:]
        if chosen:
            self._news = replace(self._news, interval_s=chosen[0])
            if self._feed:
                self._feed.interval_s = chosen[0]
        self._deliver()

    def action_save(self) -> None:
        if self._news.snapshot:
            self.run_worker(self._save_snapshot(self._news.snapshot))

    async def _save_snapshot(self, snapshot: Snapshot) -> None:
        try:
            paths = await asyncio.to_thread(self._save, snapshot, self._save_dir)
        except Exception as error:
            self.tell(f"could not save: {error}", bad=True)
        else:
            self.tell("saved", *(str(path) for path in paths))

    def tell(self, *lines: str, bad: bool = False) -> None:
        """Say something in a corner for some seconds."""
        severity: SeverityLevel = "error" if bad else "information"
        text = "\n".join(clean(line) for line in lines)
        self.notify(
            plain(text) if self.glyphs is ASCII else text, severity=severity, timeout=8 if bad else 4, markup=False
        )

    def remember_filter(self, text: str) -> None:
        if text.strip():
            others = [each for each in self.past_filters if each != text]
            self.past_filters = [*others[1 - _PAST_FILTERS :], text]

    # Screens

    async def action_view(self, name: str) -> None:
        """That view; on the view itself, its first screen."""
        if self.current_mode == name:
            while len(self.screen_stack) > 1:
                await self.pop_screen()
        else:
            await self.switch_mode(name)

    async def action_next_view(self) -> None:
        names = [name for _, name, _ in VIEWS]
        await self.action_view(names[(names.index(self.current_mode) + 1) % len(names)])

    async def action_go_back(self) -> None:
        """One screen back; from a view's first screen, to the containers."""
        if len(self.screen_stack) > 1:
            await self.pop_screen()
        else:
            await self.action_view("containers")

    def action_help(self) -> None:
        screen = self.screen
        view = screen.VIEW if isinstance(screen, Frame) else ""
        content = screen.table.content if isinstance(screen, TableView) else None
        gaps = self._news.snapshot.gaps if self._news.snapshot else ()
        self.push_screen(HelpScreen(view, content.columns if content else (), gaps, self.glyphs))

    async def action_quit(self) -> None:
        self.exit()

    def action_leave(self) -> None:
        self.exit()

    def on_unmount(self) -> None:
        if self._feed:
            self._feed.close()


def _settle_memory() -> None:
    """Take what was loaded until now out of garbage collection's sight: looking through it holds a key up for 40 ms."""
    gc.collect()
    gc.freeze()


def _reason(error: Exception) -> str:
    """What an error says; with its kind, where it was not written for a person."""
    if isinstance(error, OSError) or type(error).__module__.startswith("natop."):
        return "\n".join(clean(line) for line in str(error).splitlines())
    return clean(f"{type(error).__name__}: {error}")
