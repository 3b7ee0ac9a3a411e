"""The live view: it holds what the user chose for all screens, and hands it and the news on.

A thread reads (reading.py); what is shown of it is kept (showing.py); screens draw (containers.py, flows.py, flow.py);
nothing here waits for the host.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.console import RenderableType
from rich.text import Text
from textual.app import App
from textual.binding import BindingType
from textual.css.query import NoMatches
from textual.notifications import SeverityLevel

from natop.text import clean
from natop.tui import terminal
from natop.tui.choosing import Choice
from natop.tui.containers import ContainersScreen
from natop.tui.counters import CountersScreen
from natop.tui.driver import accept_any_bytes
from natop.tui.findings import FindingsScreen
from natop.tui.flows import FlowsScreen
from natop.tui.formats import interval
from natop.tui.frame import VIEWS, Frame
from natop.tui.glyphs import ASCII, COLOURLESS, UNICODE, plain
from natop.tui.header import News
from natop.tui.help import HelpScreen
from natop.tui.keys import bind
from natop.tui.messages import FeedEnded, FeedFailed, FeedOpened, SnapshotTaken
from natop.tui.namespaces import NamespacesScreen
from natop.tui.pools import PoolsScreen
from natop.tui.probechoice import ProbeChoice
from natop.tui.probes import ProbesScreen
from natop.tui.reading import OpenFeed, Reading
from natop.tui.showing import Showing
from natop.tui.targets import TargetScreen
from natop.tui.themes import DARK, LIGHT, first_theme, tone_variables
from natop.tui.trends import TrendsScreen
from natop.tui.wish import TrendsWish, Wish

if TYPE_CHECKING:
    from natop.model import Namespace, ProbeTarget, Snapshot
    from natop.tui.shell import Shell

Save = Callable[["Snapshot", Path], tuple[Path, ...]]

NO_PROBES = ProbeChoice()
INTERVALS_S = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 30.0, 60.0)
EXIT_UNREADABLE = 3
"""Exit status when the feed cannot be opened."""
EXIT_BROKEN = 1
"""As Textual's own, where a handler of a message raises."""
_PAST_FILTERS = 50
_ELSEWHERE = "natop saves in the folder that it was started in; start it where it may write"
_OF_VIEWS = frozenset(
    (
        *("leave", "help", "view", "next_view", "go_back"),
        *("marker", "probe", "own_flows", "pause", "read_now", "interval", "save", "namespaces"),
    )
)
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
        bind("3", "view('pools')", "NAT ports"),
        bind("4", "view('probes')", "Probes"),
        bind("5", "view('counters')", "Counters"),
        bind("6", "view('findings')", "Findings"),
        bind("7", "view('trends')", "Trends"),
        bind("m", "marker(True)", "Marker"),
        bind("P", "probe", "Probe"),
        bind("O", "own_flows", "Own flows"),
        bind("M", "marker(False)", "No marker"),
        bind("p", "pause", "Pause"),
        bind("r", "read_now", "Read now"),
        bind("plus", "interval(1)", "Longer interval"),
        bind("minus", "interval(-1)", "Shorter interval"),
        bind("e", "save", "Save"),
        bind("N", "namespaces", "Network namespaces"),
    ]

    def __init__(
        self,
        open_feed: OpenFeed,
        *,
        interval_s: float,
        filter_text: str = "",
        sort: str | None = None,
        save_dir: Path,
        ascii: bool = False,
        save: Save,
        probes: ProbeChoice = NO_PROBES,
    ) -> None:
        terminal.prepare()
        accept_any_bytes()
        super().__init__(ansi_color=True if "NO_COLOR" in environ else None)
        self.glyphs = ASCII if ascii else COLOURLESS if self.no_color else UNICODE
        self.past_filters: list[str] = []
        self.named = False
        self.trends_wish = TrendsWish()
        self.failure: str | None = None
        """Why the app ended with EXIT_UNREADABLE."""
        self._reading = Reading(open_feed, self.post_message, interval_s)
        self._mode_before = self.DEFAULT_MODE
        """The view from which the namespace was entered."""
        self._led_from: str | None = None
        """The view from which a screen led to this one; None where the user chose this one."""
        self._save, self._save_dir = save, save_dir
        self.showing = Showing(interval_s)
        self._is_settled = False
        """Whether the memory is."""
        self.probes = probes
        """What is probed, and what could be."""
        wish = Wish(filter_text, sort=sort)
        self.add_mode("containers", lambda: ContainersScreen(wish))
        self.add_mode("flows", lambda: FlowsScreen(wish))
        self.add_mode("pools", lambda: PoolsScreen(Wish(filter_text)))
        self.add_mode("probes", lambda: ProbesScreen(Wish()))
        self.add_mode("counters", CountersScreen)
        self.add_mode("findings", FindingsScreen)
        self.add_mode("trends", lambda: TrendsScreen(self.trends_wish))
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
        self._reading.start(None)

    def _draw_all(self, _app: App[None]) -> None:
        """The terminal is blank when a suspended process comes back."""
        self.refresh(layout=True)

    # What the thread tells

    @property
    def news(self) -> News:
        """What is shown, and how old it is now."""
        return self.showing.news

    @property
    def reading_number(self) -> int:
        return self._reading.number

    def on_feed_opened(self, message: FeedOpened) -> None:
        if self._reading.is_of(message):
            self._reading.opened(message.feed, self.probes.wish)
        else:
            message.feed.close()

    def on_snapshot_taken(self, message: SnapshotTaken) -> None:
        message.seal()
        if self._reading.is_of(message) and self.showing.take(message):
            self._settle_once()
            self._deliver()

    def _settle_once(self) -> None:
        if not self._is_settled and not self.is_headless:
            self._is_settled = True
            self.call_after_refresh(_settle_memory)

    def on_feed_failed(self, message: FeedFailed) -> None:
        """Without a feed there is nothing to show; one that breaks leaves its last snapshot on the screen.

        From a namespace that cannot be entered, or is no more, the view goes back to this host.
        """
        if not self._reading.is_of(message):
            return
        if self._reading.namespace:
            reason = _reason(message.error).splitlines()[0].rpartition(": ")[2]
            self.tell(f"netns {self.news.namespace}: {reason}; back to this host", bad=True)
            self.run_worker(self.leave_namespace())
            return
        if not message.opened:
            self.failure = _reason(message.error)
            self.exit(return_code=EXIT_UNREADABLE, message=Text(f"natop: {self.failure}"))
            return
        self.showing.fail(_reason(message.error))
        self._deliver()

    def on_feed_ended(self, message: FeedEnded) -> None:
        if self._reading.is_of(message):
            self.showing.end()
            self._deliver()

    def _deliver(self) -> None:
        """Show the news on the topmost screen that has any, be it below a panel."""
        frames = [screen for screen in self.screen_stack if isinstance(screen, Frame)]
        if frames and frames[-1].is_mounted:
            with suppress(NoMatches):  # a screen that goes as the app ends loses its parts one by one
                frames[-1].show(self.news)

    # Keys

    def action_pause(self) -> None:
        self.showing.switch_pause()
        self._deliver()

    def action_marker(self, wanted: bool) -> None:
        """Compare what comes from now on with what was, or no more."""
        self.showing.mark(wanted)
        self._deliver()

    def action_probe(self) -> None:
        """Connect to the published ports and the user's targets from now on, or to nothing more."""
        self._probe(self.probes.switched())
        self.tell(self.probes.told())

    def action_own_flows(self) -> None:
        """Count natop's own connections among the flows, or leave them out."""
        counts = not self.probes.counts_own
        self._probe(replace(self.probes, counts_own=counts))
        self.tell("natop's own flows count" if counts else "natop's own flows are left out of every count")

    async def ask_for_target(self, source: str | None = None) -> None:
        """Have the user name a target, to be called from the host and from containers; at first from that one."""
        inventory = self.news.snapshot.inventory if self.news.snapshot else None
        sources = (source,) if source else self.probes.sources
        await self.push_screen(TargetScreen(inventory, sources), self._target_named)

    def _target_named(self, target: ProbeTarget | None) -> None:
        if target:
            self._probe(self.probes.with_target(target))
            self.tell(self.probes.told())

    def remove_target(self, text: str) -> None:
        """Probe the user's target of that name no more, and show it no more."""
        self._probe(self.probes.without(text))
        self.tell(f"{text} is no target any more")

    def _probe(self, choice: ProbeChoice) -> None:
        self.probes = choice
        self._reading.probe(choice.wish)
        self._deliver()

    def action_read_now(self) -> None:
        """Read at once; while paused the one snapshot is shown. After a failure, start again."""
        self.showing.show_one_more()
        if self.news.failure:
            self.showing.fail(None)
            self._reading.start(self._reading.namespace)
        else:
            self._reading.read_now()

    def action_interval(self, step: int) -> None:
        now = self.news.interval_s
        longer = [each for each in INTERVALS_S if each > now]
        shorter = [each for each in INTERVALS_S if each < now]
        chosen = longer[:1] if step > 0 else shorter[-1:]
        if chosen:
            self.showing.pace(chosen[0])
            self._reading.pace(chosen[0])
            if self.news.paused:
                self.tell(f"reading every {interval(chosen[0])}; the screen is paused")
        self._deliver()

    def action_save(self) -> None:
        if self.news.snapshot:
            self.run_worker(self._save_snapshot(self.news.snapshot))

    async def _save_snapshot(self, snapshot: Snapshot) -> None:
        try:
            paths = await asyncio.to_thread(self._save, snapshot, self._save_dir)
        except OSError as error:
            self.tell(f"cannot save in {self._save_dir}: {error.strerror or error}", _ELSEWHERE, bad=True)
        except Exception as error:
            self.tell(f"could not save: {_reason(error)}", bad=True)
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

    # Network namespaces

    async def action_namespaces(self) -> None:
        """Choose a namespace to read; from one, back to this host."""
        if self._reading.namespace:
            await self.leave_namespace()
        elif not self.news.snapshot or not self.news.snapshot.namespaces:
            self.tell("no other network namespace is known here")
        else:
            await self.push_screen(NamespacesScreen(self.news.snapshot.namespaces), self._chosen)

    def _chosen(self, choice: Choice[Namespace | None] | None) -> None:
        """Read that one from now on. Its flows are what it is entered for: all containers but one have none there."""
        if choice and choice.value:
            self._mode_before = self.current_mode
            self.call_later(self._read, choice.value, "flows")

    async def leave_namespace(self) -> None:
        """Back to this host, and to the view in which it was left."""
        await self._read(None, self._mode_before)

    async def _read(self, namespace: Namespace | None, view: str) -> None:
        self._led_from = None
        self.showing.begin(clean(namespace.name) if namespace else None)
        self._reading.start(namespace)
        await self._unwind()
        if self.current_mode != view:
            await self.switch_mode(view)
            await self._unwind()
        self._deliver()

    async def _unwind(self) -> None:
        """Back to the first screen of the view."""
        while len(self.screen_stack) > 1:
            await self.pop_screen()

    # Screens

    async def action_view(self, name: str) -> None:
        """That view; on the view itself, its first screen."""
        self._led_from = None
        if self.current_mode == name:
            await self._unwind()
        else:
            await self.switch_mode(name)

    async def lead_to(self, name: str) -> None:
        """That view, from which the way back is to the screen of now."""
        before = self.current_mode
        await self.action_view(name)
        self._led_from = before if name != before else None

    async def action_next_view(self) -> None:
        names = [name for _, name, _ in VIEWS]
        await self.action_view(names[(names.index(self.current_mode) + 1) % len(names)])

    async def action_go_back(self) -> None:
        """One screen back, or to the one that led here; else out of a namespace, or to the containers."""
        if len(self.screen_stack) > 1:
            await self.pop_screen()
        elif self._led_from:
            before, self._led_from = self._led_from, None
            await self.switch_mode(before)
        elif self._reading.namespace:
            await self.leave_namespace()
        else:
            await self.action_view("containers")

    def action_help(self) -> None:
        screen = self.screen
        if isinstance(screen, Frame):
            gaps = self.news.snapshot.gaps if self.news.snapshot else ()
            self.push_screen(HelpScreen(screen.VIEW, screen.explained(), gaps, self.glyphs))

    def panic(self, *renderables: RenderableType) -> None:
        """A screen's or a thread's fault ends the view, and never with status 0."""
        self._return_code = EXIT_BROKEN
        super().panic(*renderables)

    async def action_quit(self) -> None:
        self.exit()

    def action_leave(self) -> None:
        self.exit()

    def on_unmount(self) -> None:
        self._reading.close()


def _settle_memory() -> None:
    """Take what was loaded until now out of garbage collection's sight: looking through it holds a key up for 40 ms."""
    gc.collect()
    gc.freeze()


def _reason(error: Exception) -> str:
    """What an error says; with its kind, where it was not written for a person."""
    if isinstance(error, OSError) or type(error).__module__.startswith("natop."):
        return "\n".join(clean(line) for line in str(error).splitlines())
    return clean(f"{type(error).__name__}: {error}")


if TYPE_CHECKING:
    _shell: Callable[..., Shell] = NatopApp
    """The app is what its screens take it for."""
