"""Dumps attributed one beside the other, and the sockets and containers of a small host, for tests of the join."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from natop.join.flows import Flows
from natop.join.owners import Place, attribute
from natop.join.past import Memory
from natop.model import HOST_SOCKETS, Attribution, Container, Descriptor, FlowTable, Kind, Process, Sockets
from tests.unit import diag, plain
from tests.unit.diag import Socket, connected, listening
from tests.unit.hosts import container
from tests.unit.plain import Flow, flow

HOST, GATEWAY, REMOTE = "203.0.113.10", "172.17.0.1", "192.0.2.9"
HOST_ADDRESSES = ("127.0.0.1", HOST, GATEWAY)
WEB = container("web", "172.17.0.2")
APP, CLI = container("app", "172.18.0.3"), container("cli", "172.18.0.4")
EDGE, RIM = (container(name, network_mode="host") for name in ("edge", "rim"))
CGROUPS = {7: f"/docker/{EDGE.id}", 8: f"/docker/{RIM.id}", 9: "/"}
NGINX, CURL = Process(812, "nginx"), Process(900, "curl")
COMMAND = "docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2 -container-port 80"
PROXY = Process(500, "docker-proxy", tuple(COMMAND.split()))
THE_PROXY = "host: docker-proxy[500]"
LISTENER = listening("0.0.0.0:8080", inode=1, cgroup=9)
Parties = tuple[str, str | None, str | None]
"""Kind, client, server."""


class Dumps:
    """One dump after the other, each attributed beside the one before."""

    def __init__(self) -> None:
        self.memory: Memory | None = None

    def told(self, flows: Sequence[Flow], place: Place, at: float = 0.0) -> list[Parties]:
        """What is told of a dump taken then, in seconds since the epoch; a flow's place is its id."""
        return self.told_as_they_are([replace(each, id=number) for number, each in enumerate(flows, 50)], place, at)

    def told_as_they_are(self, flows: Sequence[Flow], place: Place, at: float = 0.0) -> list[Parties]:
        """The same of flows with ids of their own."""
        table = plain.table(flows)
        attribution = attribute(table, place, self.memory)
        self.memory = Memory(table, attribution, place.containers, at)
        return parties(table, attribution, place.containers)

    @property
    def last(self) -> Flows:
        """The dump before, joined."""
        assert self.memory
        return Flows(self.memory.flows, self.memory.attribution, self.memory.containers)


def parties(table: FlowTable, attribution: Attribution, containers: Sequence[Container]) -> list[Parties]:
    flows = Flows(table, attribution, containers)
    kinds = [Kind(kind).name for kind in attribution.kind.tolist()]
    return [(kind, flows.client(row), flows.server(row)) for row, kind in enumerate(kinds)]


def held(sockets: Iterable[Socket], **by: Sequence[int]) -> Sockets:
    """These sockets; processes by name, with the inodes that each holds, as descriptors in their order from 4 on."""
    names = {"nginx": NGINX, "curl": CURL, "proxy": PROXY}
    found = {
        names[name]: tuple(Descriptor(fd, inode) for fd, inode in enumerate(inodes, 4)) for name, inodes in by.items()
    }
    return Sockets(diag.answers(sockets), CGROUPS, found)


def place(
    *containers: Container, sockets: Sockets | None = None, shared: Mapping[str, Sockets] | None = None, **more: Any
) -> Place:
    found = dict(shared or {}) | ({HOST_SOCKETS: sockets} if sockets else {})
    return Place(containers, HOST_ADDRESSES, sockets=found.get, **more)


HALF_IN = [flow(f"172.18.0.{3 + n % 2}:{50000 + n}", f"{HOST}:8080") for n in range(3)]
HALF_OUT = [flow(f"{GATEWAY}:{60000 + n}", "172.17.0.2:80") for n in range(3)]
HALVES = [*HALF_IN, *HALF_OUT]


def proxied(*open_ones: int, process: bool = True, **more: Sequence[int]) -> Sockets:
    """docker-proxy's sockets with these clients still connected."""
    accepted = [connected(f"{HOST}:8080", f"172.18.0.{3 + n % 2}:{50000 + n}", inode=10 + n) for n in open_ones]
    dialled = [connected(f"{GATEWAY}:{60000 + n}", "172.17.0.2:80", inode=20 + n) for n in open_ones]
    inodes = [1, *(inode for n in open_ones for inode in (10 + n, 20 + n))]
    sockets = [LISTENER, *(replace(each, cgroup=9) for each in (*accepted, *dialled))]
    return held(sockets, **({"proxy": inodes} if process else {}), **more)
