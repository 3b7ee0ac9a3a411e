"""What goes out: data to stdout or a file, whole or not at all, and everything else to stderr."""

import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from natop.cli.options import Common, Exit, Refused
from natop.cli.reading import source_of, view_of

if TYPE_CHECKING:
    from natop.export.snapshots import View
    from natop.feed import Source
    from natop.model import Snapshot


def write_snapshots(
    common: Common, form: str, output: Path | None, flows: bool, read: "Callable[[Source], Iterator[Snapshot]]"
) -> None:
    from natop import feed

    view = view_of(common, flows)
    try:
        with opened(output) as out:
            for number, taken in enumerate(read(source_of(common))):
                if flows and (taken.reading is None or taken.reading.taken_at != taken.taken_at):
                    raise Refused(Exit.UNREADABLE, _why_no_flows(taken))
                _write_one(out, _pieces(taken, view, form, number, room_of(out)), whole=output is not None)
    except feed.CannotRead as error:
        raise Refused(Exit.UNREADABLE, str(error)) from error


def _write_one(out: TextIO, pieces: Iterator[str], *, whole: bool) -> None:
    """One snapshot; with `whole`, none of it where it is interrupted half way."""
    start = out.tell() if whole and out.seekable() else None
    try:
        out.writelines(pieces)
        out.flush()
    except (KeyboardInterrupt, SystemExit):
        if start is not None:
            out.seek(start)
            out.truncate()
        raise


@contextmanager
def opened(output: Path | None) -> Iterator[TextIO]:
    """Where data goes; what is left in its buffer is written at the end, so that a full disk is told.

    Ctrl+C, SIGTERM and SIGHUP end it; a file keeps what was read until then, and where that is nothing, what it had.
    """
    from natop.files import written_whole

    interrupted: KeyboardInterrupt | SystemExit | None = None
    target: AbstractContextManager[TextIO] = written_whole(output) if output else nullcontext(standard_output())
    with target as out:
        try:
            yield out
            out.flush()
        except (KeyboardInterrupt, SystemExit) as interrupt:
            if out.seekable() and not out.tell():
                raise
            interrupted = interrupt
    if interrupted:
        raise interrupted


def drop_unwritten() -> None:
    """Drop what a stream does not take: Python would try again at exit, and end with a status of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def room_of(out: TextIO) -> int | None:
    """How many cells wide a terminal is; None for what is none."""
    return shutil.get_terminal_size().columns if out.isatty() else None


def standard_output() -> TextIO:
    """stdout, in UTF-8 for programs; a terminal of another encoding shows `?` for what it does not have."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        if isinstance(sys.stdout.buffer, io.FileIO):  # PYTHONUNBUFFERED: what a signal cuts off a write would be lost
            sys.stdout = open(sys.stdout.fileno(), "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # for good
        sys.stdout.reconfigure(encoding=_terminal_encoding() if sys.stdout.isatty() else "utf-8", errors="replace")
    return sys.stdout


def _terminal_encoding() -> str | None:
    """ASCII where Python writes UTF-8 against the user's locale, else None: what Python chose."""
    from natop.charset import is_utf8, started_with

    return "ascii" if sys.stdout.encoding.lower() == "utf-8" and not is_utf8(started_with()) else None


def _pieces(taken: "Snapshot", view: "View", form: str, number: int, width: int | None) -> Iterator[str]:
    """The number-th snapshot in one of FORMATS, tables of text at most `width` cells wide."""
    from natop.export import snapshots

    if form == "json":
        yield from snapshots.as_json(taken, view)
    elif form == "csv":
        yield from snapshots.as_csv(taken, view, header=number == 0)
    else:
        if number:
            yield "\n"
        yield from snapshots.as_markdown(taken, view) if form == "md" else snapshots.as_text(taken, view, width)


def _why_no_flows(taken: "Snapshot") -> str:
    lines = [gap.told() for gap in taken.gaps_of("flows")]
    return "\n".join(lines[:3]) or "the flows could not be read"


LONGEST_LINE = 4_096
"""Of a message, in characters: a filter's expression, and the pointer below it, stay whole."""


def say(message: str) -> None:
    from natop.text import clean

    lines = (clean(line, LONGEST_LINE) for line in message.split("\n"))
    print("natop: " + "\n".join(lines), file=sys.stderr)
