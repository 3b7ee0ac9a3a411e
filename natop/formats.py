"""Numbers as short texts, and texts in terminal cells. What is unknown is `unknown`, never 0."""

import unicodedata
from datetime import UTC, datetime

UNKNOWN = "-"


def count(number: int | None, unknown: str = UNKNOWN) -> str:
    """With thousands separators."""
    return unknown if number is None else f"{number:,}"


def many(number: int, thing: str, things: str = "") -> str:
    """As `1 flow`, `2 flows`; `things` where an s does not make it several."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def decimal(number: float | None) -> str:
    """As `12.3`; without a fraction from 1,000 on."""
    if number is None:
        return UNKNOWN
    digits = 0 if abs(number) >= 999.95 else 1
    return f"{round(number, digits) + 0.0:,.{digits}f}"


def rate(per_second: float | None, unknown: str = UNKNOWN) -> str:
    """As `12.3/s`."""
    return unknown if per_second is None else f"{decimal(per_second)}/s"


def share(part: int | None, whole: int | None, unknown: str = UNKNOWN) -> str:
    """As `2.5 %`."""
    if part is None or not whole:
        return unknown
    percent = 100 * part / whole
    return f"{percent:.0f} %" if percent >= 99.95 else f"{percent:.1f} %"


def cells_of(text: str) -> int:
    """The terminal cells that a text takes: two for a wide character, none for a mark over another."""
    if text.isascii():
        return len(text)
    return sum(_cells(letter) for letter in text)


def _cells(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def padded(text: str, width: int, right: bool = False) -> str:
    """At least `width` terminal cells, blanks before the text where it stands at the right."""
    blanks = " " * (width - cells_of(text))
    return blanks + text if right else text + blanks


def host_port(host: str, port: int) -> str:
    """host:port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def milliseconds(value: float | None, unknown: str = UNKNOWN) -> str:
    """As `0.21`, `12.3` or `2,031`."""
    if value is None:
        return unknown
    return f"{value:,.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
