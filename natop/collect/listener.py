"""The process behind an engine's Unix socket: what it sees of this machine may be other than what natop sees."""

import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

from natop.collect import netns
from natop.collect.proc import PROC

TIMEOUT_S = 1.0
_CREDENTIALS = struct.Struct("3i")
"""struct ucred: pid, uid, gid (unix(7))."""
_STATE = b"ROOTLESSKIT_STATE_DIR"
_HANDS_ON = "systemd"
"""It listens for services that it starts when they are called, and is none of them."""


def listener(path: str | None) -> int | None:
    """Who listens there, by SO_PEERCRED: the kernel notes it at listen(2). None where that cannot be told.

    So it is for an engine on another machine, in another pid namespace, or behind a socket of systemd's.
    """
    pid = 0
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.connect(path or "")
        told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid = _CREDENTIALS.unpack(told)[0]
    return pid if pid > 0 and _name(pid) != _HANDS_ON else None


def namespace_of(pid: int) -> str:
    """The file of the network namespace that an engine keeps its bridges in, by the engine's process.

    rootlesskit --detach-netns, as Docker 29.5 and later start it, leaves a rootless engine in the host's namespace and
    mounts the engine's own where the engine alone sees it (moby, contrib/dockerd-rootless.sh).
    """
    process = PROC / str(pid)
    with suppress(OSError):
        for variable in (process / "environ").read_bytes().split(b"\0"):
            name, _, folder = variable.partition(b"=")
            detached = Path(f"{process}/root{os.fsdecode(folder)}/netns")
            if name == _STATE and netns.is_namespace(detached):
                return str(detached)
    return f"{process}/ns/net"


def _name(pid: int) -> str:
    with suppress(OSError):
        return (PROC / str(pid) / "comm").read_text(errors="replace").strip()
    return ""
