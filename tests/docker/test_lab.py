"""The laboratory's Docker host is a real one: every path of traffic leaves the entry that Docker's rules make."""

from __future__ import annotations

from collections import Counter

from tests.lab import oracle, traffic
from tests.lab.dockerhost import HOST, HOST_6, OUTSIDE, DockerHost
from tests.lab.layers import lack


def test_the_containers_run(docker_host: DockerHost) -> None:
    inspected = {container["Name"].lstrip("/"): container for container in docker_host.inspect()}
    assert set(inspected) == set(docker_host.names)
    assert all(container["State"]["Running"] for container in inspected.values())
    assert set(inspected["webserver"]["NetworkSettings"]["Networks"]) == {"bridge", "internal"}
    assert inspected["app2"]["Config"]["Labels"]["com.docker.compose.project"] == "shop"
    assert oracle.container_addresses(inspected["hostnet"]) == oracle.container_addresses(inspected["nonet"]) == set()


def test_a_published_port_is_dnat(docker_host: DockerHost) -> None:
    assert docker_host.outside_get(8080, 3) == 3
    web = docker_host.address("webserver", "bridge")
    served = [flow for flow in docker_host.quiet() if flow["orig"].get("dport") == 8080]
    assert [flow["reply"]["src"] for flow in served] == [web] * 3
    assert all(oracle.nat(flow) == {"dnat"} and flow["state"] == "TIME_WAIT" for flow in served)


def test_egress_is_masqueraded(docker_host: DockerHost) -> None:
    assert docker_host.egress("app1", 2) == 2
    assert docker_host.udp_egress("app1", 2) == 2
    app1 = docker_host.address("app1", "internal")
    out = [flow for flow in docker_host.quiet() if flow["orig"]["src"] == app1]
    assert Counter(flow["proto"] for flow in out) == {"tcp": 2, "udp": 2}
    assert all(flow["reply"]["dst"] == HOST and flow["orig"]["dst"] == OUTSIDE for flow in out)


def test_internal_calls_by_name_are_one_plain_entry_each(docker_host: DockerHost) -> None:
    docker_host.internal_calls("app1", "app2", 3)
    ends = (docker_host.address("app1", "internal"), docker_host.address("app2", "internal"))
    calls = [flow for flow in docker_host.quiet() if (flow["orig"]["src"], flow["orig"]["dst"]) == ends]
    assert len(calls) == 3
    assert all(not oracle.nat(flow) for flow in calls)


def test_held_connections_stay_until_released(docker_host: DockerHost) -> None:
    with docker_host.hold(3), docker_host.hold_internal("app1", "webserver", 2), docker_host.hold_egress("app3", 4):
        owners = oracle.owners(docker_host.quiet(), docker_host.inspect())
    assert [owners[name]["ESTABLISHED"] for name in ("webserver", "app1", "app3")] == [5, 2, 4]
    assert "ESTABLISHED" not in {flow["state"] for flow in docker_host.quiet()}


def test_the_less_happy_states(docker_host: DockerHost) -> None:
    docker_host.knock("app2", 2)
    docker_host.reset(3)
    with docker_host.linger(4):
        owners = oracle.owners(docker_host.quiet(), docker_host.inspect())
    assert owners["app2"] == {"SYN_SENT": 2}
    assert owners["webserver"] == {"CLOSE": 3, "CLOSE_WAIT": 4}


def test_the_host_s_own_network_belongs_to_no_address(docker_host: DockerHost) -> None:
    assert docker_host.outside_get(9000, 2) == 2
    inspected = docker_host.inspect()
    strangers = oracle.unowned(docker_host.quiet(), inspected)
    assert [flow["orig"]["dport"] for flow in strangers if flow["proto"] == "tcp"] == [9000, 9000]


def test_a_published_port_over_ipv6(docker_host: DockerHost) -> None:
    if not docker_host.ipv6:
        lack("this engine has no NAT for IPv6")
    assert traffic.get(docker_host.outside, HOST_6, 8086, 2) == 2
    served = [flow for flow in docker_host.quiet() if flow["orig"].get("dport") == 8086]
    assert len(served) == 2
    assert all(flow["family"] == 6 and oracle.nat(flow) == {"dnat"} for flow in served)
