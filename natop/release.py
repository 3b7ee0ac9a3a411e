"""The running kernel's version, by its name: what a counter means and what a sysctl's default is depend on it."""

import re
from functools import lru_cache
from typing import NamedTuple


class Release(NamedTuple):
    """Compares with tuples: `release >= (5, 10)`."""

    major: int
    minor: int
    patch: int = 0


_NUMBERS = re.compile(r"\D*(\d{1,4})\.(\d{1,5})(?:\.(\d{1,5}))?", re.ASCII)


@lru_cache(maxsize=16)
def parse(text: str | None) -> Release | None:
    """From `uname -r`: 6.18.44, 5.10.0-27-amd64, 6.1+, 4.4.0-19041-Microsoft; None where no number is in it."""
    found = _NUMBERS.match(text or "")
    return Release(*(int(number or 0) for number in found.groups())) if found else None
