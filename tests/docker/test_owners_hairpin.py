"""An engine without docker-proxy: its rules turn calls of published ports around, with DNAT and, where needed, SNAT."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docker.line import Line, ends, parties, path, paths, rows, running, this_process, to
from tests.lab import oracle, traffic
from tests.lab.dockerhost import HOST, DockerHost

BRIDGE = "172.17.0.1"


@pytest.fixture
def hairpin(without_proxy: DockerHost) -> Iterator[Line]:
    with Line(without_proxy) as readings:
        yield readings


def test_a_container_to_its_own_published_port(without_proxy: DockerHost, hairpin: Line) -> None:
    with traffic.hold(without_proxy.inside("webserver"), HOST, 8443, 1):
        (flow,) = to(without_proxy.quiet(), dst=HOST, dport=8443)
        taken = hairpin.read()
    row, web = rows(taken)[ends(flow)], without_proxy.address("webserver", "bridge")
    called = f"{web}:{flow['orig']['sport']} ⇒ {BRIDGE}:{flow['reply']['dport']} → {HOST}:8443 ⇒ {web}:443"
    assert paths(taken)[ends(flow)] == path(flow) == called
    assert oracle.nat(flow) == {"dnat", "snat"}
    assert (parties(row), row["network"]) == (("HAIRPIN", "webserver", "webserver"), "bridge")
    assert (row["reply"]["dst"], row["reply"]["dport"]) == (BRIDGE, flow["reply"]["dport"])
    assert {"SRC_NAT", "DST_NAT"} <= set(row["status"])
    told = hairpin.containers()["webserver"]
    assert told["flows"] == {"total": 1, "inbound": 1, "outbound": 1}
    assert (told["nat"]["dnat"], told["nat"]["snat"]) == (1, 1)


def test_a_container_to_a_neighbour_s_published_port(without_proxy: DockerHost, hairpin: Line) -> None:
    with running(without_proxy, "peer", "bridge"):
        hairpin.until(present=["peer"])
        with traffic.hold(without_proxy.inside("peer"), HOST, 8443, 1):
            (flow,) = to(without_proxy.quiet(), dst=HOST, dport=8443)
            row = hairpin.rows()[ends(flow)]
    expected = "HAIRPIN" if "snat" in oracle.nat(flow) else "PUBLISHED"
    assert "dnat" in oracle.nat(flow)
    assert parties(row) == (expected, "peer", "webserver")


@pytest.mark.parametrize("address", ["127.0.0.1", HOST])
def test_the_host_to_a_published_port(without_proxy: DockerHost, hairpin: Line, address: str) -> None:
    with traffic.hold(without_proxy.namespace, address, 8443, 1):
        (flow,) = to(without_proxy.quiet(), dst=address, dport=8443)
        row = hairpin.rows()[ends(flow)]
    assert oracle.nat(flow) == {"dnat", "snat"}
    assert parties(row) == ("HAIRPIN", this_process(), "webserver")
    assert (row["reply"]["dst"], row["reply"]["dport"]) == (BRIDGE, flow["reply"]["dport"])
    without_proxy.quiet()
    assert parties(hairpin.rows()[ends(flow)]) == ("HAIRPIN", this_process(), "webserver"), "remembered"


def test_outside_to_a_published_port(without_proxy: DockerHost, hairpin: Line) -> None:
    assert without_proxy.outside_get(8080, 1) == 1
    (flow,) = to(without_proxy.quiet(), dst=HOST, dport=8080)
    assert parties(hairpin.rows()[ends(flow)]) == ("PUBLISHED", None, "webserver")
