"""What rules print for a Docker Engine, run as it is printed, and undone.

The judges are `docker inspect`, `iptables-save`, `conntrack`, /proc of the containers and the bytes that arrive.
"""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.docker.line import running, sysctl, to
from tests.lab import oracle, printed, traffic
from tests.lab.dockerhost import HOST, OUTSIDE, DockerHost
from tests.lab.netns import entered, wait_until
from tests.unit import remedies
from tests.unit.remedies import ENGINE, Case, Scenario, kind_of

SECOND = "198.18.0.79"
"""Another address of the host, and no other test's: neighbours remember for a minute whose an address was."""
FLAGS = re.compile(r"with (--sysctl .+), or `sysctls:`")
ENGINES = remedies.cases(ENGINE)
FILLED_IN = "ADDRESS"
"""What a person must put in its place."""


def of(kind: str) -> list[Case]:
    return [case for case in ENGINES if kind in map(kind_of, case.remedy().commands)]


ADDRESSED = [case for case in of("docker network") if FILLED_IN in case.remedy().commands[0]]
LEFT_BY_NAME = [case for case in of("docker network") if case not in ADDRESSED]


def named(**names: str) -> remedies.Fit:
    """A scenario whose containers have the lab's names."""

    def fit(scenario: Scenario) -> Scenario:
        def renamed(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: renamed(each) for key, each in value.items()}
            if isinstance(value, list):
                return [renamed(each) for each in value]
            return names.get(value, value) if isinstance(value, str) else value

        return {key: renamed(value) for key, value in scenario.items()}

    return fit


def follow(host: DockerHost, commands: tuple[str, ...], address: str = FILLED_IN) -> str:
    """Run commands as they are printed, an address filled in where that is left to people."""
    return "".join(
        printed.shell(host.namespace, command.replace(FILLED_IN, address), docker=host.url) for command in commands
    )


def networks(host: DockerHost) -> list[str]:
    form = "{{.Name}} {{.Internal}} {{.Options}}{{range .Containers}} {{.Name}}{{end}}"
    names = host.docker("network", "ls", "--format", "{{.Name}}").split()
    told = host.docker("network", "inspect", "--format", form, *names)
    return sorted(" ".join(sorted(line.split())) for line in told.splitlines())


@pytest.mark.parametrize("case", LEFT_BY_NAME, ids=str)
def test_a_network_for_containers_that_call_each_other(docker_host: DockerHost, case: Case) -> None:
    with running(docker_host, "caller", "bridge"):
        before, remedy = networks(docker_host), case.remedy(named(shop="caller", pay="webserver"))
        follow(docker_host, remedy.commands)
        docker_host.internal_calls("caller", "webserver", 1)
        follow(docker_host, remedy.undo)
        assert networks(docker_host) == before


@pytest.mark.parametrize("case", ADDRESSED, ids=str)
def test_a_network_that_leaves_by_another_address(docker_host: DockerHost, case: Case) -> None:
    before, remedy = networks(docker_host), case.remedy()
    (name,) = {command.split()[-1] for command in (*remedy.commands, *remedy.undo)}
    docker_host.namespace.run("ip", "address", "add", f"{SECOND}/24", "dev", "pub0")
    try:
        follow(docker_host, remedy.commands, SECOND)
        with running(docker_host, "mover", name), traffic.hold(docker_host.inside("mover"), OUTSIDE, 5432, 3):
            table = to(oracle.flows(docker_host.namespace), dst=OUTSIDE, dport=5432)
            assert [flow["reply"]["dst"] for flow in table] == [SECOND] * 3
        follow(docker_host, remedy.undo)
    finally:
        docker_host.namespace.run("ip", "address", "del", f"{SECOND}/24", "dev", "pub0")
    assert networks(docker_host) == before


def rules(host: DockerHost) -> list[str]:
    text = host.namespace.run("iptables-save").stdout
    return [line for line in re.sub(r"\[\d+:\d+\]", "", text).splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("case", of("iptables -I DOCKER-USER"), ids=str)
def test_invalid_packets_are_dropped(docker_host: DockerHost, case: Case) -> None:
    """Those of a connection whose entry is gone, which would leave with the container's own address."""
    place, remedy, before = docker_host.namespace, case.remedy(), rules(docker_host)
    with sysctl(place, "net.netfilter.nf_conntrack_tcp_loose", 0):
        with traced(docker_host) as escaped:
            speak_without_an_entry(docker_host)
            wait_until(escaped, what="the packet to leave as it is")
        follow(docker_host, remedy.commands)
        added = [rule for rule in rules(docker_host) if rule not in before]
        assert added == ["-A DOCKER-USER -m conntrack --ctstate INVALID -j DROP"]
        with traced(docker_host) as escaped:
            speak_without_an_entry(docker_host)
            wait_until(lambda: dropped(docker_host) > 0, what="the rule to take the packet")
            assert not escaped()
    follow(docker_host, remedy.undo)
    assert rules(docker_host) == before


def speak_without_an_entry(host: DockerHost) -> None:
    """A connection out whose entry is deleted, and a word on it."""
    connection = traffic.connect(host.inside("app1"), OUTSIDE, 5432)
    with connection:
        host.namespace.run("conntrack", "-D", "-p", "tcp", "--orig-port-dst", "5432")
        connection.send(b"hello")


def dropped(host: DockerHost) -> int:
    """Packets that the rule in DOCKER-USER has taken."""
    listing = host.namespace.run("iptables", "-nvxL", "DOCKER-USER").stdout
    return sum(int(line.split()[0]) for line in listing.splitlines() if " DROP " in line)


@contextmanager
def traced(host: DockerHost) -> Iterator[Any]:
    """Whether a packet with a container's own address has come out of the host."""
    source = host.address("app1", "internal")
    with entered(host.outside):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
    with wire:
        wire.setblocking(False)
        wire.bind(("out0", 0x0800))

        def escaped() -> bool:
            while True:
                try:
                    packet = wire.recv(65_535)
                except BlockingIOError:
                    return False
                if packet[12:16] == socket.inet_aton(source):
                    return True

        yield escaped


@pytest.mark.parametrize("case", of("sysctl -w net.bridge.bridge-nf-call-iptables"), ids=str)
def test_bridged_packets(docker_host: DockerHost, case: Case) -> None:
    name = "net.bridge.bridge-nf-call-iptables"
    with sysctl(docker_host.namespace, name, 0):
        remedy = case.remedy()
        follow(docker_host, remedy.commands)
        assert docker_host.namespace.sysctl(name) == "1"
        follow(docker_host, remedy.undo)
        assert docker_host.namespace.sysctl(name) == "0"


PROBING = {case.remedy().commands: case for case in of("natop probe")}
"""One for each command; it takes eight seconds."""


@pytest.mark.parametrize("case", PROBING.values(), ids=str)
def test_the_probe_that_tells_nat_s_losses_from_others(docker_host: DockerHost, case: Case) -> None:
    """From inside the container where one is named, and from the host; to what is not answered, where it is known."""
    words = shlex.split(case.remedy().commands[0])
    source = words[words.index("--from") + 1] if "--from" in words else ""
    (command,) = case.remedy(named(**{source: "app1"})).commands
    place = docker_host.inside("app1") if source else docker_host.namespace
    before = oracle.tcp_counters(place)["active_opens"]
    told = follow(docker_host, (command.replace(words[-1], f"{OUTSIDE}:443"),))
    assert oracle.tcp_counters(place)["active_opens"] - before == int(words[words.index("--count") + 1])
    assert sum(f"{OUTSIDE}:443" in line for line in told.splitlines()) == 1 + bool(source), told


# What texts tell people to write


FLAGGED = [case for case in remedies.cases() if FLAGS.search(case.remedy().text)]


@pytest.mark.parametrize("case", FLAGGED, ids=str)
def test_parameters_of_a_container_s_own(docker_host: DockerHost, case: Case) -> None:
    """The options as they are printed, on `docker run`; the host keeps its values."""
    found = FLAGS.search(case.remedy().text)
    assert found
    options = shlex.split(found[1])
    wanted = dict(option.partition("=")[::2] for option in options if option != "--sysctl")
    assert wanted
    here = {name: docker_host.namespace.sysctl(name) for name in wanted}
    with running(docker_host, "tuned", "internal", *options):
        for name, value in wanted.items():
            told = docker_host.docker("exec", "tuned", "cat", f"/proc/sys/{name.replace('.', '/')}")
            assert told.split() == value.split()
    assert {name: docker_host.namespace.sysctl(name) for name in wanted} == here


def test_the_flagged_are_found() -> None:
    """Each text that speaks of `sysctls:` gives options that were taken from it above."""
    assert [case for case in remedies.cases() if "`sysctls:`" in case.remedy().text] == FLAGGED


HOSTED = [case for case in remedies.cases() if "--network host" in printed.quoted(case.remedy().text)]


@pytest.mark.parametrize("case", HOSTED, ids=str)
def test_the_way_out_of_nat(docker_host: DockerHost, case: Case) -> None:
    (option,) = (each for each in printed.quoted(case.remedy().text) if each.startswith("--"))
    words = option.split()
    with running(docker_host, "freed", words[1]):
        assert words[0] == "--network"
        with traffic.hold(docker_host.inside("freed"), OUTSIDE, 5432, 3):
            table = to(oracle.flows(docker_host.namespace), dst=OUTSIDE, dport=5432)
    assert [(flow["orig"]["src"], oracle.nat(flow)) for flow in table] == [(HOST, set())] * 3


def test_no_case_is_left_out() -> None:
    kinds = ("docker network", "iptables -I DOCKER-USER", "natop probe", "sysctl -w net.bridge.bridge-nf-call-iptables")
    assert set(ENGINES) == {case for kind in kinds for case in of(kind)}
