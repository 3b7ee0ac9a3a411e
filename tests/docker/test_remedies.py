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

from natop.diagnose.compose import OPTIONS
from tests.docker.line import network, running, sysctl, to
from tests.docker.test_nat_rules import RANDOM
from tests.lab import oracle, printed, traffic
from tests.lab.dockerhost import HOST, OUTSIDE, DockerHost
from tests.lab.netns import entered, wait_until
from tests.unit import remedies
from tests.unit.remedies import ENGINE, Case, Scenario, kind_of

SECOND = "198.18.0.79"
"""Another address of the host, and no other test's: neighbours remember for a minute whose an address was."""
ENGINES = remedies.cases(ENGINE)


def of(kind: str) -> list[Case]:
    return [case for case in ENGINES if kind in map(kind_of, case.remedy().commands)]


ADDRESSED = [case for case in of("docker network") if "host_ipv" in " ".join(case.remedy().commands)]
JOINING = [case for case in of("docker network") if len(case.remedy().commands) == 1]
LEFT_BY_NAME = [case for case in of("docker network") if case not in (*ADDRESSED, *JOINING)]


def named(**names: str) -> remedies.Fit:
    """A scenario whose containers have the lab's names."""
    return remedies.renamed(lambda text: names.get(text, text))


def lab(host: DockerHost, **names: str) -> remedies.Fit:
    """A scenario with the lab's engine, and other names."""
    version = host.docker("version", "--format", "{{.Server.Version}}").strip()
    return lambda scenario: remedies.renamed(lambda text: names.get(text, text))(scenario) | {"docker": version}


def follow(host: DockerHost, commands: tuple[str, ...]) -> str:
    """Run commands as they are printed."""
    return "".join(printed.shell(host.namespace, command, docker=host.url) for command in commands)


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


@contextmanager
def second_address(host: DockerHost) -> Iterator[None]:
    host.namespace.run("ip", "address", "add", f"{SECOND}/24", "dev", "pub0")
    try:
        yield
    finally:
        host.namespace.run("ip", "address", "del", f"{SECOND}/24", "dev", "pub0")


def leaves_by(host: DockerHost, name: str) -> set[str]:
    """The addresses by which new connections of a container leave the host."""
    host.namespace.run("conntrack", "-D", "-p", "tcp", "--orig-port-dst", "5432", check=False)
    with traffic.hold(host.inside(name), OUTSIDE, 5432, 3):
        return {flow["reply"]["dst"] for flow in to(oracle.flows(host.namespace), dst=OUTSIDE, dport=5432)}


FOUR = [case for case in ADDRESSED if "host_ipv4" in case.remedy().commands[0]]
SIX = [case for case in ADDRESSED if case not in FOUR]


@contextmanager
def ruled(host: DockerHost, case: Case) -> Iterator[None]:
    """The table for random ports, where the scenario's host has it."""
    if not any("natop_random" in each.get("chain", "") for each in remedies.scenario(case.path).get("network", ())):
        yield
        return
    host.namespace.nft(RANDOM)
    try:
        yield
    finally:
        host.namespace.run("nft", "delete", "table", "ip", "natop_random")


@pytest.mark.parametrize("case", FOUR, ids=str)
def test_a_network_that_leaves_by_another_address(docker_host: DockerHost, case: Case) -> None:
    """Made, and joined by a container that runs, on a network that the scenario's is on; then all is as before."""
    told = remedies.scenario(case.path)["container"][0]
    (own,) = told["networks"]
    remedy = case.remedy(lab(docker_host, **{"203.0.113.11": SECOND, told["name"]: "mover"}))
    with (
        second_address(docker_host),
        ruled(docker_host, case),
        network(docker_host, own),
        running(docker_host, "mover", own),
    ):
        before = networks(docker_host)
        assert leaves_by(docker_host, "mover") == {HOST}
        follow(docker_host, remedy.commands)
        assert leaves_by(docker_host, "mover") == {SECOND}
        follow(docker_host, remedy.undo)
        assert leaves_by(docker_host, "mover") == {HOST}
        assert networks(docker_host) == before


@pytest.mark.parametrize("case", JOINING, ids=str)
def test_a_network_that_leaves_by_another_address_already(docker_host: DockerHost, case: Case) -> None:
    """Its name sorts before that of the container's own, which is what engines before 28 go by."""
    remedy = case.remedy(lab(docker_host, **{"second way": "another.way", "shop": "internal", "api": "mover"}))
    option = ("-o", f"com.docker.network.host_ipv4={SECOND}")
    with (
        second_address(docker_host),
        network(docker_host, "another.way", *option),
        running(docker_host, "mover", "internal"),
    ):
        follow(docker_host, remedy.commands)
        assert leaves_by(docker_host, "mover") == {SECOND}
        follow(docker_host, remedy.undo)
        assert leaves_by(docker_host, "mover") == {HOST}


def test_an_address_that_the_table_for_random_ports_hides(docker_host: DockerHost) -> None:
    """Of a network that is made after it; natop says so, and the table that it prints then has a line for that."""
    docker_host.namespace.nft(RANDOM)
    option = ("-o", f"com.docker.network.host_ipv4={SECOND}")
    undo: tuple[str, ...] = ("nft delete table ip natop_random",)
    try:
        with second_address(docker_host), network(docker_host, "mail", *option), running(docker_host, "mover", "mail"):
            assert leaves_by(docker_host, "mover") == {HOST}
            told = printed.finding(
                printed.doctor(docker_host.namespace, "--docker-host", docker_host.url), "hidden-snat"
            )
            assert (told["subject"], told["severity"]) == ("mail", "warning")
            (remedy,) = told["remedies"]
            follow(docker_host, (*remedy["commands"], *remedy["commands"]))
            undo = tuple(remedy["undo"])
            assert leaves_by(docker_host, "mover") == {SECOND}
            found = printed.doctor(docker_host.namespace, "--docker-host", docker_host.url)
            assert "hidden-snat" not in printed.rules(found)
    finally:
        follow(docker_host, undo)
    assert "natop_random" not in docker_host.namespace.run("nft", "list", "tables").stdout


@pytest.mark.parametrize("case", SIX, ids=str)
def test_a_network_that_leaves_by_another_address_of_ipv6(docker_host: DockerHost, case: Case) -> None:
    """By the engine's rule: the lab has no way out for IPv6. One that does not know how is not told to."""
    remedy = case.remedy(lab(docker_host, api="mover"))
    if not remedy.commands:
        assert "an engine from Docker 27.0 on can be told to" in remedy.text
        return
    with running(docker_host, "mover", "internal"):
        follow(docker_host, remedy.commands)
        told = docker_host.namespace.run("ip6tables-save", "-t", "nat").stdout
        assert re.search(r"-A POSTROUTING -s \S+ ! -o \S+ -j SNAT --to-source 2001:db8::11$", told, re.M), told
        follow(docker_host, remedy.undo)
        assert "2001:db8::11" not in docker_host.namespace.run("ip6tables-save", "-t", "nat").stdout


def rules(host: DockerHost) -> list[str]:
    text = host.namespace.run("iptables-save").stdout
    return [line for line in re.sub(r"\[\d+:\d+\]", "", text).splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("case", of("iptables -C DOCKER-USER"), ids=str)
def test_invalid_packets_are_dropped(docker_host: DockerHost, case: Case) -> None:
    """Those of a connection whose entry is gone, which would leave with the container's own address."""
    place, remedy, before = docker_host.namespace, case.remedy(), rules(docker_host)
    with sysctl(place, "net.netfilter.nf_conntrack_tcp_loose", 0):
        with traced(docker_host) as escaped:
            speak_without_an_entry(docker_host)
            wait_until(escaped, what="the packet to leave as it is")
        follow(docker_host, (*remedy.commands, *remedy.commands))
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


def optioned(case: Case) -> list[str]:
    """The options that a remedy gives for `docker run`."""
    return [each.text for each in case.remedy().snippets if each.place.startswith(OPTIONS)]


FLAGGED = [case for case in remedies.cases() if any("--sysctl" in text for text in optioned(case))]


@pytest.mark.parametrize("case", FLAGGED, ids=str)
def test_parameters_of_a_container_s_own(docker_host: DockerHost, case: Case) -> None:
    """The options as they are printed, on `docker run`; the host keeps its values."""
    options = shlex.split(optioned(case)[0])
    wanted = dict(option.partition("=")[::2] for option in options if option != "--sysctl")
    assert wanted
    here = {name: docker_host.namespace.sysctl(name) for name in wanted}
    with running(docker_host, "tuned", "internal", *options):
        for name, value in wanted.items():
            told = docker_host.docker("exec", "tuned", "cat", f"/proc/sys/{name.replace('.', '/')}")
            assert told.split() == value.split()
    assert {name: docker_host.namespace.sysctl(name) for name in wanted} == here


@pytest.mark.parametrize("case", [case for case in of("nsenter --net=") if not case.remedy().undo], ids=str)
def test_who_listens_in_a_container(docker_host: DockerHost, case: Case) -> None:
    with running(docker_host, "slow", "internal"):
        pid = docker_host.inspect("slow")[0]["State"]["Pid"]
        with entered(docker_host.inside("slow")), socket.socket() as listener:
            listener.bind(("", 0))
            listener.listen(7)
            inside = {"container": [each | {"pid": pid} for each in remedies.scenario(case.path)["container"]]}
            told = follow(docker_host, case.remedy(lambda scenario: scenario | inside).commands)
            assert re.search(rf"LISTEN +0 +7 .*:{listener.getsockname()[1]} ", told)


@pytest.mark.parametrize("case", [case for case in of("nsenter --net=") if case.remedy().undo], ids=str)
def test_parameters_of_a_container_that_runs(docker_host: DockerHost, case: Case) -> None:
    """They are changed inside at once, and back; the host keeps its values."""
    names = [command.partition("sysctl -w ")[2].strip("'").partition("=")[0] for command in case.remedy().commands]
    with running(docker_host, "tuned", "internal"):
        pid = docker_host.inspect("tuned")[0]["State"]["Pid"]

        def now() -> dict[str, list[int]]:
            told = (docker_host.docker("exec", "tuned", "cat", f"/proc/sys/{name.replace('.', '/')}") for name in names)
            return {name: [int(word) for word in text.split()] for name, text in zip(names, told, strict=True)}

        before, here = now(), {name: docker_host.namespace.sysctl(name) for name in names}
        read = {name.rpartition(".")[2]: value if len(value) > 1 else value[0] for name, value in before.items()}

        def fit(scenario: Scenario) -> Scenario:
            told = (each.get("sysctls", {}) | read for each in scenario["container"])
            inside = ({"pid": pid, "sysctls": sysctls} for sysctls in told)
            return scenario | {"container": [a | b for a, b in zip(scenario["container"], inside, strict=True)]}

        remedy = case.remedy(fit)
        follow(docker_host, remedy.commands)
        assert all(now()[name] != value for name, value in before.items())
        assert {name: docker_host.namespace.sysctl(name) for name in names} == here
        follow(docker_host, remedy.undo)
        assert now() == before


HOSTED = [case for case in remedies.cases() if "--network host" in optioned(case)]


@pytest.mark.parametrize("case", HOSTED, ids=str)
def test_the_way_out_of_nat(docker_host: DockerHost, case: Case) -> None:
    option, network_name = optioned(case)[0].split()
    assert option == "--network"
    with running(docker_host, "freed", network_name), traffic.hold(docker_host.inside("freed"), OUTSIDE, 5432, 3):
        table = to(oracle.flows(docker_host.namespace), dst=OUTSIDE, dport=5432)
    assert [(flow["orig"]["src"], oracle.nat(flow)) for flow in table] == [(HOST, set())] * 3


RESOLVING = [case for case in remedies.cases() if any("--dns-opt" in text for text in optioned(case))]


@pytest.mark.parametrize("case", RESOLVING, ids=str)
def test_an_option_of_the_resolver(docker_host: DockerHost, case: Case) -> None:
    with running(docker_host, "asking", "internal", *shlex.split(optioned(case)[0])):
        told = docker_host.docker("exec", "asking", "cat", "/etc/resolv.conf")
    assert re.search(r"^options .*\bsingle-request-reopen\b", told, re.M)


def test_each_option_is_tried() -> None:
    assert {str(case) for case in remedies.cases() if optioned(case)} == set(map(str, [*FLAGGED, *HOSTED, *RESOLVING]))


def test_no_case_is_left_out() -> None:
    kinds = (
        *("docker network", "iptables -C DOCKER-USER", "natop probe", "nsenter --net="),
        "sysctl -w net.bridge.bridge-nf-call-iptables",
    )
    assert set(ENGINES) == {case for kind in kinds for case in of(kind)}
