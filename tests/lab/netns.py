"""Private network namespaces: each has its own conntrack table, sysctls, rules and interfaces.

Commands enter by `nsenter --net`, never by `ip netns exec`: the latter mounts a fresh /sys, which hides the cgroup
hierarchies that dockerd needs. See namespaces(7), ip-netns(8) and setns(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

PREFIX = "natop-"
CLONE_NEWNET = 0x40000000  # linux/sched.h
RUN_NETNS = Path("/run/netns")

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)


class Namespace:
    """One private network namespace, deleted with all its processes when the `with` block ends, however it ends."""

    def __init__(self, label: str = "test") -> None:
        """Choose a name that tells its owner: `natop-LABEL-PID-NUMBER` lets `sweep` find what a killed run left."""
        self.name = f"{PREFIX}{label}-{os.getpid()}-{next(_numbers)}"
        self.path = RUN_NETNS / self.name
        self._processes: list[subprocess.Popen[bytes]] = []

    @classmethod
    def at(cls, path: Path) -> Self:
        """A namespace that somebody else made and deletes: commands can be run in it."""
        found = cls("other")
        found.path = path
        return found

    def __enter__(self) -> Self:
        """Create the namespace and bring its loopback up."""
        _ip("netns", "add", self.name)
        try:
            self.run("ip", "link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop what was started here and delete the namespace."""
        self.close()

    def close(self) -> None:
        """Stop the processes of `start`, then delete the namespace; harmless when done twice."""
        while self._processes:
            stop_process(self._processes.pop())
        if self.path.exists():
            _ip("netns", "del", self.name)

    def run(
        self, *command: str, check: bool = True, timeout_s: float = 30, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that ends by itself inside the namespace and return its text output."""
        result = subprocess.run(self.enter(*command), input=stdin, capture_output=True, text=True, timeout=timeout_s)
        if check and result.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit {result.returncode}: {result.stderr.strip()}")
        return result

    def start(self, *command: str, log: Path | None = None, env: Mapping[str, str] | None = None) -> int:
        """Start a long-running command inside the namespace and return its pid; it dies with the calling thread.

        Its output goes to the file `log`, else nowhere: an endless program must never fill a pipe.
        """
        argv = ["setpriv", "--pdeathsig", "TERM", *self.enter(*command)]
        with open(log or os.devnull, "ab") as output:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env) if env else None,
                start_new_session=True,  # Ctrl+C must reach the tests, which then stop things in their order
            )
        self._processes.append(process)
        return process.pid

    def running(self, pid: int) -> bool:
        """Whether the process that `start` returned is still alive."""
        return any(process.pid == pid and process.poll() is None for process in self._processes)

    def stop(self, pid: int, patience_s: float = 10) -> None:
        """Stop one process that `start` returned."""
        for process in [process for process in self._processes if process.pid == pid]:
            stop_process(process, patience_s)
            self._processes.remove(process)

    def enter(self, *command: str) -> list[str]:
        """The argument vector that runs `command` in this namespace."""
        return ["nsenter", f"--net={self.path}", "--", *command]

    def sysctl(self, name: str, value: int | str | None = None) -> str:
        """Set (when a value is given) and read a sysctl of this namespace, such as `net.ipv4.ip_forward`."""
        node = Path("/proc/sys") / name.replace(".", "/")
        with entered(self):
            if value is not None:
                node.write_text(f"{value}\n")
            return node.read_text().strip()

    def nft(self, rules: str) -> None:
        """Load nft rules given as text, all or nothing."""
        self.run("nft", "-f", "-", stdin=rules)

    def address(self, interface: str, *addresses: str) -> None:
        """Give an interface its addresses (`10.0.0.1/24`, `fd00::1/64`) and bring it up."""
        for address in addresses:
            nodad = ["nodad"] if ":" in address else []
            self.run("ip", "address", "add", address, "dev", interface, *nodad)
        self.run("ip", "link", "set", interface, "up")

    def link(self, interface: str, peer: Namespace, peer_interface: str) -> None:
        """Join two namespaces by a veth pair; each end goes when either namespace is deleted."""
        _ip(
            *("link", "add", interface, "netns", self.name, "type", "veth"),
            *("peer", "name", peer_interface, "netns", peer.name),
        )

    def flush(self) -> None:
        """Empty the conntrack table of this namespace."""
        self.run("conntrack", "-F", timeout_s=120)

    def settle(self) -> None:
        """Empty the table until it stays empty: the last packets of a connection that is closing make a flow anew."""

        def stays_empty() -> bool:
            self.flush()
            time.sleep(0.1)
            return int(self.run("conntrack", "-C").stdout) == 0

        wait_until(stays_empty, 30, what="an empty conntrack table")


@contextlib.contextmanager
def entered(place: Namespace | Path | str | int) -> Iterator[None]:
    """Move the calling thread into a namespace (object, path, or pid of a process in it) and back again.

    A socket made inside stays in that namespace for ever, wherever its thread goes later (setns(2)).
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        target = os.open(namespace_path(place), os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(target)
        finally:
            os.close(target)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def namespace_path(place: Namespace | Path | str | int) -> Path:
    """The file that names a network namespace: of a Namespace, a path, or a pid."""
    if isinstance(place, Namespace):
        return place.path
    return Path(f"/proc/{place}/ns/net") if isinstance(place, int) else Path(place)


def stop_process(process: subprocess.Popen[bytes], patience_s: float = 10) -> None:
    """End one process: SIGTERM, and SIGKILL when it does not go in time."""
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def sweep() -> list[str]:
    """Delete the namespaces of runs whose process no longer lives, and return their names."""
    gone = []
    for path in sorted(RUN_NETNS.glob(f"{PREFIX}*")) if RUN_NETNS.is_dir() else []:
        owner = re.fullmatch(rf"{PREFIX}.*-(\d+)-\d+", path.name)
        if owner and not Path("/proc", owner[1]).exists():
            with contextlib.suppress(RuntimeError):  # another run may sweep at the same time
                _ip("netns", "del", path.name)
            gone.append(path.name)
    return gone


def wait_until(
    condition: Callable[[], object], timeout_s: float = 60, every_s: float = 0.05, what: str = "condition"
) -> None:
    """Poll a callable until it returns something true; TimeoutError names what was waited for."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s} s in vain for {what}")
        time.sleep(every_s)


def _ip(*arguments: str) -> None:
    """Run ip(8) in the namespace of the calling thread."""
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30)
    if result.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {result.stderr.strip()}")


def _setns(descriptor: int) -> None:
    """setns(2) for network namespaces; `os.setns` exists only from Python 3.12."""
    if _libc.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
