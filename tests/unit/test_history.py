"""The past: which numbers have one, that it is bounded, and that nobody's past changes under his hands."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.columns.containers import CONTAINER_COLUMNS
from natop.model import (
    COUNTER_NAMES,
    TCP_NAMES,
    UNOWNED,
    Addresses,
    Conntrack,
    Derived,
    NatPools,
    NetnsTcp,
    PortChoice,
    Snapshot,
)
from natop.observe import observe
from natop.summarise import history
from natop.summarise.history import BY_KEY, METRICS, OF_CONTAINER, OF_HOST, SPAN_S, remembered
from tests.unit.hosts import APP, CONTAINERS, WEB, container, observed, sample
from tests.unit.plain import Flow, flow


def flows(number: int, state: int = 7, first: int = 0) -> list[Flow]:
    """From APP to WEB."""
    return [
        flow(f"172.18.0.3:{10000 + i}", "172.18.0.2:80", state=state, id=i + 1) for i in range(first, first + number)
    ]


def values(taken: Snapshot, metric: str, subject: str | None = None, *, of_dumps: bool = False) -> list[float | None]:
    """The past of one number, None where it was not known."""
    found = taken.history.series(metric, subject, of_dumps=of_dumps).values.tolist()
    return [None if np.isnan(value) else value for value in found]


def pools() -> NatPools:
    """Two: 58,061 of 64,512 ports, and 10 of 100."""
    one, two = np.array([58061, 10], np.uint32), np.zeros(2, np.uint32)
    nobody = Addresses(np.zeros(2, np.uint64), np.zeros(2, np.uint64))
    ports = np.array([443, 80], np.uint16)
    return NatPools(
        proto=np.full(2, 6, np.uint8), zone=np.zeros(2, np.uint16), nat=nobody, remote=nobody, remote_port=ports,
        first_port=np.array([1024, 1], np.uint16), last_port=np.array([65535, 100], np.uint16), used=one, soft=two,
        time_wait=two, time_wait_hard=two, rewritten=two, masqueraded=two, by_rule=two, kept=two, draining=two,
        drain_s=two, new_per_s=None, ends_per_s=None, loss=np.zeros(2),
        holder=np.zeros(0, np.int32), holds=np.zeros(0, np.uint32), start=np.zeros(3, np.intp),
    )  # fmt: skip


# Which numbers


def test_every_number_is_declared_once_and_explained() -> None:
    for names in ([each.key for each in METRICS], [each.title for each in METRICS]):
        assert len(set(names)) == len(names)
    assert all(each.help and each.unit in ("", "/s", " %") and (each.host or each.container) for each in METRICS)


@pytest.mark.parametrize("name", [*COUNTER_NAMES, *TCP_NAMES])
def test_every_counter_of_the_kernel_has_a_past(name: str) -> None:
    assert BY_KEY[name].unit == "/s"
    assert BY_KEY[name].host
    assert bool(BY_KEY[name].container) == (name in TCP_NAMES)


def test_every_column_of_numbers_and_every_gauge_of_tcp_has_a_past() -> None:
    """`connect` is what probes found: they keep their own past."""
    of_columns = {"pool": "pool_use", "tw_sockets": "time_wait_sockets", "trend": "time_wait"}
    shown = {of_columns.get(each.key, each.key) for each in CONTAINER_COLUMNS if each.numeric} - {"connect"}
    gauges = {"sockets_in_use", "time_wait_sockets"}
    assert shown | gauges <= BY_KEY.keys()
    tcp = NetnsTcp("net:[7]", {}, sockets_in_use=9, time_wait_sockets=12)
    before = observed(sample(flows(1), containers=CONTAINERS))
    taken = remembered(before, replace(before, taken_at=before.taken_at + 1, tcp=tcp))
    assert [values(taken, name)[-1] for name in sorted(gauges)] == [9, 12]


def test_what_is_shown_of_flows_has_a_past() -> None:
    mixed = [*flows(3), *flows(2, state=3, first=10), *flows(1, state=1, first=20), *flows(4, state=4, first=30)]
    taken = observed(
        sample(flows(5), containers=CONTAINERS), sample([*flows(4, first=3), *mixed], at=2, containers=CONTAINERS)
    )
    expected = {"flows": 14, "established": 2, "syn": 1, "time_wait": 7, "closing": 4, "new": 4.5, "gone": 0}
    for subject in (None, WEB.id, APP.id):
        for metric, value in expected.items():
            assert values(taken, metric, subject)[-1] == value, (metric, subject)
    assert values(taken, "inbound", WEB.id) == [5, 14]
    assert values(taken, "outbound", WEB.id) == [0, 0]
    assert values(taken, "flows", UNOWNED) == [0, 0]
    assert values(taken, "inbound", UNOWNED) == [None, None]


def test_what_is_read_beside_flows_has_a_past() -> None:
    before = observed(sample(flows(10), containers=CONTAINERS))
    tcp = NetnsTcp("net:[7]", {}, dict.fromkeys(TCP_NAMES, 1.5), time_wait_sockets=12, lost_syns_per_s=0.25)
    after = observe(before, sample(flows(20), at=2, containers=CONTAINERS))
    web, *others = (replace(each, tcp=tcp, busiest_pool=1, rewritten_ports=3, own_table=8) for each in after.containers)
    taken = remembered(
        before,
        replace(
            after,
            conntrack=Conntrack(1000, 4000),
            counter_rates={"insert_failed": 0.5, "found": 45.0},
            derived=Derived(0.125, 0.5, 0.75, 9.0),
            containers=(replace(web, container=WEB), *others),
            tcp=replace(tcp, rates=None, time_wait_sockets=30),
            pools=pools(),
            port_choice=PortChoice(90, 10),
        ),
    )
    assert [values(taken, name)[-1] for name in ("fill", "insert_failed", "drop")] == [25.0, 0.5, None]
    of_host = {"found_per_new": 9.0, "clash_lost": 0.5, "table_full": 0.125, "lost_syns": 0.75, "kept_ports": 90.0}
    for metric, value in of_host.items():
        assert values(taken, metric)[-1] == value, metric
    assert values(taken, "pool_use")[-1] == pytest.approx(90.0, abs=0.01)
    assert values(taken, "rewritten")[-1] == 10
    assert [values(taken, name)[-1] for name in ("syn_retrans", "time_wait_sockets")] == [None, 30]
    of_web = {"pool_use": 10.0, "rewritten": 3, "own_table": 8, "syn_retrans": 1.5, "time_wait_sockets": 12}
    for metric, value in (of_web | {"lost_syns": 0.25, "listen_overflows": 1.5}).items():
        assert values(taken, metric, WEB.id)[-1] == value, metric


def test_a_number_of_the_host_alone_is_none_of_a_container() -> None:
    taken = observed(sample(flows(1), containers=CONTAINERS))
    with pytest.raises(ValueError, match="not in tuple"):
        taken.history.series("fill", WEB.id)
    with pytest.raises(ValueError, match="not in tuple"):
        taken.history.series("inbound")


# Gaps


def test_what_could_not_be_read_is_a_gap_and_no_zero() -> None:
    taken = observed(sample(containers=CONTAINERS), sample(flows(2), at=1, containers=CONTAINERS))
    assert values(taken, "flows") == [None, 2]
    assert values(taken, "flows", WEB.id) == [None, 2]
    assert values(taken, "new") == [None, None]
    assert values(taken, "pool_use") == [None, None]


def test_a_tick_without_a_dump_has_no_numbers_of_flows() -> None:
    dumps = (flows(1), None, flows(3))
    taken = observed(*(sample(dump, at=at, containers=CONTAINERS) for at, dump in enumerate(dumps)))
    for subject in (None, WEB.id, APP.id):
        assert values(taken, "flows", subject) == [1, None, 3]
        assert values(taken, "flows", subject, of_dumps=True) == [1, 3]
    assert taken.history.series("flows").at_s.tolist() == [1000, 1001, 1002]
    assert taken.history.series("flows", of_dumps=True).at_s.tolist() == [1000, 1002]
    known = [value is not None for value in values(taken, "fill")]
    assert known == [taken.conntrack.count is not None] * 3


def test_a_container_has_no_numbers_from_when_it_was_not_there() -> None:
    present = [(APP,), (APP, WEB), (APP,), (APP, WEB)]
    taken = observed(*(sample(flows(2, first=10 * at), at=at, containers=some) for at, some in enumerate(present)))
    assert values(taken, "flows", WEB.id) == [None, 2, None, 2]
    assert values(taken, "flows", "nobody") == [None] * 4
    assert taken.history.trends("flows")[WEB.id] == (2,), "a trend begins when the container came back"
    assert taken.history.trends("flows", 3)[APP.id] == (2, 2, 2)
    assert taken.history.host_trend("flows", 3) == (2, 2, 2)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=1, max_size=30), st.integers(1, 8))
def test_a_trend_equals_a_plain_loop(ticks: list[tuple[bool, bool, int]], length: int) -> None:
    """Of a container that comes and goes, dumps at some ticks only."""
    taken: Snapshot | None = None
    expected: list[int] = []
    for at, (is_there, has_dump, number) in enumerate(ticks):
        some = (APP, WEB) if is_there else (APP,)
        taken = observe(taken, sample(flows(number, first=10 * at) if has_dump else None, at=at, containers=some))
        expected = [*expected, *([number] if has_dump else [])] if is_there else []
    assert taken is not None
    trends = taken.history.trends("flows", length)
    assert trends.get(WEB.id) == (tuple(expected[-length:]) if ticks[-1][0] else None)


# How long, and how much


def test_the_past_is_fifteen_minutes() -> None:
    taken: Snapshot | None = None
    for at in range(0, 1000, 10):
        taken = observe(taken, sample(at=at, containers=CONTAINERS))
    assert taken is not None
    at_s = taken.history.series("fill").at_s
    assert (at_s[0], at_s[-1]) == (taken.monotonic_s - 15 * 60, taken.monotonic_s)
    assert len(at_s) == 91


def test_there_are_never_more_moments_than_two_a_second_give() -> None:
    assert history.MOST_MOMENTS >= SPAN_S / 0.5
    taken: Snapshot | None = None
    for number in range(history.MOST_MOMENTS + 50):
        taken = observe(taken, sample(at=number / 1000))
    assert taken is not None
    assert len(taken.history.moments) == history.MOST_MOMENTS


def test_many_containers_have_a_shorter_past(monkeypatch: pytest.MonkeyPatch) -> None:
    a_moment = (len(CONTAINERS) + 1) * len(OF_CONTAINER)
    monkeypatch.setattr(history, "MOST_NUMBERS", 5 * a_moment + 1)
    taken = observed(*(sample(at=at, containers=CONTAINERS) for at in range(9)))
    assert taken.history.series("fill").at_s.tolist() == [1004, 1005, 1006, 1007, 1008]
    taken = observe(taken, sample(at=9, containers=()))
    assert len(taken.history.moments) == 6, "an empty host needs less room"


def test_what_three_hundred_containers_take_is_as_much_as_is_said() -> None:
    """15 minutes of two a second: 4 bytes a number, and no more than a tenth for what holds them."""
    many = tuple(container(f"job-{i:03}", f"172.18.{1 + i // 200}.{1 + i % 200}") for i in range(300))
    taken = observed(sample(flows(1), containers=many), sample(flows(2), at=1, containers=many))
    first, second = taken.history.moments
    assert first.roster is second.roster
    numbers = sum(each.nbytes for each in (second.host, second.containers))
    assert numbers == 4 * (301 * len(OF_CONTAINER) + len(OF_HOST))
    assert 1800 * numbers < 60e6


def test_containers_that_are_gone_are_forgotten_after_fifteen_minutes() -> None:
    renamed = container("www", "172.18.0.2", id=WEB.id)
    taken = observed(sample(containers=(APP, WEB)), sample(at=1, containers=(APP, renamed)))
    taken = observe(taken, sample(at=10, containers=(APP,)))
    assert taken.history.names() == {APP.id: "app", WEB.id: "www", UNOWNED: "(host)"}
    taken = observe(taken, sample(at=1 + SPAN_S, containers=(APP,)))
    assert WEB.id in taken.history.names()
    taken = observe(taken, sample(at=2 + SPAN_S, containers=(APP,)))
    assert taken.history.names() == {APP.id: "app", UNOWNED: "(host)"}


def test_another_namespace_has_another_past() -> None:
    taken = observed(sample(flows(3)), sample(flows(4), at=1, netns="net:[4026532000]"))
    assert values(taken, "flows") == [4]


# Nobody's past changes


def test_a_snapshot_s_past_stays_as_it_was() -> None:
    older = observed(sample(flows(1), containers=CONTAINERS), sample(flows(2), at=1, containers=CONTAINERS))
    before = older.history
    newer = observe(older, sample(flows(3), at=2, containers=CONTAINERS))
    assert older.history is before
    assert values(older, "flows", WEB.id) == [1, 2]
    assert values(newer, "flows", WEB.id) == [1, 2, 3]
    assert newer.history.moments[:2] == older.history.moments, "moments are shared, not copied"
    other = observe(older, sample(flows(9), at=2, containers=CONTAINERS))
    assert values(other, "flows", WEB.id) == [1, 2, 9]
    assert values(newer, "flows", WEB.id) == [1, 2, 3]


def test_numbers_of_the_past_cannot_be_written() -> None:
    moment = observed(sample(flows(1), containers=CONTAINERS)).history.moments[0]
    for array in (moment.host, moment.containers):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_an_empty_past_is_one_too() -> None:
    from natop.model import History

    assert History().trends("time_wait") == {}
    assert History().host_trend("time_wait") == ()
    assert History().names() == {}
