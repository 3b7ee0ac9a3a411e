"""docker-proxy's two halves: the true client of each connection. The bytes that each client sends tell the judge."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier

import pytest

from tests.docker.line import Key, Line, Row, ends, parties, proxy_names, running, sysctl, this_process, to
from tests.lab import oracle, traffic
from tests.lab.dockerhost import HOST, DockerHost
from tests.lab.netns import entered, wait_until

ECHO, WEB_ECHO = 8443, 443
STEP = 20_000
"""The n-th client sends n times as many bytes, so that headers and pure acknowledgements cannot confuse them."""
LOCAL, OWN = "127.0.0.1", HOST


class Talk:
    """One client's connection through docker-proxy, and how much it has said."""

    def __init__(self, place: traffic.Place, name: str, address: str, number: int) -> None:
        self.name, self.number = name, number
        self.connection = traffic.connect(place, address, ECHO)

    def say(self) -> None:
        """Send number × STEP bytes and read their echo."""
        missing = self.number * STEP
        self.connection.settimeout(10)
        for _ in range(self.number):
            self.connection.sendall(b"x" * STEP)
            for_now = STEP
            while for_now:
                for_now -= len(self.connection.recv(for_now))
            missing -= STEP
        assert missing == 0

    def __enter__(self) -> Talk:
        self.say()
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()


@pytest.fixture
def counted(docker_host: DockerHost) -> Iterator[DockerHost]:
    """The Docker host, its flows counting their bytes."""
    with sysctl(docker_host.namespace, "net.netfilter.nf_conntrack_acct", 1):
        yield docker_host


def halves(table: Sequence[oracle.Flow], web: str, numbers: Sequence[int]) -> dict[int, tuple[Key, Key]]:
    """By a client's number: the flow to docker-proxy and the flow from it, as the bytes tell."""
    found: dict[int, list[oracle.Flow]] = {number: [] for number in numbers}
    for flow in table:
        called = (flow["orig"]["dst"], flow["orig"]["dport"])
        if called in ((HOST, ECHO), (LOCAL, ECHO), (web, WEB_ECHO)) and not oracle.nat(flow):
            number = flow["orig"].get("bytes", 0) // STEP
            if number in found:
                found[number].append(flow)
    pairs = {}
    for number, both in found.items():
        to_proxy, from_proxy = sorted(both, key=lambda flow: bool(flow["orig"]["dport"] == WEB_ECHO))
        pairs[number] = (ends(to_proxy), ends(from_proxy))
    return pairs


def assert_tied(told: dict[Key, Row], pairs: dict[int, tuple[Key, Key]], clients: dict[int, str]) -> None:
    for number, (to_proxy, from_proxy) in pairs.items():
        expected = ("PROXIED", clients[number], "webserver")
        assert parties(told[to_proxy]) == expected
        assert parties(told[from_proxy]) == expected


def test_every_client_s_two_halves(counted: DockerHost, line: Line) -> None:
    """Containers of two networks, the target itself and the host, open side by side, some closed, others new."""
    web = counted.address("webserver", "bridge")
    who: list[tuple[traffic.Place, str, str]] = [
        *((counted.inside(name), name, OWN) for name in ("app1", "app2", "app3", "webserver")),
        (counted.namespace, this_process(), LOCAL),
        *((counted.inside(name), name, OWN) for name in ("app3", "app1")),
    ]
    with ExitStack() as stack:
        talks = [stack.enter_context(Talk(*each, number)) for number, each in enumerate(who, 1)]
        clients = {talk.number: talk.name for talk in talks}
        pairs = halves(counted.quiet(), web, list(clients))
        assert_tied(line.rows(), pairs, clients)
        assert_tied(line.rows(), pairs, clients)
        assert_tied(line.anew(), pairs, clients)
        for talk in talks[1:4]:
            talk.connection.close()
        more = [(counted.inside("app2"), "app2", OWN), (counted.inside("app1"), "app1", OWN)]
        for number, each in enumerate(more, len(who) + 1):
            talks.append(stack.enter_context(Talk(*each, number)))
            clients[number] = each[1]
        pairs = halves(counted.quiet(), web, list(clients))
        assert_tied(line.rows(), pairs, clients)
        open_still = {number: pairs[number] for number in (1, 5, 6, 7, 8, 9)}
        assert_tied(line.anew(), open_still, clients)


def test_closed_ones_are_remembered_and_else_honest(counted: DockerHost, line: Line) -> None:
    web = counted.address("webserver", "bridge")
    clients = {1: "app1", 2: "app2", 3: "app1"}
    with ExitStack() as stack:
        for number, name in clients.items():
            stack.enter_context(Talk(counted.inside(name), name, OWN, number))
        pairs = halves(counted.quiet(), web, list(clients))
        assert_tied(line.rows(), pairs, clients)
    closed = {ends(flow): flow["state"] for flow in counted.quiet()}
    assert {closed[key] for both in pairs.values() for key in both} == {"TIME_WAIT"}
    assert_tied(line.rows(), pairs, clients)
    assert_tied(line.rows(), pairs, clients)
    told, proxies = line.anew(), proxy_names(counted.namespace, ECHO)
    assert proxies
    for number, (to_proxy, from_proxy) in pairs.items():
        assert parties(told[to_proxy]) == ("PROXIED", clients[number], "webserver")
        kind, client, server = parties(told[from_proxy])
        assert (kind, server) == ("PROXIED", "webserver")
        assert client in proxies, "who called cannot be known any more"


def test_clients_at_the_same_instant(counted: DockerHost, line: Line) -> None:
    """Each dialled connection is tied to one accepted one, and none twice; which one may err within the burst."""
    names = ["app1", "app2", "app3"] * 4
    barrier = Barrier(len(names))

    def talk(number: int, name: str) -> Talk:
        place = counted.inside(name)
        barrier.wait(10)
        return Talk(place, name, OWN, number)

    with ThreadPoolExecutor(len(names)) as pool:
        talks = list(pool.map(talk, range(1, len(names) + 1), names))
    with ExitStack() as stack:
        for each in talks:
            stack.enter_context(each)
        web = counted.address("webserver", "bridge")
        pairs = halves(counted.quiet(), web, range(1, len(names) + 1))
        told = line.rows()
        again = line.rows()
    assert all(parties(told[first])[1] == names[number - 1] for number, (first, _) in pairs.items())
    tied = sorted(parties(told[second])[1] or "" for _, second in pairs.values())
    assert tied == sorted(names)
    assert [parties(again[second]) for _, second in pairs.values()] == [
        parties(told[second]) for _, second in pairs.values()
    ]


def test_host_to_its_own_published_ports(docker_host: DockerHost, line: Line) -> None:
    web = docker_host.address("webserver", "bridge")
    with (
        traffic.hold(docker_host.namespace, LOCAL, ECHO, 1),
        traffic.hold(docker_host.namespace, OWN, ECHO, 1),
        traffic.hold(docker_host.namespace, web, WEB_ECHO, 1),
    ):
        table = docker_host.quiet()
        for told in (line.rows(), line.rows()):
            (local,), (own,) = to(table, dst=LOCAL, dport=ECHO), to(table, dst=OWN, dport=ECHO)
            assert parties(told[ends(local)]) == ("PROXIED", this_process(), "webserver")
            assert parties(told[ends(own)]) == ("PUBLISHED", this_process(), "webserver")
            assert (oracle.nat(local), oracle.nat(own)) == (set(), {"dnat"})
            behind = [told[ends(flow)] for flow in to(table, dst=web, dport=WEB_ECHO)]
            assert sorted(map(parties, behind)) == [
                ("PROXIED", this_process(), "webserver"),
                ("ROUTED", this_process(), "webserver"),
            ]
    docker_host.quiet()
    direct = [row for row in line.rows().values() if row["orig"]["dst"] == web]
    assert sorted(row["kind"] for row in direct) == ["PROXIED", "ROUTED"], "remembered which was which"


def test_udp_through_docker_proxy(docker_host: DockerHost, line: Line) -> None:
    """A proxy's UDP listener is one socket for all clients, so that only the proxy itself can be named."""
    with ExitStack() as stack:
        stack.enter_context(running(docker_host, "dns", "bridge", "--publish", "9054:53/udp"))
        stack.enter_context(traffic.Responder(docker_host.inside("dns"), ["0.0.0.0"], [53]))
        line.until(present=["dns"])
        with entered(docker_host.inside("app1")), socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            datagrams.sendto(b"hello", (HOST, 9054))
            inner = docker_host.address("dns", "bridge")
            wait_until(lambda: to(oracle.flows(docker_host.namespace), dst=inner, dport=53), what="the second half")
            table = docker_host.quiet()
            told = line.rows()
        (to_proxy,), (from_proxy,) = to(table, dst=HOST, dport=9054), to(table, dst=inner, dport=53)
        assert parties(told[ends(to_proxy)]) == ("PROXIED", "app1", "dns")
        kind, client, server = parties(told[ends(from_proxy)])
        assert (kind, server) == ("PROXIED", "dns")
        assert client in proxy_names(docker_host.namespace, 9054)
