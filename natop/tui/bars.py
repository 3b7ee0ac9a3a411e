"""Gauge, state bar and sparkline: numbers to strings, one character a cell. Pure."""

from collections.abc import Sequence

from natop.tui.glyphs import UNICODE, Glyphs

_LEAST_SPAN = 0.25
"""A sparkline spans at least this part of its largest value, so that noise does not look like a peak."""


def gauge(fraction: float | None, width: int, glyphs: Glyphs = UNICODE) -> tuple[str, str]:
    """The filled and the empty part of a bar of `width` cells, 0 to 1. Anything above 0 shows."""
    width = max(0, width)
    if fraction is None:
        return "", glyphs.track * width
    filled = max(round(min(max(fraction, 0.0), 1.0) * width), 1 if fraction > 0 and width else 0)
    return glyphs.gauge * filled, glyphs.track * (width - filled)


def gauge_of_two(part: int, whole: int, most: int, width: int, glyphs: Glyphs = UNICODE) -> tuple[str, str, str]:
    """A bar for `whole` of `most`, heavy for `part` of it and light for the rest; anything above 0 shows.

    `part` ≤ `whole` ≤ `most`; heavy, light and empty are `width` cells together.
    """
    full, empty = gauge(whole / most if most else None, width, glyphs)
    heavy = len(gauge(part / most, width, glyphs)[0]) if most else 0
    heavy = min(heavy, len(full) - 1 if whole > part and len(full) > 1 else len(full))
    return glyphs.gauge * heavy, glyphs.light * (len(full) - heavy), empty


def portions(numbers: Sequence[int], width: int) -> tuple[int, ...]:
    """`width` cells shared out in proportion, each number above 0 getting at least one while there are enough.

    Sums to `width` unless all numbers are 0.
    """
    total = sum(numbers)
    if total <= 0 or width <= 0:
        return (0,) * len(numbers)
    exact = [number * width / total for number in numbers]
    cells = [max(int(size), 1 if size > 0 else 0) for size in exact]
    while sum(cells) < width:
        cells[max(range(len(cells)), key=lambda i: exact[i] - cells[i])] += 1
    while sum(cells) > width:
        cells[max(range(len(cells)), key=lambda i: (cells[i] > 1, cells[i] - exact[i]))] -= 1
    return tuple(cells)


def sparkline(values: Sequence[float], width: int, glyphs: Glyphs = UNICODE) -> str:
    """The last `width` values as columns from their lowest to their highest, newest at the right end.

    Lowest and highest are taken at least a quarter of the highest apart, and zero is never lifted off the ground.
    """
    shown = list(values[-width:]) if width > 0 else []
    top = max(shown, default=0)
    floor = min(*shown, top * (1 - _LEAST_SPAN)) if len(shown) > 1 else 0
    steps = len(glyphs.sparks) - 1
    scale = steps / (top - floor) if top > floor else 0
    columns = (glyphs.sparks[min(steps, max(0, round((value - floor) * scale)))] for value in shown)
    return "".join(columns).rjust(max(0, width))
