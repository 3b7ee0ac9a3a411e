"""What every screen has around its body.

     natop  web-prod-3 · Linux 6.18.5 …             header: the host in numbers (header.py)
     …
     ! flows: reading conntrack needs CAP_NET_ADMIN · run: sudo natop       banner, only with gaps
     1 Containers  2 Flows   12 of 40                title: the views, and what this one shows
     (body)
     ? help  / filter  Enter flows …                keys

A screen's own drawing shows its body.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Protocol, cast

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.widget import Widget

from natop.tui.formats import fit
from natop.tui.glyphs import Glyphs
from natop.tui.header import News, header_lines, is_roomy
from natop.tui.keys import Hint, KeyLine, bind
from natop.tui.lines import Lines
from natop.tui.shell import Shell
from natop.tui.tones import Line, Piece, Tone, length_of

VIEWS = (
    ("1", "containers", "Containers"),
    ("2", "flows", "Flows"),
    ("3", "pools", "NAT ports"),
    ("4", "probes", "Probes"),
    ("5", "counters", "Counters"),
    ("6", "findings", "Findings"),
    ("7", "trends", "Trends"),
)
"""Key, name and title of each view."""
_SHORT = {
    "Containers": "Cont",
    "NAT ports": "NAT",
    "Probes": "Probe",
    "Counters": "Count",
    "Findings": "Find",
    "Trends": "Trend",
}
"""Titles where room is scarce."""


class Explained(Protocol):
    """A column, or a number, of which the help tells the meaning."""

    @property
    def title(self) -> str: ...
    @property
    def help(self) -> str: ...


class Frame(Screen[None]):
    """A screen with header, banner, title and keys; subclasses give the body and what the title says."""

    VIEW: ClassVar[str] = ""
    HINTS: ClassVar[tuple[Hint, ...]] = ()
    PARTS: ClassVar[tuple[str, ...]] = ("header", "banner", "title")
    """The screen's pieces of text. They are there before it is mounted and after: news comes at any time."""
    BINDINGS: ClassVar[list[BindingType]] = [bind("tab", "app.next_view", "Next view")]

    def __init__(self) -> None:
        super().__init__()
        self._parts = {name: Lines(self.glyphs, id=name) for name in self.PARTS}
        self._keys = KeyLine(self.glyphs)

    def compose(self) -> ComposeResult:
        yield from (self.part(name) for name in Frame.PARTS)
        yield from self.body()
        yield self._keys

    @property
    def is_typing(self) -> bool:
        """Whether keys are text now."""
        return False

    def body(self) -> Sequence[Widget]:
        return ()

    def crumbs(self) -> list[Piece]:
        """What the title says after the views' names."""
        return []

    def explained(self) -> Sequence[Explained]:
        """What the help tells the meaning of."""
        return ()

    def show(self, news: News) -> None:
        """Draw what is new; called on every snapshot, every second, and when the screen comes to the front."""
        width, height = self.app.size
        header = header_lines(news, width, is_roomy(width, height), self.glyphs)
        self.part("header").show(header[: max(1, height - 6)])
        banner = self.part("banner")
        lines = banner_lines(news, width, self.glyphs)
        banner.set_class(bool(lines), "-shown")
        banner.show(lines)
        self.show_title()

    def show_title(self) -> None:
        crumbs = self.crumbs()
        self.part("title").show([[*tabs(self.VIEW, self.app.size.width - length_of(crumbs)), *crumbs]])
        self._keys.hint(self.hints)

    @property
    def hints(self) -> Sequence[Hint]:
        """In a namespace, the way out of it comes before others."""
        if self.natop.news.namespace is None:
            return self.HINTS
        return [replace(hint, does="this host", rank=1) if hint.key == "N" else hint for hint in self.HINTS]

    def part(self, name: str) -> Lines:
        """One of PARTS."""
        return self._parts[name]

    @property
    def natop(self) -> Shell:
        return cast(Shell, self.app)

    @property
    def glyphs(self) -> Glyphs:
        return self.natop.glyphs

    def on_screen_resume(self) -> None:
        self.show(self.natop.news)

    def on_resize(self) -> None:
        self.call_after_refresh(lambda: self.show(self.natop.news))


def banner_lines(news: News, width: int, glyphs: Glyphs) -> list[Line]:
    """What is missing and how to get it, in one line; nothing where nothing is missing. Pure.

    Flows come first: without them natop sees next to nothing, and the line has room for one.
    """
    if news.failure:
        return [_stopped(news.failure, width, glyphs)]
    gaps = sorted(news.snapshot.gaps, key=lambda gap: gap.source != "flows") if news.snapshot else []
    texts = [f"{gap.source}: {gap.told(f' {glyphs.dot} ')}" for gap in gaps]
    if not texts:
        return []
    more = f"  +{len(texts) - 1} more: ?" if len(texts) > 1 else ""
    text = f" {glyphs.alarm} {texts[0]}"
    room = max(0, width - len(more) - 1)
    return [[(fit(text, min(room, cell_len(text)), glyphs), Tone.NOTICE), (more, Tone.QUIET)]]


def _stopped(failure: str, width: int, glyphs: Glyphs) -> Line:
    """Why reading stopped, as far as there is room beside the way out."""
    reason = f" {glyphs.alarm} reading stopped: " + failure.replace("\n", "; ")
    way_out = f" {glyphs.dot} r starts again"
    room = max(0, width - cell_len(way_out) - 1)
    return [(fit(reason, min(room, cell_len(reason)), glyphs), Tone.ALARM), (way_out, Tone.ALARM)]


def tabs(current: str, room: int) -> list[Piece]:
    """The views in so many cells: the current one in full, the others as fits, shortened or by their keys alone."""
    others: tuple[tuple[Callable[[str], str], int], ...] = ((str, 2), (_short, 2), (_short, 1), (_nothing, 1))
    lines = [_tabs(current, shortened, gap) for shortened, gap in others]
    return next((line for line in lines if length_of(line) <= room), lines[-1])


def _short(title: str) -> str:
    return _SHORT.get(title, title)


def _nothing(_: str) -> str:
    return ""


def _tabs(current: str, shortened: Callable[[str], str], gap: int) -> list[Piece]:
    pieces: list[Piece] = []
    for key, name, title in VIEWS:
        shown = title if name == current else shortened(title)
        pieces.append((" " * (gap if pieces else 1) + key, Tone.QUIET))
        pieces.append((f" {shown}" if shown else "", Tone.TITLE if name == current else Tone.QUIET))
    return [*pieces, ("  ", Tone.PLAIN)]
