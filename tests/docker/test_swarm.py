"""natop on a real swarm node: the ingress sandbox, and tasks that call out by the gateway bridge.

A kernel without IPVS has no load balancing: then nothing leaves the ingress sandbox for a task by itself, and what IPVS
would have left in its table is put there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docker.line import Line, containers, ends, parties, rows, snapshot, to
from tests.lab import oracle
from tests.lab.dockerhost import HOST, OUTSIDE, WEB, DockerHost, Service
from tests.lab.engine import IMAGE
from tests.lab.inject import Entry, inject
from tests.lab.netns import Namespace, wait_until

SANDBOX, TASK = "ingress_sbox", "shop.1."
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
        """Who has which address on the gateway bridge, as `docker network inspect` tells it."""
        found: dict[str, Any] = json.loads(self.docker("network", "inspect", "docker_gwbridge"))[0]["Containers"]
        return found

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


def test_the_ingress_sandbox_is_listed_and_read(swarm: SwarmHost) -> None:
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
    swarm.namespace.flush()
    task, identity = swarm.task, swarm.inspect(swarm.task)[0]["Id"]
    address = swarm.gateway()[identity]["IPv4Address"].partition("/")[0]
    assert "docker_gwbridge" not in swarm.inspect(task)[0]["NetworkSettings"]["Networks"]
    assert swarm.egress(task, 3) == 3
    table = swarm.quiet()
    with Line(swarm) as line:
        taken = line.read()
    told = rows(taken)
    out = to(table, dst=OUTSIDE, dport=443)
    assert [(flow["orig"]["src"], parties(told[ends(flow)])) for flow in out] == [
        (address, ("MASQUERADED", task, None))
    ] * 3
    assert {told[ends(flow)]["network"] for flow in out} == {"docker_gwbridge"}
    assert containers(taken)[task]["flows"] == {"total": 3, "inbound": 0, "outbound": 3}


def _inside_address(inside: Namespace, interface: str) -> str:
    listing = inside.run("ip", "-json", "address", "show", "dev", interface).stdout
    (shown,) = json.loads(listing)
    found = next(each["local"] for each in shown["addr_info"] if each["family"] == "inet")
    return str(found)
