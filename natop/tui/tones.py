"""Tones: what a piece of text means, from which the theme makes its colour.

Screens are written in pieces of text with a tone. Only this module and the style sheet know of colours.
"""

from collections.abc import Sequence
from enum import StrEnum

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from natop.states import PARTS
from natop.tui.formats import fit
from natop.tui.glyphs import ASCII, UNICODE, Glyphs, plain


class Tone(StrEnum):
    PLAIN = "plain"
    QUIET = "quiet"
    """Labels, units, what is zero or unknown."""
    TITLE = "title"
    """What the eye looks for first."""
    NAME = "name"
    """What a line is about."""
    ESTABLISHED = "established"
    OPENING = "opening"
    """SYN_SENT, SYN_RECV."""
    TIME_WAIT = "time-wait"
    TREND = "trend"
    """TIME_WAIT in the past."""
    CLOSING = "closing"
    NOTICE = "notice"
    """Not as usual, though nothing is broken."""
    ALARM = "alarm"


Piece = tuple[str, Tone]
Line = Sequence[Piece]
"""One line of the screen, from left to right."""

TONE_CLASSES = frozenset(f"tone--{tone}" for tone in Tone)
"""For the COMPONENT_CLASSES of a widget that draws pieces."""

_TONE_OF_STATE = {
    name: tone
    for names, tone in zip(PARTS, (Tone.ESTABLISHED, Tone.OPENING, Tone.TIME_WAIT, Tone.CLOSING), strict=True)
    for name in names
}


def tone_of_state(state: str) -> Tone:
    """The tone of a conntrack state's name; plain where it has none of its own."""
    return _TONE_OF_STATE.get(state, Tone.PLAIN)


def strip_of(widget: Widget, line: Line, width: int, glyphs: Glyphs = UNICODE) -> Strip:
    """The line as `width` cells in the widget's own styles, cut or padded at the right."""
    strip = Strip([Segment(_safe(text, glyphs), style_of(widget, tone)) for text, tone in line if text])
    if strip.cell_length > width > 0:
        strip = _shortened(strip, width, glyphs)
    return strip.adjust_cell_length(width, widget.rich_style).simplify()


def _shortened(strip: Strip, width: int, glyphs: Glyphs) -> Strip:
    """Cut, with an ellipsis where something other than blanks is lost."""
    if not strip.crop(width).text.strip():
        return strip.crop(0, width)
    kept = list(strip.crop(0, width - 1))
    return Strip([*kept, Segment(glyphs.ellipsis, kept[-1].style if kept else None)])


def style_of(widget: Widget, tone: Tone) -> Style:
    return widget.get_component_rich_style(f"tone--{tone}")


def text_of(line: Line) -> str:
    """The line without its tones."""
    return "".join(text for text, _ in line)


def length_of(line: Line) -> int:
    """In terminal cells."""
    return sum(cell_len(text) for text, _ in line)


def _safe(text: str, glyphs: Glyphs) -> str:
    """Text that no terminal acts upon, whoever wrote it."""
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    return text if glyphs is not ASCII else plain(text)


def cell(text: str, width: int, glyphs: Glyphs, right: bool = False) -> str:
    """One table cell of exactly `width` terminal cells."""
    return fit(_safe(text, glyphs), width, glyphs, right)
