"""What the parameters that rules print do to connections, and that their undoing undoes it; with nginx's words too.

The judges are `conntrack -L`, `ss`, `nstat` and the errors of connect().
"""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from natop.model import Remedy
from tests.kernel import rush
from tests.kernel.faulthost import FAR, FaultHost
from tests.kernel.test_remedies import OF_HERE, with_sysctls
from tests.lab import oracle, printed, traffic
from tests.lab.nathost import SERVERS, NatHost
from tests.lab.netns import Namespace, entered, wait_until
from tests.unit import remedies

HERE = "127.0.0.1"


def of(name: str, place: Namespace) -> Remedy:
    """The first remedy that sets such a parameter, for a host whose values are those of the namespace."""
    kind = f"sysctl -w {name}"
    found = [case for case in OF_HERE if kind in map(remedies.kind_of, case.remedy().commands)]
    return found[0].remedy(with_sysctls(place, found[0]))


def run(place: Namespace, commands: tuple[str, ...], only: str = "") -> None:
    for command in commands:
        if only in command:
            printed.shell(place, command)


@pytest.fixture
def host() -> Iterator[NatHost]:
    with NatHost() as built:
        yield built


def longest(host: NatHost, state: str) -> int:
    """The most that a connection in that state has left; the table is empty afterwards."""
    wait_until(lambda: set(oracle.state_counts(host.router)) == {state}, what=f"all to be in {state}")
    left = max(int(flow["timeout_s"]) for flow in oracle.flows(host.router))
    host.router.flush()
    return left


def test_time_wait_ends_sooner(host: NatHost) -> None:
    remedy = of("net.netfilter.nf_conntrack_tcp_timeout_time_wait", host.router)
    told = []
    for commands in ((), remedy.commands, remedy.undo):
        run(host.router, commands)
        host.close(3)
        told.append(longest(host, "TIME_WAIT"))
    assert told[0] > 100
    assert told[1] <= 30
    assert told[2] > 100


def test_idle_connections_are_forgotten_after_a_day(host: NatHost) -> None:
    remedy = of("net.netfilter.nf_conntrack_tcp_timeout_established", host.router)
    told = []
    for commands in ((), remedy.commands, remedy.undo):
        run(host.router, commands)
        with traffic.Held([traffic.connect(host.clients[0], SERVERS[0], 80)]):
            told.append(longest(host, "ESTABLISHED"))
    assert told[0] > 86_400
    assert 86_000 < told[1] <= 86_400
    assert told[2] > 86_400


def test_a_longer_accept_queue(namespace: Namespace) -> None:
    """`ss` has the backlog that a listener got beside its queue; this one asks for more than any."""
    remedy = of("net.core.somaxconn", namespace)
    told = []
    for commands in ((), remedy.commands, remedy.undo):
        run(namespace, commands)
        with entered(namespace), socket.create_server((HERE, 80), backlog=1 << 20):
            told.append(int(namespace.run("ss", "-Hltn").stdout.split()[2]))
    (command,) = remedy.commands
    assert command.endswith(f"={told[1]}")
    assert told[1] > told[0] == told[2]


# Local ports

FEW = range(20_000, 20_004)


@contextlib.contextmanager
def few_ports(place: Namespace) -> Iterator[None]:
    """As many connections as there are local ports towards one end."""
    place.sysctl("net.ipv4.ip_local_port_range", f"{FEW.start} {FEW.stop - 1}")
    with traffic.Responder(place, [HERE], [80]), traffic.Held(traffic.connect(place, HERE, 80) for _ in FEW):
        assert not one_more(place)
        yield


def one_more(place: Namespace) -> bool:
    """Whether another connection finds a local port."""
    with entered(place), socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        outcome = own.connect_ex((HERE, 80))
    assert outcome in (0, errno.EADDRNOTAVAIL)
    return outcome == 0


def test_more_local_ports(namespace: Namespace) -> None:
    name = "net.ipv4.ip_local_port_range"
    with few_ports(namespace):
        remedy = of(name, namespace)
        run(namespace, remedy.commands, only=name)
        assert one_more(namespace)
        run(namespace, remedy.undo, only=name)
        assert not one_more(namespace)


def all_wait(place: Namespace) -> bool:
    """Have another connection closed unless each of the few ports is in TIME_WAIT; whether they are."""
    waiting = oracle.sockets(place)[1]
    if waiting < len(FEW):
        with contextlib.suppress(OSError):
            traffic.connect(place, HERE, 80).close()
    return waiting == len(FEW)


def test_local_ports_in_time_wait_are_used_again(namespace: Namespace) -> None:
    """A second after they were closed (tcp_twsk_unique, net/ipv4/tcp_ipv4.c), once the parameter is set."""
    name = "net.ipv4.tcp_tw_reuse"
    namespace.sysctl(name, 0)
    namespace.sysctl("net.ipv4.ip_local_port_range", f"{FEW.start} {FEW.stop - 1}")
    with traffic.Responder(namespace, [HERE], [80]):
        wait_until(lambda: all_wait(namespace), what="all to be in TIME_WAIT")
        assert not one_more(namespace)
        remedy = of(name, namespace)
        run(namespace, remedy.commands, only=name)
        wait_until(lambda: one_more(namespace), what="a port to be used again")
        wait_until(lambda: all_wait(namespace), what="all to be in TIME_WAIT")
        run(namespace, remedy.undo, only=name)
        assert not one_more(namespace)


def test_room_for_sockets_in_time_wait(namespace: Namespace) -> None:
    name = "net.ipv4.tcp_max_tw_buckets"
    namespace.sysctl(name, 5)

    def closed_early() -> int:
        """Of twenty connections, those that found no room in TIME_WAIT."""
        before = oracle.tcp_counters(namespace)["time_wait_overflow"]
        for _ in range(20):
            traffic.connect(namespace, HERE, 80).close()
        wait_until(lambda: oracle.sockets(namespace)[0] <= 2, what="connections to end")
        return oracle.tcp_counters(namespace)["time_wait_overflow"] - before

    with traffic.Responder(namespace, [HERE], [80]):
        assert closed_early() > 0
        remedy = of(name, namespace)
        run(namespace, remedy.commands)
        assert closed_early() == 0
        run(namespace, remedy.undo)
        assert closed_early() > 0


# What is written into nginx.conf

BEFORE = f"upstream kept_open {{ server {FAR}:81; }}"
PROXY = "server { LISTEN location / { proxy_pass http://kept_open; } }"
REQUESTS = 30


def printed_lines() -> str:
    """What is printed to be written within http, with the lab's server in the place of the scenario's."""
    snippets = {each for case in remedies.cases() for each in case.remedy().snippets if "nginx.conf" in each.place}
    return re.sub(r"(?<=server )\S+(?=;)", f"{FAR}:81", min(each.text for each in snippets))


@pytest.mark.parametrize("kept", [False, True], ids=["as it was", "as the remedy says"])
def test_nginx_keeps_its_connections(made: FaultHost, tmp_path: Path, kept: bool) -> None:
    """Requests that it passes on take a connection each, and hardly any once its file has what is printed."""
    service = f"{printed_lines() if kept else BEFORE} {PROXY}"
    rush.serve(made.outside, [(FAR, 81)], tmp_path / "far")
    rush.serve(made.inside["app"], [(HERE, 80)], tmp_path / "app", service)
    assert traffic.get(made.inside["app"], HERE, 80, REQUESTS) == REQUESTS
    flows = [flow for flow in oracle.flows(made.host) if flow["orig"].get("dport") == 81]
    assert len(flows) == (1 if kept else REQUESTS)
