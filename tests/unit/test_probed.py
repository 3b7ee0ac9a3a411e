"""What probes come to, and which flows are natop's own."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.columns.probes import PROBE_COLUMNS, all_losses, losses, way_text
from natop.export.snapshots import probes_as_text
from natop.model import OwnFlow, ProbeResult
from natop.summarise.probed import (
    HISTORY,
    MOST_SERIES,
    explanation,
    own_rows,
    percentile,
    sent_again_s,
    sent_again_since,
    statistics,
    waited_ms,
    with_results,
    without_own,
)
from natop.uapi import TcpState
from tests.unit import plain
from tests.unit.plain import flow

FINE = ProbeResult("198.51.100.7:443", "host", 100.0, connect_ms=0.5, syns_lost=0, rtt_ms=0.4, linear_timeouts=4)
SLOW = replace(FINE, connect_ms=2031.4, syns_lost=2)
DEAD = replace(FINE, connect_ms=None, syns_lost=4, error="timed out", rtt_ms=None)


@pytest.mark.parametrize(
    ("linear", "moments"),
    [(4, (1, 2, 3, 4, 5, 7, 11, 19)), (0, (1, 3, 7, 15, 31, 63, 127)), (1, (1, 2, 4, 8)), (2, (1, 2, 3, 5, 9))],
)
def test_the_kernel_s_schedule(linear: int, moments: tuple[int, ...]) -> None:
    """Of 4 and of 0 as measured on Linux 6.18 and before 6.5."""
    assert sent_again_s(len(moments), linear) == moments
    assert sent_again_s(0, linear) == ()


@given(st.integers(0, 127), st.integers(0, 10))
def test_a_schedule_waits_longer_and_longer_but_never_beyond_two_minutes(lost: int, linear: int) -> None:
    moments = (0, *sent_again_s(lost, linear))
    waits = [later - earlier for earlier, later in pairwise(moments)]
    assert waits == sorted(waits)
    assert all(1 <= wait <= 120 for wait in waits)


def test_lost_syns_are_explained() -> None:
    assert explanation(FINE) == ""
    assert explanation(replace(SLOW, syns_lost=1)) == "1 SYN lost, sent again after 1 s"
    assert explanation(SLOW) == "2 SYNs lost, sent again after 1 and 2 s"
    assert explanation(replace(SLOW, linear_timeouts=0)) == "2 SYNs lost, sent again after 1 and 3 s"
    assert explanation(replace(SLOW, syns_lost=3, linear_timeouts=0)) == "3 SYNs lost, sent again after 1, 3 and 7 s"
    assert explanation(replace(SLOW, linear_timeouts=None)) == "2 SYNs lost"
    assert (waited_ms(SLOW), waited_ms(FINE), waited_ms(replace(SLOW, linear_timeouts=None))) == (2000, 0, None)


def test_which_syns_were_sent_again_since_a_moment() -> None:
    """Those of SLOW after one and two seconds."""
    assert [sent_again_since(SLOW, SLOW.at + passed) for passed in (0, 1.5, 2, 2.5)] == [2, 1, 1, 0]
    assert sent_again_since(FINE, 0.0) == sent_again_since(replace(SLOW, syns_lost=None), 0.0) == 0
    unknown = replace(SLOW, linear_timeouts=None)
    assert [sent_again_since(unknown, SLOW.at + passed) for passed in (0, 0.5)] == [2, 0]


@given(st.lists(st.floats(0, 1e6), max_size=60), st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_enough_do_not_exceed(values: list[float], percent: int) -> None:
    found = percentile(sorted(values), percent)
    enough = [value for value in values if sum(each <= value for each in values) * 100 >= percent * len(values)]
    assert found == min(enough, default=None)


def test_statistics_count_what_connected_and_what_failed_apart() -> None:
    found = statistics([FINE, SLOW, DEAD, replace(DEAD, error="refused"), DEAD])
    assert (found.count, found.failed, found.syns_lost, found.losers) == (5, 3, 14, 4)
    assert (found.p50_ms, found.p95_ms, found.max_ms) == (0.5, 2031.4, 2031.4)
    assert (found.by_syns_lost, found.failed_by_syns_lost) == ({0: 1, 2: 1}, {4: 3})
    assert list(found.errors.items()) == [("timed out", 2), ("refused", 1)]


def test_statistics_of_failures_alone_know_no_times() -> None:
    found = statistics([DEAD])
    assert (found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms) == (None, None, None, None)
    assert (found.syns_lost, found.by_syns_lost) == (4, {})
    unsent = statistics([replace(DEAD, error="unreachable", syns_lost=None)])
    assert (unsent.syns_lost, unsent.losers) == (None, 0), "0 would be a claim"


def test_the_three_numbers_of_http() -> None:
    asked = [replace(FINE, first_byte_ms=first, later_byte_ms=later) for first, later in ((9.0, 1.0), (7.0, None))]
    found = statistics(asked)
    assert (found.first_byte_p50_ms, found.later_byte_p50_ms) == (7.0, 1.0)


def test_results_go_into_a_series_for_each_way_and_the_oldest_fall_out() -> None:
    other = replace(FINE, path="netns", container="c1")
    series = with_results((), [FINE, other, SLOW])
    assert [(each.last.path, len(each.results)) for each in series] == [("host", 2), ("netns", 1)]
    later = with_results(series, [replace(FINE, at=float(n)) for n in range(HISTORY)])
    assert [each.results[0].at for each in later] == [0.0, 100.0]
    assert later[0].statistics == statistics(later[0].results)
    assert later[1] is series[1]
    assert with_results(later, ()) == later


def test_ways_not_probed_for_the_longest_are_forgotten() -> None:
    many = [replace(FINE, target=f"198.51.100.7:{n}", at=float(n)) for n in range(MOST_SERIES + 5)]
    kept = with_results(with_results((), many), [replace(FINE, target="198.51.100.7:0", at=1e9)])
    assert len(kept) == MOST_SERIES
    assert {each.last.target for each in kept} == {f"198.51.100.7:{n}" for n in (0, *range(6, MOST_SERIES + 5))}


def test_a_table_of_probes_says_what_is_unknown_and_what_was_lost() -> None:
    (series,) = with_results((), [FINE, SLOW, DEAD])
    cells = {column.key: column.text(series) for column in PROBE_COLUMNS}
    assert cells == {
        "target": "198.51.100.7:443", "path": "host", "count": "3", "failed": "1", "last": "-", "p50": "0.50",
        "p95": "2,031", "p99": "2,031", "max": "2,031", "first_byte": "-", "later_byte": "-", "syns_lost": "6 in 2",
        "http_status": "", "error": "timed out ×1",
    }  # fmt: skip
    told = list(losses(series))
    assert told == [
        "1 of 3 probes: 2 SYNs lost, sent again after 1 and 2 s",
        "1 of 3 probes: 4 SYNs lost, sent again after 1, 2, 3 and 4 s, then timed out",
    ]
    assert next(losses(with_results((), [SLOW])[0])).startswith("1 of 1 probe: ")
    assert list(all_losses([series])) == [f"198.51.100.7:443 host: {each}" for each in told]


def test_what_http_servers_answered_is_in_the_table() -> None:
    (column,) = (each for each in PROBE_COLUMNS if each.key == "http_status")
    well, ill = replace(FINE, http_status=200), replace(FINE, http_status=503)
    told = [column.text(with_results((), some)[0]) for some in ([DEAD], [DEAD, well, well], [ill, well, well])]
    assert told == ["", "200", "200 ×2, 503 ×1"]
    assert "503" in "".join(probes_as_text(with_results((), [ill])))
    assert "HTTP" not in "".join(probes_as_text(with_results((), [FINE])))


def test_ways_have_names() -> None:
    assert way_text(FINE) == "host"
    assert way_text(replace(FINE, path="netns", container_name="app")) == "from app"
    assert way_text(replace(FINE, path="proxy", container_name="web")) == "proxy web"


# natop's own flows


def own(src: str, dst: str) -> OwnFlow:
    return OwnFlow(*plain.split(src), *plain.split(dst))


FLOWS = [
    flow("10.0.0.1:40000", "198.51.100.7:443", id=1),
    flow("10.0.0.1:40000", "198.51.100.8:443", id=2),
    flow("10.0.0.2:40000", "198.51.100.7:443", id=3),
    flow("10.0.0.1:40001", "198.51.100.7:443", snat="203.0.113.10:50000", id=4),
    flow("10.0.0.1:40000", "198.51.100.7:443", proto=17, id=5),
    flow("[fd00::1]:40000", "[2001:db8::7]:443", id=6),
]


def test_own_flows_are_known_by_their_original_tuple_alone() -> None:
    table = plain.table(FLOWS)
    mine = own("10.0.0.1:40000", "198.51.100.7:443")
    natted = own("10.0.0.1:40001", "198.51.100.7:443")
    six = own("[fd00::1]:40000", "[2001:db8::7]:443")
    other = own("10.0.0.1:40002", "198.51.100.7:443")
    left, told = without_own(table, [mine, natted, six, other])
    assert left.id.tolist() == [2, 3, 5]
    assert told.found == {mine, natted, six}
    same, nothing = without_own(table, [other])
    assert (same is table, nothing.found) == (True, frozenset())
    assert not own_rows(table, ()).rows.any()
    assert without_own(table, [OwnFlow("junk", 1, "", 2), mine])[1].found == {mine}


def test_those_that_have_no_answer_yet_are_told_apart() -> None:
    """A SYN that hangs; another one of somebody else, and one of natop's that is answered."""
    waiting, answered, stranger = (f"10.0.0.1:{port}" for port in (40000, 40001, 40002))
    states = {waiting: TcpState.SYN_SENT, answered: TcpState.ESTABLISHED, stranger: TcpState.SYN_SENT}
    table = plain.table([flow(each, "198.51.100.7:443", state=state) for each, state in states.items()])
    told = own_rows(table, [own(each, "198.51.100.7:443") for each in (waiting, answered)])
    assert len(told.found) == 2
    assert told.waiting == {own(waiting, "198.51.100.7:443")}


@given(st.integers(0, 2**32 - 1))
def test_own_rows_are_those_that_a_plain_loop_finds(seed: int) -> None:
    chance = random.Random(seed)

    def end(kind: str) -> str:
        return f"10.0.0.{chance.randrange(3)}:{chance.choice((1, 2, 40000, 65535)) if kind == 'src' else 443}"

    flows = [flow(end("src"), end("dst"), proto=chance.choice((6, 17)), id=n) for n in range(chance.randrange(40))]
    wanted = {own(end("src"), end("dst")) for _ in range(chance.randrange(6))}
    told = own_rows(plain.table(flows), wanted)
    tuples = [OwnFlow(each.orig.src, each.orig.sport, each.orig.dst, each.orig.dport) for each in flows]
    ends = [tuple_ if each.proto == 6 else None for tuple_, each in zip(tuples, flows, strict=True)]
    assert told.rows.tolist() == [each in wanted for each in ends]
    assert told.found == {each for each in ends if each in wanted}
