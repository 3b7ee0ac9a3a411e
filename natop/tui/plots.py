"""One number's past as a plot, drawn by textual-plot: braille dots in a frame whose edges carry the words.

    TIME_WAIT 5,320  min 4,100  max 5,320 ─────────────────────┐
      6,000 ┤                            ⣀⣀⡠⠤⠤⠒⠊⠉              ├
            │            ⢀⣀⡠⠤⠤⠒⠒⠊⠉⠉⠉⠉⠉⠉                        │
          0 ┤                                                  ├
            └ -5 min ──┬─────────┬─────────┬─────────┬──── now ┘

A gap in the line is a time of which nothing is known; zero is a line on the ground. The selected plot has a heavy
frame. Imported when the view of trends opens, and not before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import ClassVar, Self

from rich.markup import escape
from rich.segment import Segment
from textual import on
from textual.app import ComposeResult, RenderResult
from textual.containers import Grid
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual_hires_canvas import Canvas
from textual_plot import HiResMode, PlotWidget
from textual_plot.axis_formatter import AxisFormatter
from textual_plot.plot_widget import Legend

from natop.summarise.history import Metric
from natop.tui.curves import Curve, age_text, brief, thinned, ticks_of, words
from natop.tui.glyphs import ASCII, UNICODE, Glyphs, plain
from natop.tui.tones import TONE_CLASSES, Tone

_CANVASES = ("margin-top", "margin-left", "plot", "margin-bottom")
"""The names by which textual-plot knows its canvases, in the order of its grid."""
_LEAST_WIDTH, _LEAST_HEIGHT = 24, 3
"""Below this size there is nothing to see."""
_APART = 12
"""Cells a text of the time axis, from which on all ticks have theirs."""
_DOTS = 2, 4
"""Braille dots of a cell, across and down."""
_NEXT_LINE = 1 + 1e-6
"""The axis is so much higher than its end that this is marked on the line below the upper edge, which has the title."""
_HALF_WAY = 5
"""Lines within the frame from which the axis is marked half-way too."""
_EDGES = "─━"
"""Of the frame, and of the selected one: what is between a short title and the frame's corner, which it covers."""
_TONES = {
    "established": Tone.ESTABLISHED,
    "time_wait": Tone.TIME_WAIT,
    "time_wait_sockets": Tone.TIME_WAIT,
    "closing": Tone.CLOSING,
} | dict.fromkeys(("insert_failed", "drop", "early_drop", "lost_syns", "syn_retrans", "listen_overflows"), Tone.ALARM)
_OTHER_TONE = Tone.OPENING


class TrendPlot(PlotWidget, can_focus=False):
    """Draws a curve, or says in words why there is none."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(TONE_CLASSES)
    margin_top = 0
    margin_bottom = 0
    margin_left = 9

    class Pointed(Message):
        """A click on the plot."""

        def __init__(self, plot: TrendPlot) -> None:
            super().__init__()
            self.plot = plot

    def __init__(self, glyphs: Glyphs = UNICODE) -> None:
        super().__init__(allow_pan_and_zoom=False)
        self.glyphs = glyphs
        self.curve: Curve | None = None
        self._canvases = {name: _Canvas(name, glyphs) for name in _CANVASES}
        self._why_empty = ""
        self._is_selected = False

    def compose(self) -> ComposeResult:
        with Grid():
            yield from self._canvases.values()
        yield Legend(id="legend")

    @property
    def text(self) -> str:
        """What the plot says in words, with all the room they need."""
        return words(self.curve, self.glyphs, 1000) if self.curve else ""

    def show(self, curve: Curve, why_empty: str, is_selected: bool) -> None:
        """Draw this curve, or `why_empty` where nothing is known of it."""
        self.curve, self._why_empty, self._is_selected = curve, why_empty, is_selected
        self._draw(curve)

    @on(Canvas.Resize)
    def _resized(self, event: Canvas.Resize) -> None:
        """Draw anew, once for all canvases, which have their sizes by then."""
        event.stop()
        if event.canvas is self._canvases["plot"]:
            self.refresh(layout=True)
            if self.curve:
                self._draw(self.curve)

    def on_click(self) -> None:
        self.post_message(self.Pointed(self))

    def _draw(self, curve: Curve) -> None:
        """Hand all to textual-plot, and draw at once. Now and 0 are a dot off the frame, which would cover them."""
        self.clear()
        across, down = (max(1, cells * dots) for cells, dots in zip(self._room, _DOTS, strict=True))
        self.set_xlimits(-curve.span_s, curve.span_s / across)
        self.set_ylimits(-curve.top / down, curve.top * _NEXT_LINE)
        self.set_xticks(ticks_of(curve.span_s))
        self.set_yticks([0.0, curve.top / 2, curve.top] if self._room[1] >= _HALF_WAY else [0.0, curve.top])
        self.set_y_formatter(_Amounts(curve.metric, self.glyphs))
        style = self._style(_TONES.get(curve.metric.key, _OTHER_TONE))
        for at_s, values in (thinned(run, curve.span_s, across) for run in curve.runs):
            ends = 2 if len(at_s) == 1 else 1  # a line has two, though it be a dot
            self.plot(at_s.repeat(ends), values.repeat(ends), style, HiResMode.BRAILLE)
        self.render()

    @property
    def _room(self) -> tuple[int, int]:
        """Cells within the frame, across and down."""
        return self.size.width - self.margin_left - 2, self.size.height - 2

    def _style(self, tone: Tone) -> str:
        return str(self.get_component_rich_style(f"tone--{tone}"))

    # What textual-plot asks

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """Only for the layout's sake: the canvases tell themselves what changed, and there is nothing behind them."""
        return super().refresh(*regions, repaint=repaint and layout, layout=layout, recompose=recompose)

    def render(self) -> RenderResult:
        if self.curve is None or self.size.width < _LEAST_WIDTH or self.size.height < _LEAST_HEIGHT:
            return ""
        canvas = self._canvases["plot"]
        canvas.is_heavy = self._is_selected
        drawn = super().render()
        self._write(self.curve, canvas)
        for each in self._canvases.values():
            each.send()
        return drawn

    def combine_quad_with_pixel(self, quad: tuple[int, int, int, int], canvas: Canvas, x: int, y: int) -> str:
        """Ticks as heavy as the frame, and none on the upper edge."""
        weight = 0 if y == 0 else 2 if self._is_selected else 1
        top, right, bottom, left = (min(side, weight) for side in quad)
        return super().combine_quad_with_pixel((top, right, bottom, left), canvas, x, y)

    def _write(self, curve: Curve, canvas: Canvas) -> None:
        """The words on the frame's edges: what and how much above, when below; and those of an empty plot."""
        width, height = canvas.size
        left = self.margin_left
        title = f"{words(curve, self.glyphs, left + width - 3)} ".ljust(left, _EDGES[self._is_selected])
        self._put(self._canvases["margin-left"], 1, 0, title[: left - 1], Tone.TITLE)
        self._put(canvas, 0, 0, title[left - 1 :], Tone.TITLE)
        for x, text in self._times(curve, width):
            self._put(canvas, x, height - 1, f" {text} ", Tone.QUIET)
        if not curve.runs:
            self._write_why(canvas)

    def _write_why(self, canvas: Canvas) -> None:
        """In the middle, on as many lines as there are."""
        width, height = canvas.size[0] - 4, canvas.size[1] - 2
        end = f" {self.glyphs.ellipsis}"
        lines = wrap(
            self._why_empty, max(len(end), width), max_lines=max(1, height), placeholder=end, break_on_hyphens=False
        )
        for y, text in enumerate(lines, start=1 + (height - len(lines)) // 2):
            self._put(canvas, 2, y, text, Tone.QUIET)

    def _times(self, curve: Curve, width: int) -> Iterator[tuple[int, str]]:
        """Texts of the time axis, and where each begins; those between its ends only where they stand apart."""
        yield 1, age_text(-curve.span_s)
        ticks = ticks_of(curve.span_s)
        for age in ticks if width >= _APART * (len(ticks) + 2) else ():
            x, _ = self.get_pixel_from_coordinate(age, 0.0)
            yield x - len(age_text(age)) // 2 - 1, age_text(age)
        yield width - 6, age_text(0)

    def _put(self, canvas: Canvas, x: int, y: int, text: str, tone: Tone) -> None:
        canvas.write_text(x, y, f"[{self._style(tone)}]{escape(text)}")


class _Amounts(AxisFormatter):
    """Labels of an axis in a metric's own unit."""

    def __init__(self, metric: Metric, glyphs: Glyphs) -> None:
        self._metric, self._glyphs = metric, glyphs

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:  # noqa: ARG002  # textual-plot's
        return [0.0, max_]

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        return [brief(value, self._glyphs) + self._metric.unit for value in ticks]


class _Canvas(Canvas):
    """Sends only the lines that changed; in ASCII alone where that is asked for."""

    def __init__(self, id: str, glyphs: Glyphs) -> None:
        super().__init__(1, 1, id=id)
        self.is_heavy = False
        """Whether its frame is."""
        self._glyphs = glyphs
        self._sent: list[Strip] = []

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """Drawing asks for this at every stroke; `send` does it once."""
        if layout or recompose:
            super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)
        return self

    def send(self) -> None:
        """Show what was drawn since the last time."""
        before, self._sent = self._sent, [self.render_line(y) for y in range(self.size.height)]
        if len(before) != len(self._sent):
            super().refresh()
            return
        changed = [y for y, line in enumerate(self._sent) if line != before[y]]
        if changed:
            super().refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def draw_rectangle_box(self, x0: int, y0: int, x1: int, y1: int, thickness: int = 1, style: str = "white") -> None:
        thickness = 2 if self.is_heavy else 1
        super().draw_rectangle_box(x0, y0, x1, y1, thickness, style)

    def render_line(self, y: int) -> Strip:
        strip = super().render_line(y)
        if self._glyphs is not ASCII:
            return strip
        return Strip([Segment(plain(text.translate(_IN_ASCII)), style) for text, style, _ in strip], strip.cell_length)


def _ascii_of_dots(dots: int) -> str:
    """A sign about as high as the dots of a braille cell; its bits 0, 1, 2, 6 and 3, 4, 5, 7 are rows from the top."""
    rows = tuple(bool(dots & (left | right)) for left, right in ((1, 8), (2, 16), (4, 32), (64, 128)))
    match rows:
        case (True, False | True, False, False):
            return "'"
        case (False, True, _, False) | (False, False, True, False):
            return "-"
        case (False, False, _, True):
            return "_" if not rows[2] else "."
        case _:
            return "|" if sum(rows) > 2 else ":"


_IN_ASCII = (
    dict.fromkeys(range(0x2500, 0x2580), "+")
    | dict.fromkeys(map(ord, "─╌┄"), "-")
    | dict.fromkeys(map(ord, "━╍┅"), "=")
    | dict.fromkeys(map(ord, "│┃"), "|")
    | {0x2800 + dots: _ascii_of_dots(dots) for dots in range(1, 256)}
)
"""The frame's characters (U+2500 …) and braille's (U+2800 …), for terminals without them."""
