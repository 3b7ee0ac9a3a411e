"""Whose each flow is and which way it takes: real traffic over every path, judged by plain loops over the table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.docker.inventory import guest
from tests.docker.line import proxy_names
from tests.kernel import product
from tests.kernel.judge import as_row, assert_same, identity
from tests.kernel.product import Row
from tests.lab import oracle, traffic
from tests.lab.dockerhost import HOST, HOST_6, OUTSIDE, OUTSIDE_6, DockerHost
from tests.lab.inject import Entry, inject
from tests.lab.layers import lack
from tests.lab.netns import Namespace

STRANGERS = [
    Entry(src="192.0.2.1", dst="203.0.113.1", dport=80),
    Entry(src="192.0.2.1", dst="203.0.113.1", dport=81, dnat="203.0.113.2"),
    Entry(src="2001:db8::1", dst="2001:db8::2", proto="udp"),
]
"""Flows that the host merely forwards; both ends are documentation addresses."""
REMAPPED = Entry(src=HOST, dst=OUTSIDE, dport=8444, snat=HOST, snat_port=50_001)
"""The host's own call, whose source port was taken."""
HOST_LISTENERS = {9000: "hostnet"}
"""Which container on the host's own network listens where."""


Judged = tuple[oracle.Flow, str | None, str | None, str]


@dataclass(frozen=True, slots=True)
class Scene:
    """One table at rest, as natop and as the judges see it."""

    document: dict[str, Any]
    table: list[oracle.Flow]
    states: dict[str, int]
    inspected: list[dict[str, Any]]
    host_addresses: set[str]
    proxies: set[str]
    """How natop may name the docker-proxies of the web server's port."""

    def judged(self) -> list[Judged]:
        """Every flow of the judge's with its client, its server and its kind."""
        return [(flow, *parties(flow, self.inspected, self.host_addresses)) for flow in self.table]

    def told(self, **wanted: Any) -> list[Row]:
        """natop's flows with these values, as `dport=8080, server="webserver"`; ports are those of the original."""
        return [
            flow
            for flow in self.document["flows"]
            if all((flow[key] if key in flow else flow["orig"][key]) == value for key, value in wanted.items())
        ]

    def container(self, name: str) -> dict[str, Any]:
        (found,) = [container for container in self.document["containers"] if container["name"] == name]
        return dict(found)


@pytest.fixture(scope="module")
def scene(shared_docker_host: DockerHost) -> Iterator[Scene]:
    """Traffic on every path, some of it still open, on a table that then stands still."""
    host = shared_docker_host
    host.namespace.settle()
    with ExitStack() as open_:
        open_.enter_context(guest(host, "--network", "container:app3", name="sidecar"))
        travel(host)
        for held in (
            host.hold(3),
            host.hold_internal("app1", "webserver", 2),
            host.hold_egress("app3", 4),
            traffic.hold(host.namespace, OUTSIDE, 5432, 2),
            host.linger(2),
        ):
            open_.enter_context(held)
        host.knock("app2", 2)
        host.reset(2)
        inject(host.namespace, STRANGERS)
        inject(host.namespace, [hairpin(host), moved_port(host), REMAPPED])
        table = host.quiet()
        yield Scene(
            product.snapshot(host.namespace, "--flows", "--docker-host", host.url),
            table,
            oracle.state_counts(host.namespace),
            host.inspect(),
            addresses(host.namespace),
            proxy_names(host.namespace, 8080),
        )


def travel(host: DockerHost) -> None:
    """Short conversations on every common path."""
    assert host.outside_get(8080, 5) == 5
    host.internal_calls("app1", "app2", 3)
    host.internal_calls("app2", "webserver", 2)
    host.internal_calls("webserver", "app1", 2)
    assert host.egress("app1", 3) == 3
    assert host.egress("webserver", 2) == 2
    assert traffic.get(host.inside("sidecar"), OUTSIDE, 443) == 1
    assert host.udp_egress("app2", 3) == 3
    host.docker("exec", "app2", "ping", "-c", "1", OUTSIDE)
    assert host.outside_get(9000, 2) == 2  # the container on the host's own network
    assert traffic.get(host.namespace, OUTSIDE, 443, 2) == 2
    assert traffic.get(host.namespace, host.address("app3", "internal"), 80) == 1
    assert traffic.get(host.namespace, HOST, 8080) == 1  # DNAT of the host's own call
    # By way of docker-proxy, two flows each; at once, so that their ends do not tell whose is whose.
    callers, called = (host.inside("app1"), host.namespace), (HOST, "127.0.0.1")
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(partial(traffic.get, port=8080), callers, called)) == [1, 1]
    if host.ipv6:
        assert traffic.get(host.outside, HOST_6, 8086, 2) == 2
        assert traffic.get(host.inside("web6"), OUTSIDE_6, 443, 2) == 2
        assert traffic.get(host.namespace, OUTSIDE_6, 443) == 1


def hairpin(host: DockerHost) -> Entry:
    """A container's call to its own published port, as it is without docker-proxy."""
    web = host.address("webserver", "bridge")
    return Entry(src=web, dst=HOST, dport=8080, dnat=web, dnat_port=80, snat="172.17.0.1", state=7)


def moved_port(host: DockerHost) -> Entry:
    """The host's own call to a container, whose source port was taken (a null binding moves it; SRC_NAT is set)."""
    return Entry(src="172.18.0.1", dst=host.address("app3", "internal"), snat="172.18.0.1", snat_port=50_000)


def addresses(namespace: Namespace) -> set[str]:
    """The host's own addresses, as ip(8) lists them."""
    interfaces = json.loads(namespace.run("ip", "-json", "address").stdout)
    return {place["local"] for interface in interfaces for place in interface.get("addr_info", ())}


def owner(address: str, inspected: Sequence[dict[str, Any]]) -> str | None:
    """The container that has an address."""
    found = [one["Name"][1:] for one in inspected if address in oracle.container_addresses(one)]
    return found[0] if found else None


def published(inspected: Sequence[dict[str, Any]]) -> dict[int, tuple[str, int]]:
    """By the host's TCP port: the container behind it, and its port."""
    return {
        int(binding["HostPort"]): (one["Name"][1:], int(port.partition("/")[0]))
        for one in inspected
        for port, bindings in (one["NetworkSettings"]["Ports"] or {}).items()
        for binding in bindings or ()
        if port.endswith("/tcp")
    }


def parties(
    flow: oracle.Flow, inspected: Sequence[dict[str, Any]], host_addresses: set[str]
) -> tuple[str | None, str | None, str]:
    """The containers at a flow's ends, and its kind.

    Nothing but docker-proxy answers at the host's own published ports without DNAT, or calls from the host straight to
    a published port of a container. Connections through it were closed at the same time, so that who called behind it
    is unknown.
    """
    orig, nat, ports = flow["orig"], oracle.nat(flow), published(inspected)
    client, server = owner(orig["src"], inspected), owner(flow["reply"]["src"], inspected)
    port = orig.get("dport") if flow["proto"] == "tcp" else None
    if not nat and flow["reply"]["src"] in host_addresses and port in ports:
        return client, ports[port][0], "PROXIED"
    if not nat and orig["src"] in host_addresses and (server, port) in ports.values():
        return client, server, "PROXIED"
    kind = way(flow, client, server, host_addresses)
    return client, HOST_LISTENERS.get(port, server) if kind == "HOST" and port else server, kind


def way(flow: oracle.Flow, client: str | None, server: str | None, host_addresses: set[str]) -> str:
    """The kind of a flow, from what NAT did to its tuples and whose addresses they have."""
    nat = oracle.nat(flow)
    if server and "dnat" in nat:
        return "HAIRPIN" if "snat" in nat else "PUBLISHED"
    if client and "snat" in nat:
        return "MASQUERADED"
    if client or server:
        return "INTERNAL" if client and server else "ROUTED"
    if nat == {"snat"} and flow["orig"]["src"] == flow["reply"]["dst"] and flow["orig"]["src"] in host_addresses:
        return "REMAPPED"
    ends = {flow["orig"]["src"], flow["orig"]["dst"], flow["reply"]["src"]}
    return "HOST" if ends & host_addresses else "FORWARDED"


def test_the_table_is_the_judge_s(scene: Scene) -> None:
    assert_same(scene.document["flows"], scene.table, tolerance_s=5)
    told = {state: number for state, number in scene.document["conntrack"]["states"].items() if number}
    assert told == scene.states
    assert {"ESTABLISHED", "TIME_WAIT", "SYN_SENT", "CLOSE", "CLOSE_WAIT"} <= told.keys()
    protocols = Counter(flow["proto"] for flow in scene.table)
    assert scene.document["conntrack"]["protocols"] == protocols
    assert protocols.keys() >= {"tcp", "udp", "icmp"}


def test_client_server_and_kind_of_every_flow(scene: Scene) -> None:
    told = {identity(flow): flow for flow in scene.document["flows"]}
    kinds = Counter[str]()
    for flow, client, server, kind in scene.judged():
        row = told[identity(as_row(flow))]
        assert (row["client"], row["server"], row["kind"]) == (client, server, kind)
        kinds[kind] += 1
    with_nat = {"PUBLISHED", "MASQUERADED", "HAIRPIN", "REMAPPED"}
    assert kinds.keys() == with_nat | {"INTERNAL", "ROUTED", "PROXIED", "HOST", "FORWARDED"}


def test_who_is_no_container(scene: Scene) -> None:
    """The host's own ends have a name, strangers have none, and docker-proxy has its own where no client is known."""
    for row in scene.document["flows"]:
        src, answers = row["orig"]["src"], row["reply"]["src"]
        assert bool(row["client_other"]) == (row["client"] is None and src in scene.host_addresses)
        assert bool(row["server_other"]) == (row["server"] is None and answers in scene.host_addresses)
    dialled = scene.told(dport=80, server="webserver", kind="PROXIED")
    assert dialled
    assert all(row["client_other"] in scene.proxies for row in dialled)


def test_the_network_of_every_flow(scene: Scene) -> None:
    """The client's that it left by, else the server's; none where the container's end is at the host's address."""
    networks = {
        address: name
        for one in scene.inspected
        for name, place in one["NetworkSettings"]["Networks"].items()
        for address in (place["IPAddress"], place["GlobalIPv6Address"])
        if address
    }
    told = {identity(flow): flow for flow in scene.document["flows"]}
    found = Counter[str | None]()
    for flow in scene.table:
        left_by = networks.get(flow["orig"]["src"]) or networks.get(flow["reply"]["src"])
        assert told[identity(as_row(flow))]["network"] == left_by
        found[left_by] += 1
    assert found.keys() >= {"bridge", "internal", None}


def test_the_numbers_of_each_container(scene: Scene) -> None:
    names = {one["Name"][1:] for one in scene.inspected}
    assert {container["name"] for container in scene.document["containers"]} == names
    judged = scene.judged()
    for name in names - {"nonet"}:
        told = scene.container(name)
        mine = [flow for flow, client, server, _ in judged if name in (client, server)]
        states = Counter(flow["state"] for flow in mine if flow["proto"] == "tcp")
        assert {state: number for state, number in told["states"].items() if number} == states
        inbound = sum(server == name for _, _, server, _ in judged)
        outbound = sum(client == name for _, client, _, _ in judged)
        assert told["flows"] == {"total": len(mine), "inbound": inbound, "outbound": outbound}
        assert bool(mine) == (name != "sidecar")
        assert told["untracked"] is None


def test_a_container_without_a_network_has_no_numbers(scene: Scene) -> None:
    alone = scene.container("nonet")
    assert [alone[key] for key in ("flows", "states", "kinds", "nat", "own_table")] == [None] * 5
    assert alone["untracked"] == "no network"
    assert [each["name"] for each in scene.document["containers"] if each["untracked"]] == ["nonet"]


def test_kinds_and_nat_of_each_container(scene: Scene) -> None:
    for container in scene.document["containers"]:
        name = container["name"]
        if name == "nonet":
            continue
        mine = [flow for flow in scene.document["flows"] if name in (flow["client"], flow["server"])]
        kinds = {kind: number for kind, number in container["kinds"].items() if number}
        assert kinds == Counter(flow["kind"] for flow in mine)
        assert container["nat"]["dnat"] == sum("DST_NAT" in flow["status"] for flow in mine)
        assert container["nat"]["snat"] == sum("SRC_NAT" in flow["status"] for flow in mine)
    assert scene.container("webserver")["nat"]["dnat"] > 5
    assert scene.container("app1")["nat"]["snat"] == 3


def test_what_belongs_to_nobody(scene: Scene) -> None:
    nobody_s = [(flow, kind) for flow, client, server, kind in scene.judged() if not client and not server]
    unowned = scene.document["unowned"]
    assert unowned["flows"] == len(nobody_s) > 0
    states = Counter(flow["state"] for flow, _ in nobody_s if flow["proto"] == "tcp")
    assert {state: number for state, number in unowned["states"].items() if number} == states
    kinds = Counter(kind for _, kind in nobody_s)
    assert {kind: number for kind, number in unowned["kinds"].items() if number} == kinds
    assert kinds.keys() == {"HOST", "REMAPPED", "FORWARDED"}


PATHS: dict[str, tuple[int, dict[str, Any]]] = {
    "outside → published port": (
        5,
        {
            "src": OUTSIDE,
            "dport": 8080,
            "client": None,
            "server": "webserver",
            "kind": "PUBLISHED",
            "state": "TIME_WAIT",
        },
    ),
    "outside → published port, held": (3, {"dport": 8443, "state": "ESTABLISHED", "server": "webserver"}),
    "outside → published port, aborted": (2, {"dport": 8443, "state": "CLOSE", "kind": "PUBLISHED"}),
    "outside → published port, not hung up": (2, {"dport": 8080, "state": "CLOSE_WAIT", "server": "webserver"}),
    "container → container": (3, {"client": "app1", "server": "app2", "kind": "INTERNAL"}),
    "container → server on two networks": (2, {"client": "app2", "server": "webserver", "kind": "INTERNAL"}),
    "server on two networks → container": (2, {"client": "webserver", "server": "app1", "kind": "INTERNAL"}),
    "held between containers": (2, {"client": "app1", "server": "webserver", "state": "ESTABLISHED"}),
    "egress": (3, {"client": "app1", "server": None, "dst": OUTSIDE, "kind": "MASQUERADED"}),
    "egress by the other network": (2, {"client": "webserver", "server": None, "dst": OUTSIDE, "kind": "MASQUERADED"}),
    "egress held": (4, {"client": "app3", "dport": 5432, "state": "ESTABLISHED", "kind": "MASQUERADED"}),
    "egress from a borrowed namespace": (1, {"client": "app3", "dport": 443, "kind": "MASQUERADED"}),
    "egress unanswered": (2, {"client": "app2", "state": "SYN_SENT", "kind": "MASQUERADED"}),
    "egress by UDP": (3, {"client": "app2", "proto": "udp", "dport": 5353, "kind": "MASQUERADED"}),
    "egress by ICMP": (1, {"client": "app2", "proto": "icmp", "kind": "MASQUERADED"}),
    "outside → the host's own network": (2, {"dport": 9000, "client": None, "server": "hostnet", "kind": "HOST"}),
    "the host → outside": (2, {"src": HOST, "dport": 443, "client": None, "server": None, "kind": "HOST"}),
    "the host → outside, held": (2, {"src": HOST, "dport": 5432, "state": "ESTABLISHED", "kind": "HOST"}),
    "the host → outside, its port moved": (1, {"src": HOST, "dport": 8444, "client": None, "kind": "REMAPPED"}),
    "the host → a container": (1, {"server": "app3", "kind": "ROUTED", "state": "TIME_WAIT"}),
    "the host → a container, its port moved": (1, {"server": "app3", "kind": "ROUTED", "state": "ESTABLISHED"}),
    "the host → its own published port": (1, {"src": HOST, "dport": 8080, "server": "webserver", "kind": "PUBLISHED"}),
    "a container → docker-proxy": (
        1,
        {"client": "app1", "dst": HOST, "dport": 8080, "server": "webserver", "kind": "PROXIED"},
    ),
    "docker-proxy → a container": (2, {"client": None, "dport": 80, "server": "webserver", "kind": "PROXIED"}),
    "the host → docker-proxy": (1, {"dst": "127.0.0.1", "dport": 8080, "server": "webserver", "kind": "PROXIED"}),
    "a container → itself by NAT": (1, {"client": "webserver", "server": "webserver", "kind": "HAIRPIN"}),
    "strangers": (3, {"client": None, "server": None, "kind": "FORWARDED"}),
}
PATHS_6: dict[str, tuple[int, dict[str, Any]]] = {
    "outside → published port": (2, {"src": OUTSIDE_6, "dport": 8086, "server": "web6", "kind": "PUBLISHED"}),
    "egress": (2, {"client": "web6", "dst": OUTSIDE_6, "kind": "MASQUERADED"}),
    "the host → outside": (1, {"dst": OUTSIDE_6, "client": None, "server": None, "dport": 443, "kind": "HOST"}),
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path(scene: Scene, path: str) -> None:
    number, wanted = PATHS[path]
    assert len(scene.told(**wanted)) == number


@pytest.mark.parametrize("path", PATHS_6)
def test_a_path_over_ipv6(scene: Scene, shared_docker_host: DockerHost, path: str) -> None:
    if not shared_docker_host.ipv6:
        lack("this engine has no NAT for IPv6")
    number, wanted = PATHS_6[path]
    assert len(scene.told(**wanted)) == number
