"""Two files for `natop diff`, opened and read."""

import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from natop.cli.options import Common, Exit, Refused
from natop.cli.reading import parsed_filter

if TYPE_CHECKING:
    from natop.diff.sections import View
    from natop.diff.sides import Side

STDIN = "-"
_REMEDY = "make one with: natop snapshot --format json --every 2 --count 30 -o FILE"


def side_from(path: str) -> "Side":
    """What a file, or stdin for `-`, has of a host. Raises Refused."""
    from natop.diff.reread import NotASnapshot, documents
    from natop.diff.sides import side_of
    from natop.text import clean

    name = "stdin" if path == STDIN else clean(path)
    try:
        with nullcontext(sys.stdin.buffer) if path == STDIN else open(path, "rb") as file:
            return side_of(name, documents(file))
    except NotASnapshot as error:
        raise Refused(Exit.UNREADABLE, f"{name}: {error}\n{_REMEDY}") from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise Refused(Exit.UNREADABLE, f"{name}: {reason}\n{_REMEDY}") from error


def view_of_diff(common: Common, everything: bool) -> "View":
    """How the containers are wanted. Raises Refused and click.UsageError."""
    from natop.diff.sections import SORT_KEYS, View

    if common.sort and common.sort.removeprefix("-") not in SORT_KEYS:
        raise click.UsageError(f"no column {common.sort!r}; there are {' '.join(SORT_KEYS)}")
    wanted = parsed_filter(common.filter) if common.filter else None
    if wanted and wanted.asks_flows:
        raise click.UsageError("--filter names containers here: container, project, service, image, network, or a word")
    return View(wanted, common.sort, everything)
