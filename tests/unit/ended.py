"""How a run of natop's command line ended."""

from typing import NamedTuple


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def refused(ended: Ended, status: int) -> list[str]:
    """The lines on stderr of a command that did nothing."""
    assert (ended.status, ended.out) == (status, "")
    lines = ended.err.splitlines()
    assert 1 <= len(lines) <= 3, ended.err
    assert lines[0].startswith("natop: ")
    return lines
