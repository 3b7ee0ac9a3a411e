"""Who holds sockets: cgroups by id, processes by the socket inodes among their file descriptors.

Looking at every descriptor of every process costs tens of milliseconds on a large host, so a reading looks at the
processes that held sockets last time first, then at those that are new, and at the others in turn, as far as its time
goes.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from natop.collect.proc import PROC
from natop.model import Descriptor, Process

CGROUP_ROOTS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
"""Where cgroup-v2 is mounted: beside version 1, or alone."""
MOST_CGROUPS = 20_000
_SOCKET = "socket:["


def cgroups(roots: tuple[Path, ...] = CGROUP_ROOTS) -> dict[int, str]:
    """The path of each cgroup by its id, which is its directory's inode."""
    root = next((root for root in roots if (root / "cgroup.procs").exists()), None)
    found: dict[int, str] = {}
    if root is None:
        return found
    for folder, _, _ in os.walk(root):
        with suppress(OSError):
            found[os.stat(folder).st_ino] = folder.removeprefix(str(root)) or "/"
        if len(found) >= MOST_CGROUPS:
            break
    return found


class ProcessReader:
    """Reads which process holds which sockets; what it found is kept until it looks at that process again."""

    def __init__(self, root: Path = PROC) -> None:
        self._root = root
        self._held: dict[int, tuple[Process, tuple[Descriptor, ...]]] = {}
        self._waiting: list[int] = []
        self._seen: set[int] = set()

    def read(self, budget_s: float) -> dict[Process, tuple[Descriptor, ...]]:
        """Look for at most about `budget_s` seconds."""
        until = time.monotonic() + budget_s
        pids = self._pids()
        for gone in self._held.keys() - pids:
            del self._held[gone]
        waiting = [pid for pid in self._waiting if pid in pids] + sorted(pids - self._seen)
        self._waiting = [pid for pid in waiting or pids if pid not in self._held]
        self._seen = pids
        self._look_at(tuple(self._held), until - budget_s / 2)
        self._look_at(self._in_turn(), until)
        return dict(self._held.values())

    def _look_at(self, pids: Iterable[int], until: float) -> None:
        """One at least. Those that hold sockets come last the next time, so that all have their turn."""
        for pid in pids:
            self._look(pid)
            if time.monotonic() > until:
                break

    def _pids(self) -> set[int]:
        try:
            return {int(name) for name in os.listdir(self._root) if name.isdecimal()}
        except OSError:
            return set()

    def _in_turn(self) -> Iterator[int]:
        while self._waiting:
            yield self._waiting.pop()

    def _look(self, pid: int) -> None:
        """Keep the process with its sockets; forget it where it has none, is gone, or may not be looked at."""
        folder = self._root / str(pid)
        known = self._held.pop(pid, None)
        try:
            descriptors = tuple(_sockets(folder / "fd"))
            name = _first_line(folder / "comm") if descriptors else ""
            process = known[0] if known and known[0].name == name else _process(pid, name, folder)
        except OSError:
            descriptors = ()
        if descriptors:
            self._held[pid] = (process, descriptors)


def _process(pid: int, name: str, folder: Path) -> Process:
    cgroups = ""
    with suppress(FileNotFoundError):  # a kernel without cgroups
        cgroups = _text(folder / "cgroup")
    return Process(pid, name, _command(folder / "cmdline"), cgroups, user(folder))


def user(folder: Path) -> int | None:
    """Who started the process of that folder of /proc: its real user, which a set-user-ID program leaves as it is.

    The folder's own owner is root for any process that asks not to be dumped (proc(5)). None where it is gone.
    """
    with suppress(OSError):
        found = _REAL_USER.search(_text(folder / "status"))
        return int(found[1]) if found else None
    return None


_REAL_USER = re.compile(r"^Uid:\t(\d+)", re.MULTILINE)


def _sockets(folder: Path) -> Iterator[Descriptor]:
    for name in os.listdir(folder):
        with suppress(OSError):
            target = os.readlink(folder / name)
            if target.startswith(_SOCKET):
                yield Descriptor(int(name), int(target[len(_SOCKET) : -1]))


def _first_line(path: Path) -> str:
    return _text(path).strip()


def _command(path: Path) -> tuple[str, ...]:
    return tuple(_text(path).split("\0")[:-1])


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
