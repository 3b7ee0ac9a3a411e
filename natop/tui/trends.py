"""View 7: how numbers of the last minutes went, of the host or of one container.

     1 Containers  2 Flows  7 Trends  this host  5 min
     TIME_WAIT 5,320  min 4,100  max 5,320 ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
       6,000 ┫                                    ⣀⣀⡠⠤⠤⠒⠊⠉                   ┣
           0 ┫                                                               ┣
             ┗ -5 min ━━━━┳━━━━━━━━━━━━┳━━━━━━━━━━━━┳━━━━━━━━━━━━┳━━━━━━ now ┛
     new 45.1, 40.2 to 60/s ────────────┐ insert_failed 0, 0 to 0/s ─────────┐
        80/s ┤⠉⠉⠒⠒⠤⠤⢄⣀⣀                 ├    1/s ┤                            ├
         0/s ┤                          ├    0/s ┤⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀├
             └ -5 min ──┬───┬──┬─── now ┘        └ -5 min ──┬────┬────┬── now ┘

As many plots as there is room for; the selected one, with the heavy frame, is always among them. Enter shows it alone.
What they are drawn with (plots.py) is loaded when the view opens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.containers import Grid
from textual.widget import Widget

from natop.tui.choosing import Choice, ChoiceScreen
from natop.tui.clipboard import copy
from natop.tui.formats import span
from natop.tui.frame import Explained, Frame
from natop.tui.header import News
from natop.tui.keys import Hint, bind
from natop.tui.tones import Piece, Tone
from natop.tui.wish import TrendsWish

if TYPE_CHECKING:
    from natop.model import Snapshot
    from natop.summarise.history import Metric
    from natop.tui.plots import TrendPlot

RANGES_S = (60.0, 300.0, 900.0)
TWO_COLUMNS = 76
"""Cells from which on two plots stand side by side."""
WORDY = 100
"""Cells from which on the title also tells how much of the range is known."""
LEAST_HEIGHT = 5
"""Lines that a plot takes at least where there is another below it."""
THE_HOST = "this host"


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Which of the plots are shown, and in how many columns. The first is as wide as all where they are odd."""

    columns: int
    first: int
    number: int

    @property
    def is_first_wide(self) -> bool:
        return self.columns > 1 and self.number % self.columns == 1


def arrange(width: int, height: int, number: int, selected: int) -> Arrangement:
    """As many as there is room for, one at least; of more, those among which the selected one is. Pure."""
    columns = 2 if width >= TWO_COLUMNS else 1
    shown = min(number, columns * max(1, height // LEAST_HEIGHT))
    return Arrangement(min(columns, shown), min(selected // shown * shown, number - shown), shown)


class TrendsScreen(Frame):
    VIEW = "trends"
    PARTS = (*Frame.PARTS, "note")
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("down,right,j", "select(1)", "Next plot"),
        bind("up,left,k", "select(-1)", "Previous plot"),
        bind("home", "select(-99)", "First plot"),
        bind("end,G", "select(99)", "Last plot"),
        bind("enter", "alone", "Alone"),
        bind("left_square_bracket", "range(-1)", "Shorter range"),
        bind("right_square_bracket", "range(1)", "Longer range"),
        bind("less_than_sign", "number(-1)", "Previous number"),
        bind("greater_than_sign", "number(1)", "Next number"),
        bind("f6", "choose_number", "Choose the number"),
        bind("t", "choose_subject", "Whose"),
        bind("y", "copy", "Copy"),
        bind("escape,backspace", "back", "Back"),
    ]
    HINTS: ClassVar[tuple[Hint, ...]] = (
        Hint("question_mark", "?", "help", 1),
        Hint("t", "t", "whose"),
        Hint("right_square_bracket", "[ ]", "range"),
        Hint("greater_than_sign", "< >", "number"),
        Hint("f6", "F6", "choose", 4),
        Hint("enter", "Enter", "alone"),
        Hint("escape", "Esc", "back", 3),
        Hint("p", "p", "pause"),
        Hint("r", "r", "read now", 4),
        Hint("plus", "+ -", "interval", 4),
        Hint("e", "e", "save", 3),
        Hint("y", "y", "copy", 4),
        Hint("N", "N", "namespaces", 5),
        Hint("q", "q", "quit", 1),
    )

    def __init__(self, wish: TrendsWish) -> None:
        super().__init__()
        self.wish = wish
        self.plots: list[TrendPlot] = []
        self._names: dict[str, str] = {}
        self._snapshot: Snapshot | None = None
        """The plots were drawn from it."""
        self._drawn: dict[int, object] = {}
        """What each plot shows of it: while that is the same, so is the plot."""
        self._placed: Arrangement | None = None

    def body(self) -> Sequence[Widget]:
        from natop.tui.plots import TrendPlot

        self.plots = [TrendPlot(self.glyphs) for _ in self.wish.metrics]
        return self.part("note"), Grid(*self.plots, id="plots")

    def show(self, news: News) -> None:
        if news.snapshot:
            self._names = news.snapshot.history.names()
        super().show(news)
        self._draw(news.snapshot)

    def on_screen_suspend(self) -> None:
        self._snapshot = None  # a screen out of sight keeps no old snapshot
        self._drawn.clear()

    def ask(self, wish: TrendsWish) -> None:
        self.wish = self.natop.trends_wish = wish
        self.show_title()
        self._draw(self.natop.news.snapshot)

    # The plots

    @property
    def arrangement(self) -> Arrangement:
        """Of the plots on the screen as it is now."""
        if self.wish.alone:
            return Arrangement(1, self.wish.selected, 1)
        width, height = self.query_one("#plots").size
        return arrange(width, height, len(self.wish.metrics), self.wish.selected)

    def _draw(self, snapshot: Snapshot | None) -> None:
        note, grid = self.part("note"), self.query_one("#plots", Grid)
        waiting = self.natop.news.failure or f"reading{self.glyphs.ellipsis}"
        note.show([] if snapshot else [[(f" {waiting}", Tone.QUIET)]])
        grid.display = snapshot is not None
        if snapshot is None or not grid.size:
            return
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._drawn.clear()
        arrangement = self.arrangement
        if arrangement != self._placed:
            self._place(grid, arrangement)
        for index in range(arrangement.first, arrangement.first + arrangement.number):
            self._draw_plot(snapshot, index, arrangement.number > 1 and index == self.wish.selected)

    def _place(self, grid: Grid, arrangement: Arrangement) -> None:
        """Which plots are seen, and where."""
        self._placed = arrangement
        grid.styles.grid_size_columns = arrangement.columns
        for index, plot in enumerate(self.plots):
            plot.display = arrangement.first <= index < arrangement.first + arrangement.number
            is_wide = index == arrangement.first and arrangement.is_first_wide
            plot.styles.column_span = arrangement.columns if is_wide else 1

    def _draw_plot(self, snapshot: Snapshot, index: int, is_selected: bool) -> None:
        from natop.summarise.history import BY_KEY
        from natop.tui.curves import curve_of
        from natop.tui.unknowns import why_unknown

        wish = self.wish
        told = wish.metrics[index], wish.subject, wish.span_s, is_selected
        if self._drawn.get(index) == told:
            return
        self._drawn[index] = told
        metric = BY_KEY[wish.metrics[index]]
        subject = wish.subject if metric.container else None
        whose = "host " if wish.subject is not None and subject is None else ""
        curve = curve_of(snapshot.history, metric, subject, wish.span_s, whose)
        why = "" if curve.runs else why_unknown(metric, subject, snapshot, wish.span_s)
        self.plots[index].show(curve, why, is_selected)

    # Words

    @property
    def hints(self) -> Sequence[Hint]:
        """Of one plot alone, Enter leads back to all."""
        hints = super().hints
        return (
            [replace(hint, does="all plots") if hint.key == "enter" else hint for hint in hints]
            if self.wish.alone
            else hints
        )

    def crumbs(self) -> list[Piece]:
        """Whose past, how long, and which of the plots these are."""
        pieces: list[Piece] = [(f"{self._whose}  ", Tone.TITLE), (f"{range_text(self.wish.span_s)}  ", Tone.PLAIN)]
        snapshot = self.natop.news.snapshot
        moments = snapshot.history.moments if snapshot else ()
        known_s = moments[-1].monotonic_s - moments[0].monotonic_s if moments else 0.0
        if known_s < self.wish.span_s and self.app.size.width >= WORDY:
            pieces.append((f"{span(known_s)} so far  ", Tone.QUIET))
        if self.is_mounted and self.arrangement.number < len(self.wish.metrics):
            first, last = self.arrangement.first + 1, self.arrangement.first + self.arrangement.number
            shown = str(first) if first == last else f"{first} to {last}"
            pieces.append((f"{shown} of {len(self.wish.metrics)} plots", Tone.QUIET))
        return pieces

    @property
    def _whose(self) -> str:
        subject = self.wish.subject
        return THE_HOST if subject is None else self._names.get(subject, subject[:12])

    def explained(self) -> Sequence[Explained]:
        from natop.summarise.history import METRICS

        return METRICS

    # Keys

    def action_select(self, step: int) -> None:
        last = len(self.wish.metrics) - 1
        self.ask(replace(self.wish, selected=max(0, min(last, self.wish.selected + step))))

    def on_trend_plot_pointed(self, event: TrendPlot.Pointed) -> None:
        self.ask(replace(self.wish, selected=self.plots.index(event.plot)))

    def action_alone(self) -> None:
        self.ask(replace(self.wish, alone=not self.wish.alone))

    async def action_back(self) -> None:
        """From one plot to all; from all, one screen back."""
        if self.wish.alone:
            self.action_alone()
        else:
            await self.natop.action_go_back()

    def action_range(self, step: int) -> None:
        index = RANGES_S.index(self.wish.span_s) + step
        if 0 <= index < len(RANGES_S):
            self.ask(replace(self.wish, span_s=RANGES_S[index]))

    def _offered(self) -> list[Metric]:
        """The numbers of the subject; a container's plots may show the host's beside its own."""
        from natop.summarise.history import METRICS

        return [each for each in METRICS if each.host or self.wish.subject is not None]

    def action_number(self, step: int) -> None:
        """The next number in the selected plot."""
        keys = [each.key for each in self._offered()]
        now = self.wish.metrics[self.wish.selected]
        self._plot_number(keys[(keys.index(now) + step) % len(keys)] if now in keys else keys[0])

    def _plot_number(self, key: str) -> None:
        metrics = list(self.wish.metrics)
        metrics[self.wish.selected] = key
        self.ask(replace(self.wish, metrics=tuple(metrics)))

    def action_choose_number(self) -> None:
        choices = [Choice(each.key, each.title, each.help) for each in self._offered()]
        screen = ChoiceScreen("Plot", choices, self.wish.metrics[self.wish.selected])
        self.app.push_screen(screen, lambda choice: self._plot_number(choice.value) if choice else None)

    def action_choose_subject(self) -> None:
        screen = ChoiceScreen("Trends of", self._subjects(), self.wish.subject)
        self.app.push_screen(
            screen, lambda choice: self.ask(replace(self.wish, subject=choice.value)) if choice else None
        )

    def _subjects(self) -> list[Choice[str | None]]:
        """The host, what is unowned, and every container of whom anything is remembered."""
        from natop.model import UNOWNED

        snapshot = self.natop.news.snapshot
        present = {each.container.id: each.container.image for each in snapshot.containers} if snapshot else {}
        containers = [
            Choice[str | None](key, name, present.get(key, "gone"))
            for key, name in self._names.items()
            if key != UNOWNED
        ]
        return [
            Choice(None, THE_HOST, "the whole table, and what the kernel counts"),
            Choice(UNOWNED, "(host)", "flows that belong to no container"),
            *sorted(containers, key=lambda choice: choice.name),
        ]

    async def action_copy(self) -> None:
        """The numbers of the plots in sight."""
        told = [plot.text for plot in self.plots if plot.display and plot.curve]
        if told:
            await copy(self.app, "\n".join((f"{self._whose}, last {range_text(self.wish.span_s)}", *told)))
            self.natop.tell("copied the numbers")


def range_text(span_s: float) -> str:
    """As `5 min`."""
    return f"{span_s / 60:g} min"
