"""A real pseudo-terminal with a terminal emulator at its other end."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyte

NATOP = (sys.executable, "-m", "natop")


class Terminal:
    """A program on a terminal of its own: what it shows, what is typed, how it ends."""

    def __init__(self, pid: int, master: int, columns: int, lines: int) -> None:
        self.pid = pid
        self.raw = b""
        """Every byte the program wrote."""
        self.status: int | None = None
        """As a shell has it: 128 + n for a signal."""
        self._master = master
        self._blind = False
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def style_of(self, text: str) -> pyte.screens.Char:
        """The first character of a text on the screen, with its colours."""
        row = next(number for number, line in enumerate(self._screen.display) if text in line)
        return self._screen.buffer[row][self._screen.display[row].index(text)]

    def type(self, text: str) -> None:
        self.type_bytes(text.encode())

    def type_bytes(self, data: bytes) -> None:
        os.write(self._master, data)

    def resize(self, columns: int, lines: int) -> None:
        self._screen.resize(lines, columns)
        _set_size(self._master, columns, lines)

    def kill(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def until(self, so: Callable[[Terminal], object], seconds: float = 60.0) -> Terminal:
        """Read until it is so; fails with the screen where that does not happen."""
        end = time.monotonic() + seconds
        while not so(self):
            self._read()
            self._reap()
            assert time.monotonic() < end, f"not so after {seconds} s; status {self.status}; screen:\n{self.text}"
        return self

    def drain(self, seconds: float = 0.0) -> None:
        """Take what is written within so long, without looking at it; what is shown is unknown from then on."""
        self._blind = True
        end = time.monotonic() + seconds
        while select.select([self._master], [], [], max(0.0, end - time.monotonic()))[0]:
            self.raw += os.read(self._master, 1 << 16)

    def watch(self, seconds: float) -> None:
        """Read for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._read()

    def wait(self, seconds: float = 60.0) -> int:
        self.until(lambda terminal: terminal.status is not None, seconds)
        while self._read():
            pass
        assert self.status is not None
        return self.status

    def ends_unread(self, seconds: float = 60.0) -> int:
        """The exit status, with nothing read of what is written meanwhile."""
        end = time.monotonic() + seconds
        while self.status is None:
            self._reap()
            assert time.monotonic() < end, f"it goes on after {seconds} s"
            time.sleep(0.02)
        return self.status

    def hang_up(self) -> None:
        """Close the terminal under the program."""
        os.close(self._master)
        self._master = -1

    def _read(self) -> bool:
        """Whether there was something to read."""
        ready, _, _ = select.select([self._master], [], [], 0.02) if self._master >= 0 else ([], [], [])
        if not ready:
            time.sleep(0.005)
            return False
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:
            return False
        self.raw += data
        if not self._blind:
            self._stream.feed(data)
        return bool(data)

    def _reap(self) -> None:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.status = code if code >= 0 else 128 - code

    def end(self) -> None:
        """Whatever happened, leave no process and no descriptor."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self._master >= 0:
            os.close(self._master)


def _set_size(descriptor: int, columns: int, lines: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


Environment = Mapping[str, str | None]
_SAME: Environment = {}


@contextmanager
def terminal(
    command: Sequence[str] = NATOP, columns: int = 80, lines: int = 24, *, environment: Environment = _SAME
) -> Iterator[Terminal]:
    """Run a command on a new terminal; a variable that is None is not set."""
    variables = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8", **environment}
    for name in {"NO_COLOR", "TMUX", "TEXTUAL_THEME", "COLORFGBG", "COLUMNS", "LINES"} - environment.keys():
        variables[name] = None
    kept = {name: value for name, value in variables.items() if value is not None}
    pid, master = pty.fork()
    if pid == 0:
        try:
            os.execvpe(command[0], list(command), kept)
        finally:
            os._exit(127)
    _set_size(master, columns, lines)
    opened = Terminal(pid, master, columns, lines)
    try:
        yield opened
    finally:
        opened.end()
