"""Network namespaces: naming one, and entering it on the calling thread only."""

import ctypes
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CLONE_NEWNET = 0x40000000
"""linux/sched.h"""
SELF = Path("/proc/thread-self/ns/net")
_NAMED = Path("/run/netns")
_DOCKER = Path("/run/docker/netns")
HOST_SANDBOX = "default"
"""What Docker calls the namespace of the host itself."""


_LIBC = ctypes.CDLL(None, use_errno=True)


def setns(descriptor: int, kind: int) -> None:
    """Move the calling thread into the namespace that is open as `descriptor` (setns(2)); raises OSError.

    `os.setns` exists only from Python 3.12 on.
    """
    if _LIBC.setns(descriptor, kind):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class NoSuchNetns(LookupError):
    """What was named is no network namespace, or it may not be entered."""


def find(name: str) -> Path:
    """The namespace file for a NAME of `ip netns`, a PATH, or a PID. Raises NoSuchNetns."""
    if "/" in name:
        path = Path(name)
    elif name.isdecimal():
        path = Path(f"/proc/{name}/ns/net")
    else:
        path = _NAMED / name
    try:
        os.stat(path)
    except FileNotFoundError as error:
        raise NoSuchNetns(f"no network namespace {name!r}: {path} does not exist") from error
    except PermissionError as error:
        raise NoSuchNetns(f"cannot enter the network namespace {name!r}: {path}: {error.strerror}") from error
    except (OSError, ValueError) as error:
        raise NoSuchNetns(f"no network namespace {name!r}: {path}: {getattr(error, 'strerror', error)}") from error
    return path


@contextmanager
def entered(namespace: Path | None) -> Iterator[None]:
    """Within the block the calling thread is in `namespace` (None: stays where it is), after it back.

    Needs CAP_SYS_ADMIN in the user namespace that owns it and in the caller's own (setns(2)); other threads
    are not moved. Raises NoSuchNetns; what the block raises comes through as it is.
    """
    if namespace is None:
        yield
        return
    with open(SELF, "rb") as home:
        try:
            with open(namespace, "rb") as there:
                setns(there.fileno(), CLONE_NEWNET)
        except OSError as error:
            raise NoSuchNetns(f"cannot enter the network namespace {namespace}: {error.strerror}") from error
        try:
            yield
        finally:
            setns(home.fileno(), CLONE_NEWNET)


def listed(folders: Iterable[Path] = ()) -> tuple[str, ...]:
    """The paths of the namespaces in these folders, in Docker's and in that of `ip netns`."""
    found: set[str] = set()
    for folder in {_plain(each) for each in (_NAMED, _DOCKER, *folders)}:
        with suppress(OSError):
            found.update(str(folder / name) for name in os.listdir(folder) if name != HOST_SANDBOX)
    return tuple(sorted(found))


def is_namespace(path: Path) -> bool:
    """Whether a file is a namespace here, and not what it was mounted over in another mount namespace.

    Raises OSError where it cannot be looked at.
    """
    return os.stat(path).st_dev == os.stat(SELF).st_dev


def _plain(folder: Path) -> Path:
    """A folder without links, so that /var/run is /run; what another process sees stays below its root."""
    return folder if folder.is_relative_to("/proc") else folder.resolve()


def identity(namespace: Path | None = None) -> str:
    """net:[inode], as the kernel names it; empty where /proc may not be read."""
    try:
        inode = os.stat(namespace or SELF).st_ino
    except OSError:
        return ""
    return f"net:[{inode}]"
