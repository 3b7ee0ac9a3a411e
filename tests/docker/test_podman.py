"""natop on a real Podman service, by its socket that speaks Docker's language, against podman(1) and conntrack(8)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.docker.inventory import as_container
from tests.docker.line import Line, assert_owned, containers, ends, network, parties, rows, running, snapshot, to
from tests.kernel import product
from tests.lab import traffic
from tests.lab.dockerhost import ECHO_PORT, HOST, OUTSIDE, WEB
from tests.lab.engine import IMAGE
from tests.lab.layers import lack
from tests.lab.podman import PodmanHost, missing

LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module")
def shared_podman_host() -> Iterator[PodmanHost]:
    """A host with a Podman service, built once."""
    if reason := missing():
        lack(reason)
    with PodmanHost() as host:
        yield host


@pytest.fixture
def podman_host(shared_podman_host: PodmanHost) -> PodmanHost:
    """The same with an empty conntrack table."""
    shared_podman_host.namespace.settle()
    return shared_podman_host


@pytest.fixture
def line(podman_host: PodmanHost) -> Iterator[Line]:
    """natop's readings of that host."""
    with Line(podman_host) as readings:
        yield readings


def test_the_inventory(podman_host: PodmanHost, line: Line) -> None:
    """Podman lists its default network as `bridge` for Docker's sake; here and in its containers it is `podman`."""
    listed = json.loads(podman_host.podman("network", "ls", "--format", "json"))
    drivers = {each["name"]: each["driver"] for each in listed}
    taken = line.read()
    told = {name: each | {"flows": 0} for name, each in containers(taken).items()}
    for inspected in podman_host.inspect():
        expected = as_container(inspected, drivers)
        assert {key: told[expected["name"]][key] for key in expected} == expected
    assert taken.inventory is not None
    engine = taken.inventory.engine
    assert (engine.product, engine.rootless) == ("Podman", False)
    assert engine.version == podman_host.podman("version", "--format", "{{.Client.Version}}")
    assert taken.gaps == () or {gap.source for gap in taken.gaps} == {"bridge"}


def test_flows_of_every_kind(podman_host: PodmanHost, line: Line) -> None:
    assert podman_host.outside_get(8080, 3) == 3
    assert podman_host.egress("app1", 2) == 2
    assert podman_host.udp_egress("app2", 2) == 2
    assert traffic.get(podman_host.namespace, HOST, 8080) == traffic.get(podman_host.namespace, LOOPBACK, 8080) == 1
    with podman_host.hold_internal("app1", "app2", 2), podman_host.hold(2):
        table = podman_host.quiet()
        told = line.rows()
    assert_owned(told, table, podman_host)
    kinds = [
        (to(table, src=OUTSIDE, dport=8080), ("PUBLISHED", None, "webserver"), 3),
        (to(table, src=OUTSIDE, dport=8443), ("PUBLISHED", None, "webserver"), 2),
        (to(table, dst=OUTSIDE, dport=443), ("MASQUERADED", "app1", None), 2),
        (to(table, dst=OUTSIDE, dport=5353), ("MASQUERADED", "app2", None), 2),
    ]
    for flows, expected, count in kinds:
        assert [parties(told[ends(flow)]) for flow in flows] == [expected] * count
    (hairpin,), (own,) = to(table, dst=LOOPBACK, dport=8080), to(table, src=HOST, dport=8080)
    assert (told[ends(hairpin)]["kind"], told[ends(hairpin)]["server"]) == ("HAIRPIN", "webserver")
    assert (told[ends(own)]["kind"], told[ends(own)]["server"]) == ("PUBLISHED", "webserver")
    internal = to(table, dst=podman_host.address("app2", "internal"), dport=ECHO_PORT)
    assert {parties(told[ends(flow)]) for flow in internal} <= {("INTERNAL", "app1", "app2")}


def test_a_container_on_the_host_s_network(podman_host: PodmanHost, line: Line) -> None:
    """By its socket's cgroup, which Podman names for the container."""
    with traffic.hold(podman_host.outside, HOST, 9000, 2):
        table = to(podman_host.quiet(), dport=9000)
        told = line.rows()
    assert [parties(told[ends(flow)]) for flow in table] == [("HOST", None, "hostnet")] * 2


def test_podman_s_name_server(podman_host: PodmanHost, line: Line) -> None:
    """It listens at the bridge's address on the host: what containers ask is in the host's table."""
    podman_host.docker("exec", "app1", "nslookup", "app2")
    gateway = podman_host.inspect("app1")[0]["NetworkSettings"]["Networks"]["internal"]["Gateway"]
    asked = to(podman_host.quiet(), dst=gateway, dport=53)
    told = line.rows()
    assert asked
    for flow in asked:
        kind, client, server = parties(told[ends(flow)])
        assert (kind, client) == ("ROUTED", "app1")
        assert re.fullmatch(r"host: aardvark-dns\[\d+\]", server or "")
    assert containers(line.read())["app1"]["own_table"] is None, "nothing is tracked in its own namespace"


def test_a_pod(podman_host: PodmanHost, line: Line) -> None:
    """Its containers share the namespace of one that Podman adds; each connection belongs to whose socket it is."""
    with _pod(podman_host, "shop", "8090:80", "8091:443") as infra:
        podman_host.podman("run", "--detach", "--pod", "shop", "--name", "inpod", IMAGE, "sh", "-c", WEB)
        line.until(present=["inpod"])
        assert podman_host.outside_get(8090) == 1
        with podman_host.hold(3, 8091):
            table = podman_host.quiet()
            taken = line.read()
        told, named = rows(taken), containers(taken)
        held = to(table, src=OUTSIDE, dport=8091)
        assert [parties(told[ends(flow)]) for flow in held] == [("PUBLISHED", None, "inpod")] * 3
        (short,) = to(table, src=OUTSIDE, dport=8090)
        assert told[ends(short)]["server"] in (infra, "inpod")
        assert [port["host_port"] for port in named[infra]["published"]] == [8091, 8090]
        assert (named["inpod"]["networks"], named["inpod"]["published"]) == ([], [])
        assert named["inpod"]["network_mode"] == f"container:{named[infra]['id']}"
    line.until(absent=["inpod", infra])


def test_containers_come_and_go(podman_host: PodmanHost, line: Line) -> None:
    """By Podman's own words for it: it says `died` where Docker says `die`, and nothing of networks that come or go."""
    with network(podman_host, "later", "--subnet", "172.23.0.0/24"), running(podman_host, "guest", "later"):
        line.until(present=["guest"])
        (place,) = line.containers()["guest"]["networks"]
        assert (place["name"], place["driver"], place["ipv4"]) == (
            "later",
            "bridge",
            podman_host.address("guest", "later"),
        )
        podman_host.docker("network", "connect", "internal", "guest")
        line.await_engine(lambda named: named["guest"]["NetworkSettings"]["Networks"].keys() == {"later", "internal"})
        podman_host.docker("network", "disconnect", "internal", "guest")
        line.await_engine(lambda named: named["guest"]["NetworkSettings"]["Networks"].keys() == {"later"})
        podman_host.podman("kill", "guest")
        line.until(absent=["guest"])
        podman_host.podman("start", "guest")
        line.until(present=["guest"])
        podman_host.podman("stop", "--time", "0", "guest")
        line.until(absent=["guest"])
        assert line.containers()["guest"]["state"] == "exited"
        podman_host.podman("rename", "guest", "visitor")
        line.await_engine(lambda named: "visitor" in named and "guest" not in named)
        podman_host.podman("rename", "visitor", "guest")
    line.await_engine(lambda named: not named.keys() & {"guest", "visitor"})


def test_the_nat_rules(podman_host: PodmanHost) -> None:
    """Podman tells no interface: that is where the network's subnet is."""
    document = product.snapshot(podman_host.namespace, "--docker-host", podman_host.url)
    assert document["host"]["docker"]["product"] == "Podman"
    found = {each["name"]: each for each in document["nat_rules"]["networks"] if ":" not in each["subnet"]}
    for name in ("podman", "internal"):
        (inspected,) = json.loads(podman_host.podman("network", "inspect", name))
        nat = found[name]
        assert (nat["subnet"], nat["bridge"]) == (inspected["subnets"][0]["subnet"], inspected["network_interface"])
        assert nat["rule"]["action"] == "MASQUERADE"
        assert re.search("netavark", nat["rule"]["chain"], re.IGNORECASE)
    backend = found["podman"]["rule"]["backend"]
    assert document["host"]["docker"]["firewall_backend"] == {"nft": "nftables"}.get(backend, backend)
    assert {flow["reply"]["dst"] for flow in _egress(podman_host)} == {HOST}, "as the rule says"


def test_a_container_s_own_namespace(podman_host: PodmanHost, line: Line) -> None:
    """It is one of `ip netns` too, and has the container's name in natop's list."""
    listed = {each.name: each.path for each in line.read().namespaces}
    assert {"webserver", "app1", "app2"} <= listed.keys()
    document = snapshot("--netns", listed["app1"], "--docker-host", podman_host.url)
    assert document["host"]["netns"] == str(podman_host.inside("app1").readlink())


def _egress(host: PodmanHost) -> list[dict[str, Any]]:
    host.egress("webserver")
    found: list[dict[str, Any]] = to(host.quiet(), dst=OUTSIDE, dport=443)
    return found


@contextmanager
def _pod(host: PodmanHost, name: str, *ports: str) -> Iterator[str]:
    """A pod with published ports; the name of its infra container, which is made of the lab's image."""
    published = [word for port in ports for word in ("--publish", port)]
    made = ("--infra-image", IMAGE, "--infra-command", "sleep 1000000")
    identity = host.podman("pod", "create", "--name", name, *made, *published)
    try:
        yield f"{identity[:12]}-infra"
    finally:
        host.podman("pod", "rm", "--force", "--time", "0", name)
