"""Faults of Docker's own networking on a real engine: what the verdict says, and that what it prints ends them.

The judges are `conntrack -L`, `ss`, `docker inspect` and the bytes that arrive.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.docker.conftest import WITHOUT_PROXY
from tests.docker.line import running, sysctl, to
from tests.kernel import product
from tests.lab import oracle, printed, traffic
from tests.lab.dockerhost import HOST, OUTSIDE, DockerHost
from tests.lab.inject import Entry, inject
from tests.lab.netns import entered, wait_until
from tests.lab.printed import Finding

CALLS = 60
OLD, NEW = "172.18.0.50", "172.18.0.51"
UNSEEN = "blind-spots"
"""What is always told of this host: one of its containers has no network."""
BRIDGED = "net.bridge.bridge-nf-call-iptables"
TIME_WAIT = "net.netfilter.nf_conntrack_tcp_timeout_time_wait"
SOON_S = 3
"""So long closed connections stay in the table, that natop may see them and then be rid of them."""


def doctor(host: DockerHost) -> list[Finding]:
    return printed.doctor(host.namespace, "--docker-host", host.url)


def follow(host: DockerHost, remedy: Any, part: str = "commands") -> None:
    """Run a remedy's commands, or what undoes them, as they are printed."""
    for command in remedy[part]:
        printed.shell(host.namespace, command, docker=host.url)


def networks(host: DockerHost) -> list[str]:
    """Every network and who is on it, as the engine tells."""
    names = host.docker("network", "ls", "--format", "{{.Name}}").split()
    form = "{{.Name}} {{.Internal}}{{range .Containers}} {{.Name}}{{end}}"
    return sorted(
        " ".join(sorted(line.split())) for line in host.docker("network", "inspect", "-f", form, *names).splitlines()
    )


def default_route(host: DockerHost, name: str) -> str:
    command = ["nsenter", f"--net={host.inside(name)}", "ip", "route", "show", "default"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def listeners(host: DockerHost, port: int) -> str:
    """`ss` about who listens on a port of the host."""
    return host.namespace.run("ss", "-Hltnp", f"sport = :{port}").stdout


def call_by_name(host: DockerHost, client: str, address: str) -> int:
    """Requests by the container's own processes, as the remedy says; how many of their flows conntrack has."""
    host.internal_calls(client, address, CALLS)
    (source,) = host.inspect(client)
    own = oracle.container_addresses(source)
    return sum(
        flow["orig"]["src"] in own and not oracle.nat(flow) for flow in to(oracle.flows(host.namespace), dport=80)
    )


def gone(host: DockerHost, port: int) -> None:
    """Until the table has forgotten the calls of a published port."""
    wait_until(lambda: not to(oracle.flows(host.namespace), dst=HOST, dport=port), 30, what="their TIME_WAIT to end")


def test_containers_that_call_each_other_through_docker_proxy(docker_host: DockerHost) -> None:
    """Two on Docker's default network, which has no names: the remedy makes one that has."""
    with sysctl(docker_host.namespace, TIME_WAIT, SOON_S), running(docker_host, "caller", "bridge"):
        with traffic.hold(docker_host.inside("caller"), HOST, 8443, CALLS):
            table = docker_host.quiet()
            found = doctor(docker_host)
        caller, web = (docker_host.address(name, "bridge") for name in ("caller", "webserver"))
        calls = to(table, src=caller, dst=HOST, dport=8443)
        assert (len(calls), set().union(*map(oracle.nat, calls))) == (CALLS, set()), "nobody's address was changed"
        assert len(to(table, src="172.17.0.1", dst=web, dport=443)) == CALLS, "and each was made anew"
        assert "docker-proxy" in listeners(docker_host, 8443)
        assert sorted(printed.rules(found)) == [UNSEEN, "docker-proxy-path"]
        told = printed.finding(found, "docker-proxy-path")
        assert (told["severity"], told["subject"]) == ("info", "caller")
        assert told["summary"] == f"{len(calls)} flows to {HOST}:8443/tcp pass through docker-proxy"
        remedy = told["remedies"][0]
        assert "caller call webserver:443 by that name" in remedy["text"]
        before = networks(docker_host), default_route(docker_host, "caller"), default_route(docker_host, "webserver")
        follow(docker_host, remedy)
        try:
            gone(docker_host, 8443)
            assert call_by_name(docker_host, "caller", "webserver:80") == CALLS
            assert printed.rules(doctor(docker_host)) == [UNSEEN]
            assert docker_host.outside_get(8080) == docker_host.egress("caller") == 1
            assert (default_route(docker_host, "caller"), default_route(docker_host, "webserver")) == before[1:]
        finally:
            follow(docker_host, remedy, "undo")
        assert networks(docker_host) == before[0]


def test_neighbours_that_call_each_other_through_docker_proxy(docker_host: DockerHost) -> None:
    """They have a network with names in common: no command is needed."""
    with sysctl(docker_host.namespace, TIME_WAIT, SOON_S):
        with traffic.hold(docker_host.inside("app1"), HOST, 8443, CALLS):
            told = printed.finding(doctor(docker_host), "docker-proxy-path")
        remedy = told["remedies"][0]
        assert remedy["text"] == "Let app1 call webserver:443 by that name: they are on network internal."
        assert remedy["commands"] == []
        gone(docker_host, 8443)
        assert call_by_name(docker_host, "app1", "webserver:80") == CALLS
        assert printed.rules(doctor(docker_host)) == [UNSEEN]


def test_the_setting_that_leaves_it_to_the_kernel(docker_host: DockerHost, without_proxy: DockerHost) -> None:
    """An engine with what is printed in its daemon.json has no docker-proxy in the way, and costs what is printed."""
    for host in (docker_host, without_proxy):
        with running(host, "caller", "bridge"):
            assert traffic.get(host.inside("caller"), HOST, 8080, CALLS) == CALLS
            found = doctor(host)
        assert ("docker-proxy" in listeners(host, 8080)) == (host is docker_host)
        assert ("docker-proxy-path" in printed.rules(found)) == (host is docker_host)
        if host is docker_host:
            remedy = printed.finding(found, "docker-proxy-path")["remedies"][1]
    (lines,) = remedy["snippets"]
    assert (lines["place"], json.loads(lines["text"])) == ("/etc/docker/daemon.json", WITHOUT_PROXY)
    assert "network which the other container is not on are dropped" in remedy["cost"]
    assert traffic.get(docker_host.inside("app2"), HOST, 8080) == 1
    with entered(without_proxy.inside("app2")), socket.socket() as dropped:
        dropped.settimeout(1.5)
        with pytest.raises(TimeoutError):
            dropped.connect((HOST, 8080))


def test_hairpin(without_proxy: DockerHost) -> None:
    """A container that calls a port which it has published itself."""
    host = without_proxy
    with sysctl(host.namespace, TIME_WAIT, SOON_S):
        with traffic.hold(host.inside("webserver"), HOST, 8443, CALLS):
            table = host.quiet()
            found = doctor(host)
        calls = to(table, src=host.address("webserver", "bridge"), dst=HOST, dport=8443)
        assert {frozenset(oracle.nat(flow)) for flow in calls} == {frozenset(("dnat", "snat"))}
        assert sorted(printed.rules(found)) == [UNSEEN, "hairpin"]
        told = printed.finding(found, "hairpin")
        assert (told["severity"], told["subject"]) == ("info", "webserver")
        assert told["summary"] == f"{len(calls)} flows to {HOST}:8443/tcp turn round at the host (hairpin NAT)"
        (remedy,) = told["remedies"]
        assert "127.0.0.1:443" in remedy["text"]
        gone(host, 8443)
        with traffic.hold(host.inside("webserver"), "127.0.0.1", 443, CALLS):
            assert printed.rules(doctor(host)) == [UNSEEN]


def test_hairpin_of_the_host_s_own_calls_is_none_of_a_container_s(without_proxy: DockerHost) -> None:
    with traffic.hold(without_proxy.namespace, HOST, 8443, CALLS):
        calls = to(without_proxy.quiet(), dst=HOST, dport=8443)
        assert {frozenset(oracle.nat(flow)) for flow in calls} == {frozenset(("dnat", "snat"))}
        assert printed.rules(doctor(without_proxy)) == [UNSEEN]


def test_bridged_packets_that_iptables_does_not_see(docker_host: DockerHost) -> None:
    place = docker_host.namespace

    def calls() -> int:
        """How many of three calls between neighbours are in the table."""
        place.flush()
        docker_host.internal_calls("app1", "app2", 3)
        return len(to(oracle.flows(place), dst=docker_host.address("app2", "internal"), dport=80))

    assert (place.sysctl(BRIDGED), calls()) == ("1", 3)
    with sysctl(place, BRIDGED, 0):
        assert calls() == 0
        found = doctor(docker_host)
        assert printed.rules(found) == [UNSEEN]
        assert any("bridge-nf-call-iptables is not 1" in each for each in found[0]["evidence"])
        (remedy,) = found[0]["remedies"]
        follow(docker_host, remedy)
        assert (place.sysctl(BRIDGED), calls()) == ("1", 3)
        found = doctor(docker_host)
        assert (printed.rules(found), found[0]["remedies"]) == ([UNSEEN], [])
        assert not any("bridge-nf" in each for each in found[0]["evidence"])
        follow(docker_host, remedy, "undo")
        assert (place.sysctl(BRIDGED), calls()) == ("0", 0)
    assert place.sysctl(BRIDGED) == "1"


class Readings:
    """`natop snapshot` of a Docker host, a document at a time."""

    def __init__(self, host: DockerHost) -> None:
        arguments = ("--format", "json", "--every", "0.5", "--count", "200", "--docker-host", host.url)
        self._process = product.start(host.namespace, "snapshot", *arguments)

    def __enter__(self) -> Readings:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=30)

    def until(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The first reading from now on of which that is true."""
        assert self._process.stdout
        for line in self._process.stdout:
            document: dict[str, Any] = json.loads(line)
            if condition(document):
                return document
        raise AssertionError("no reading was like that")


def addresses(document: dict[str, Any], name: str) -> list[str]:
    """Where a reading has a container, if it runs."""
    found = [each for each in document["containers"] if each["name"] == name and each["state"] == "running"]
    return [place["ipv4"] for each in found for place in each["networks"]]


def test_a_udp_mapping_to_a_container_that_was_made_anew(docker_host: DockerHost) -> None:
    """A sender that never stops keeps an entry alive which still leads to the old address.

    Engines since 20.10.23 delete such entries of their published ports; this one is put back as the kernel had it.
    """
    place, published = docker_host.namespace, ("--publish", "9053:53/udp")

    def asks() -> bool:
        """Whether the sender gets an answer to its next datagram."""
        sender.send(b"hello")
        try:
            return sender.recv(64) == b"hello"
        except OSError:  # silence, or the kernel's word that nobody has the old address
            return False

    def mappings() -> list[str]:
        """Where conntrack sends what comes for the service."""
        return [flow["reply"]["src"] for flow in to(oracle.flows(place), dst=HOST, dport=9053)]

    with entered(docker_host.outside):
        sender = socket.socket(type=socket.SOCK_DGRAM)
    with sender, Readings(docker_host) as readings:
        sender.settimeout(1)
        sender.bind((OUTSIDE, 0))
        sender.connect((HOST, 9053))
        with running(docker_host, "dns", "internal", "--ip", OLD, *published):
            with traffic.Responder(docker_host.inside("dns"), ["0.0.0.0"], [53]):
                assert (asks(), mappings()) == (True, [OLD])
            readings.until(lambda told: addresses(told, "dns") == [OLD])
        with running(docker_host, "dns", "internal", "--ip", NEW, *published):
            place.run("conntrack", "-D", "-p", "udp", "--orig-port-dst", "9053", check=False)
            port = sender.getsockname()[1]
            entry = Entry(src=OUTSIDE, dst=HOST, sport=port, dport=9053, proto="udp", dnat=OLD, dnat_port=53)
            inject(place, [entry])
            with traffic.Responder(docker_host.inside("dns"), ["0.0.0.0"], [53]):
                assert (asks(), mappings()) == (False, [OLD])
                told = readings.until(lambda told: addresses(told, "dns") == [NEW] and stale(told))
                assert sorted(printed.rules(told["findings"])) == [UNSEEN, "stale-mapping"]
                (found,) = stale(told)
                assert (found["severity"], found["subject"]) == ("warning", "gone: dns")
                assert found["summary"] == f"{HOST}:9053/udp still leads to dns, which is gone: {len(mappings())} flow"
                assert any(OLD in each for each in found["evidence"])
                place.run("ip", "neighbour", "flush", "to", OLD)  # as a minute without an answer does
                assert not asks()
                (late,) = stale({"findings": doctor(docker_host)})
                assert (late["severity"], late["subject"]) == ("warning", f"gone: {OLD}"), (
                    "who was not there is told too"
                )
                assert late["remedies"] == found["remedies"]
                (remedy,) = found["remedies"]
                with docker_host.hold_egress("app1", 1):
                    others = {flow["id"] for flow in oracle.flows(place)} - {
                        to(oracle.flows(place), dport=9053)[0]["id"]
                    }
                    follow(docker_host, remedy)
                    assert others <= {flow["id"] for flow in oracle.flows(place)}, "nothing else was deleted"
                assert (asks(), mappings()) == (True, [NEW])
                readings.until(lambda told: not stale(told))
                assert stale({"findings": doctor(docker_host)}) == []


def stale(document: dict[str, Any]) -> list[Finding]:
    return [each for each in document["findings"] if each["rule"] == "stale-mapping"]
