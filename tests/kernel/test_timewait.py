"""TIME_WAIT of real connections: which side closed first, with whom, and where it would settle."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from natop.model import Closer, Snapshot, TimeWait
from tests.kernel import product
from tests.lab import oracle, traffic
from tests.lab.nathost import CLIENTS, SERVER_6, SERVERS, NatHost
from tests.lab.netns import wait_until


@pytest.fixture
def host() -> Iterator[NatHost]:
    with NatHost() as built:
        yield built


def closed_by(taken: Snapshot) -> dict[str, int]:
    """Flows by who closed first, as natop has it for each."""
    assert taken.reading is not None
    column = taken.reading.flows.closed_by
    assert column is not None
    return {each.name: int((column == each).sum()) for each in Closer if (column == each).any()}


def whole(taken: Snapshot) -> TimeWait:
    assert taken.time_wait is not None
    return taken.time_wait


def settle(host: NatHost, waiting: int) -> None:
    wait_until(lambda: oracle.state_counts(host.router) == {"TIME_WAIT": waiting}, what="all to be in TIME_WAIT")


@pytest.mark.parametrize(("first", "expected"), [("client", (12, 0)), ("server", (0, 12))])
def test_the_side_that_closes_first(host: NatHost, first: str, expected: tuple[int, int]) -> None:
    host.close(12, first=first)
    settle(host, 12)
    taken = product.read(host.router)
    assert closed_by(taken) == {first.upper(): 12}
    found = whole(taken)
    assert (found.closed_by_client, found.closed_by_server) == expected
    assert (found.count, found.share, found.services) == (12, 1.0, (("80/tcp", 12),))


def test_flows_that_nobody_closed_and_those_of_each_side_in_one_table(host: NatHost) -> None:
    host.close(5, first="client")
    host.close(7, first="server", client=1, port=81)
    with traffic.Held(traffic.connect(host.clients[0], SERVER_6, 80) for _ in range(3)):
        wait_until(lambda: oracle.state_counts(host.router).get("TIME_WAIT") == 12, what="the closed ones to settle")
        taken = product.read(host.router)
    assert closed_by(taken) == {"NOBODY": 3, "CLIENT": 5, "SERVER": 7}
    found = whole(taken)
    assert (found.closed_by_client, found.closed_by_server, found.share) == (5, 7, 12 / 15)
    assert found.services == (("81/tcp", 7), ("80/tcp", 5))
    assert found.remotes == ((CLIENTS[1], 7), (CLIENTS[0], 5)), "nobody owns the clients here"


def test_a_reset_is_nobody_s_close(host: NatHost) -> None:
    traffic.reset(host.clients[0], SERVERS[0], 80)
    assert oracle.state_counts(host.router) == {"CLOSE": 1}
    assert closed_by(product.read(host.router)) == {"NOBODY": 1}


def test_a_burst_settles_nowhere_and_how_it_grows(host: NatHost) -> None:
    host.close(10)
    settle(host, 10)
    first = product.read(host.router)
    assert (whole(first).is_unsteady, whole(first).growth_per_min) == (True, None)
    host.close(20)
    settle(host, 30)
    second = product.read(host.router, before=first)
    seconds = second.monotonic_s - first.monotonic_s
    assert whole(second).is_unsteady
    assert whole(second).growth_per_min == pytest.approx(60 * 20 / seconds)
    assert whole(second).concern is None


def test_an_even_rate_settles_where_it_leads_and_no_longer_once_it_ends(host: NatHost) -> None:
    """With a timeout of 24 s the last six seconds tell; of 24 connections of a second are in the table after that."""
    host.router.sysctl("net.netfilter.nf_conntrack_tcp_timeout_time_wait", 24)
    begun = time.monotonic()
    for second in range(9):
        time.sleep(max(0.0, begun + second - time.monotonic()))
        host.close(8)
    found = whole(product.read(host.router))
    assert found.count == 9 * 8
    assert found.steady_state == pytest.approx(24 * 8, rel=0.4)
    wait_until(lambda: whole(product.read(host.router)).is_unsteady, what="the rate to be no longer even")
    wait_until(lambda: whole(product.read(host.router)).steady_state == 0, what="the rate to be none")
    assert oracle.state_counts(host.router)["TIME_WAIT"] > 0


def test_the_document_of_a_real_host(host: NatHost) -> None:
    host.close(6, first="server")
    settle(host, 6)
    found = product.snapshot(host.router, "--no-docker")
    waiting = found["conntrack"]["time_wait"]
    assert (waiting["count"], waiting["closed_by_server"], waiting["concern"]) == (6, 6, None)
    assert waiting["remotes"] == found["unowned"]["time_wait"]["remotes"] == [{"ip": CLIENTS[0], "flows": 6}]
    assert found["conntrack"]["port_choice"] == {"kept": 6, "rewritten": 0, "kept_share": 1.0}
    (pool,) = found["nat_pools"]
    assert (pool["used"], pool["soft"], pool["hard"], pool["time_wait"]) == (6, 6, 0, 6)
    assert 100 < pool["drain_s"] <= 120
