"""Whose each flow is, by the addresses of its ends: every path through a Docker host's NAT, against plain loops."""

from __future__ import annotations

import re
import socket
import subprocess
from collections import Counter
from contextlib import ExitStack

import pytest

from tests.docker.line import (
    Line,
    assert_owned,
    containers,
    ends,
    network,
    parties,
    path,
    paths,
    rows,
    running,
    sysctl,
    this_process,
    to,
)
from tests.lab import oracle, traffic
from tests.lab.dockerhost import HOST, HOST_6, OUTSIDE, OUTSIDE_6, DockerHost
from tests.lab.inject import Entry, inject
from tests.lab.layers import lack
from tests.lab.netns import entered

BRIDGED = "net.bridge.bridge-nf-call-iptables"


def test_outside_to_a_published_port(docker_host: DockerHost, line: Line) -> None:
    assert docker_host.outside_get(8080, 3) == 3
    table = docker_host.quiet()
    told = line.rows()
    assert_owned(told, table, docker_host)
    served = to(table, dst=HOST, dport=8080)
    assert len(served) == 3
    for flow in served:
        row = told[ends(flow)]
        assert parties(row) == ("PUBLISHED", None, "webserver")
        assert (row["orig"]["src"], row["network"]) == (OUTSIDE, "bridge")
        assert (row["reply"]["src"], row["reply"]["sport"]) == (docker_host.address("webserver", "bridge"), 80)
        assert row["reply"]["dport"] == row["orig"]["sport"], "no NAT source port"
        assert {"DST_NAT", "SRC_NAT"} & set(row["status"]) == {"DST_NAT"}


def test_the_path_of_every_flow_in_one_line(docker_host: DockerHost, line: Line) -> None:
    docker_host.outside_get(8080)
    docker_host.egress("app1", 1, 443)
    docker_host.internal_calls("app1", "app2")
    docker_host.docker("exec", "app3", "ping", "-c", "1", OUTSIDE)
    inject(docker_host.namespace, [Entry(src="2001:db8::1", dst="2001:db8::2", proto="udp")])
    table = docker_host.quiet()
    told = paths(line.read())
    assert told == {ends(flow): path(flow) for flow in table}
    (served,), (out,) = to(table, dport=8080), to(table, dst=OUTSIDE, dport=443)
    web, app1 = docker_host.address("webserver", "bridge"), docker_host.address("app1", "internal")
    assert told[ends(served)] == f"{OUTSIDE}:{served['orig']['sport']} → {HOST}:8080 ⇒ {web}:80"
    assert told[ends(out)] == f"{app1}:{out['orig']['sport']} ⇒ {HOST}:{out['reply']['dport']} → {OUTSIDE}:443"


def test_container_to_outside(docker_host: DockerHost, line: Line) -> None:
    assert docker_host.egress("app1", 3) == 3
    assert docker_host.udp_egress("app2", 2) == 2
    docker_host.docker("exec", "app3", "ping", "-c", "1", OUTSIDE)
    table = docker_host.quiet()
    told = line.rows()
    assert_owned(told, table, docker_host)
    out = to(table, dst=OUTSIDE)
    assert Counter((flow["proto"], told[ends(flow)]["client"]) for flow in out) == {
        ("tcp", "app1"): 3,
        ("udp", "app2"): 2,
        ("icmp", "app3"): 1,
    }
    for flow in out:
        row = told[ends(flow)]
        assert row["kind"] == "MASQUERADED"
        assert (row["network"], row["reply"]["dst"]) == ("internal", HOST)
        assert row["reply"]["dport"] == flow["reply"].get("dport")
    assert line.containers()["app1"]["flows"] == {"total": 3, "inbound": 0, "outbound": 3}


def test_two_containers_that_want_one_nat_source_port(docker_host: DockerHost, line: Line) -> None:
    with _bound(docker_host.inside("app1"), "", 45000), _bound(docker_host.inside("app2"), "", 45000):
        table = to(docker_host.quiet(), dst=OUTSIDE, dport=5432)
        told = line.rows()
    assert [flow["orig"]["sport"] for flow in table] == [45000, 45000]
    assert len({flow["reply"]["dport"] for flow in table}) == 2
    assert {told[ends(flow)]["client"] for flow in table} == {"app1", "app2"}
    assert all(told[ends(flow)]["reply"]["dport"] == flow["reply"]["dport"] for flow in table)


def test_the_network_that_a_flow_left_by(docker_host: DockerHost, line: Line) -> None:
    """webserver is on two networks; its routing table, not natop, says which one leads outside."""
    docker_host.egress("webserver")
    docker_host.internal_calls("webserver", "app1")
    route = _inside(docker_host, "webserver", "ip", "route", "get", OUTSIDE)
    source = re.search(r"src (\S+)", route)
    assert source
    attached = docker_host.inspect("webserver")[0]["NetworkSettings"]["Networks"]
    left_by = next(name for name, place in attached.items() if place["IPAddress"] == source[1])
    table = docker_host.quiet()
    told = line.rows()
    (out,), (within,) = to(table, dst=OUTSIDE, dport=443), to(table, dst=docker_host.address("app1", "internal"))
    assert told[ends(out)]["network"] == left_by
    assert told[ends(within)]["network"] == "internal" != left_by


def test_container_to_container_by_name(docker_host: DockerHost, line: Line) -> None:
    docker_host.internal_calls("app1", "app2", 3)
    table = docker_host.quiet()
    told = line.rows()
    assert_owned(told, table, docker_host)
    calls = [row for row in told.values() if row["proto"] == "tcp"]
    assert [parties(row) for row in calls] == [("INTERNAL", "app1", "app2")] * 3
    found = line.containers()
    assert found["app1"]["flows"] == {"total": 3, "inbound": 0, "outbound": 3}
    assert found["app2"]["flows"] == {"total": 3, "inbound": 3, "outbound": 0}


def test_bridged_flows_that_are_not_in_the_table(docker_host: DockerHost, line: Line) -> None:
    assert docker_host.namespace.sysctl(BRIDGED) == "1"
    assert [gap for gap in line.read().gaps if gap.source == "bridge"] == []
    with sysctl(docker_host.namespace, BRIDGED, 0):
        docker_host.internal_calls("app1", "app2", 3)
        assert to(docker_host.quiet(), dst=docker_host.address("app2", "internal")) == []
        taken = line.read()
    assert [row for row in rows(taken).values() if row["kind"] == "INTERNAL"] == []
    (gap,) = (gap for gap in taken.gaps if gap.source == "bridge")
    assert "bridge-nf-call-iptables" in gap.reason
    assert f"{BRIDGED}=1" in (gap.remedy or "")


def test_every_container_s_numbers_are_the_judge_s(docker_host: DockerHost, line: Line) -> None:
    docker_host.outside_get(8080, 2)
    docker_host.egress("app1", 2)
    docker_host.knock("app2", 1)
    docker_host.internal_calls("app3", "app1", 2)
    docker_host.udp_egress("app3", 2)
    with docker_host.hold_internal("app1", "webserver", 2), docker_host.hold(2), docker_host.linger(1):
        table = docker_host.quiet()
        taken = line.read()
    inspected = docker_host.inspect()
    directions, owners = oracle.directions(table, inspected), oracle.owners(table, inspected)
    assert_owned(rows(taken), table, docker_host)
    for name, told in containers(taken).items():
        if name == "nonet":
            continue
        assert (told["flows"]["inbound"], told["flows"]["outbound"]) == directions[name]
        tcp = {state: count for state, count in told["states"].items() if count}
        assert tcp == {state: count for state, count in owners[name].items() if state not in ("udp", "icmp")}
        assert told["flows"]["total"] == sum(owners[name].values())
    assert taken.unowned
    assert taken.unowned.counts.total == len(oracle.unowned(table, inspected))


def test_names_that_docker_allows(docker_host: DockerHost, line: Line) -> None:
    """Told apart to the letter; one is named as natop names what is no container."""
    names = ("host", "a.b-c_d", "a.b-c_D", "none", "9_")
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(running(docker_host, name, "internal"))
        line.until(present=names)
        for name in names:
            assert docker_host.egress(name) == 1
        table = to(docker_host.quiet(), dst=OUTSIDE)
        told = line.rows()
        owner = {docker_host.address(name, "internal"): name for name in names}
        assert len(table) == len(names)
        for flow in table:
            row = told[ends(flow)]
            assert (row["client"], row["client_other"]) == (owner[flow["orig"]["src"]], None)


def test_ping_within_and_from_the_host(docker_host: DockerHost, line: Line) -> None:
    docker_host.docker("exec", "app1", "ping", "-c", "1", docker_host.address("app2", "internal"))
    docker_host.docker("exec", "hostnet", "ping", "-c", "1", docker_host.address("app1", "internal"))
    (within,) = to(docker_host.quiet(), src=docker_host.address("app1", "internal"))
    (from_host,) = to(oracle.flows(docker_host.namespace), dst=docker_host.address("app1", "internal"))
    told = line.rows()
    assert parties(told[ends(within)]) == ("INTERNAL", "app1", "app2")
    assert parties(told[ends(from_host)]) == ("ROUTED", "host (shared)", "app1"), "ICMP has no socket to find"


def test_udp_to_a_published_port(docker_host: DockerHost, line: Line) -> None:
    with running(docker_host, "dns", "internal", "--publish", "9053:53/udp"):
        line.until(present=["dns"])
        with entered(docker_host.outside), socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            datagrams.sendto(b"hello", (HOST, 9053))
        (flow,) = to(docker_host.quiet(), dst=HOST, dport=9053)
        row = line.rows()[ends(flow)]
    assert (flow["proto"], oracle.nat(flow)) == ("udp", {"dnat"})
    assert parties(row) == ("PUBLISHED", None, "dns")
    assert row["network"] == "internal"


@pytest.mark.parametrize("proto", ["sctp", "gre", "udplite"])
def test_other_protocols(docker_host: DockerHost, line: Line, proto: str) -> None:
    """As entries put into the kernel's table: the lab's kernel has no sockets for these protocols."""
    app1, app2 = docker_host.address("app1", "internal"), docker_host.address("app2", "internal")
    web = docker_host.address("webserver", "bridge")
    inject(
        docker_host.namespace,
        [
            Entry(proto=proto, src=OUTSIDE, dst=HOST, sport=40001, dport=9999, dnat=web, dnat_port=99),
            Entry(proto=proto, src=app1, dst=OUTSIDE, sport=40002, dport=7, snat=HOST),
            Entry(proto=proto, src=app1, dst=app2, sport=40003, dport=7),
        ],
    )
    table = oracle.flows(docker_host.namespace)
    told = line.rows()
    assert_owned(told, table, docker_host)
    assert Counter(parties(row) for row in told.values() if row["proto"] == proto) == {
        ("PUBLISHED", None, "webserver"): 1,
        ("MASQUERADED", "app1", None): 1,
        ("INTERNAL", "app1", "app2"): 1,
    }


def test_ipv6_with_nat(docker_host: DockerHost, line: Line) -> None:
    if not docker_host.ipv6:
        lack("this engine has no NAT for IPv6")
    with running(docker_host, "peer6", "six"):
        line.until(present=["peer6"])
        assert traffic.get(docker_host.outside, HOST_6, 8086, 2) == 2
        assert traffic.get(docker_host.inside("web6"), OUTSIDE_6, 443, 2) == 2
        inner = docker_host.inspect("web6")[0]["NetworkSettings"]["Networks"]["six"]["GlobalIPv6Address"]
        assert traffic.get(docker_host.inside("peer6"), inner, 80) == 1
        assert docker_host.outside_get(9000, 1, host=HOST_6) == 1
        docker_host.docker("exec", "web6", "ping", "-6", "-c", "1", OUTSIDE_6)
        assert traffic.exchange(docker_host.inside("peer6"), OUTSIDE_6, 5353) == 1
        table = [flow for flow in docker_host.quiet() if flow["family"] == 6]
        told = line.rows()
    assert Counter((flow["proto"], parties(told[ends(flow)]), told[ends(flow)]["network"]) for flow in table) == {
        ("tcp", ("PUBLISHED", None, "web6"), "six"): 2,
        ("tcp", ("MASQUERADED", "web6", None), "six"): 2,
        ("tcp", ("INTERNAL", "peer6", "web6"), "six"): 1,
        ("tcp", ("HOST", None, "hostnet"), None): 1,
        ("icmpv6", ("MASQUERADED", "web6", None), "six"): 1,
        ("udp", ("MASQUERADED", "peer6", None), "six"): 1,
    }


@pytest.mark.parametrize(("subnet", "target"), [("172.29.0.0/16", OUTSIDE), ("fd00:29::/64", OUTSIDE_6)])
def test_routed_without_nat(docker_host: DockerHost, line: Line, subnet: str, target: str) -> None:
    plain = ("--opt", "com.docker.network.bridge.enable_ip_masquerade=false", "--subnet", subnet)
    family = ("--ipv6", "--subnet", "172.30.0.0/16") if ":" in subnet else ()
    with network(docker_host, "routed", *plain, *family), running(docker_host, "router", "routed"):
        line.until(present=["router"])
        assert traffic.get(docker_host.inside("router"), target, 443) == 1
        (flow,) = to(docker_host.quiet(), dst=target, dport=443)
        row = line.rows()[ends(flow)]
    assert oracle.nat(flow) == set()
    assert (parties(row), row["network"]) == (("ROUTED", "router", None), "routed")


def test_a_host_s_own_flow_whose_port_is_taken(docker_host: DockerHost, line: Line) -> None:
    """A container's masqueraded flow holds the port; the host's own socket is moved to another, unasked."""
    app1 = docker_host.address("app1", "internal")
    inject(docker_host.namespace, [Entry(src=app1, dst=OUTSIDE, sport=45001, dport=5432, snat=HOST)])
    with _bound(docker_host.namespace, HOST, 45001):
        (flow,) = to(docker_host.quiet(), src=HOST, dport=5432)
        told = line.rows()
    row = told[ends(flow)]
    assert oracle.nat(flow) == {"snat"}
    assert row["reply"]["dport"] == flow["reply"]["dport"] != 45001
    assert parties(row) == ("REMAPPED", this_process(), None)
    assert row["client"] is None
    assert parties(told["tcp", app1, 45001, OUTSIDE, 5432]) == ("MASQUERADED", "app1", None)


def _bound(place: traffic.Place, address: str, port: int) -> socket.socket:
    """A connection to the world outside from a namespace, and an address and a port of choice."""
    with entered(place):
        connection = socket.socket()
    connection.settimeout(5)
    connection.bind((address, port))
    connection.connect((OUTSIDE, 5432))
    return connection


def _inside(host: DockerHost, name: str, *command: str) -> str:
    """What a command of this machine prints inside a container's network namespace."""
    argv = ["nsenter", f"--net={host.inside(name)}", "--", *command]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
