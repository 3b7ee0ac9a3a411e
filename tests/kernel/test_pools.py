"""NAT pools filled on a real kernel, and real connects against them: what natop tells beside what happens.

Each connect sends one SYN. How many are lost is a matter of chance: tolerances are four standard deviations.
"""

from __future__ import annotations

import contextlib
import math
import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from natop.feed import Source, readings
from natop.model import NatPools
from tests.kernel import product
from tests.lab import oracle
from tests.lab.nathost import CLIENTS, OUTSIDE, OUTSIDE_6, SERVER_6, SERVERS, NatHost, Outcome
from tests.lab.netns import Namespace, entered, wait_until

ALL = np.arange(1024, 65536)
RANGE = "40000-40999"
WITHIN = np.arange(40000, 41000)


@pytest.fixture
def host() -> Iterator[NatHost]:
    with NatHost() as built:
        yield built


@pytest.fixture
def ranged() -> Iterator[NatHost]:
    with NatHost(RANGE) as built:
        yield built


def some(ports: np.ndarray, count: int) -> np.ndarray:
    return np.random.default_rng(1).permutation(ports)[:count]


def told(host: NatHost) -> list[dict[str, Any]]:
    """The pools as `natop snapshot` prints them."""
    pools: list[dict[str, Any]] = product.snapshot(host.router)["nat_pools"]
    return pools


def the_pool(host: NatHost, remote: str = SERVERS[0], port: int = 80) -> dict[str, Any]:
    (pool,) = [each for each in told(host) if (each["remote_ip"], each["remote_port"]) == (remote, port)]
    return pool


def listed(router: Namespace, remote: str, port: int = 80, nat: str = OUTSIDE) -> int:
    """Distinct ports of the reply tuples from this end to the SNAT address, as conntrack(8) lists them."""
    family = "ipv6" if ":" in remote else "ipv4"
    program = f"""
        {{ n = 0; for (i = 1; i <= NF; i++) if (split($i, part, "=") == 2) {{ n++; value[n] = part[2] }}
           if (value[5] == "{remote}" && value[6] == "{nat}" && value[7] == "{port}") seen[value[8]] = 1 }}
        END {{ count = 0; for (each in seen) count++; print count }}"""
    script = f"conntrack -L -f {family} -p tcp 2>/dev/null | sed 's/\\[[A-Z]*\\]//g' | awk '{program}'"
    return int(router.run("sh", "-c", script, timeout_s=60).stdout)


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """The sum; what was lost is what the kernel counted, no more and no less."""
    each = list(outcomes)
    total = Outcome(*(sum(getattr(one, name) for one in each) for name in Outcome.__dataclass_fields__))
    assert total.lost == total.insert_failed == total.drop
    return total


def assert_likely(total: Outcome, chances: Sequence[float]) -> None:
    """So many losses are within four standard deviations of what these chances, one a batch, let one expect."""
    chance = sum(chances) / len(chances)
    deviation = math.sqrt(total.asked * chance * (1 - chance))
    assert total.lost == pytest.approx(total.asked * chance, abs=4 * deviation + 1)


@pytest.mark.parametrize(
    ("percent", "batches"), [(50, 4), (90, 4), (95, 4), (98, 6), (99, 6), (100, 2)], ids=lambda number: str(number)
)
def test_a_pool_at_this_use(host: NatHost, percent: int, batches: int) -> None:
    """Its use by conntrack's own list; the chance of loss and the tries in vain by what comes of real connects."""
    held = host.hold(some(ALL, round(len(ALL) * percent / 100)))
    pool = the_pool(host)
    assert (pool["used"], pool["hard"], pool["soft"], pool["capacity"]) == (held, held, 0, 64512)
    assert listed(host.router, SERVERS[0]) == held
    assert (pool["masqueraded"], pool["rewritten"], pool["nat_ip"], pool["proto"]) == (held, 0, OUTSIDE, "tcp")
    assert pool["sustainable_per_s"] == (64512 - held) / 120, "these are connected, and stay"
    total = together(host.connect(50) for _ in range(batches))
    assert_likely(total, [pool["loss"]])
    if percent == 100:
        assert (pool["loss"], total.lost, total.found) == (1.0, total.asked, 129 * total.asked)
    assert total.found / total.asked == pytest.approx(expected_found(held / 64512), rel=0.35)


def expected_found(use: float) -> float:
    """What a new flow adds to the counter `found` on the average, where hard entries hold ports all over the range.

    Every try that meets a taken port counts, the flow's own port first, but not the last 32 of each round, which may
    evict (nf_nat_l4proto_unique_tuple).
    """
    found = chance = use
    for tries in (128, 64, 32, 16, 8):
        counted = max(0, tries - 32)
        for _ in range(counted):
            chance *= use
            found += chance
        chance *= use ** (tries - counted)
    return found


@pytest.mark.parametrize("percent", [50, 90, 95])
def test_ports_found_taken_for_each_new_flow(host: NatHost, percent: int) -> None:
    """As `conntrack -S` counts them over real connects, whose entries stay in TIME_WAIT."""
    host.hold(some(ALL, round(len(ALL) * percent / 100)))
    before = product.read(host.router)
    total = together(host.close(100) for _ in range(2))
    told = product.read(host.router, before=before).derived.found_per_new
    assert told == pytest.approx(total.found / total.asked, rel=0.02)
    assert total.found >= total.asked / 2


def test_neighbours_are_lost_to_where_evenly_spread_ports_are_not(host: NatHost) -> None:
    """44 % of the ports are taken, all in a row: by their number alone no search would ever fail."""
    host.hold(range(32768, 61000))
    pool = the_pool(host)
    assert 100 * pool["used"] / pool["capacity"] == pytest.approx(43.8, abs=0.1)
    assert pool["loss"] == pytest.approx(0.0147, abs=0.0001)
    total = together(host.connect(250) for _ in range(4))
    assert total.lost > 0
    assert_likely(total, [pool["loss"]])


def test_pools_that_are_not_mixed_up(host: NatHost) -> None:
    """One is full; others have the same addresses, or the same ports, and take every connect."""
    host.hold(ALL)
    host.hold(WITHIN[:10], port=81)
    host.hold(WITHIN[:20], remote=SERVERS[1])
    host.hold(WITHIN[:30], zone=7)
    told_of = {(each["remote_ip"], each["remote_port"], each["zone"]): each for each in told(host)}
    used = {key: (each["used"], each["loss"]) for key, each in told_of.items()}
    assert used == {
        (SERVERS[0], 80, 0): (64512, 1.0),
        (SERVERS[0], 81, 0): (10, 0.0),
        (SERVERS[1], 80, 0): (20, 0.0),
        (SERVERS[0], 80, 7): (30, 0.0),
    }
    assert together([host.connect(50, port=81), host.connect(50, remote=SERVERS[1])]).lost == 0
    assert together([host.connect(20)]).lost == 20


def test_the_router_s_own_connections_fill_the_pool_too(host: NatHost) -> None:
    """They hold their ports without any NAT."""
    host.hold(WITHIN[:10])
    with host.held_by_router(25):
        pool = the_pool(host)
        assert listed(host.router, SERVERS[0]) == 35
    assert (pool["used"], pool["masqueraded"]) == (35, 10)
    assert sum(pool["others"].values()) == 25
    assert all(name.startswith("host") for name in pool["others"])


def test_each_pool_tells_whether_its_ports_are_random(host: NatHost) -> None:
    """A rule says fully-random for one port of the server: of the whole table every second port is kept."""
    rule = 'oifname "out" tcp dport 81 masquerade fully-random'
    host.router.nft(f"table ip lab_random {{ chain post {{ type nat hook postrouting priority 90; {rule}; }}\n}}")
    assert together(host.close(30, port=port) for port in (80, 81)).lost == 0
    flows = [each for each in oracle.flows(host.router) if each["orig"]["dst"] == SERVERS[0]]
    kept = {port: [each for each in flows if each["orig"]["dport"] == port and kept_port(each)] for port in (80, 81)}
    document = product.snapshot(host.router)
    told_of = {each["remote_port"]: each["port_choice"] for each in document["nat_pools"]}
    assert {port: choice["kept"] for port, choice in told_of.items()} == {port: len(kept[port]) for port in (80, 81)}
    assert told_of[80]["kept_share"] == 1.0
    assert told_of[81]["kept_share"] < 0.1
    assert 0.4 < document["conntrack"]["port_choice"]["kept_share"] < 0.6


def kept_port(flow: oracle.Flow) -> bool:
    return bool(flow["orig"]["sport"] == flow["reply"]["dport"])


def test_a_collision_that_nat_resolved(host: NatHost) -> None:
    """Both clients call from one port; so does the router itself, whose own port gives way without a rule."""
    with contextlib.ExitStack() as stack:
        for place in (*host.clients, host.router):
            stack.enter_context(bound(place, 45000))
        flows = oracle.flows(host.router)
        pool = the_pool(host)
    assert sorted(kept_port(each) for each in flows) == [False, False, True]
    assert (pool["used"], pool["rewritten"], pool["masqueraded"]) == (3, 2, 3)
    assert pool["port_choice"] == {"kept": 1, "rewritten": 1, "kept_share": 0.5}


@contextlib.contextmanager
def bound(place: Namespace, port: int) -> Iterator[None]:
    """A connection to the first server from this port."""
    with entered(place):
        connection = socket.socket()
    with connection:
        connection.bind(("", port))
        connection.settimeout(5)
        connection.connect((SERVERS[0], 80))
        yield


def test_a_pool_of_ipv6(host: NatHost) -> None:
    held = host.hold(some(ALL, round(len(ALL) * 0.99)), remote=SERVER_6)
    pool = the_pool(host, SERVER_6)
    assert (pool["used"], pool["nat_ip"]) == (held, OUTSIDE_6)
    assert listed(host.router, SERVER_6, nat=OUTSIDE_6) == held
    total = together(host.connect(50, remote=SERVER_6) for _ in range(6))
    assert_likely(total, [pool["loss"]])
    assert total.lost > 0


# A rule's range


def pools(host: NatHost) -> NatPools:
    """As one reading has them, the router's rule by natop's own reading of its table too."""
    (taken,) = readings(Source(str(host.router.path)), 1, 1)
    assert taken.pools is not None, taken.gaps
    return taken.pools


def the_range(host: NatHost) -> tuple[int, int, float]:
    """Used, soft and the chance of loss of the only pool, which is the rule's range."""
    found = pools(host)
    assert (found.first_port.tolist(), found.last_port.tolist()) == ([40000], [40999])
    return int(found.used[0]), int(found.soft[0]), float(found.loss[0])


def test_a_range_of_ports_runs_out_as_told(ranged: NatHost) -> None:
    held = ranged.hold(some(WITHIN, 990))
    assert listed(ranged.router, SERVERS[0]) == held
    assert the_range(ranged)[:2] == (held, 0)
    total = together(ranged.connect(1) for _ in range(150))
    assert_likely(total, [the_range(ranged)[2]])
    ranged.hold(some(WITHIN, 1000)[990:])
    assert the_range(ranged) == (1000, 0, 1.0)
    assert together([ranged.connect(10)]).lost == 10


def test_outside_its_range_a_rule_s_clients_take_nothing(ranged: NatHost) -> None:
    """A few connects from ports outside of the range are all moved into it."""
    ranged.clients[0].sysctl("net.ipv4.ip_local_port_range", "50000 60999")
    ranged.close(20)
    pool = the_pool(ranged)
    assert (pool["first_port"], pool["last_port"], pool["capacity"], pool["used"]) == (40000, 40999, 1000, 20)
    found = pools(ranged)
    assert (found.used.tolist(), found.capacity.tolist(), found.rewritten.tolist()) == ([20], [1000], [20])


def test_time_wait_is_evicted_on_demand(ranged: NatHost) -> None:
    """The range is full of one client's TIME_WAIT; another's connects lose nothing, as told."""
    filled(ranged, 1000)
    used, soft, loss = the_range(ranged)
    assert (used, soft) == (1000, 1000)
    assert loss < 1e-30
    assert together(ranged.close(50, client=1) for _ in range(4)).lost == 0
    assert the_range(ranged)[:2] == (1000, 1000)
    others = ranged.router.run("conntrack", "-L", "-s", CLIENTS[1]).stdout.count("TIME_WAIT")
    assert 100 < others <= 200, "each took a port, most of them the first client's"


def test_few_that_may_be_evicted_help_a_little(ranged: NatHost) -> None:
    """A SYN evicts only what its sequence number is ahead of: of another connection's ports, half."""
    ranged.hold(some(WITHIN, 970))
    filled(ranged, 30)
    chances, outcomes = [], []
    for _ in range(60):
        used, soft, loss = the_range(ranged)
        assert (used, soft) == (1000, 30)
        chances.append(loss)
        outcomes.append(ranged.close(2, client=1))
    assert sum(chances) / 60 == pytest.approx((1 - 0.03 / 2) ** 120, rel=0.3)
    assert_likely(together(outcomes), chances)
    assert together(outcomes).lost > 6, "if each could be evicted, three would be lost"


def filled(host: NatHost, waiting: int) -> None:
    """Let connects come and go until so many ports, the last of the range, are held by TIME_WAIT."""
    for _ in range(40):
        missing = 1000 - listed(host.router, SERVERS[0])
        host.close(missing if missing > 20 else 20)
        settled(host)
        if listed(host.router, SERVERS[0]) == 1000:
            break
    assert the_range(host)[:2] == (1000, waiting)


def settled(host: NatHost) -> None:
    """Wait until no connection of a client is still closing."""

    def closing() -> int:
        text = host.router.run("conntrack", "-L", "-p", "tcp").stdout
        return sum(text.count(state) for state in ("FIN_WAIT", "CLOSE_WAIT", "LAST_ACK"))

    wait_until(lambda: closing() == 0, what="connections to be closed")
