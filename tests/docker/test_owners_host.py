"""Whose each flow is that ends in the host itself, or in a namespace that several containers share: sockets tell."""

from __future__ import annotations

import socket
import subprocess
from contextlib import ExitStack

import pytest

from natop.collect import netns, sockets
from natop.collect.engine import EngineWatcher
from tests.docker.line import Line, accepts, containers, ends, parties, rows, running, talking, this_process, to
from tests.lab import oracle, traffic
from tests.lab.dockerhost import HOST, OUTSIDE, DockerHost, echo
from tests.lab.netns import entered, wait_until
from tests.lab.traffic import Responder

SHARED = "host (shared)"
SECOND = echo(9100)


def test_two_host_network_containers_and_a_process_of_the_host(docker_host: DockerHost, line: Line) -> None:
    with ExitStack() as stack:
        stack.enter_context(running(docker_host, "edge", "host", command=SECOND))
        line.until(present=["edge"])
        stack.enter_context(Responder(docker_host.namespace, [HOST], [9200]))
        _await(docker_host, 9100)
        held = stack.enter_context(ExitStack())
        held.enter_context(docker_host.linger(1, 9000))
        held.enter_context(docker_host.hold(1, 9100))
        held.enter_context(docker_host.hold(1, 9200))
        held.enter_context(talking(docker_host, "hostnet", OUTSIDE, 5432))
        held.enter_context(talking(docker_host, "edge", OUTSIDE, 443))
        held.enter_context(traffic.hold(docker_host.namespace, OUTSIDE, 5353, 1))
        expected = {
            9000: ("HOST", None, "hostnet"),
            9100: ("HOST", None, "edge"),
            9200: ("HOST", None, this_process()),
            5432: ("HOST", "hostnet", None),
            443: ("HOST", "edge", None),
            5353: ("HOST", this_process(), None),
        }
        table = {flow["orig"]["dport"]: flow for flow in docker_host.quiet() if flow["state"] != "TIME_WAIT"}
        assert table.keys() == expected.keys()
        told = line.rows()
        assert {port: parties(told[ends(flow)]) for port, flow in table.items()} == expected
        found = line.containers()
        assert found["edge"]["flows"]["total"] >= 2
        assert found["edge"]["network_mode"] == "host"
        held.close()  # conntrack's TIME_WAIT: the sockets have no owner any more
        closed = {flow["orig"]["dport"]: flow for flow in docker_host.quiet() if ends(flow) in told}
        assert {flow["state"] for flow in closed.values()} == {"TIME_WAIT"}
        remembered, fresh = line.rows(), line.anew()
        assert {port: parties(remembered[ends(flow)]) for port, flow in table.items()} == expected
        assert {port: parties(fresh[ends(flow)]) for port, flow in table.items()} == {
            9000: ("HOST", None, "hostnet"),
            9100: ("HOST", None, "edge"),
            9200: ("HOST", None, this_process()),
            5432: ("HOST", SHARED, None),
            443: ("HOST", SHARED, None),
            5353: ("HOST", SHARED, None),
        }, "without memory the listener tells who served; nobody can tell who called"


def test_host_network_containers_and_their_neighbours(docker_host: DockerHost, line: Line) -> None:
    """To and from a container of a bridge, and among themselves over the loopback interface."""
    app1 = docker_host.address("app1", "internal")
    gateway = docker_host.inspect("app1")[0]["NetworkSettings"]["Networks"]["internal"]["Gateway"]
    with ExitStack() as stack:
        stack.enter_context(running(docker_host, "edge", "host", command=SECOND))
        line.until(present=["edge"])
        _await(docker_host, 9100)
        stack.enter_context(talking(docker_host, "hostnet", app1, 443))
        stack.enter_context(talking(docker_host, "app1", gateway, 9100))
        stack.enter_context(talking(docker_host, "hostnet", "127.0.0.1", 9100))
        expected = {
            (app1, 443): ("ROUTED", "hostnet", "app1"),
            (gateway, 9100): ("ROUTED", "app1", "edge"),
            ("127.0.0.1", 9100): ("HOST", "hostnet", "edge"),
        }
        table = {(flow["orig"]["dst"], flow["orig"]["dport"]): flow for flow in docker_host.quiet()}
        assert table.keys() == expected.keys()
        for told in (line.rows(), line.anew()):
            assert {key: parties(told[ends(flow)]) for key, flow in table.items()} == expected
        flows = {name: each["flows"] for name, each in line.containers().items()}
    assert flows["hostnet"] == {"total": 2, "inbound": 0, "outbound": 2}
    assert flows["edge"] == {"total": 2, "inbound": 2, "outbound": 0}
    assert flows["app1"] == {"total": 2, "inbound": 1, "outbound": 1}


def test_what_was_closed_before_the_engine_answered(
    docker_host: DockerHost, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The live view does not wait for the engine: at first it knows the process, and not yet whose that is."""
    assert docker_host.outside_get(9000, 2) == 2
    table = to(docker_host.quiet(), dport=9000)
    assert {flow["state"] for flow in table} == {"TIME_WAIT"}
    with monkeypatch.context() as late:
        late.setattr(EngineWatcher, "latest", lambda _: (None, None))
        told = line.rows()
        assert all((told[ends(flow)]["server_other"] or "").startswith("host: httpd[") for flow in table)
    told = line.rows()
    assert {parties(told[ends(flow)]) for flow in table} == {("HOST", None, "hostnet")}


def test_udp_of_a_process_of_the_host(docker_host: DockerHost, line: Line) -> None:
    with Responder(docker_host.namespace, [HOST], [9300]):
        assert traffic.exchange(docker_host.outside, HOST, 9300) == 1
        (flow,) = to(docker_host.quiet(), dport=9300)
        assert parties(line.rows()[ends(flow)]) == ("HOST", None, this_process())


def test_udp_of_a_host_network_container(docker_host: DockerHost, line: Line) -> None:
    """It asks a name server that does not answer, and so keeps its socket for some seconds."""
    with entered(docker_host.outside):
        silent = socket.socket(type=socket.SOCK_DGRAM)
    with silent:
        silent.bind((OUTSIDE, 53))
        ask = ["docker", "--host", docker_host.url, "exec", "hostnet", "nslookup", "name.example", OUTSIDE]
        with subprocess.Popen(ask, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as asking:
            wait_until(lambda: to(oracle.flows(docker_host.namespace), dst=OUTSIDE, dport=53), what="the question")
            told = line.rows()
            flows = to(oracle.flows(docker_host.namespace), dst=OUTSIDE, dport=53)
            assert asking.wait(60) != 0, "nobody answered; no question comes later, into another test's table"
    assert {parties(told[ends(flow)]) for flow in flows if ends(flow) in told} == {("HOST", "hostnet", None)}


def test_sockets_are_read_once_a_refresh_where_flows_need_them(
    docker_host: DockerHost, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the host's namespace, and of one that containers share; none where no flow ends in a socket there."""
    read: list[str] = []
    dump = sockets.dump

    def counted() -> bytes:
        read.append(netns.identity())
        return dump()

    monkeypatch.setattr(sockets, "dump", counted)
    host_s, app1_s = (str(path.readlink()) for path in map(docker_host.inside, ("hostnet", "app1")))
    target = f"container:{docker_host.inspect('app1')[0]['Id']}"
    with running(docker_host, "joiner", target):
        line.until(present=["joiner"])
        read.clear()
        docker_host.egress("app2", 3)
        docker_host.internal_calls("app2", "app3")
        line.read()
        assert read == [], "addresses tell"
        docker_host.egress("app1", 3)
        line.read()
        assert read == [app1_s]
        read.clear()
        docker_host.outside_get(9000, 3)
        assert traffic.get(docker_host.namespace, OUTSIDE, 443, 3) == 3
        line.read()
        assert sorted(read) == sorted((app1_s, host_s))
        read.clear()
        line.tick()
        assert read == []


def test_what_is_unowned_is_counted(docker_host: DockerHost, line: Line) -> None:
    """The flows of host-network containers are theirs, those of the host's own processes nobody's."""
    with docker_host.linger(2, 9000), traffic.hold(docker_host.namespace, OUTSIDE, 5353, 3):
        table = docker_host.quiet()
        taken = line.read()
    strangers = oracle.unowned(table, docker_host.inspect())
    mine = to(strangers, dport=9000)
    assert taken.unowned
    assert taken.unowned.counts.total == len(strangers) - len(mine)
    assert containers(taken)["hostnet"]["flows"] == {"total": len(mine), "inbound": len(mine), "outbound": 0}


def test_a_container_in_another_s_namespace(docker_host: DockerHost, line: Line) -> None:
    target = f"container:{docker_host.inspect('app1')[0]['Id']}"
    app1 = docker_host.address("app1", "internal")
    with running(docker_host, "joiner", target, command=echo(7000)), ExitStack() as held:
        line.until(present=["joiner"])
        _await(docker_host, 7000, app1)
        held.enter_context(traffic.hold(docker_host.inside("app2"), app1, 7000, 1))
        held.enter_context(docker_host.hold_internal("app2", "app1", 1))
        held.enter_context(talking(docker_host, "joiner", OUTSIDE, 5432))
        held.enter_context(talking(docker_host, "app1", OUTSIDE, 443))
        expected = {
            (app1, 7000): ("INTERNAL", "app2", "joiner"),
            (app1, 443): ("INTERNAL", "app2", "app1"),
            (OUTSIDE, 5432): ("MASQUERADED", "joiner", None),
            (OUTSIDE, 443): ("MASQUERADED", "app1", None),
        }
        table = {(flow["orig"]["dst"], flow["orig"]["dport"]): flow for flow in docker_host.quiet()}
        assert table.keys() == expected.keys()
        taken = line.read()
        told = rows(taken)
        assert {key: parties(told[ends(flow)]) for key, flow in table.items()} == expected
        assert {told[ends(flow)]["network"] for flow in table.values()} == {"internal"}
        totals = {name: each["flows"] and each["flows"]["total"] for name, each in containers(taken).items()}
        assert (totals["app1"], totals["joiner"], totals["app2"]) == (2, 2, 2), "each flow once for either end"
        assert line.tick().reading is not None
        held.close()
        docker_host.quiet()
        remembered, fresh = line.rows(), line.anew()
        assert {key: parties(remembered[ends(flow)]) for key, flow in table.items()} == expected
        assert {key: parties(fresh[ends(flow)]) for key, flow in table.items()} == expected | {
            (OUTSIDE, 5432): ("MASQUERADED", "app1", None)
        }, "without memory, what has no socket any more is the address's owner's"


def test_flows_of_a_joined_container_are_not_stale_when_others_come(docker_host: DockerHost, line: Line) -> None:
    target = f"container:{docker_host.inspect('app1')[0]['Id']}"
    with running(docker_host, "joiner", target), talking(docker_host, "joiner", OUTSIDE, 5432):
        line.until(present=["joiner"])
        (flow,) = to(docker_host.quiet(), dst=OUTSIDE, dport=5432)
        assert parties(line.rows()[ends(flow)]) == ("MASQUERADED", "joiner", None)
        with running(docker_host, "other", "bridge"):
            line.until(present=["other"])
            assert line.taken
            assert parties(rows(line.taken)[ends(flow)]) == ("MASQUERADED", "joiner", None)
            assert parties(line.rows()[ends(flow)]) == ("MASQUERADED", "joiner", None)


def test_a_port_that_nobody_listens_on(docker_host: DockerHost, line: Line) -> None:
    """It belongs to no container, however many use the host's network; what is addressed to it may be any one's."""
    with entered(docker_host.outside), socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.sendto(b"hello", (HOST, 9101))
    (flow,) = to(docker_host.quiet(), dport=9101)
    row = line.rows()[ends(flow)]
    assert parties(row) == ("HOST", None, SHARED)
    assert row["server"] is None


def _await(host: DockerHost, port: int, address: str = HOST) -> None:
    """Wait until somebody listens there, and forget the flows of having tried."""
    wait_until(lambda: accepts(host, address, port), what=f"port {port} to accept")
    host.namespace.settle()
