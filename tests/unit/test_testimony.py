"""TCP's testimony from snapshot to snapshot: rates, whose it is, and the SYNs that conntrack lost."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.model import Container, NetnsTcp, NetnsText, Sample, Snapshot
from natop.observe import observe
from natop.summarise.testimony import SYN_PATIENCE_S, share_out
from tests.unit import netlink
from tests.unit.hosts import APP, DB, EDGE, HOST_NETNS, PROC, WEB, container, observed, sample, tcp_text
from tests.unit.plain import flow

HOST = HOST_NETNS
OWN = {WEB.id: "net:[1]", APP.id: "net:[2]", DB.id: "net:[3]"}
JOINER = container("joiner", network_mode=f"container:{WEB.id}")
FLOWS = [flow("172.18.0.3:40000", "198.51.100.7:443", snat="203.0.113.10:50000", id=2)]


def tick(
    at: float,
    tcp: Mapping[str, NetnsText],
    containers: Sequence[Container] = (APP, DB, WEB),
    members: Mapping[str, str] = OWN,
    **fields: Any,
) -> Sample:
    return sample(None, at=at, containers=containers, tcp=tcp, members=members, **fields)


def stats(**numbers: int) -> bytes:
    return netlink.stats_global(1, 2) + netlink.stats_cpu(0, {"chain_toolong": 0} | numbers) + netlink.done()


def told(taken: Snapshot) -> dict[str, NetnsTcp]:
    return {each.container.name: each.tcp for each in taken.containers if each.tcp}


def rates(taken: Snapshot, name: str = "syn_retrans") -> dict[str, float | None]:
    return {who: tcp.rates[name] if tcp.rates else None for who, tcp in told(taken).items()}


def lost(taken: Snapshot) -> dict[str, float | None]:
    found = {who: tcp.lost_syns_per_s for who, tcp in told(taken).items()}
    return found | ({"(host)": taken.tcp.lost_syns_per_s} if taken.tcp else {})


# Rates


def test_a_first_reading_has_no_rates() -> None:
    taken = observed(tick(0, {HOST: tcp_text(syn_retrans=9), "net:[1]": tcp_text(syn_retrans=5)}))
    assert taken.tcp is not None
    assert (taken.tcp.counters["syn_retrans"], taken.tcp.rates, taken.tcp.lost_syns_per_s) == (9, None, None)
    assert told(taken)["web"].counters["syn_retrans"] == 5
    assert told(taken).keys() == {"web"}, "the others' namespaces could not be read"
    assert rates(taken) == {"web": None}
    assert (told(taken)["web"].sockets_in_use, told(taken)["web"].time_wait_sockets) == (1, 2)


def test_rates_are_over_the_time_between_snapshots() -> None:
    taken = observed(
        tick(0, {"net:[1]": tcp_text(syn_retrans=5, out_segs=10), "net:[2]": tcp_text(syn_retrans=7)}),
        tick(4, {"net:[1]": tcp_text(syn_retrans=7, out_segs=10), "net:[2]": tcp_text(syn_retrans=7)}),
    )
    assert rates(taken) == {"web": 0.5, "app": 0.0}
    assert rates(taken, "out_segs") == {"web": 0.0, "app": 0.0}


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40), st.floats(0.01, 1e6))
def test_counters_of_64_bits_only_grow(before: int, growth: int, seconds: float) -> None:
    first = tick(0, {"net:[1]": tcp_text(out_segs=min(before, 2**64 - 1 - growth))})
    later = tick(seconds, {"net:[1]": tcp_text(out_segs=min(before, 2**64 - 1 - growth) + growth)})
    found = rates(observed(first, later), "out_segs")["web"]
    assert found == pytest.approx(growth / (later.monotonic_s - first.monotonic_s))


def test_a_counter_that_fell_belongs_to_another_namespace() -> None:
    """All of its rates are unknown, those of the counters that rose too; never negative."""
    first = tick(0, {"net:[1]": tcp_text(syn_retrans=5, out_segs=1)})
    fallen = tick(2, {"net:[1]": tcp_text(syn_retrans=0, out_segs=9)})
    assert rates(observed(first, fallen)) == {"web": None}
    assert rates(observed(first, fallen, tick(4, {"net:[1]": tcp_text(syn_retrans=1, out_segs=9)}))) == {"web": 0.5}


def test_a_container_that_started_anew_has_nothing_to_compare_with() -> None:
    """The kernel gives the number of a namespace that is gone to the next one."""
    again = replace(WEB, started_at="2026-01-05T09:00:00Z")
    first = tick(0, {"net:[1]": tcp_text(syn_retrans=5)})
    assert rates(observed(first, tick(2, {"net:[1]": tcp_text(syn_retrans=5)}, (APP, DB, again)))) == {"web": None}


def test_a_container_whose_number_is_another_s_now_has_nothing_to_compare_with() -> None:
    first = tick(0, {"net:[1]": tcp_text(syn_retrans=5)})
    swapped = tick(2, {"net:[1]": tcp_text(syn_retrans=5)}, members={DB.id: "net:[1]"})
    assert rates(observed(first, swapped)) == {"db": None}


def test_a_namespace_that_was_not_read_for_a_while_has_no_rates_at_first() -> None:
    first, third = (tick(at, {"net:[1]": tcp_text(syn_retrans=5 + at)}) for at in (0, 4))
    missed = tick(2, {}, members={})
    assert told(observed(first, missed)) == {}
    assert rates(observed(first, missed, third)) == {"web": None}
    assert rates(observed(first, missed, third, tick(6, {"net:[1]": tcp_text(syn_retrans=11)}))) == {"web": 1.0}


def test_a_clock_that_stands_still_gives_no_rates() -> None:
    taken = observed(tick(0, {"net:[1]": tcp_text(syn_retrans=5)}), tick(0, {"net:[1]": tcp_text(syn_retrans=6)}))
    assert rates(taken) == {"web": None}
    assert lost(taken) == {"web": None}


def test_sysctls_stay_as_they_were_until_they_are_read_again() -> None:
    def at(seconds: float, sysctls: Mapping[str, str] | None = None, out_segs: int = 0) -> Sample:
        return tick(seconds, {"net:[1]": tcp_text(sysctls, out_segs=out_segs)})

    first = at(0, {"net/core/somaxconn": "128\n"})
    assert told(observed(first, at(2)))["web"].sysctls == {"somaxconn": 128}
    assert told(observed(first, at(2), at(4, {"net/core/somaxconn": "64"})))["web"].sysctls == {"somaxconn": 64}
    assert told(observed(at(0, {"net/core/somaxconn": "128\n"}, 5), at(2)))["web"].sysctls == {}, "another namespace"


def test_testimony_is_of_every_tick_and_not_of_dumps_alone() -> None:
    first = observed(sample(FLOWS, containers=(APP,), tcp={"net:[2]": tcp_text(syn_retrans=1)}, members=OWN))
    later = observe(first, tick(2, {"net:[2]": tcp_text(syn_retrans=3)}, (APP,)))
    assert later.reading is first.reading
    assert rates(later) == {"app": 1.0}


# Whose it is


def test_a_shared_namespace_is_told_once() -> None:
    members = OWN | {JOINER.id: "net:[1]", EDGE.id: HOST}
    tcp = {HOST: tcp_text(syn_retrans=3), "net:[1]": tcp_text(syn_retrans=5)}
    taken = observed(tick(0, tcp, (APP, EDGE, JOINER, WEB), members))
    assert told(taken).keys() == {"web"}
    assert {each.container.name: each.tcp_of for each in taken.containers} == {
        "app": None,
        "edge": "host",
        "joiner": "web",
        "web": None,
    }


def test_a_namespace_whose_owner_has_left_is_of_the_first_who_joined() -> None:
    """It restarted and has a new one; those who joined stay in the old one."""
    second = replace(JOINER, id="2" * 64, name="joiner2")
    members = {WEB.id: "net:[9]", JOINER.id: "net:[1]", second.id: "net:[1]"}
    tcp = {"net:[1]": tcp_text(syn_retrans=5), "net:[9]": tcp_text(syn_retrans=0)}
    taken = observed(tick(0, tcp, (JOINER, second, WEB), members))
    assert {who: tcp.netns for who, tcp in told(taken).items()} == {"joiner": "net:[1]", "web": "net:[9]"}
    assert [each.tcp_of for each in taken.containers] == [None, "joiner", None]


def test_what_was_not_read_is_named_by_what_docker_says() -> None:
    taken = observed(tick(0, {}, (APP, EDGE, JOINER, WEB), {}))
    assert told(taken) == {}
    assert [each.tcp_of for each in taken.containers] == [None, "host", "web", None]
    stranger = replace(JOINER, network_mode="container:" + "0" * 64)
    assert [each.tcp_of for each in observed(tick(0, {}, (stranger,), {})).containers] == [None]


def test_a_container_whose_namespace_is_the_one_read_is_told_as_well() -> None:
    taken = observed(tick(0, {HOST: tcp_text(syn_retrans=4)}, (APP, WEB), {WEB.id: HOST}))
    assert taken.tcp is not None
    assert told(taken) == {"web": taken.tcp}


def test_names_of_namespaces_are_made_harmless() -> None:
    hostile = {"net:[\x1b[2J]": tcp_text(syn_retrans=4)}
    taken = observed(tick(0, hostile, (WEB,), {WEB.id: "net:[\x1b[2J]"}))
    assert told(taken)["web"].netns == "net:[�[2J]"


# SYNs that conntrack lost


def test_failed_insertions_are_shared_out_by_the_syns_sent_again() -> None:
    first = {HOST: tcp_text(), "net:[1]": tcp_text(), "net:[2]": tcp_text(), "net:[3]": tcp_text()}
    later = {
        HOST: tcp_text(),
        "net:[1]": tcp_text(syn_retrans=30),
        "net:[2]": tcp_text(syn_retrans=10),
        "net:[3]": tcp_text(),
    }
    taken = observed(
        tick(0, first, stats=stats(insert_failed=5, drop=5)), tick(2, later, stats=stats(insert_failed=25, drop=25))
    )
    assert lost(taken) == {"web": 7.5, "app": 2.5, "db": 0.0, "(host)": 0.0}
    assert taken.derived.lost_syns_per_s == 10
    assert taken.unclaimed == ()


def test_nobody_lost_more_than_it_sent_again() -> None:
    first = {HOST: tcp_text(), "net:[1]": tcp_text()}
    later = {HOST: tcp_text(syn_retrans=1), "net:[1]": tcp_text(syn_retrans=3)}
    taken = observed(
        tick(0, first, stats=stats(insert_failed=0, drop=0)), tick(2, later, stats=stats(insert_failed=50, drop=50))
    )
    assert lost(taken) == {"web": 1.5, "(host)": 0.5}
    assert taken.unclaimed == ((1002.0, 46.0),)


def test_a_syn_comes_again_in_a_later_interval_than_it_was_lost() -> None:
    """A second later; natop may read twice a second."""
    samples = [
        tick(at / 2, {"net:[1]": tcp_text(syn_retrans=again)}, (WEB,), stats=stats(insert_failed=failed, drop=failed))
        for at, (failed, again) in enumerate([(0, 0), (4, 0), (4, 0), (4, 4), (4, 5)])
    ]
    taken = [observed(*samples[:number]) for number in range(1, 6)]
    assert [lost(each)["web"] for each in taken] == [None, 0.0, 0.0, 8.0, 0.0]
    assert [each.unclaimed for each in taken] == [(), ((1000.5, 4.0),), ((1000.5, 4.0),), (), ()]


def test_a_loss_that_nobody_claims_is_forgotten() -> None:
    samples = [tick(0, {"net:[1]": tcp_text()}, (WEB,), stats=stats(insert_failed=0, drop=0))]
    samples += [
        tick(at, {"net:[1]": tcp_text(syn_retrans=9 if at > 4 else 0)}, (WEB,), stats=stats(insert_failed=4, drop=4))
        for at in (1, 2, 3, 4.5)
    ]
    assert observed(*samples[:4]).unclaimed == ((1001.0, 4.0),)
    assert lost(observed(*samples)) == {"web": 0.0}
    assert observed(*samples).unclaimed == ()


def test_without_counters_nobody_knows_who_lost() -> None:
    taken = observed(tick(0, {"net:[1]": tcp_text()}), tick(2, {"net:[1]": tcp_text(syn_retrans=3)}))
    assert lost(taken) == {"web": None}


def test_resolved_clashes_of_an_old_kernel_are_no_losses() -> None:
    def at(seconds: float, again: int, **numbers: int) -> Sample:
        proc = PROC | {"sys/kernel/osrelease": "4.19.0-27-amd64\n"}
        reply = netlink.stats_cpu(0, numbers) + netlink.done()
        return tick(seconds, {"net:[1]": tcp_text(syn_retrans=again)}, stats=reply, proc=proc)

    taken = observed(at(0, 0, insert_failed=0, drop=0), at(2, 10, insert_failed=50, drop=4))
    assert lost(taken) == {"web": 2.0}


def test_a_container_s_own_table_loses_nobody_else_s_syns() -> None:
    first = {HOST: tcp_text(), "net:[1]": tcp_text()}
    later = {HOST: tcp_text(syn_retrans=2), "net:[1]": tcp_text(syn_retrans=2)}
    members = {APP.id: HOST, WEB.id: "net:[1]"}
    taken = observed(
        tick(0, first, (APP, WEB), members, stats=stats(insert_failed=0, drop=0)),
        tick(2, later, (APP, WEB), members, stats=stats(insert_failed=4, drop=4)),
    )
    assert lost(taken) == {"app": 1.0, "web": None, "(host)": 1.0}


AMOUNTS = st.floats(0, 1e6)


@given(
    st.lists(st.tuples(st.floats(0, 10), AMOUNTS), max_size=6).map(sorted),
    st.dictionaries(st.text(max_size=3), AMOUNTS, max_size=5),
)
def test_no_more_is_shared_out_than_was_lost_or_sent_again(
    losses: list[tuple[float, float]], again: dict[str, float]
) -> None:
    parts, left = share_out(tuple(losses), again, 10.0)
    fresh = sum(number for at, number in losses if 10.0 - at <= SYN_PATIENCE_S)
    assert parts.keys() == again.keys()
    assert all(0 <= parts[netns] <= again[netns] * (1 + 1e-9) for netns in again)
    assert sum(parts.values()) == pytest.approx(min(fresh, sum(again.values())))
    assert sum(parts.values()) + sum(number for _, number in left) == pytest.approx(fresh, abs=1e-5)


# NAT's vain probes


def test_found_for_each_new_flow_is_between_dumps() -> None:
    """Counters are read at every tick, new flows are known by dumps."""

    def flows(*ids: int) -> Any:
        return [flow(f"172.18.0.3:{40000 + each}", "198.51.100.7:443", id=each) for each in ids]

    first = observed(sample(flows(1), stats=stats(found=2**32 - 10)))
    assert first.derived.found_per_new is None
    ticked = observe(first, sample(None, at=1, stats=stats(found=5)))
    assert ticked.derived.found_per_new is None
    dumped = observe(ticked, sample(flows(1, 2, 3), at=2, stats=stats(found=32)))
    assert dumped.derived.found_per_new == 21
    assert observe(dumped, sample(None, at=3, stats=stats(found=99))).derived.found_per_new == 21
    moved = observe(dumped, sample(None, at=3, containers=(APP,), stats=stats(found=99)))
    assert moved.derived.found_per_new == 21
    assert observe(dumped, sample(flows(1, 2, 3), at=4, stats=stats(found=99))).derived.found_per_new is None
    assert observe(dumped, sample(flows(4), at=4, stats=b"")).derived.found_per_new is None


def test_found_where_every_new_flow_is_lost() -> None:
    """A full pool has no new flow: what is lost between the dumps, ticks between them included, is what tried."""
    first = observed(sample([], stats=stats(found=100, insert_failed=5, drop=5)))
    ticked = observe(first, sample(None, at=1, stats=stats(found=745, insert_failed=10, drop=10)))
    dumped = observe(ticked, sample([], at=2, stats=stats(found=1390, insert_failed=15, drop=15)))
    assert dumped.derived.found_per_new == 129
