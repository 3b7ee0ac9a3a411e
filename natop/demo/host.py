"""The demo's host process: it makes the namespaces, hires the machines, serves the Engine and clears up.

`natop.demo.run` starts it as `python -m natop.demo.host DIRECTORY SCENE`, with a pipe at each end. It reports one line
of JSON on stdout, `{"ready": …}` or `{"refused": […]}`, and stays until stdin ends or says `done`. A line
`natop PID` on stdin tells it whom to end where stdin ends first, which means that the starter was killed.
"""

import asyncio
import errno
import json
import os
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from natop.collect.netns import CLONE_NEWNET
from natop.demo import plan
from natop.demo.engine import EngineServer
from natop.demo.filling import Filling, fill
from natop.demo.inventory import Inventory
from natop.demo.namespaces import (
    RefusedError,
    become_private,
    die_with_parent,
    set_name,
    unshare,
    why_forbidden,
)
from natop.demo.traffic import perform

SOCKET_NAME = "docker.sock"
COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
LIMIT = Path("/proc/sys/net/netfilter/nf_conntrack_max")
ROOM = 1.1
"""How much larger than what is filled in the table must be."""

MOST_DESCRIPTORS = 1024
"""Upper bound of what the host process has open when it forks the machines."""

ENOUGH_FLOWS = 90
SETTLE_S = 1.5
"""The demo is ready with this many flows, or after this long."""

GRACE_S = 2.0
"""How long natop may take to leave the terminal in order, once its starter is gone."""

MODULES = {
    "devices": "this kernel gives no veth and bridge devices (modules veth, bridge)",
    "nat": "this kernel gives no nf_tables NAT (modules nf_tables, nft_chain_nat, nft_nat, nft_masq, nft_ct)",
    "forwarding": "cannot switch forwarding on in a network namespace of our own (net.ipv4.ip_forward)",
}


@dataclass(frozen=True, slots=True)
class Worker:
    """A machine's process and our end of its control socket."""

    pid: int
    control: socket.socket


def main() -> int:
    """Build, report, stay, and take everything down again, whatever ends it."""
    directory, scene = Path(sys.argv[1]), plan.SCENES[sys.argv[2]]
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _leave)
    try:
        with ExitStack() as cleanup:
            cleanup.callback(shutil.rmtree, directory, ignore_errors=True)
            _stay(_build(directory, scene, cleanup))
    except RefusedError as refusal:
        _report({"refused": list(refusal.args)})
        return 3
    except Exception as error:
        _report({"refused": [f"the demo failed: {error!r}"]})
        raise
    return 0


def _leave(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _report(body: dict[str, object]) -> None:
    with suppress(OSError):
        os.write(sys.stdout.fileno(), json.dumps(body).encode() + b"\n")


def _build(directory: Path, scene: plan.Scene, cleanup: ExitStack) -> dict[str, object]:
    """Make the whole demo, registering what undoes each part; returns the report."""
    if len(os.sched_getaffinity(0)) < scene.cpus:
        raise RefusedError(
            f"this scene needs {scene.cpus} CPUs: on one nothing happens at the same instant",
            "`natop demo exhaustion` loses SYNs on one CPU too",
        )
    try:
        become_private()
    except OSError as error:
        raise RefusedError(*why_forbidden(error)) from error
    with suppress(OSError):
        socket.sethostname(plan.HOST_NAME)
    workers: dict[str, Worker] = {}
    cleanup.callback(_dismiss, workers)
    for machine in scene.machines:
        workers[machine.name] = hire(machine)
    pids = {name: worker.pid for name, worker in workers.items()}
    _wire(scene, workers, pids)
    inventory = Inventory(plan.containers(pids, datetime.now(UTC).isoformat()), plan.NETWORKS)
    engine = EngineServer(directory / SOCKET_NAME, inventory, name=plan.HOST_NAME)
    cleanup.enter_context(engine)
    return {"ready": True, "url": engine.url, "flows": _begin(workers)}


def _wire(scene: plan.Scene, workers: dict[str, Worker], pids: dict[str, int]) -> None:
    """Cables, NAT and forwarding; pyroute2 is loaded here, after the workers were forked, to keep those small."""
    from natop.demo import links, nat

    _await_all(workers, b"n")
    with _refusing("devices"):
        links.lay(plan.BRIDGES, scene.machines, pids)
    with _refusing("nat"):
        nat.install(plan.BRIDGES, plan.PUBLISHED, plan.PUBLIC)
    with _refusing("forwarding"):
        links.tune(plan.BRIDGES)
    if not COUNT.exists():
        raise RefusedError("this kernel has no connection tracking (module nf_conntrack)")
    if scene.filling:
        _fill(scene.filling)


def _fill(filling: Filling) -> None:
    """Take ports of a NAT pool, where the limit of the table leaves room for that."""
    limit = int(LIMIT.read_text())
    if limit and limit < filling.size * ROOM:
        raise RefusedError(
            f"this scene fills {filling.size:,} entries of the conntrack table, and nf_conntrack_max is {limit:,}",
            f"allow more with `sudo sysctl net.netfilter.nf_conntrack_max={2 * filling.size}`",
        )
    with _refusing("nat"):
        fill(filling)


@contextmanager
def _refusing(stage: str) -> Iterator[None]:
    """Say in one line what the kernel lacks where a stage fails; EPERM has reasons of its own."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except (OSError, NetlinkError) as error:
        number = getattr(error, "code", None) or getattr(error, "errno", None) or 0
        if number == errno.EPERM:
            raise RefusedError(*why_forbidden(PermissionError(number, os.strerror(number)))) from error
        raise RefusedError(f"{MODULES[stage]}: {os.strerror(number)}") from error


def _begin(workers: dict[str, Worker]) -> int:
    """Let the machines listen, then let them call, and wait until there is something to see; flows by then."""
    for worker in workers.values():
        worker.control.sendall(b"a")
    _await_all(workers, b"l")
    for worker in workers.values():
        worker.control.sendall(b"g")
    ends = time.monotonic() + SETTLE_S
    while (flows := int(COUNT.read_text())) < ENOUGH_FLOWS and time.monotonic() < ends:
        time.sleep(0.02)
    return flows


def _await_all(workers: dict[str, Worker], byte: bytes) -> None:
    for name, worker in workers.items():
        worker.control.settimeout(10)
        if worker.control.recv(1) != byte:
            raise RefusedError(f"the demo's machine {name} did not start")


def hire(machine: plan.Machine) -> Worker:
    """Fork the process that is a machine; call it before any thread is started."""
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _be(machine, theirs, parent)
        finally:
            os._exit(0)
    theirs.close()
    return Worker(pid, ours)


def _be(machine: plan.Machine, control: socket.socket, parent: int) -> None:
    """A machine's life, in the forked process; it ends with its parent or when the control socket closes."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    die_with_parent(parent, signal.SIGKILL)
    set_name(machine.name)
    _keep_only(control.fileno())
    if machine.cables:
        unshare(CLONE_NEWNET)
    control.sendall(b"n")
    if control.recv(1):
        control.setblocking(False)
        asyncio.run(perform(machine.role, control))


def _keep_only(descriptor: int) -> None:
    """Close what was inherited: the pipes to the starter and the other machines' control sockets."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, MOST_DESCRIPTORS)


def _dismiss(workers: dict[str, Worker]) -> None:
    """End every machine and wait for it, so that its namespace is gone too."""
    for worker in workers.values():
        worker.control.close()
        with suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
    for worker in workers.values():
        with suppress(ChildProcessError):
            os.waitpid(worker.pid, 0)


def _stay(report: dict[str, object]) -> None:
    """Report, then wait for the starter's `done`; where it ends without, end its natop too."""
    _report(report)
    natop: int | None = None
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "done":
            return
        if word == "natop":
            with suppress(OSError):
                natop = os.pidfd_open(int(rest))
    if natop is not None:
        _end(natop)


def _end(process: int) -> None:
    """End the process behind a pidfd: it has the hang-up signal from the kernel, and `GRACE_S` to act on it."""
    if not select.select([process], [], [], GRACE_S)[0]:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
    os.close(process)


if __name__ == "__main__":
    sys.exit(main())
