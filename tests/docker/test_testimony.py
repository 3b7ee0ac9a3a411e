"""TCP's testimony of real containers: `nstat` inside each namespace is the judge."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import pytest

from natop.model import NetnsTcp
from tests.docker.line import Line, containers, running, snapshot
from tests.lab import oracle, traffic
from tests.lab.dockerhost import OUTSIDE, SILENT_PORT, DockerHost
from tests.lab.netns import entered

TUNED = "net.ipv4.ip_local_port_range=40000 40999"


def tcp(line: Line) -> dict[str, NetnsTcp | None]:
    """One tick's testimony by container."""
    return {each.container.name: each.tcp for each in line.tick().containers}


def shared(line: Line) -> dict[str, str]:
    """Of the last reading: whose namespace containers share."""
    assert line.taken
    return {each.container.name: each.tcp_of for each in line.taken.containers if each.tcp_of}


def rates(found: NetnsTcp | None) -> dict[str, float]:
    assert found is not None
    assert found.rates is not None
    return dict(found.rates)


def judged(host: DockerHost, name: str) -> dict[str, int]:
    return oracle.tcp_counters(host.inside(name))


def test_each_container_s_counters(docker_host: DockerHost, line: Line) -> None:
    docker_host.internal_calls("app1", "app2", 3)
    docker_host.outside_get(8080, 2)
    docker_host.quiet()
    line.until(present=docker_host.names)
    found = tcp(line)
    alone = [name for name in docker_host.names if name != "hostnet"]
    for name in alone:
        own = found[name]
        assert own is not None, name
        assert own.counters == judged(docker_host, name), name
    assert len({own.netns for own in found.values() if own}) == len(alone)
    assert found["hostnet"] is None
    assert shared(line) == {"hostnet": "host"}
    assert line.taken
    assert line.taken.tcp is not None
    assert line.taken.tcp.counters == oracle.tcp_counters(docker_host.namespace)
    again = tcp(line)
    assert {name: rates(again[name])["active_opens"] for name in alone} == dict.fromkeys(alone, 0.0)
    assert [gap for gap in line.taken.gaps if gap.source == "tcp"] == []


def test_a_container_that_is_restarted(docker_host: DockerHost, line: Line) -> None:
    """Its process is another, its namespace is another, and the namespace's number may well be the same."""
    with running(docker_host, "phoenix", "internal") as identity:
        line.until(present=["phoenix"])
        docker_host.internal_calls("phoenix", "app1", 3)
        assert rates(tcp(line)["phoenix"])
        before = docker_host.inspect("phoenix")[0]["State"]["Pid"]
        docker_host.docker("restart", "--time", "1", identity)
        after = docker_host.inspect("phoenix")[0]["State"]["Pid"]
        assert before != after
        line.until(present=["phoenix"])
        docker_host.internal_calls("phoenix", "app1", 1)
        for _ in range(2):
            found = tcp(line)["phoenix"]
        assert found is not None
        assert found.counters == judged(docker_host, "phoenix")
        assert found.counters["active_opens"] == 1
        assert min(rates(found).values()) == 0


def test_a_restart_never_gives_a_rate_below_zero(docker_host: DockerHost, line: Line) -> None:
    with running(docker_host, "phoenix", "internal") as identity:
        line.until(present=["phoenix"])
        for _ in range(3):
            docker_host.internal_calls("phoenix", "app1", 2)
            tcp(line)
            docker_host.docker("restart", "--time", "1", identity)
            for _ in range(4):
                found = tcp(line)["phoenix"]
                assert found is None or found.rates is None or min(found.rates.values()) >= 0
    line.until(absent=["phoenix"])
    assert tcp(line).get("phoenix") is None


def test_containers_that_share_a_namespace(docker_host: DockerHost, line: Line) -> None:
    with running(docker_host, "shared", "internal") as owner, running(docker_host, "joiner", f"container:{owner}"):
        line.until(present=["shared", "joiner"])
        docker_host.internal_calls("joiner", "app1", 2)
        found = tcp(line)
        assert found["joiner"] is None
        assert found["shared"]
        assert found["shared"].counters == judged(docker_host, "joiner")
        assert shared(line) == {"hostnet": "host", "joiner": "shared"}
        docker_host.docker("stop", "--time", "1", "shared")
        line.until(absent=["shared"])
        left = tcp(line)
        assert left["shared"] is None
        assert left["joiner"]
        assert left["joiner"].counters == judged(docker_host, "joiner"), "its namespace is still there"
        assert shared(line) == {"hostnet": "host"}
        docker_host.docker("start", "shared")
        line.until(present=["shared"])
        both = tcp(line)
        assert both["shared"]
        assert both["joiner"]
        assert both["shared"].netns != both["joiner"].netns, "who joined stays in the old one"
        assert both["shared"].counters == judged(docker_host, "shared")


def test_a_lost_syn_shows_at_its_container_alone(docker_host: DockerHost, line: Line) -> None:
    line.until(present=docker_host.names)
    tcp(line)
    before = judged(docker_host, "app2")
    assert docker_host.egress("app1") == 1
    with entered(docker_host.inside("app2")), socket.socket() as knocking:
        knocking.settimeout(1.5)
        with contextlib.suppress(TimeoutError):
            knocking.connect((OUTSIDE, SILENT_PORT))
    found = tcp(line)
    sent = judged(docker_host, "app2")["syn_retrans"] - before["syn_retrans"]
    assert sent == 1
    assert line.taken
    assert line.taken.interval_s
    risen = {name: number for name, own in found.items() if own and (number := rates(own)["syn_retrans"])}
    assert risen == {"app2": pytest.approx(1 / line.taken.interval_s)}
    assert line.taken.tcp
    assert rates(line.taken.tcp)["syn_retrans"] == 0


def test_sysctls_that_differ(docker_host: DockerHost, line: Line) -> None:
    """Of a container with its own, on the default bridge, and of one that takes the kernel's."""
    with running(docker_host, "tuned", "bridge", "--sysctl", TUNED), running(docker_host, "plain", "bridge"):
        line.until(present=["tuned", "plain"])
        told = {name: each["sysctls"] for name, each in line.containers().items()}
    assert told["tuned"] == told["plain"] | {"ip_local_port_range": (40000, 40999)}
    assert "ip_local_port_range" not in told["plain"]
    assert told["hostnet"] is None
    lasting = told["app1"]["nf_conntrack_tcp_timeout_time_wait"]
    assert lasting == 120, "its own table has the kernel's time-outs; the lab's host has longer ones"
    assert "nf_conntrack_tcp_timeout_time_wait" not in told["plain"]


def test_in_the_document(docker_host: DockerHost, line: Line) -> None:
    docker_host.egress("app1", 2)
    line.until(present=docker_host.names)
    line.read()
    with traffic.hold(docker_host.inside("app1"), OUTSIDE, 5432, 2):
        found: dict[str, dict[str, Any]] = containers(line.read())
        assert {name: found["app1"]["tcp"][name] for name in oracle.NSTAT.values()} == judged(docker_host, "app1")
        assert found["app1"]["rates"]["active_opens"] > 0
        assert found["app1"]["tcp"]["sockets_in_use"] == oracle.sockets(docker_host.inside("app1"))[0]
    assert found["app1"]["lost_syns_per_s"] == 0.0
    assert (found["hostnet"]["tcp"], found["hostnet"]["tcp_of"]) == (None, "host")


def test_the_host_is_read_by_its_namespace_from_elsewhere(docker_host: DockerHost) -> None:
    """The test's own namespace is neither the host's nor a container's."""
    docker_host.egress("app1", 1)
    docker_host.quiet()
    document = snapshot("--netns", docker_host.namespace.name, "--docker-host", docker_host.url)
    told = {each["name"]: each["tcp"] for each in document["containers"]}
    for name in ("app1", "webserver", "nonet"):
        assert {key: told[name][key] for key in oracle.NSTAT.values()} == judged(docker_host, name)
    own = oracle.tcp_counters(docker_host.namespace)
    assert {key: document["host"]["tcp"][key] for key in own} == own


def test_a_container_s_own_namespace_read(docker_host: DockerHost) -> None:
    """Its table is the one read, and its TCP is told both as the host's and as its own."""
    process = docker_host.inspect("app1")[0]["State"]["Pid"]
    document = snapshot("--netns", str(process), "--docker-host", docker_host.url)
    app1 = next(each for each in document["containers"] if each["name"] == "app1")
    assert app1["tcp"] is not None
    assert {key: document["host"]["tcp"][key] for key in app1["tcp"]} == app1["tcp"]
    assert (app1["tcp_of"], app1["sysctls"]) == (None, {})
    hostnet = next(each for each in document["containers"] if each["name"] == "hostnet")
    assert (hostnet["tcp"], hostnet["tcp_of"]) == (None, "host")
