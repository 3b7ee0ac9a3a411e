"""From a number's past to what a plot shows of it: its points, its gaps, its axes, and in words. Pure.

Imported with the plots, and not before: it needs numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from natop.model.history import F64, History, Series
from natop.summarise.history import Metric
from natop.tui.formats import count, rate
from natop.tui.glyphs import Glyphs

Run = tuple[F64, F64]
"""Ages in seconds, which are negative, and values: points without a gap between them."""

_STEPS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
"""What an axis may end at, times a power of ten."""
_GAP = 3.0
"""How many times as long as the spaces beside it one between two points must be for no line to bridge it."""
_BRIEF = 6


@dataclass(frozen=True, slots=True)
class Curve:
    """One number over the last seconds."""

    metric: Metric
    span_s: float
    runs: tuple[Run, ...]
    last: float | None
    """The newest; None where that is not known."""
    least: float | None
    most: float | None
    whose: str = ""
    """Before the title, where it is another's than the plots beside it."""

    @property
    def top(self) -> float:
        """Where the axis ends that begins at 0; never so near that next to nothing looks like much."""
        return max(axis_end(self.most or 0.0), 0.1 if self.metric.unit == "/s" else 1.0)


def curve_of(history: History, metric: Metric, subject: str | None, span_s: float, whose: str = "") -> Curve:
    """The metric of the host (no subject) or of one subject over the last `span_s` before the newest moment."""
    kept = history.host_metrics if subject is None else history.container_metrics
    if metric.key not in kept:
        return Curve(metric, span_s, (), None, None, None, whose)
    series = history.series(metric.key, subject, of_dumps=metric.of_dumps)
    ages = series.at_s - history.moments[-1].monotonic_s
    shown = Series(ages, series.values)
    shown = Series(*(column[ages >= -span_s] for column in shown))
    known = shown.values[~np.isnan(shown.values)]
    if not len(known):
        return Curve(metric, span_s, (), None, None, None, whose)
    newest = float(shown.values[-1])
    return Curve(
        metric,
        span_s,
        runs_of(shown),
        None if math.isnan(newest) else newest,
        float(known.min()),
        float(known.max()),
        whose,
    )


def runs_of(series: Series) -> tuple[Run, ...]:
    """The points that a line joins: broken where a value is unknown, and where nothing was read for long.

    Long is three times as long as the space before and the space behind, so that a changed interval is no gap.
    """
    at_s, values = series
    if len(at_s) == 0:
        return ()
    spaces = np.diff(at_s)
    beside = np.maximum(np.append(spaces[1:], 0), np.append(0, spaces[:-1])) if len(spaces) else spaces
    broken = (beside > 0) & (spaces > _GAP * beside)
    known = ~np.isnan(values)
    begins = np.flatnonzero(np.append(True, broken | (known[1:] != known[:-1])))
    parts = zip(begins, np.append(begins[1:], len(at_s)), strict=True)
    return tuple((at_s[a:b], values[a:b]) for a, b in parts if known[a])


def thinned(run: Run, span_s: float, columns: int) -> Run:
    """At most two points for each of as many columns of a plot: the least and the most, so that no peak is lost."""
    at_s, values = run
    if len(at_s) <= 2 * columns:
        return run
    begins = np.flatnonzero(np.diff(np.floor((at_s + span_s) * columns / span_s), prepend=-1.0))
    ends = np.append(begins[1:], len(at_s)) - 1
    least, most = np.minimum.reduceat(values, begins), np.maximum.reduceat(values, begins)
    rising = values[ends] >= values[begins]
    first, second = np.where(rising, least, most), np.where(rising, most, least)
    return np.repeat((at_s[begins] + at_s[ends]) / 2, 2), np.column_stack((first, second)).ravel()


def axis_end(most: float) -> float:
    """A round number that is not below `most`; 1 where that is 0."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step for step in (*_STEPS, 20.0) if step * power >= most * (1 - 1e-9)) * power


# In words


def amount(value: float | None, metric: Metric, glyphs: Glyphs) -> str:
    """As `5,320`, `45.1/s`, `2.5 %`."""
    if value is None:
        return glyphs.unknown
    if metric.unit == "" and value == round(value):
        return count(round(value), glyphs)
    return rate(value, glyphs).removesuffix("/s") + metric.unit


def brief(value: float | None, glyphs: Glyphs) -> str:
    """In at most six cells, without its unit: `5,320`, `45.1`, `1.23M`."""
    if value is None:
        return glyphs.unknown
    return f"{value:.3g}" if abs(value) < 999.5 else count(round(value), glyphs, _BRIEF)


def words(curve: Curve, glyphs: Glyphs, width: int) -> str:
    """Title, newest, least and most in `width` cells: what there is to know without the picture."""
    metric = curve.metric
    title = f"{curve.whose}{metric.title}"
    if curve.most is None:
        return f"{title} {glyphs.unknown}"[:width]
    last, least, most = (amount(value, metric, glyphs) for value in (curve.last, curve.least, curve.most))
    briefly = [brief(value, glyphs) for value in (curve.last, curve.least, curve.most)]
    tellings = (
        f"{title} {last}  min {least}  max {most}",
        f"{title} {briefly[0]}, {briefly[1]} to {briefly[2]}{metric.unit}",
        f"{title} {last}",
    )
    return next((text for text in tellings if len(text) <= width), tellings[-1][:width])


def ticks_of(span_s: float) -> Sequence[float]:
    """Ages marked on the time axis, oldest first."""
    step = {60.0: 15.0, 300.0: 60.0}.get(span_s, span_s / 5)
    return [float(age) for age in np.arange(step - span_s, 0, step)]


def age_text(seconds: float) -> str:
    """As `-5 min`, `-15 s`, `now`."""
    if seconds == 0:
        return "now"
    return f"{seconds / 60:g} min" if seconds % 60 == 0 else f"{seconds:g} s"
