"""Numbers as short texts. What is unknown is `unknown`, never 0."""

UNKNOWN = "-"


def count(number: int | None, unknown: str = UNKNOWN) -> str:
    """With thousands separators."""
    return unknown if number is None else f"{number:,}"


def rate(per_second: float | None, unknown: str = UNKNOWN) -> str:
    """As `12.3/s`; without a fraction from 1,000 on."""
    if per_second is None:
        return unknown
    digits = 0 if abs(per_second) >= 999.95 else 1
    return f"{round(per_second, digits) + 0.0:,.{digits}f}/s"


def share(part: int | None, whole: int | None, unknown: str = UNKNOWN) -> str:
    """As `2.5 %`."""
    if part is None or not whole:
        return unknown
    percent = 100 * part / whole
    return f"{percent:.0f} %" if percent >= 99.95 else f"{percent:.1f} %"


def milliseconds(value: float | None, unknown: str = UNKNOWN) -> str:
    """As `0.21`, `12.3` or `2,031`."""
    if value is None:
        return unknown
    return f"{value:,.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"
