"""Private user, network and host name namespaces for the demo's processes, by libc.

`os.unshare` exists only from Python 3.12 on.
"""

import ctypes
import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from natop.collect.netns import CLONE_NEWNET, setns

# linux/sched.h
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000

# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15

_LIBC = ctypes.CDLL(None, use_errno=True)
_JOINED = (("user", CLONE_NEWUSER), ("net", CLONE_NEWNET), ("uts", CLONE_NEWUTS))
"""The user namespace first: it gives the right to enter the others."""


class RefusedError(Exception):
    """The demo cannot be built here; the arguments are the lines that say why and what to do."""


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Move this process into new namespaces (unshare(2)); raises OSError."""
    _check(_LIBC.unshare(flags), "unshare")


def die_with_parent(parent: int, number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent ends (PR_SET_PDEATHSIG).

    `parent` is who that should be: where it has ended already, the signal comes at once.
    """
    _check(_LIBC.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0), "prctl")
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def set_name(name: str) -> None:
    """Set what `ps` shows as this process' command; the kernel keeps 15 characters."""
    _LIBC.prctl(PR_SET_NAME, name.encode(), 0, 0, 0)


def become_private() -> None:
    """Give this process its own network and host name; in its own user namespace unless it is root enough.

    In the user namespace the caller is root, and root alone. It is mapped before the network namespace is made,
    because /proc/net/nf_conntrack belongs to whoever is root then (nf_conntrack_standalone.c).
    """
    try:
        unshare(CLONE_NEWNET | CLONE_NEWUTS)
    except PermissionError:
        uid, gid = os.geteuid(), os.getegid()
        unshare(CLONE_NEWUSER)
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            Path("/proc/self", name).write_text(text)
        unshare(CLONE_NEWNET | CLONE_NEWUTS)


def foreign_namespaces(pid: int) -> tuple[tuple[int, int], ...]:
    """Open those namespaces of a process that are not ours, in the order to enter them: (descriptor, kind)."""
    found = []
    for name, kind in _JOINED:
        theirs = f"/proc/{pid}/ns/{name}"
        if not os.path.samefile(theirs, f"/proc/self/ns/{name}"):
            found.append((os.open(theirs, os.O_RDONLY | os.O_CLOEXEC), kind))
    return tuple(found)


@contextmanager
def network_of(pid: int) -> Iterator[None]:
    """Be in a process' network namespace for a while; sockets opened there stay there."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(there, CLONE_NEWNET)
        yield
    finally:
        setns(home, CLONE_NEWNET)
        os.close(there)
        os.close(home)


_SETTINGS = (
    ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
    ("user/max_net_namespaces", "0", "user.max_net_namespaces=15000"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
)
"""Settings below /proc/sys, the value that forbids namespaces, and what allows them."""


def why_forbidden(error: OSError, proc: Path = Path("/proc")) -> tuple[str, ...]:
    """One or two lines: which setting forbids the namespaces that `error` refused, and what to do."""
    if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EINVAL, errno.ENOSYS):
        for path, forbidding, allowed in _SETTINGS:
            if _read(proc / "sys" / path) == forbidding:
                return (
                    f"private namespaces are forbidden: {allowed.partition('=')[0]} is {forbidding}",
                    f"run `sudo natop demo`, or allow them with `sudo sysctl {allowed}`",
                )
        if "\nSeccomp:\t2" in _read(proc / "self/status"):
            return (
                "private namespaces are forbidden by a seccomp filter, as a container has one",
                "run `sudo natop demo` outside of the container, or start the container with --privileged",
            )
    return (f"cannot make private namespaces: {error.strerror or error}", "run `sudo natop demo`")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
