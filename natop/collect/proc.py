"""/proc as text, and the host's own name and addresses. Nothing is decoded here."""

import os
import platform
import threading
import time
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
_MAX_BYTES = 1 << 20
_PIECE = 1 << 12


def read(names: Iterable[str], root: Path = PROC) -> dict[str, str]:
    """The text of the files `names` below `root`; those that cannot be read are left out.

    net/ is read as thread-self/net/: /proc/net means the netns of the process's first thread.
    """
    found = {}
    for name in names:
        path = root / "thread-self" / name if name.startswith("net/") else root / name
        try:
            found[name] = _text(path)
        except OSError:
            continue
    return found


def _text(path: Path) -> str:
    """At most _MAX_BYTES of a file, in small pieces: the kernel makes room for as much of a sysctl as is asked for.

    Other files may come in pieces that are smaller than that (seq_file). Raises OSError.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = piece = os.read(file, _PIECE)
        while piece and len(data) < _MAX_BYTES:
            piece = os.read(file, min(len(data) + _PIECE, _MAX_BYTES - len(data)))
            data += piece
    finally:
        os.close(file)
    return data.decode("ascii", "replace")


def cpu_s() -> float:
    """CPU time of this process, less that of the screen: the first thread, where another one reads."""
    screen = threading.main_thread()
    if screen is threading.current_thread() or screen.ident is None:
        return time.process_time()
    return time.process_time() - time.clock_gettime(time.pthread_getcpuclockid(screen.ident))


def hostname() -> str:
    return platform.node()


def addresses() -> tuple[str, ...]:
    """The addresses of all interfaces in the calling thread's netns, loopback included."""
    import psutil

    found = (address for interface in psutil.net_if_addrs().values() for address in interface)
    return tuple(address.address for address in found if address.family != psutil.AF_LINK)
