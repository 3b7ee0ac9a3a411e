"""The command line: arguments to the live view or to a subcommand. The only place that prints, and exits.

Only click is imported before the command is known, so that each command starts fast.
"""

import errno
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

import click

from natop.cli.commands import program
from natop.cli.options import Exit, Refused
from natop.cli.output import drop_unwritten, say


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    """Unwind on SIGTERM and SIGHUP, so that nothing is lost or left half-written."""
    raise SystemExit(128 + number)


def _run(arguments: list[str] | None) -> int:
    try:
        status = program.main(arguments, "natop", standalone_mode=False)
    except Refused as refusal:
        say(str(refusal))
        return refusal.status
    except click.UsageError as error:
        where = f" {error.ctx.info_name}" if error.ctx and error.ctx.parent else ""
        say(f"{error.format_message()}\ntry: natop{where} --help")
        return Exit.USAGE
    except click.ClickException as error:
        say(error.format_message())
        return Exit.USAGE
    except (KeyboardInterrupt, click.Abort):
        return Exit.INTERRUPTED
    except OSError as error:
        say(_told(error))
        return Exit.UNREADABLE
    except Exception as error:
        from natop import defects

        say(f"{defects.told(error)}\n{defects.place(error)}")
        return Exit.UNREADABLE
    return status if isinstance(status, int) else Exit.OK


def _told(error: OSError) -> str:
    """Which file, and what is wrong with it; where none is named and it is about writing, that is stdout."""
    from natop.files import NO_ROOM

    reason = error.strerror or str(error)
    if error.filename:
        return f"{error.filename}: {reason}"
    if error.errno == errno.EBADF:
        return "stdout: it is closed"
    return f"stdout: {reason}" if error.errno in NO_ROOM else reason


def _open_what_is_closed() -> None:
    """Empty streams where descriptors 0 to 2 are closed, lest a socket get their numbers, and messages go to stdout.

    That for stdout can only be read, so that writing to it fails as it would without: whoever closed it gets no data.
    """
    for name, mode, flags in (("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY)):
        if getattr(sys, name) is None:
            empty = os.open(os.devnull, flags)
            setattr(sys, name, open(empty, mode))  # noqa: SIM115  # for as long as the process lives


def main(arguments: list[str] | None = None) -> NoReturn:
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGHUP, _terminate)
    _open_what_is_closed()
    try:
        sys.exit(_run(arguments))
    except BrokenPipeError:  # nobody reads what is wrong
        sys.exit(Exit.UNREAD)
    finally:
        drop_unwritten()
