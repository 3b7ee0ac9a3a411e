"""A real swarm of one node: containers on overlay networks, and the sandbox through which published services come in.

A kernel without IPVS has no load balancing: then nothing leaves the ingress sandbox for a task by itself, and what IPVS
would have left in its table is put there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docker.line import Line, containers, ends, fill, network, parties, rows, running, snapshot, to
from tests.lab import oracle, traffic
from tests.lab.dockerhost import HOST, OUTSIDE, WEB, DockerHost, Service, echo
from tests.lab.engine import IMAGE
from tests.lab.inject import Entry, inject
from tests.lab.netns import Namespace, wait_until

SANDBOX, TASK, GATEWAYS = "ingress_sbox", "shop.1.", "docker_gwbridge"
OVERLAY = ("--driver", "overlay", "--attachable")
PORT = 8088


class SwarmHost(DockerHost):
    """A node that is a swarm by itself, with one service that publishes a port by swarm's ingress."""

    ports = ()

    @property
    def task(self) -> str:
        """The name of the service's container."""
        (name,) = self.docker("ps", "--filter", f"name={TASK}", "--format", "{{.Names}}").split()
        return name

    @property
    def sandbox(self) -> Path:
        """The ingress sandbox's file."""
        return self.engine.folder / "exec" / "netns" / SANDBOX

    def gateway(self) -> dict[str, Any]:
        """Who is on the gateway bridge, as `docker network inspect` tells it."""
        found: dict[str, Any] = json.loads(self.docker("network", "inspect", GATEWAYS))[0]["Containers"]
        return found

    def leaves_by(self, identity: str) -> str:
        """The address of a container on the gateway bridge."""
        return str(self.gateway()[identity]["IPv4Address"].partition("/")[0])

    def _services(self) -> tuple[Service, ...]:
        return ()

    def _run_services(self) -> None:
        """Make the swarm and the service, and wait for its task; the image is here, no registry is asked for it."""
        self.docker("swarm", "init", "--advertise-addr", HOST)
        made = ("--detach", "--no-resolve-image", "--name", "shop", "--publish", f"{PORT}:80")
        self.docker("service", "create", *made, IMAGE, "sh", "-c", WEB)
        running = ("ps", "--quiet", "--filter", f"name={TASK}")
        wait_until(lambda: self.docker(*running), 60, what="the service's task")
        wait_until(
            lambda: self.inspect(self.task)[0]["Id"] in self.gateway(), 30, what="its place on the gateway bridge"
        )


@pytest.fixture(scope="module")
def swarm() -> Iterator[SwarmHost]:
    """A swarm of one node, built once."""
    with SwarmHost() as host:
        yield host


@pytest.fixture
def node(swarm: SwarmHost) -> Iterator[Line]:
    swarm.namespace.settle()
    with Line(swarm) as readings:
        yield readings


def test_containers_on_an_overlay_network(swarm: SwarmHost, node: Line) -> None:
    """They leave by a bridge that no inspection of theirs names; what they say to each other is not in this table."""
    with (
        network(swarm, "over", *OVERLAY),
        running(swarm, "task", "over") as task,
        running(swarm, "mate", "over", command=echo(443)),
    ):
        node.until(present=["task", "mate"])
        assert traffic.get(swarm.inside("task"), OUTSIDE, 443, 2) == 2
        assert swarm.udp_egress("mate") == 1
        swarm.docker("exec", "task", "ping", "-c", "1", "mate")
        table = swarm.quiet()
        out, asked = to(table, dst=OUTSIDE, dport=443), to(table, dst=OUTSIDE, dport=5353)
        assert {flow["orig"]["src"] for flow in out} == {swarm.leaves_by(task)}
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


def test_an_overlay_network_without_a_way_out(swarm: SwarmHost, node: Line) -> None:
    with network(swarm, "inner", *OVERLAY, "--internal"), running(swarm, "inward", "inner"):
        node.until(present=["inward"])
        told = node.containers()["inward"]
    assert [told[number] for number in ("flows", "states", "kinds", "nat")] == [None] * 4
    assert told["untracked"] == "overlay"


def test_what_comes_in_by_the_ingress(swarm: SwarmHost, node: Line) -> None:
    """As the engine's rule for a published service leads it: to the sandbox's address on swarm's bridge."""
    sandbox = swarm.leaves_by("ingress-sbox")
    inject(swarm.namespace, [Entry(src=OUTSIDE, dst=HOST, dport=8099, dnat=sandbox, dnat_port=8099)])
    (flow,) = to(oracle.flows(swarm.namespace), dst=HOST, dport=8099)
    assert parties(node.rows()[ends(flow)]) == ("PUBLISHED", None, "ingress_sbox")


def test_the_sandbox_of_the_ingress_is_listed_and_read(swarm: SwarmHost) -> None:
    """By its own name, where the engine has put it; with an entry as IPVS and its SNAT leave one."""
    inside = Namespace.at(swarm.sandbox)
    address = _inside_address(inside, "eth0")
    inject(inside, [Entry(src=OUTSIDE, dst=HOST, dport=PORT, dnat="10.0.0.77", snat=address)])
    with Line(swarm) as line:
        taken = line.read()
        listed = {each.name: each.path for each in taken.namespaces}
    judged = oracle.flows(inside)
    told_of = [evidence for finding in taken.findings or () for evidence in finding.evidence if SANDBOX in evidence]
    assert told_of == [f"swarm: services' published ports pass NAT again in {swarm.sandbox}, a table of its own"]
    document = snapshot("--netns", listed[SANDBOX], "--docker-host", swarm.url)
    assert document["host"]["netns"] == f"net:[{swarm.sandbox.stat().st_ino}]"
    told = {ends(row): row for row in document["flows"]}
    assert told.keys() >= {ends(flow) for flow in judged}
    (injected,) = to(judged, dst=HOST, dport=PORT)
    row = told[ends(injected)]
    assert (row["reply"]["src"], row["reply"]["dst"]) == (injected["reply"]["src"], injected["reply"]["dst"])
    assert {"SRC_NAT", "DST_NAT"} <= set(row["status"])


def test_a_task_calls_out_by_the_gateway_bridge(swarm: SwarmHost) -> None:
    """Its inspection tells the address on the overlay network alone."""
    swarm.namespace.settle()
    task, identity = swarm.task, swarm.inspect(swarm.task)[0]["Id"]
    address = swarm.leaves_by(identity)
    assert GATEWAYS not in swarm.inspect(task)[0]["NetworkSettings"]["Networks"]
    assert swarm.egress(task, 3) == 3
    table = swarm.quiet()
    with Line(swarm) as line:
        taken = line.read()
    told = rows(taken)
    out = to(table, dst=OUTSIDE, dport=443)
    assert [(flow["orig"]["src"], parties(told[ends(flow)])) for flow in out] == [
        (address, ("MASQUERADED", task, None))
    ] * 3
    assert {told[ends(flow)]["network"] for flow in out} == {GATEWAYS}
    assert containers(taken)[task]["flows"] == {"total": 3, "inbound": 0, "outbound": 3}


def _inside_address(inside: Namespace, interface: str) -> str:
    listing = inside.run("ip", "-json", "address", "show", "dev", interface).stdout
    (shown,) = json.loads(listing)
    found = next(each["local"] for each in shown["addr_info"] if each["family"] == "inet")
    return str(found)
