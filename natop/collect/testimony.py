"""TCP's counters and sysctls of network namespaces, as text: from /proc/PID/net, and from inside.

A namespace is read once, however many containers share it. Its files are opened anew each time: kept open they would
cost half as much, but keep the namespace of a container that has ended alive (get_proc_net of fs/proc/proc_net.c).
net/tcp is never read: it walks the sockets of the whole machine.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from natop import sysctls
from natop.collect import netns, proc, sandboxes
from natop.decode.fields import Fields, first_process
from natop.formats import many
from natop.model import EngineReading, Gap, NetnsText

FILES = ("snmp", "netstat", "sockstat", "sockstat6")
SYSCTLS_EVERY_S = 60.0
"""How old a namespace's sysctls may grow; to read them means to enter it."""
SYSCTLS_AT_ONCE = 8
"""So many namespaces are asked again at one tick; those that are new are asked at once."""

_MAX_BYTES = 1 << 16
_SYSCTL_FILES = tuple(f"sys/{path}" for path in sysctls.INSIDE)


class NamespaceReader:
    """Reads the namespace that the calling thread is in, and those of the containers that run on this machine."""

    def __init__(self, root: Path = proc.PROC) -> None:
        self._root = root
        self._asked: dict[tuple[str, int], float] = {}
        """When the sysctls of a namespace and process were read."""
        self._again = 0
        """How many namespaces may still be asked again at this tick."""

    def read(self, engine: EngineReading | None, gaps: list[Gap]) -> tuple[dict[str, NetnsText], dict[str, str]]:
        """What each namespace tells, by net:[inode], and which one each container is in, by its id."""
        with _folder(self._root / "thread-self") as own:
            told = {netns.identity(): NetnsText(_files(own))}
        members: dict[str, str] = {}
        running = [(pid, fields) for fields in engine.containers if (pid := first_process(fields))] if engine else []
        self._again = SYSCTLS_AT_ONCE
        refused = 0
        for pid, fields in running:
            try:
                with _folder(self._root / str(pid)) as process:
                    namespace = _namespace(process, fields, engine.pid if engine else None)
                    if namespace and self._tells(pid, process, namespace, told):
                        members[str(fields.get("Id"))] = namespace
            except PermissionError:
                refused += 1
            except OSError:  # the process has just ended, or runs on another machine
                continue
        pids = {pid for pid, _ in running}
        self._asked = {key: at for key, at in self._asked.items() if key[0] in told and key[1] in pids}
        gaps.extend(_gaps(len(running), refused, len(members)))
        return told, members

    def _tells(self, pid: int, process: int, namespace: str, told: dict[str, NetnsText]) -> bool:
        """Whether a container's process tells of its namespace; what it tells is added. Raises OSError."""
        if namespace not in told and (files := _files(process)):
            told[namespace] = NetnsText(files, self._sysctls(pid, process, namespace))
        return namespace in told

    def _sysctls(self, pid: int, process: int, namespace: str) -> dict[str, str]:
        """The namespace's own, by path below /proc/sys; empty where they are not due or it may not be entered."""
        now = time.monotonic()
        asked = self._asked.get((namespace, pid))
        if asked is not None and (now - asked < SYSCTLS_EVERY_S or self._again <= 0):
            return {}
        self._again -= asked is not None
        self._asked[namespace, pid] = now
        with suppress(netns.NoSuchNetns), netns.entered(Path(f"/proc/self/fd/{process}/ns/net")):
            return {name.removeprefix("sys/"): text for name, text in proc.read(_SYSCTL_FILES).items()}
        return {}


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    """A process's folder, held open: its number may become another's, what is below the descriptor does not."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _namespace(process: int, fields: Fields, engine: int | None) -> str | None:
    """net:[inode] of a container's process; None where the process is another's.

    The engine may be on another machine, and a process number is used again. So the namespace must be the one of the
    container's sandbox or, where that cannot be looked at, the process's cgroup must name the container.
    """
    found = os.stat("ns/net", dir_fd=process)
    for file in sandboxes.files(fields, engine):
        with suppress(OSError):
            sandbox = os.stat(file)
            if sandbox.st_dev == found.st_dev:
                return f"net:[{found.st_ino}]" if os.path.samestat(sandbox, found) else None
    identity = str(fields.get("Id"))
    return f"net:[{found.st_ino}]" if identity.encode() in _bytes(process, "cgroup") else None


def _files(process: int) -> dict[str, str]:
    """FILES of a process's namespace; those that cannot be read are left out."""
    found = {}
    for name in FILES:
        with suppress(OSError):
            found[name] = _bytes(process, f"net/{name}").decode("ascii", "replace")
    return found


def _bytes(process: int, name: str) -> bytes:
    """A file below a process's folder. The kernel gives such a file whole in one piece. Raises OSError."""
    file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)
    try:
        return os.read(file, _MAX_BYTES)
    finally:
        os.close(file)


def _gaps(running: int, refused: int, placed: int) -> Iterator[Gap]:
    """Why containers have no testimony, where that is more than one that has just ended."""
    if refused:
        yield Gap(
            "tcp", f"no right to look into the network namespaces of {many(refused, 'container')}", "run: sudo natop"
        )
    elif running and not placed:
        yield Gap("tcp", "no process of the containers is on this machine", "run natop where the engine runs")
