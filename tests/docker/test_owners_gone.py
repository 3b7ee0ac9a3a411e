"""Containers that come and go: they are followed at once, and flows of those that are gone are nobody else's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import pytest

from natop.collect.engine import EngineWatcher, Target
from natop.feed import LiveFeed, Source
from natop.model import Snapshot
from tests.docker.line import Line, containers, ends, network, parties, rows, running, sysctl, talking
from tests.lab import oracle
from tests.lab.dockerhost import HOST, OUTSIDE, DockerHost
from tests.lab.inject import Entry, inject

STAMPED = "net.netfilter.nf_conntrack_timestamp"
SPOT = "172.18.0.50"
AT_SPOT = ("--ip", SPOT)
INTERVAL_S = 0.5


def leave(host: DockerHost, port: int) -> list[oracle.Flow]:
    """A flow out by MASQUERADE, of whoever has the spot. Docker 20.10 leaves it when the container stops."""
    inject(host.namespace, [Entry(src=SPOT, dst=OUTSIDE, sport=port, dport=5432, snat=HOST)])
    return [flow for flow in oracle.flows(host.namespace) if flow["orig"].get("sport") == port]


def call(host: DockerHost, port: int) -> list[oracle.Flow]:
    """A flow from app1 to whoever has the spot. Docker 20.10 deletes it when the container there stops or starts."""
    inject(host.namespace, [Entry(src=host.address("app1", "internal"), dst=SPOT, sport=port, dport=80)])
    return [flow for flow in oracle.flows(host.namespace) if flow["orig"].get("sport") == port]


def told(found: dict[Any, Any], flows: list[oracle.Flow]) -> set[tuple[str, str | None, str | None]]:
    return {parties(found[ends(flow)]) for flow in flows}


def test_a_stopped_container_s_flows(docker_host: DockerHost, line: Line) -> None:
    with running(docker_host, "first", "internal", *AT_SPOT):
        line.until(present=["first"])
        out, calls = leave(docker_host, 41000), call(docker_host, 41001)
        found = line.rows()
        assert (told(found, out), told(found, calls)) == (
            {("MASQUERADED", "first", None)},
            {("INTERNAL", "app1", "first")},
        )
        docker_host.docker("stop", "first")
        line.until(absent=["first"])
        assert line.taken
        assert told(rows(line.taken), out) == {("STALE", "gone: first", None)}, "told without another dump"
        calls = call(docker_host, 41002)
        found = line.rows()
        assert told(found, out) == {("STALE", "gone: first", None)}
        assert told(found, calls) == {("STALE", "app1", "gone: first")}, "nobody answers there any more"
        docker_host.docker("start", "first")
        line.until(present=["first"])
        assert told(line.rows(), out) == {("STALE", "gone: first", None)}, "it began anew and does not know them"
    assert told(line.rows(), out) == {("STALE", "gone: first", None)}


def test_a_stopped_container_on_the_host_s_network(docker_host: DockerHost, line: Line) -> None:
    """It has no address that would be gone; natop has seen whose socket it was."""
    with running(docker_host, "edge", "host"):
        line.until(present=["edge"])
        with talking(docker_host, "edge", OUTSIDE, 443):
            flows = [flow for flow in docker_host.quiet() if flow["orig"]["dport"] == 443]
            assert told(line.rows(), flows) == {("HOST", "edge", None)}
        assert told(line.rows(), flows) == {("HOST", "edge", None)}, "closed, but it runs"
        docker_host.docker("stop", "edge")
        line.until(absent=["edge"])
        for found in (line.rows(), line.rows()):
            assert told(found, flows) == {("STALE", "gone: edge", None)}
    line.await_engine(lambda told: "edge" not in told)
    assert told(line.rows(), flows) == {("STALE", "gone: edge", None)}


def test_an_address_that_is_another_s_now(docker_host: DockerHost, line: Line) -> None:
    """Without time stamps, by first sight: whose a flow was when it was first seen."""
    with running(docker_host, "first", "internal", *AT_SPOT):
        line.until(present=["first"])
        old = leave(docker_host, 41100)
        line.rows()
    with running(docker_host, "second", "internal", *AT_SPOT):
        line.until(present=["second"], absent=["first"])
        new, calls = leave(docker_host, 41200), call(docker_host, 41201)
        for found in (line.rows(), line.rows()):
            assert told(found, old) == {("STALE", "gone: first", None)}
            assert told(found, new) == {("MASQUERADED", "second", None)}
            assert told(found, calls) == {("INTERNAL", "app1", "second")}
        numbers = line.containers()
        assert numbers["second"]["flows"] == {"total": 2, "inbound": 1, "outbound": 1}
        assert numbers["second"]["kinds"]["STALE"] == 0


def test_flows_older_than_the_container(docker_host: DockerHost, line: Line) -> None:
    """With time stamps, even for who has not seen them before; only the name of their owner is not known then."""
    with sysctl(docker_host.namespace, STAMPED, 1):
        with running(docker_host, "first", "internal", *AT_SPOT):
            old = leave(docker_host, 41300)
        assert all(flow["started_ns"] for flow in old)
        time.sleep(3.1)  # longer than natop allows Docker's and the kernel's clocks to differ
        with running(docker_host, "second", "internal", *AT_SPOT):
            line.until(present=["second"])
            new, calls = leave(docker_host, 41400), call(docker_host, 41401)
            found = line.anew()
    assert (told(found, new), told(found, calls)) == (
        {("MASQUERADED", "second", None)},
        {("INTERNAL", "app1", "second")},
    )
    (row,) = (found[ends(flow)] for flow in old)
    assert (row["kind"], row["client"], row["client_other"]) == ("STALE", None, f"gone: {SPOT}")


def test_recreated_under_its_own_name(docker_host: DockerHost, line: Line) -> None:
    with running(docker_host, "phoenix", "internal", *AT_SPOT):
        line.until(present=["phoenix"])
        old = leave(docker_host, 41500)
        line.rows()
    with running(docker_host, "phoenix", "internal", *AT_SPOT) as identity:
        wait_for_identity(line, identity)
        assert told(line.rows(), old) == {("STALE", "gone: phoenix", None)}


def test_containers_that_swap_addresses_between_two_readings(docker_host: DockerHost, line: Line) -> None:
    swapped = {"left": "172.18.0.52", "right": "172.18.0.51"}
    with (
        running(docker_host, "left", "internal", "--ip", "172.18.0.51"),
        running(docker_host, "right", "internal", "--ip", "172.18.0.52"),
    ):
        line.until(present=swapped)
        for name in swapped:
            docker_host.egress(name)
        flows = [flow for flow in docker_host.quiet() if flow["orig"]["src"] in swapped.values()]
        assert told(line.rows(), flows) == {("MASQUERADED", name, None) for name in swapped}
        for name in swapped:
            docker_host.docker("network", "disconnect", "internal", name)
        for name, address in swapped.items():
            docker_host.docker("network", "connect", "--ip", address, "internal", name)
        line.await_engine(lambda told: {name: place(told[name]) for name in swapped} == swapped)
        found = line.rows()
        for flow in flows:
            before = next(name for name, address in swapped.items() if address != flow["orig"]["src"])
            assert parties(found[ends(flow)]) == ("STALE", f"gone: {before}", None)


def test_a_container_that_started_again_between_two_readings(docker_host: DockerHost, line: Line) -> None:
    with running(docker_host, "first", "internal", *AT_SPOT):
        line.until(present=["first"])
        old = leave(docker_host, 41600)
        assert told(line.rows(), old) == {("MASQUERADED", "first", None)}
        docker_host.docker("restart", "first")
        again = docker_host.inspect("first")[0]["State"]["StartedAt"]
        line.await_engine(lambda told: told["first"]["State"]["StartedAt"] == again)
        new = leave(docker_host, 41601)
        for found in (line.rows(), line.rows()):
            assert told(found, old) == {("STALE", "gone: first", None)}
            assert told(found, new) == {("MASQUERADED", "first", None)}


def test_a_flow_that_is_seen_before_its_container(
    docker_host: DockerHost, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's word of a start comes later than the first packets; the address was another's before."""
    with running(docker_host, "first", "internal", *AT_SPOT):
        line.until(present=["first"])
        old = leave(docker_host, 41700)
        line.rows()
    line.until(absent=["first"])
    before = line.engine()
    with running(docker_host, "second", "internal", *AT_SPOT):
        with monkeypatch.context() as late:
            late.setattr(EngineWatcher, "latest", lambda _: before)
            new = leave(docker_host, 41701)
            assert told(line.rows(), new) == {("STALE", "gone: first", None)}
        line.until(present=["second"])
        for found in (line.rows(), line.rows()):
            assert told(found, new) == {("MASQUERADED", "second", None)}
            assert told(found, old) == {("STALE", "gone: first", None)}


def place(inspected: Any) -> str | None:
    """A container's address on the internal network, in the engine's words."""
    networks = inspected["NetworkSettings"]["Networks"]
    return networks["internal"]["IPAddress"] if "internal" in networks else None


def wait_for_identity(line: Line, identity: str) -> None:
    """Until the inventory has the new container of an old name."""
    for _ in range(100):
        taken = line.tick()
        assert taken.inventory
        if identity in {each.id for each in taken.inventory.containers}:
            return
        time.sleep(0.05)
    raise TimeoutError(identity)


def test_the_live_feed_follows_within_one_refresh(docker_host: DockerHost) -> None:
    feed = LiveFeed(Source(str(docker_host.namespace.path), Target(docker_host.url)), INTERVAL_S)
    with closing(feed):
        snapshots = iter(feed)
        while (first := next(snapshots)).inventory is None:
            pass
        assert set(containers(first)) == set(docker_host.names)
        with network(docker_host, "extra", "--subnet", "172.28.0.0/16"):
            with running(docker_host, "comer", "internal"):
                assert containers(after(snapshots))["comer"]["state"] == "running"
                docker_host.egress("comer")
                assert containers(after(snapshots))["comer"]["flows"]["outbound"] == 1
                docker_host.docker("network", "connect", "extra", "comer")
                assert names_of_networks(after(snapshots)) == ["extra", "internal"]
                docker_host.docker("network", "disconnect", "internal", "comer")
                assert names_of_networks(after(snapshots)) == ["extra"]
                docker_host.docker("rename", "comer", "goer")
                assert "goer" in containers(after(snapshots))
                docker_host.docker("stop", "goer")
                assert containers(after(snapshots))["goer"]["state"] == "exited"
                docker_host.docker("rm", "goer")
            assert set(containers(after(snapshots))) == set(docker_host.names)


def after(snapshots: Iterator[Snapshot]) -> Snapshot:
    """The next refresh with a dump that begins a while from now: on a busy machine natop dumps less often."""
    asked = time.monotonic()
    for taken in islice(snapshots, 40):
        if taken.reading and taken.reading.monotonic_s > asked + INTERVAL_S / 2:
            return taken
    raise TimeoutError("no dump in 20 s")


def names_of_networks(taken: Snapshot) -> list[str]:
    return [place["name"] for place in containers(taken)["comer"]["networks"]]
