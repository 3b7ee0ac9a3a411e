"""A swarm of one node: containers on overlay networks, and the sandbox through which published services come in.

This kernel has no IPVS, so that no service answers; networks and sandboxes are there all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.line import Line, containers, ends, fill, network, parties, rows, running, snapshot, to
from tests.lab import oracle, traffic
from tests.lab.dockerhost import HOST, OUTSIDE, DockerHost
from tests.lab.inject import Entry, inject
from tests.lab.netns import Namespace

GATEWAYS = "docker_gwbridge"
OVERLAY = ("--driver", "overlay", "--attachable")


@pytest.fixture(scope="module")
def swarm() -> Iterator[DockerHost]:
    with DockerHost() as host:
        host.docker("swarm", "init", "--advertise-addr", HOST)
        yield host
        host.docker("swarm", "leave", "--force")


@pytest.fixture
def node(swarm: DockerHost) -> Iterator[Line]:
    swarm.namespace.flush()
    with Line(swarm) as readings:
        yield readings


def leaves_by(host: DockerHost, identity: str) -> str:
    """The address of a container on swarm's bridge, as docker tells it."""
    members = json.loads(host.docker("network", "inspect", GATEWAYS))[0]["Containers"]
    return str(members[identity]["IPv4Address"].partition("/")[0])


def test_containers_on_an_overlay_network(swarm: DockerHost, node: Line) -> None:
    """They leave by a bridge that no inspection of theirs names; what they say to each other is not in this table."""
    with (
        network(swarm, "over", *OVERLAY),
        running(swarm, "task", "over") as task,
        running(swarm, "mate", "over", command="nc -ll -p 443 -e cat"),
    ):
        node.until(present=["task", "mate"])
        assert traffic.get(swarm.inside("task"), OUTSIDE, 443, 2) == 2
        assert swarm.udp_egress("mate") == 1
        swarm.docker("exec", "task", "ping", "-c", "1", "mate")
        table = swarm.quiet()
        out, asked = to(table, dst=OUTSIDE, dport=443), to(table, dst=OUTSIDE, dport=5353)
        assert {flow["orig"]["src"] for flow in out} == {leaves_by(swarm, task)}
        within = {place["NetworkSettings"]["Networks"]["over"]["IPAddress"] for place in swarm.inspect("task", "mate")}
        assert [flow for flow in table if within & {flow["orig"]["src"], flow["orig"]["dst"]}] == []
        taken = node.read()
        told, found = rows(taken), containers(taken)
        for flow in out:
            row = told[ends(flow)]
            assert (parties(row), row["network"]) == (("MASQUERADED", "task", None), GATEWAYS)
        assert {parties(told[ends(flow)]) for flow in asked} == {("MASQUERADED", "mate", None)}
        assert found["task"]["flows"] == {"total": 2, "inbound": 0, "outbound": 2}
        assert [place["name"] for place in found["task"]["networks"]] == ["over", GATEWAYS]
        assert found["task"]["own_table"] == fill(swarm.inside("task")) > 2


def test_an_overlay_network_without_a_way_out(swarm: DockerHost, node: Line) -> None:
    with network(swarm, "inner", *OVERLAY, "--internal"), running(swarm, "inward", "inner"):
        node.until(present=["inward"])
        told = node.containers()["inward"]
    assert [told[number] for number in ("flows", "states", "kinds", "nat")] == [None] * 4
    assert told["untracked"] == "overlay"


def test_what_comes_in_by_the_ingress(swarm: DockerHost, node: Line) -> None:
    """As the engine's rule for a published service leads it: to the sandbox's address on swarm's bridge."""
    sandbox = leaves_by(swarm, "ingress-sbox")
    inject(swarm.namespace, [Entry(src=OUTSIDE, dst=HOST, dport=8099, dnat=sandbox, dnat_port=8099)])
    (flow,) = to(oracle.flows(swarm.namespace), dst=HOST, dport=8099)
    assert parties(node.rows()[ends(flow)]) == ("PUBLISHED", None, "ingress_sbox")


def test_the_sandbox_of_the_ingress(swarm: DockerHost, node: Line) -> None:
    """It is listed under its name, and read by it: with an entry as IPVS and SNAT leave it."""
    listed = {each.name: each.path for each in node.read().namespaces}
    sandbox = Namespace("ingress")
    sandbox.path = Path(listed["ingress_sbox"])
    assert swarm.namespace.path.stat().st_ino != sandbox.path.stat().st_ino
    sandbox.flush()
    inject(sandbox, [Entry(src=OUTSIDE, dst=HOST, dport=8080, dnat="10.0.0.3", snat="10.0.0.2")])
    (judged,) = (flow for flow in oracle.flows(sandbox) if flow["proto"] == "tcp")
    document = snapshot("--netns", str(sandbox.path), "--docker-host", swarm.url)
    (flow,) = (flow for flow in document["flows"] if flow["proto"] == "tcp")
    assert (flow["reply"]["src"], flow["reply"]["dst"]) == (judged["reply"]["src"], judged["reply"]["dst"])
    assert {"SRC_NAT", "DST_NAT"} <= set(flow["status"])
    assert {each["name"] for each in document["containers"] if each["flows"]} == set()
