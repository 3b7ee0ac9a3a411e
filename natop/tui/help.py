"""Help for a view: its keys, its columns, and what could not be read.

    ╭─ Containers ───────────────────────────────────────────╮
    │ Keys                                                   │
    │  Enter           the flows of the row                  │
    │ Columns                                                │
    │  ESTAB           TCP flows in ESTABLISHED              │
    │ What could not be read                                 │
    │  flows: reading conntrack needs CAP_NET_ADMIN          │
    ╰────────────────────────────────────────────────────────╯

It scrolls where it is longer than the screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen

from natop.tui.frame import Explained
from natop.tui.glyphs import Glyphs
from natop.tui.lines import Lines
from natop.tui.tones import Line, Tone

if TYPE_CHECKING:
    from natop.model import Gap

_LABEL = 17
_LEAST = 12
"""Cells for words beside the labels, however narrow the screen."""

MOVING = (
    ("j k, arrows", "down and up"),
    ("PgUp PgDn", "a page"),
    ("Home, End G", "first and last line"),
)
TABLE = (
    ("/", "filter, in force while you type; Enter keeps it, Esc goes back to the one before, arrow up: earlier ones"),
    ("< >  F6", "sort by the next column; choose from all columns. A click on a title does too"),
    ("I", "reverse the order"),
    ("F", "follow: the cursor goes where its row goes (on at first), or stays on its line"),
    ("y", "copy the row; in a flow's details the flow or, where it is stale, the command that deletes it"),
)
EVERYWHERE = (
    ("1 … 7  Tab", "containers, flows, NAT ports, probes, counters, findings, trends; the next view"),
    ("Esc  Backspace", "back; Esc takes a filter away first"),
    ("P", "probe: timed connects to published ports, closed by RST; off unless you press it"),
    ("O", "count natop's own connections among the flows, or leave them out"),
    ("m  M", "marker: rates of the minute before it and since then, on top; no marker"),
    ("p", "pause the screen; reading goes on, and the screen says how old it is"),
    ("r", "read now"),
    ("+ -", "a longer, a shorter interval"),
    ("e", "save what is shown as a ticket, Markdown and JSON"),
    ("N", "read another network namespace: a container's own table, swarm's, one of ip netns; N again: this host"),
    ("q  Ctrl+C", "quit"),
    ("Ctrl+Z", "suspend; fg comes back"),
)
OF_VIEW = {
    "containers": (
        ("Enter", "the flows of the row under the cursor"),
        ("g", "group: by compose project, by network, by destination called, by container again"),
        ("t", "the trends of the row under the cursor"),
        ("i", "details of the container under the cursor, with the ways to it and from inside it that are probed"),
    ),
    "probes": (
        ("P", "connect to the published ports of all containers, and to your targets; again: to nothing any more"),
        ("a", "add a target, HOST:PORT or http://HOST/PATH, called from the host and from inside containers"),
        ("A  Delete", "remove the target of the row under the cursor"),
        ("Enter", "the flows of the container whose port it is"),
        ("/", "only ways in which these letters occur"),
    ),
    "findings": (
        ("Enter", "all of the finding, with what to do; then Enter leads to what it is about"),
        ("y", "copy the commands of a remedy, the next one each time; natop never runs them"),
    ),
    "flows": (
        ("Enter", "everything about the flow; there, the other half of a connection through docker-proxy"),
        ("d", "containers' names instead of their addresses"),
    ),
    "counters": (
        ("j k, arrows", "scroll; PgUp PgDn by a page"),
        ("[ ]", "the section before, the next one"),
        ("m", "a marker: then SINCE counts from there, else from the first reading"),
        ("y", "copy all of it"),
    ),
    "pools": (("Enter", "the flows that hold ports of the pool under the cursor"),),
    "trends": (
        ("t", "whose: the host's, a container's, those of what belongs to no container"),
        ("[ ]", "the last minute, 5, 15 minutes"),
        ("< >  F6", "another number in the selected plot; choose from all"),
        ("j k, arrows", "select the next plot, the one before; a click does too"),
        ("Enter", "the selected plot alone, and all again"),
        ("y", "copy the numbers of the plots"),
    ),
}
WITHOUT_TABLE = frozenset(("counters", "trends"))
"""Views that have no table, whose keys would do nothing."""
FILTERS = (
    "container:web* state:time_wait,close dport:443 src:10.0.0.0/8 !proto:udp timeout:<30",
    "Terms are joined by and, a comma is or, ! before a term negates it, * is a glob, /…/ a regular expression. "
    "A bare word matches any name or address.",
    "In a grouping, bare words are looked for in the names of its rows. As soon as a term has a field, the rows with "
    "such flows are shown.",
    "In NAT ports, a filter keeps the pools of which one of the flows that it selects holds a port; the numbers are "
    "the whole pool's. The reply tuple's own ends, by which NAT tells flows apart, are rsrc rdst rsport rdport.",
)
NOTES = (
    "TIME_WAIT is conntrack's (120 s by default), not the socket's (60 s): until it ends, the flow holds its "
    "NAT source port.",
    "A flow between two containers counts in both rows, so the rows do not add up to the table.",
    "The row (host) holds the flows of the host itself and those that belong to no container.",
    "A container that cannot be in this conntrack table (no network, macvlan, ipvlan; in another namespace, those "
    "that have no flow there) has dashes for numbers, and so has a group of such.",
    "A container on a user-defined network tracks a second time, in a table of its own namespace (OWN): there are its "
    "lookups of names, by Docker's DNS on 127.0.0.11.",
    "A NAT pool is the ports that one address may use towards one remote address and port; pools do not compete.",
    "A trend shows TIME_WAIT over the last readings, each row between its own lowest and highest.",
)


def help_lines(
    view: str, explained: Iterable[Explained], gaps: Iterable[Gap], width: int, glyphs: Glyphs
) -> list[Line]:
    """All of it, wrapped at `width`. Pure."""
    lines: list[Line] = []
    missing = [(gap.source, gap.told(f" {glyphs.dot} ")) for gap in gaps]
    if missing:
        lines += _section("What could not be read", missing, width)
    has_table = view not in WITHOUT_TABLE
    keys = (*TABLE, *MOVING) if has_table else ()
    lines += _section("Keys", (*OF_VIEW.get(view, ()), *keys, *EVERYWHERE), width)
    titles = [(each.title, each.help) for each in explained]
    if titles:
        lines += _section("Columns" if has_table else "Numbers", titles, width)
    if has_table:
        lines += _section("Filters", [("", text) for text in FILTERS], width)
    return lines + _section("Good to know", [("", text) for text in NOTES], width)


def _section(title: str, entries: Sequence[tuple[str, str]], width: int) -> list[Line]:
    lines: list[Line] = [[(title, Tone.TITLE)]]
    for label, text in entries:
        indent = _LABEL if label else 1
        for number, part in enumerate(wrap(text, max(_LEAST, width - indent)) or [""]):
            shown = f" {label}".ljust(indent) if number == 0 else " " * indent
            lines.append([(shown, Tone.OPENING), (part, Tone.PLAIN)])
    return [*lines, []]


class HelpScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace,question_mark,h,f1,q,enter", "dismiss", "Back", show=False),
        Binding("j", "scroll(1)", "Down", show=False),
        Binding("k", "scroll(-1)", "Up", show=False),
    ]

    def __init__(self, view: str, explained: Sequence[Explained], gaps: Sequence[Gap], glyphs: Glyphs) -> None:
        super().__init__()
        self._view, self._explained, self._gaps, self._glyphs = view, explained, gaps, glyphs
        self._text = Lines(glyphs)

    def compose(self) -> ComposeResult:
        panel = VerticalScroll(self._text, id="panel")
        panel.border_title = "natop"
        panel.border_subtitle = "j k scroll, Esc back"
        yield panel

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def on_resize(self) -> None:
        self.call_after_refresh(self._wrap)

    def _wrap(self) -> None:
        width = self._text.size.width
        self._text.show(help_lines(self._view, self._explained, self._gaps, width, self._glyphs))

    def action_scroll(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)
