"""What sockets run out of, on the real kernel, and the host's own connections beside a container's.

The judges are `nstat`, `conntrack -L` and the errors of connect().
"""

from __future__ import annotations

import errno
import resource
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kernel.faulthost import (
    FAR,
    OUTSIDE,
    FaultHost,
    Watch,
    connected,
    grave,
    knocking,
    listener,
    number_behind,
    quiet,
    the,
)
from tests.lab import oracle, printed, traffic
from tests.lab.netns import Namespace, wait_until

END = (FAR, 81)
BACKLOG = 16_384
FIRST, SIZE = 40_000, 6_400
"""The range of a container; with much fewer natop does not look."""
RANGE = "net.ipv4.ip_local_port_range"


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for a socket at each port."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 2 * SIZE), max(before[1], 2 * SIZE)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def follow(place: Namespace, remedy: Any) -> None:
    """Run a remedy's commands as they are printed, or, where it has none, set what its options have Docker set."""
    for command in remedy["commands"]:
        printed.shell(None, command)
    options = [each["text"] for each in remedy["snippets"] if "docker run" in each["place"]]
    for option in shlex.split("" if remedy["commands"] else options[0]):
        if option != "--sysctl":
            place.sysctl(*option.split("=", 1))


@pytest.mark.usefixtures("many_files")
def test_a_container_that_runs_out_of_local_ports(made: FaultHost) -> None:
    """At 79, 81 and 100 % of its range; NAT has thousands left. What the remedy sets ends it."""
    app = made.inside["app"]
    app.sysctl(RANGE, f"{FIRST} {FIRST + SIZE - 1}")
    made.outside.sysctl("net.core.somaxconn", BACKLOG)
    with listener(made.outside, END, BACKLOG), traffic.Held([]) as held:
        for percent, severity in (79, None), (81, "warning"), (100, "critical"):
            more = SIZE * percent // 100 - len(held)
            held.add(traffic.connect(app, *END) for _ in range(more))
            told = made.doctor()
            assert told["verdict"]["severity"] == severity
            if severity:
                assert grave(told) == [("local-ports-exhausted", "app")]
                finding = the(told, "local-ports-exhausted")
                assert finding["summary"].startswith(f"app holds {percent} % of its local ports towards {FAR}:81/tcp")
                assert f"{len(held):,} of {SIZE:,} ports ({FIRST} to {FIRST + SIZE - 1})" in finding["evidence"]
        with pytest.raises(OSError, match=f"Errno {errno.EADDRNOTAVAIL}"):
            traffic.connect(app, *END)
        follow(app, finding["remedies"][1])
        traffic.connect(app, *END).close()
        quiet(made.doctor())


def waiting_closed_early(place: Namespace) -> int:
    return oracle.tcp_counters(place)["time_wait_overflow"]


def test_sockets_that_find_no_room_in_time_wait(made: FaultHost) -> None:
    app = made.inside["app"]
    app.sysctl("net.ipv4.tcp_max_tw_buckets", 5)

    def closed_by_app() -> None:
        with traffic.Responder(made.outside, [FAR], [81]):
            for _ in range(20):
                traffic.connect(app, *END).close()
            wait_until(lambda: oracle.sockets(app)[0] == 0, what="connections to end")

    with Watch(made) as watch:
        closed_by_app()
        told = watch.verdict()
    assert waiting_closed_early(app) > 0
    assert grave(told) == [("time-wait-bucket-overflow", "app")]
    finding = the(told, "time-wait-bucket-overflow")
    assert number_behind(finding, "TCPTimeWaitOverflow") == waiting_closed_early(app)
    follow(app, finding["remedies"][0])
    before = waiting_closed_early(app)
    with Watch(made) as watch:
        closed_by_app()
        quiet(watch.verdict())
    assert waiting_closed_early(app) == before


def test_the_host_s_own_connections_that_nat_moves(made: FaultHost) -> None:
    """A container had their ports first: they work, and it is worth a word."""
    count = 12
    with (
        listener(made.outside, END, BACKLOG),
        knocking(made.inside["app"], END, count, first_port=FIRST) as first,
        knocking(made.host, END, count, first_port=FIRST) as later,
    ):
        wait_until(lambda: connected(first) == connected(later) == count, what="connections")
        own = [flow for flow in oracle.flows(made.host) if flow["orig"]["src"] == OUTSIDE]
        assert [oracle.nat(flow) for flow in own] == [{"snat"}] * count
        told = made.doctor()
        quiet(told, but=["host-flow-remapped"])
        assert f"{count} flows of kind REMAPPED" in the(told, "host-flow-remapped")["evidence"]
