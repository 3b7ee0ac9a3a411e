"""Numbers and times as the short texts that stand on the screen. Pure; what is unknown is never 0."""

from datetime import datetime

from rich.cells import cell_len, set_cell_size

from natop import formats
from natop.tui.glyphs import UNICODE, Glyphs

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(number: int | None, glyphs: Glyphs = UNICODE, width: int | None = None) -> str:
    """With thousands separators; in `width` cells where that is given, shortened to `1.23M` if it must be."""
    text = formats.count(number, glyphs.unknown)
    return text if number is None or width is None or len(text) <= width else _short(number)


def _short(number: int) -> str:
    for size, unit in _UNITS:
        if abs(number) >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def rate(per_second: float | None, glyphs: Glyphs = UNICODE, signed: bool = False) -> str:
    """As `12.3/s`; without a fraction from 1,000 on."""
    text = formats.rate(per_second, glyphs.unknown)
    return f"+{text}" if signed and per_second and per_second > 0 else text


def share(part: int | None, whole: int | None, glyphs: Glyphs = UNICODE) -> str:
    """As `2.5 %`."""
    return formats.share(part, whole, glyphs.unknown)


def chance(part: float) -> str:
    """A probability in percent, without the sign: `0` below one in a million, `<0.1`, `4.2`, `43`."""
    percent = 100 * part
    if percent < 1e-4:
        return "0"
    return "<0.1" if percent < 0.05 else f"{percent:.1f}" if percent < 9.95 else f"{percent:.0f}"


def span(seconds: float | None, glyphs: Glyphs = UNICODE) -> str:
    """A length of time in its largest units: `0.5 s`, `12 s`, `3 min 05 s`, `2 h 04 min`, `5 d 03 h`."""
    if seconds is None:
        return glyphs.unknown
    if round(seconds) < 60:
        return f"{round(seconds, 1):g} s" if seconds < 1 else f"{seconds:.0f} s"
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 60:
        return f"{minutes} min {whole % 60:02} s"
    if hours < 24:
        return f"{hours} h {minutes % 60:02} min"
    return f"{days} d {hours % 24:02} h"


def interval(seconds: float) -> str:
    """As `0.5 s`, `2 s`."""
    return f"{seconds:g} s"


def clock(taken_at: float) -> str:
    """Wall time of day, local."""
    return datetime.fromtimestamp(taken_at).strftime("%H:%M:%S")


def fit(text: str, width: int, glyphs: Glyphs = UNICODE, right: bool = False) -> str:
    """Exactly `width` terminal cells: padded, or cut with an ellipsis. Wide characters count as two."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, max(0, width - 1)) + glyphs.ellipsis if width > 0 else ""
    padding = " " * (width - length)
    return padding + text if right else text + padding


_PORT = 6
"""Cells of a colon and a port."""


def shortened(text: str, width: int, glyphs: Glyphs = UNICODE) -> str:
    """At most `width` terminal cells, cut in the middle: the end tells one from the next, and has the port."""
    if cell_len(text) <= width:
        return text
    room = max(0, width - 1)
    kept = min(room, max(width // 2, _PORT))
    end = text[len(text) - kept :]
    while cell_len(end) > kept:
        end = end[1:]
    return fit(text, room - cell_len(end) + 1, glyphs) + end if width > 0 else ""
