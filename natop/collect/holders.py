"""Sockets and who holds them, read namespace by namespace, and only when a dump turns out to have flows of theirs."""

import time
from collections.abc import Mapping
from pathlib import Path

from natop.collect import netns, sandboxes, sockets
from natop.collect.owners import ProcessReader, cgroups, user
from natop.collect.proc import PROC
from natop.decode.inventory import is_rootless
from natop.model import HOST_SOCKETS, Descriptor, EngineReading, Gap, Process, Sockets

FIRST_LOOK_S = 0.25
"""The least time for the first look at processes: without it docker-proxies and the like would get their names late."""
CGROUPS_KEPT_S = 10.0
"""Walking all cgroups costs 45 ms a thousand of them; a new container makes for a new walk in any case."""
REMEDY = "load the kernel's modules: sudo modprobe -a tcp_diag udp_diag"
NO_RIGHT = Gap(
    "sockets",
    "no right to enter the network namespaces that containers share, so their flows are not told apart",
    "run: sudo natop",
)


def engine_users(inventory: EngineReading | None, root: Path = PROC) -> frozenset[int] | None:
    """Who may run an engine's docker-proxies: root, and the user of the process behind its socket.

    Where systemd listens for an engine, as for most, its process is not known: then it is root's, unless it is
    rootless, of whose user nothing is known (None). Root is whoever runs the first process: natop may see it by another
    number.
    """
    if inventory is None:
        return None
    own = user(root / str(inventory.pid)) if inventory.pid else None
    if own is None and is_rootless(inventory.info) is not False:
        return None
    return frozenset(uid for uid in (own, user(root / "1")) if uid is not None) or None


class SocketReader:
    """The sockets of one host's namespaces, read one at a time."""

    def __init__(self, namespace: Path | None, process_budget_s: float) -> None:
        """`process_budget_s` bounds how long each reading but the first looks for the processes that hold sockets."""
        self._namespace = namespace
        self._processes = ProcessReader()
        self._process_budget_s = process_budget_s
        self._has_looked = False
        self._paths: Mapping[int, str] = {}
        self._paths_at = float("-inf")
        self._containers: frozenset[str] = frozenset()

    def read(self, key: str, inventory: EngineReading | None) -> Sockets | Gap | None:
        """Those of the namespace read (HOST_SOCKETS), or of the one that a container with that id shares with others.

        None where that container has no namespace here, or no longer. Call it on the thread that takes samples: it
        enters the namespace for the time of the reading.
        """
        path = self._namespace if key == HOST_SOCKETS else sandboxes.path_of(key, inventory)
        if path is None and key != HOST_SOCKETS:
            return None
        try:
            with netns.entered(path):
                answers = sockets.dump()
        except netns.NoSuchNetns as error:
            if key == HOST_SOCKETS:
                return Gap("sockets", str(error))
            return NO_RIGHT if isinstance(error.__cause__, PermissionError) else None
        except OSError as error:
            return Gap("sockets", f"the kernel refuses to tell the sockets: {error.strerror or error}", REMEDY)
        if key != HOST_SOCKETS:
            return Sockets(answers, self._cgroups(inventory), {})
        return Sockets(answers, self._cgroups(inventory), self._look_at_processes(), engine_users(inventory))

    def _look_at_processes(self) -> Mapping[Process, tuple[Descriptor, ...]]:
        budget_s = self._process_budget_s if self._has_looked else max(FIRST_LOOK_S, self._process_budget_s)
        self._has_looked = True
        return self._processes.read(budget_s)

    def _cgroups(self, inventory: EngineReading | None) -> Mapping[int, str]:
        """As they were some seconds ago, unless there are other containers now."""
        now = time.monotonic()
        containers = frozenset(str(each.get("Id")) for each in inventory.containers) if inventory else frozenset()
        if now - self._paths_at > CGROUPS_KEPT_S or containers != self._containers:
            self._paths, self._paths_at, self._containers = cgroups(), now, containers
        return self._paths
