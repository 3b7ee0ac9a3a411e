"""The terminal: when a live view is refused, what its environment says, and signals. Needs no Textual."""

import asyncio
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, MutableMapping
from contextlib import suppress

from natop import charset

_TRUECOLOUR = ("alacritty", "foot", "wezterm", "xterm-direct", "xterm-ghostty", "xterm-kitty")
"""Values of TERM of terminals that show 24-bit colour; SSH does not carry COLORTERM, which would say so."""


def refusal() -> str | None:
    """Why there can be no live view here, and what to do instead; None where there can.

    The screen is drawn on stderr, so that must be a terminal as much as stdin and stdout.
    """
    for name, stream in (("stdin", sys.__stdin__), ("stdout", sys.__stdout__), ("stderr", sys.__stderr__)):
        if stream is None or stream.closed or not stream.isatty():
            return f"the live view needs a terminal, and {name} is none\n{_INSTEAD}"
    term = os.environ.get("TERM", "")
    if term in ("", "dumb"):
        return f"the live view needs a terminal that can place its cursor (TERM is {term or 'not set'})\n{_INSTEAD}"
    return None


_INSTEAD = "without one, use: natop snapshot"


def needs_ascii() -> bool:
    """Whether the terminal, or Python's stream to it, is of another encoding than UTF-8."""
    stream = sys.__stderr__
    encoding = (stream.encoding if stream else None) or "ascii"
    return not charset.is_utf8(charset.started_with()) or encoding.lower().replace("_", "-") not in ("utf-8", "utf8")


def prepare(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set right what Textual reads of the terminal in the environment.

    COLUMNS and LINES would keep a window that changes its size at the old one.
    """
    for name in ("COLUMNS", "LINES"):
        environ.pop(name, None)
    if environ.get("TERM", "") in _TRUECOLOUR:
        environ.setdefault("COLORTERM", "truecolor")


LEAVE_S = 10.0
"""How long the view has to end in good order."""


def on_end(leave: Callable[[int], None]) -> None:
    """Call `leave` with the exit status 128 + n when SIGINT, SIGTERM or SIGHUP asks to end, so that the terminal is
    restored. Ctrl+C is a key here, and sends no SIGINT.

    A terminal that goes away counts as SIGHUP: not everybody whom it hangs up on is sent one (the kernel signals the
    leader of its session alone, which may wait for us). Where the view cannot leave, since it waits for a terminal that
    takes nothing more, the process ends without it after LEAVE_S.

    Does nothing outside the main thread, where no signal arrives.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()

    def end(number: int) -> None:
        last_resort = threading.Timer(LEAVE_S, os._exit, (128 + number,))
        last_resort.daemon = True
        last_resort.start()
        with suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(leave, 128 + number)

    # Handlers of asyncio's own would wait for the loop, and so for the terminal.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: end(number))
    threading.Thread(target=_on_hang_up, args=(lambda: end(signal.SIGHUP),), name="natop-terminal", daemon=True).start()


def _on_hang_up(tell: Callable[[], None]) -> None:
    """Wait until there is nobody at the other end of the terminal."""
    watch = select.poll()
    watch.register(0, 0)  # for what is always reported, no input among it (poll(2))
    watch.poll()
    tell()
