"""Flows that end in the host itself: the socket behind each, who holds it, and what docker-proxy stands between.

Sockets are matched to whole columns of flows at once; Python loops run over listeners, processes and proxies.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from natop.model import (
    U8,
    U16,
    U64,
    V4_MAPPED,
    Addresses,
    Container,
    Descriptor,
    FlowTable,
    Process,
    Rows,
    Sockets,
    SocketTable,
    address_value,
    is_ipv4,
)
from natop.text import clean
from natop.uapi import IpProto

Codes = npt.NDArray[np.int32]
Index = npt.NDArray[np.intp]

NOBODY = -1
GONE = "gone: "
"""Before the name of a container, or the address, that is nobody's any more."""
_CONTAINER_ID = re.compile(r"([0-9a-f]{64})(?!.*[0-9a-f]{64})")
"""The last 64 digits in a cgroup's path: /docker/ID, docker-ID.scope, libpod-ID.scope, nested ones below."""


class Parties:
    """Codes for whoever may be at an end of a flow: containers by their index, all others by name.

    NOBODY is -1; the others, host processes and the like, count down from -2 in the order they are named.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._codes: dict[str, int] = {}

    def code(self, name: str) -> int:
        if name not in self._codes:
            self.names.append(name)
            self._codes[name] = -1 - len(self.names)
        return self._codes[name]

    def known(self, *names: str) -> list[int]:
        """The codes of those of these others that have one."""
        return [self._codes[name] for name in names if name in self._codes]

    def codes(self, prefix: str) -> list[int]:
        """The codes of all others whose names begin so."""
        return [code for name, code in self._codes.items() if name.startswith(prefix)]


@dataclass(frozen=True, slots=True)
class Proxy:
    """A docker-proxy process: what it listens for, and where it connects to."""

    process: Process
    proto: int
    host_address: int
    host_port: int
    container_address: int
    container_port: int
    descriptors: tuple[Descriptor, ...]

    @classmethod
    def of(cls, process: Process, descriptors: tuple[Descriptor, ...]) -> "Proxy | None":
        """From `docker-proxy -proto tcp -host-ip … -host-port … -container-ip … -container-port …`."""
        words = process.command
        options = {name.lstrip("-"): value for name, value in pairwise(words)}
        try:
            return cls(
                process,
                IpProto[options["proto"].upper()],
                address_value(options["host-ip"]),
                int(options["host-port"]),
                address_value(options["container-ip"]),
                int(options["container-port"]),
                descriptors,
            )
        except (KeyError, ValueError):
            return None

    @property
    def is_v4(self) -> bool:
        """Whether it is for callers over IPv4; those over IPv6 have one of their own."""
        return is_ipv4(self.host_address)


def proxies(sockets: Sockets, table: SocketTable) -> list[Proxy]:
    """The docker-proxies that have sockets in this namespace: another engine's may have the same addresses.

    Anybody may call a process so: only users who may run the engine's are believed, where they are known.
    """
    users = sockets.engine_uids
    named = (
        Proxy.of(process, fds)
        for process, fds in sockets.held.items()
        if process.name == "docker-proxy" and (users is None or process.uid in users)
    )
    here = set(table.inode.tolist())
    return [proxy for proxy in named if proxy and any(each.inode in here for each in proxy.descriptors)]


def holders(
    table: SocketTable,
    sockets: Sockets,
    containers: Sequence[Container],
    parties: Parties,
    local: Collection[str] = (),
) -> Codes:
    """Who holds each socket: the container that its cgroup or its process names, else the process, else the unit.

    The kernel tells a socket's cgroup since 5.8 (INET_DIAG_CGROUP_ID), and of cgroup v2 alone. `local` are the
    containers that are known to run on this machine: only their process numbers mean anything here.
    """
    place = {container.id: index for index, container in enumerate(containers)}
    codes = np.full(len(table), NOBODY, np.int32)
    for cgroup in np.unique(table.cgroup).tolist():
        path = sockets.cgroups.get(cgroup, "")
        identity, unit = _container_of(path), path.rpartition("/")[2]
        if identity in place:
            codes[table.cgroup == cgroup] = place[identity]
        elif unit.endswith(".service"):
            codes[table.cgroup == cgroup] = parties.code(f"host: {clean(unit)}")
    owner = container_by_process(containers, local)

    def code_of(process: Process) -> int:
        index = owner(process)
        return parties.code(process_name(process)) if index is None else index

    _by_process(table, sockets, codes, code_of)
    return codes


def container_by_process(containers: Sequence[Container], local: Collection[str]) -> Callable[[Process], int | None]:
    """Tells which container a process is of: by its cgroup, or as the first process of one on the host's network."""
    place = {container.id: index for index, container in enumerate(containers)}
    of_host = (each for each in containers if each.uses_host_network and each.id in local)
    by_pid = {each.pid: place[each.id] for each in of_host if each.pid}
    return lambda process: place.get(_container_of(process.cgroups), by_pid.get(process.pid))


def _container_of(cgroups: str) -> str:
    """The id of the innermost container in a cgroup's path, or in those of a process; empty where there is none."""
    found = [match[1] for line in cgroups.splitlines() if (match := _CONTAINER_ID.search(line))]
    return found[-1] if found else ""


def _by_process(table: SocketTable, sockets: Sockets, codes: Codes, code_of: Callable[[Process], int]) -> None:
    """Name the process for the sockets of no container; the eldest where several hold one, so that it stays."""
    inodes, process = [], []
    for each, descriptors in sorted(sockets.held.items(), key=_eldest_first):
        code = code_of(each)
        inodes += [descriptor.inode for descriptor in descriptors]
        process += [code] * len(descriptors)
    if not inodes:
        return
    order = np.argsort(np.array(inodes, np.uint32), kind="stable")
    known, named = np.array(inodes, np.uint32)[order], np.array(process, np.int32)[order]
    at = np.minimum(np.searchsorted(known, table.inode), len(known) - 1)
    found = (known[at] == table.inode) & (codes < 0)
    codes[found] = named[at[found]]


def _eldest_first(held: tuple[Process, object]) -> tuple[bool, int]:
    """Workers share their master's listener; init hands its own on to the service."""
    return held[0].pid == 1, held[0].pid


def process_name(process: Process) -> str:
    return f"host: {clean(process.name)}[{process.pid}]"


@dataclass(frozen=True, slots=True)
class Ends:
    """One end of some flows as the host's own socket would have it."""

    proto: npt.NDArray[np.uint8]
    local: Addresses
    local_port: U16
    remote: Addresses
    remote_port: U16

    def connection(self) -> U64:
        """A hash of the whole end, by which connected sockets are found."""
        return mixed(self.proto, _folded(self.local), self.local_port, _folded(self.remote), self.remote_port)

    def listener(self, address: Addresses) -> U64:
        """A hash of protocol, local port, and the address that a listener is bound to."""
        return mixed(self.proto, address.lo, self.local_port, address.hi, np.zeros_like(self.local_port))

    def any_v4(self) -> Addresses:
        """0.0.0.0 for the ends that have an IPv4 address, :: for the others."""
        low = np.where(self.local.is_ipv4(), np.uint64(V4_MAPPED), np.uint64(0))
        return Addresses(np.zeros_like(self.local.hi), low)

    def any_address(self) -> Addresses:
        """::, which takes connections of both families."""
        return Addresses(np.zeros_like(self.local.hi), np.zeros_like(self.local.lo))


def _folded(addresses: Addresses) -> U64:
    """Both halves of each address in 64 bits."""
    with np.errstate(over="ignore"):
        folded: U64 = addresses.lo ^ addresses.hi * np.uint64(0xFF51AFD7ED558CCD)
    return folded


def mixed(proto: U8, local: U64, local_port: U16, remote: U64, remote_port: U16) -> U64:
    """A 64-bit hash of each row, by which equal rows are brought together; what matters is compared after it."""
    ports = local_port.astype(np.uint64) << np.uint64(24) | remote_port.astype(np.uint64) << np.uint64(8) | proto
    with np.errstate(over="ignore"):
        mixed: U64 = local * np.uint64(0x9E3779B97F4A7C15) ^ remote * np.uint64(0xC2B2AE3D27D4EB4F)
        mixed ^= ports * np.uint64(0x165667B19E3779F9)
    return mixed


def client_ends(flows: FlowTable, rows: Rows) -> Ends:
    """The client's end: it called the address and port of the original tuple."""
    return Ends(
        flows.proto[rows],
        flows.orig_src.take(rows),
        flows.orig_sport[rows],
        flows.orig_dst.take(rows),
        flows.orig_dport[rows],
    )


def server_ends(flows: FlowTable, rows: Rows) -> Ends:
    """The server's end: it answers from the source of the reply tuple."""
    return Ends(
        flows.proto[rows],
        flows.reply_src.take(rows),
        flows.reply_sport[rows],
        flows.reply_dst.take(rows),
        flows.reply_dport[rows],
    )


class SocketIndex:
    """Finds the socket at an end of a flow, and who holds it."""

    def __init__(self, table: SocketTable, held: Codes, shared: int) -> None:
        """`held` is each socket's holder; `shared` stands for listeners of several holders on one port."""
        self.table, self._held = table, held
        ends = Ends(table.proto, table.local, table.local_port, table.remote, table.remote_port)
        listening = np.flatnonzero(table.remote_port == 0)
        connected = np.flatnonzero(table.remote_port != 0)
        self._connected = _Lookup(ends.connection()[connected], connected, NOBODY)
        self._listening = _Lookup(ends.listener(table.local)[listening], held[listening], shared)

    def connected(self, ends: Ends) -> Index:
        """The row of each end's own socket, or NOBODY."""
        rows = self._connected.find(ends.connection()).astype(np.intp)
        found = np.flatnonzero(rows >= 0)
        table, sockets = self.table, rows[found]
        same = (
            (table.proto[sockets] == ends.proto[found])
            & (table.local_port[sockets] == ends.local_port[found])
            & (table.remote_port[sockets] == ends.remote_port[found])
            & table.local.take(sockets).equal(ends.local.take(found))
            & table.remote.take(sockets).equal(ends.remote.take(found))
        )
        rows[found[~same]] = NOBODY
        return rows

    def holder(self, rows: Index) -> Codes:
        """Who holds the sockets of these rows; NOBODY for NOBODY."""
        return np.append(self._held, np.int32(NOBODY))[rows]

    def inode(self, rows: Index) -> npt.NDArray[np.uint32]:
        """The inodes of the sockets of these rows; 0 for NOBODY."""
        return np.append(self.table.inode, np.uint32(0))[rows]

    def listening(self, ends: Ends) -> Codes:
        """Who listens at each end's address and port; else on the port at any address; else NOBODY."""
        codes = np.full(len(ends.proto), NOBODY, np.int32)
        for address in (ends.local, ends.any_v4(), ends.any_address()):
            codes = np.where(codes == NOBODY, self._listening.find(ends.listener(address)), codes)
        return codes.astype(np.int32)


class _Lookup:
    """Values by a hash; `conflict` where a hash has several different ones."""

    def __init__(self, keys: U64, values: npt.NDArray[np.signedinteger], conflict: int) -> None:
        order = np.argsort(keys, kind="stable")
        self._keys, first = np.unique(keys[order], return_index=True)
        ordered = values[order]
        if len(first):
            least, most = np.minimum.reduceat(ordered, first), np.maximum.reduceat(ordered, first)
            self._values = np.where(least == most, least, conflict)
        else:
            self._values = ordered

    def find(self, keys: U64) -> npt.NDArray[np.signedinteger]:
        if len(self._keys) == 0:
            return np.full(len(keys), NOBODY, np.int32)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[at] == keys, self._values[at], NOBODY)


def tied(accepted: Mapping[int, int], dialled: Mapping[int, int]) -> dict[int, int]:
    """Which accepted connection each dialled one serves, by the order of the proxy's file descriptors.

    Both map a descriptor's number to a flow's row. docker-proxy accepts a connection and then dials, so the dialled
    one has the next descriptor; where connections come at once the order may err within one port's clients.
    """
    waiting: list[int] = []
    early, pairs = [], {}
    for number in sorted((*accepted, *dialled)):
        if number in accepted:
            waiting.append(number)
        elif waiting:
            pairs[dialled[number]] = accepted[waiting.pop()]
        else:
            early.append(number)
    return pairs | {dialled[number]: accepted[waiting.pop()] for number in early[: len(waiting)]}
