"""Flows in conntrack's TIME_WAIT: who closes first, with whom, where it settles, and whether it matters."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.decode import counters
from natop.export.natdocument import time_wait_object
from natop.model import Attribution, Conntrack, Container, Snapshot, TimeWait
from natop.observe import observe
from natop.summarise.lately import Lately
from natop.summarise.ownership import Ownership
from natop.summarise.timewait import TOP, calm_text, time_waits
from tests.unit import netlink
from tests.unit.hosts import APP, CONTAINERS, DB, PROC, WEB, observed, sample
from tests.unit.plain import TCP, UDP, Flow, flow

TIME_WAIT = 7
HOST = "203.0.113.10"
OLD = PROC | {"sys/kernel/osrelease": "6.1.0-28-amd64\n"}


def served(number: int, *, remote: str = "100.64.0.9", state: int = TIME_WAIT, **more: int) -> Flow:
    """From outside to the web container's published port."""
    return _numbered(flow(f"{remote}:{10000 + number}", f"{HOST}:8080", dnat="172.18.0.2:80"), number, state, **more)


def called(number: int, *, remote: str = "198.51.100.7:443", state: int = TIME_WAIT, **more: int) -> Flow:
    """From the app container to the outside."""
    out = flow(f"172.18.0.3:{20000 + number}", remote, snat=f"{HOST}:{20000 + number}")
    return _numbered(out, number + 100_000, state, **more)


def _numbered(one: Flow, number: int, state: int, closed_by: int = 0, timeout_s: int = 50) -> Flow:
    return replace(one, id=number, state=state, closed_by=closed_by, timeout_s=timeout_s)


def of(taken: Snapshot, described: Container) -> TimeWait:
    found = next(each.time_wait for each in taken.containers if each.container.id == described.id)
    assert found is not None
    return found


def whole(taken: Snapshot) -> TimeWait:
    assert taken.time_wait is not None
    return taken.time_wait


def test_the_other_end_is_whom_a_client_called_and_who_called_a_server() -> None:
    flows = [served(1), served(2), served(3, remote="100.64.0.10"), called(4), called(5, state=3)]
    taken = observed(sample(flows, containers=CONTAINERS))
    web, app = of(taken, WEB), of(taken, APP)
    assert (web.count, web.share, web.remotes) == (3, 1.0, (("100.64.0.9", 2), ("100.64.0.10", 1)))
    assert web.services == (("8080/tcp", 3),)
    assert (app.count, app.share, app.remotes, app.services) == (1, 0.5, (("198.51.100.7", 1),), (("443/tcp", 1),))
    assert (whole(taken).count, whole(taken).share) == (4, 0.8)
    assert dict(whole(taken).remotes) == {"100.64.0.9": 2, "100.64.0.10": 1, "198.51.100.7": 1}


def test_who_has_none_and_who_has_no_tcp_at_all() -> None:
    taken = observed(sample([called(1, state=3)], containers=CONTAINERS))
    nothing = TimeWait(0, None, 0, 0, (), (), steady_state=0.0, peak_state=0.0)
    assert of(taken, DB) == nothing
    assert of(taken, APP) == replace(nothing, share=0.0)
    assert taken.unowned_time_wait == nothing


def test_unknown_flows_have_no_time_wait() -> None:
    taken = observed(sample(None, containers=CONTAINERS))
    assert (taken.time_wait, taken.unowned_time_wait) == (None, None)
    assert {each.time_wait for each in taken.containers} == {None}
    untracked = replace(DB, networks=(replace(DB.networks[0], driver="macvlan"),))
    assert [each.time_wait for each in observed(sample([], containers=(untracked,))).containers] == [None]


def test_which_side_closes_first() -> None:
    flows = [called(1, closed_by=1), called(2, closed_by=1), called(3, closed_by=2), called(4), called(5, closed_by=3)]
    flows += [called(6, closed_by=1, state=4)]
    app = of(observed(sample(flows, containers=CONTAINERS)), APP)
    assert (app.closed_by_client, app.closed_by_server) == (2, 1)


def test_who_closed_first_is_unknown_where_no_flow_tells_its_flags() -> None:
    """Not 0: a kernel, or a recording, that leaves TCP's flags out says nothing about either side."""
    reading = observed(sample([called(1), called(2)], containers=CONTAINERS)).reading
    assert reading is not None
    table = replace(reading.flows, closed_by=None)
    (waiting,) = time_waits(table, reading.attribution, Ownership.whole(2), [2], 120)
    assert (waiting.count, waiting.closed_by_client, waiting.closed_by_server) == (2, None, None)
    told = time_wait_object(waiting)
    assert told is not None
    assert (told["closed_by_client"], told["closed_by_server"]) == (None, None)


def test_only_the_first_remotes_and_services_are_told() -> None:
    flows = [called(10 * n + i, remote=f"198.51.100.{n}:{1000 + n}") for n in range(9) for i in range(n + 1)]
    app = of(observed(sample(flows, containers=CONTAINERS)), APP)
    assert app.remotes == tuple((f"198.51.100.{n}", n + 1) for n in (8, 7, 6, 5, 4))
    assert app.services == tuple((f"{1000 + n}/tcp", n + 1) for n in (8, 7, 6, 5, 4))


def coming(rates: Sequence[tuple[int, int]], timeout_s: int = 120, **more: Any) -> list[Flow]:
    """The flows that came at so many a second, each rate for so many seconds, the last rate until now."""
    left, flows = timeout_s - sum(seconds for _, seconds in rates), list[Flow]()
    for per_s, seconds in rates:
        for left_s in range(left, left + seconds):
            flows += [called(len(flows) + number, timeout_s=left_s, **more) for number in range(per_s)]
        left += seconds
    return flows


def settles(flows: list[Flow], timeout_s: int = 120) -> TimeWait:
    proc = PROC | {"sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait": f"{timeout_s}\n"}
    return of(observed(sample(flows, containers=CONTAINERS, proc=proc)), APP)


@pytest.mark.parametrize("timeout_s", [300, 120, 60, 40, 30, 7, 3, 1])
def test_an_even_rate_settles_where_it_has_settled(timeout_s: int) -> None:
    assert settles(coming([(4, timeout_s)], timeout_s), timeout_s).steady_state == 4 * timeout_s


@pytest.mark.parametrize("before", [0, 1, 40])
def test_a_new_rate_is_seen_after_half_a_minute(before: int) -> None:
    """And until then nothing is told, as nobody knows whether it lasts."""
    new = settles(coming([(before, 60), (10, 30)]))
    assert new.steady_state == 1200
    early = settles(coming([(before, 60), (10, 12)]))
    assert (early.steady_state, early.is_unsteady) == (None, True)


@pytest.mark.parametrize(("burst_s", "since_s"), [(1, 0), (1, 20), (10, 0), (20, 0), (20, 10), (60, 3), (60, 25)])
def test_a_burst_settles_nowhere(burst_s: int, since_s: int) -> None:
    """Until it is over for half a minute. One as long as that which ended this very second looks like a new rate."""
    assert settles(coming([(50, burst_s), (0, since_s)])).is_unsteady


@pytest.mark.parametrize("since_s", [30, 60])
def test_a_burst_that_has_been_over_for_half_a_minute_leaves_the_rate_of_now(since_s: int) -> None:
    assert settles(coming([(50, 40), (0, since_s)])).steady_state == 0
    assert settles(coming([(50, 40), (3, since_s)])).steady_state == 360


def test_chance_makes_no_rate_uneven() -> None:
    """Many a second or few: as many as a Poisson process brings."""
    lately, noise = Lately.of(120), np.random.default_rng(7)
    for mean in (2, 20, 200):
        counts = noise.poisson(mean * lately.part_s, (500, lately.width))
        counts[:, -1] = 0
        found = lately.rates(counts).even
        assert np.isfinite(found).mean() > 0.97, mean
        assert np.nanmean(found) == pytest.approx(mean, rel=0.05)


def test_a_handful_is_no_rate() -> None:
    assert settles([called(number, timeout_s=119) for number in range(3)]).is_unsteady
    assert settles([]).steady_state == 0


def test_entries_from_before_the_timeout_was_cut_do_not_look_new() -> None:
    """As after natop's own remedy, 30 s instead of 120: who came long before has as much left as who came just now."""
    assert settles(coming([(10, 120)]), timeout_s=30).is_unsteady
    assert settles(coming([(10, 30)], timeout_s=30), timeout_s=30).steady_state == 300


def test_without_its_timeout_nobody_knows_where_it_settles() -> None:
    proc = {name: text for name, text in PROC.items() if "time_wait" not in name}
    found = whole(observed(sample([called(1)], containers=CONTAINERS, proc=proc)))
    assert (found.steady_state, found.is_unsteady) == (None, False)
    told = time_wait_object(found)
    assert told is not None
    assert (told["steady_state"], told["unsteady"]) == (None, None)


# Growth


def waiting(number: int) -> list[Flow]:
    return [called(each) for each in range(number)]


def test_growth_is_per_minute_since_natop_looks() -> None:
    first = observed(sample(waiting(4), containers=CONTAINERS))
    assert of(first, APP).growth_per_min is None
    second = observe(first, sample(waiting(10), at=20, containers=CONTAINERS))
    assert of(second, APP).growth_per_min == whole(second).growth_per_min == 18
    third = observe(second, sample(waiting(1), at=60, containers=CONTAINERS))
    assert of(third, APP).growth_per_min == -3
    assert of(third, WEB).growth_per_min == 0


def test_the_host_grows_from_the_dump_from_which_its_containers_do() -> None:
    """Docker tells of them a little after the first dump: until then nobody knows whose a flow is."""
    taken: Snapshot | None = None
    for at, number, containers in ((0, 0, None), (2, 40, CONTAINERS), (12, 140, CONTAINERS)):
        taken = observe(taken, sample(waiting(number), at=at, containers=containers))
    assert taken is not None
    assert (of(taken, APP).growth_per_min, of(taken, APP).growth_s) == (600, 10)
    assert (whole(taken).growth_per_min, whole(taken).growth_s) == (600, 10)


def test_where_there_are_no_containers_the_host_grows_from_the_first_dump() -> None:
    taken = observed(*(sample(waiting(10 * at), at=at, containers=None) for at in (0, 2, 12)))
    assert (whole(taken).growth_per_min, whole(taken).growth_s) == (600, 12)


def test_what_grew_more_than_a_minute_ago_does_not_grow() -> None:
    taken: Snapshot | None = None
    for at, number in ((0, 4), (20, 400), (40, 400), (60, 400), (80, 400)):
        taken = observe(taken, sample(waiting(number), at=at, containers=(APP,)))
    assert taken is not None
    assert of(taken, APP).growth_per_min == whole(taken).growth_per_min == 0


def test_a_tick_without_a_dump_keeps_the_very_objects() -> None:
    first = observed(sample(waiting(4), containers=CONTAINERS), sample(waiting(6), at=30, containers=CONTAINERS))
    second = observe(first, sample(None, at=32, containers=CONTAINERS))
    assert second.time_wait is first.time_wait
    assert second.unowned_time_wait is first.unowned_time_wait
    assert (second.pools, second.port_choice) == (first.pools, first.port_choice)
    assert second.pools is first.pools
    assert [each.time_wait for each in second.containers] == [each.time_wait for each in first.containers]


def test_the_same_dump_for_other_containers_keeps_growth_and_rates() -> None:
    first, second = sample(waiting(4), containers=(APP,)), sample(waiting(6), at=30, containers=(APP,))
    before = observed(first, second)
    after = observe(before, sample(None, at=32, containers=(APP, WEB)))
    assert of(after, APP).growth_per_min == of(before, APP).growth_per_min == 4
    assert of(after, WEB).growth_per_min is None
    assert before.pools is not None
    assert after.pools is not None
    assert before.pools.new_per_s is not None
    assert after.pools.new_per_s is not None
    assert after.pools.new_per_s.tolist() == before.pools.new_per_s.tolist() == [2 / 30]


def test_where_dumps_are_rarer_than_a_minute_growth_is_since_the_last() -> None:
    taken: Snapshot | None = None
    for at, number in ((0, 4), (100, 40), (200, 50)):
        taken = observe(taken, sample(waiting(number), at=at, containers=(APP,)))
    assert taken is not None
    assert of(taken, APP).growth_per_min == 6


def test_a_container_that_comes_has_no_growth_yet() -> None:
    taken = observed(sample(waiting(4), containers=(WEB,)), sample(waiting(6), at=2, containers=(WEB, APP)))
    assert of(taken, APP).growth_per_min is None
    assert whole(taken).growth_per_min == 60


# Whether it matters


def crowd(number: int, state: int = TIME_WAIT) -> list[Flow]:
    """So many of the 511 low ports held by one container towards one end."""
    return [
        replace(flow(f"172.18.0.3:{port}", "198.51.100.7:443", snat=f"{HOST}:{port}"), state=state, id=port)
        for port in range(1, number + 1)
    ]


def concern(flows: Sequence[Flow], proc: dict[str, str] = OLD, stats: bytes = b"") -> dict[str, str | None]:
    taken = observed(sample(flows, containers=CONTAINERS, proc=proc, stats=stats))
    told = {each.container.name: each.time_wait.concern for each in taken.containers if each.time_wait}
    assert taken.unowned_time_wait
    return told | {"unowned": taken.unowned_time_wait.concern, "whole": whole(taken).concern}


POOL = (
    "80 % of the 511 NAT ports to 198.51.100.7:443/tcp cannot be had, "
    "409 of them for TIME_WAIT that this kernel does not evict"
)


def test_a_pool_that_time_wait_fills_matters_where_the_kernel_does_not_evict() -> None:
    told = concern([*crowd(409), called(1), served(2)])
    assert {name for name, each in told.items() if each} == {"app", "whole"}
    assert told["app"] == told["whole"] == POOL
    assert set(concern(crowd(409), PROC).values()) == {None}, "6.18 evicts"


@pytest.mark.parametrize("flows", [crowd(408), crowd(511, state=3), [*crowd(511, state=3), called(1)]])
def test_a_pool_that_is_not_full_or_not_of_time_wait_is_harmless(flows: list[Flow]) -> None:
    assert set(concern(flows).values()) == {None}


def test_the_host_s_own_time_wait_is_never_evicted() -> None:
    own = [
        replace(flow(f"{HOST}:{port}", "198.51.100.7:443"), state=TIME_WAIT, id=1000 + port) for port in range(1, 450)
    ]
    told = concern([*own, *[replace(each, state=3) for each in crowd(451)[450:]]], PROC)
    assert {name for name, each in told.items() if each} == {"unowned", "whole"}


def test_time_wait_that_is_evicted_is_no_part_of_what_fills_a_pool() -> None:
    """The host's own holds a quarter of the ports, or less; beside it stand some that a new connection may have."""

    def pool(own: int, evicted: int, state: int) -> list[Flow]:
        mine = [
            replace(flow(f"{HOST}:{n}", "198.51.100.7:443"), state=TIME_WAIT, id=1000 + n) for n in range(1, own + 1)
        ]
        others = [replace(each, state=3) for each in crowd(511)[own : 511 - evicted]]
        return [*mine, *others, *[replace(each, state=state) for each in crowd(511)[511 - evicted :]]]

    assert set(concern(pool(100, 90, TIME_WAIT), PROC).values()) == {None}, "190 in TIME_WAIT, of them 100 to stay"
    told = concern(pool(130, 90, 8), PROC)["whole"]
    assert told is not None
    assert "82 % of the 511 NAT ports" in told
    assert "130 of them for TIME_WAIT" in told, "those in CLOSE, which may be evicted, change nothing"


FULL = {counters.MAX_FILE: "1000\n", counters.COUNT_FILE: "750\n"}


def test_a_table_that_is_nearly_full_matters_to_whom_a_large_part_of_it_belongs() -> None:
    flows = [*waiting(188), *[served(each) for each in range(187)]]
    told = concern(flows, PROC | FULL)
    assert told["app"] == "the conntrack table is 75 % full (750 of 1,000 entries), 188 of them in TIME_WAIT"
    assert {name for name, each in told.items() if each} == {"app", "whole"}
    assert set(concern(flows, PROC | FULL | {counters.COUNT_FILE: "749\n"}).values()) == {None}


@pytest.mark.parametrize("unknown", [counters.MAX_FILE, counters.COUNT_FILE])
def test_a_table_of_unknown_fill_is_no_concern(unknown: str) -> None:
    proc = {name: text for name, text in (PROC | FULL).items() if name != unknown}
    assert set(concern(waiting(700), proc).values()) == {None}
    assert set(concern(waiting(700), PROC | FULL | {counters.MAX_FILE: "0\n"}).values()) == {None}, "without a limit"


def test_statistics_by_ctnetlink_tell_the_fill_too() -> None:
    assert concern(waiting(700), stats=netlink.stats_global(800, 1000))["app"]


def test_a_table_that_will_fill_matters_to_whom_a_large_part_of_it_will_belong() -> None:
    """Of 300 entries 200 are in TIME_WAIT; with 800 of these there will be 900."""
    few = PROC | {counters.MAX_FILE: "899\n", counters.COUNT_FILE: "300\n"}
    flows = coming([(7, 30)])
    told = concern([*flows, served(1, timeout_s=60)], few)
    assert told["app"] == (
        "the conntrack table will fill: at this rate it settles at about 929 entries, "
        "840 of them in TIME_WAIT, and 899 is its limit"
    )
    assert {name for name, each in told.items() if each} == {"app", "whole"}
    assert set(concern(flows, few | {counters.MAX_FILE: "930\n"}).values()) == {None}, "just room enough"
    old = [called(each, timeout_s=10) for each in range(200)]
    assert set(concern(old, few).values()) == {None}, "nothing new comes"
    burst = [called(each, timeout_s=115) for each in range(200)]
    assert set(concern(burst, few).values()) == {None}, "it is over"


def test_what_gives_no_concern_is_called_harmless_only_where_that_is_known() -> None:
    table = Conntrack(300, 1000, 256, {}, ())
    waiting = TimeWait(200, 0.9, 0, 0, (), ())
    assert calm_text(replace(waiting, steady_state=800.0), table) == "harmless"
    assert calm_text(waiting, table) == "not judged: how long they stay was not told"
    assert calm_text(replace(waiting, steady_state=800.0), replace(table, count=None)).startswith("not judged")
    assert calm_text(replace(waiting, peak_state=900.0), table) == "harmless", "not even the highest rate fills it"
    assert calm_text(replace(waiting, peak_state=901.0), table) == "harmless so far"


@pytest.mark.parametrize(
    ("per_s", "seconds", "proc", "matters"),
    [(6, 32, OLD, True), (4, 48, OLD, False), (100, 2, OLD, False), (6, 32, PROC, False)],
    ids=["old", "slow", "burst", "new"],
)
def test_a_pool_that_gets_more_than_it_can_sustain_will_fill(
    per_s: int, seconds: int, proc: dict[str, str], matters: bool
) -> None:
    """Some 200 of 511 ports, of which each is held for two minutes: 511 / 120 is 4.3 a second."""
    flows = [replace(each, timeout_s=119 - row // per_s) for row, each in enumerate(crowd(per_s * seconds))]
    told = whole(observed(sample(flows, proc=proc))).concern
    text = (
        "the 511 NAT ports to 198.51.100.7:443/tcp will fill: 6 connections end each second, "
        "4 sustainable on this kernel"
    )
    assert told == (text if matters else None)


# Against plain loops

REMOTES = ("100.64.0.9", "198.51.100.7", "172.18.0.2", "172.18.0.3", HOST, "fd00:18::2", "2001:db8::7")


@st.composite
def tables(draw: st.DrawFn) -> list[Flow]:
    flows = []
    for number in range(draw(st.integers(0, 25))):
        src, dst = draw(st.sampled_from(REMOTES)), draw(st.sampled_from(REMOTES))
        if (":" in src) != (":" in dst):
            continue
        ends = [f"[{address}]" if ":" in address else address for address in (src, dst)]
        one = flow(f"{ends[0]}:{1000 + number}", f"{ends[1]}:{draw(st.sampled_from((80, 443)))}")
        proto, state = draw(st.sampled_from(((TCP, 7), (TCP, 7), (TCP, 3), (TCP, None), (UDP, None))))
        closed_by = draw(st.integers(0, 3)) if state is not None else 0
        flows.append(replace(one, proto=proto, state=state, closed_by=closed_by, id=number))
    return flows


@given(tables())
def test_any_table_gives_what_plain_loops_give(flows: list[Flow]) -> None:
    taken = observed(sample(flows, containers=CONTAINERS))
    assert taken.reading is not None
    attribution = taken.reading.attribution
    told = {each.container.name: each.time_wait for each in taken.containers}
    names = [each.name for each in CONTAINERS]
    remotes: dict[str, Counter[str]] = {name: Counter() for name in (*names, "unowned", "whole")}
    services: dict[str, Counter[str]] = {name: Counter() for name in remotes}
    tcp: Counter[str] = Counter()
    closed: Counter[tuple[str, int]] = Counter()
    for one, (client, server) in zip(taken_order(taken, flows), codes(attribution), strict=True):
        owners = {code for code in (client, server) if code >= 0}
        seen = [(names[code], one.orig.dst if code == client else one.orig.src) for code in owners]
        outer = one.orig.dst if client != -1 else one.orig.src
        for name, remote in [*(seen or [("unowned", outer)]), ("whole", outer)]:
            tcp[name] += one.proto == TCP and one.state is not None
            if one.proto == TCP and one.state == TIME_WAIT:
                remotes[name][remote] += 1
                services[name][f"{one.orig.dport}/tcp"] += 1
                closed[name, one.closed_by] += 1
    for name, found in [*told.items(), ("unowned", taken.unowned_time_wait), ("whole", taken.time_wait)]:
        assert found is not None
        count = remotes[name].total()
        assert (found.count, found.share) == (count, count / tcp[name] if tcp[name] else None)
        assert (found.closed_by_client, found.closed_by_server) == (closed[name, 1], closed[name, 2])
        for listed, all_ in ((found.remotes, remotes[name]), (found.services, services[name])):
            assert all(all_[what] == number for what, number in listed)
            assert [number for _, number in listed] == sorted(all_.values(), reverse=True)[:TOP]


def taken_order(taken: Snapshot, flows: list[Flow]) -> list[Flow]:
    """The flows in the order of the snapshot's rows."""
    assert taken.reading is not None
    by_id = {each.id: each for each in flows}
    return [by_id[number] for number in taken.reading.flows.id.tolist()]


def codes(attribution: Attribution) -> list[tuple[int, int]]:
    return list(zip(attribution.client.tolist(), attribution.server.tolist(), strict=True))
