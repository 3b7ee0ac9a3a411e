"""What counters mean on which kernel, and what follows from several of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop import meanings
from natop.model import COUNTER_NAMES, TCP_NAMES, Derived, Version

OLD, MODERN = (4, 19), (6, 18)
RATES = st.floats(0, 1e6)


@pytest.mark.parametrize("version", [None, OLD, (4, 8), (5, 10), (5, 14), MODERN])
@pytest.mark.parametrize("name", COUNTER_NAMES)
def test_each_counter_has_one_plain_line(name: str, version: Version | None) -> None:
    text = meanings.meaning(name, version)
    assert 20 < len(text) < 120
    assert "\n" not in text
    assert text[-1] != "."


@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        ("insert_failed", (5, 9), "resolved without loss"),
        ("insert_failed", (5, 10), "lost"),
        ("insert_failed", None, "lost"),
        ("clash_resolve", (5, 9), "not counted before Linux 5.10"),
        ("clash_resolve", MODERN, "handled without loss"),
        ("chaintoolong", (5, 14), "not counted before Linux 5.15"),
        ("chaintoolong", (5, 15), "nf_conntrack_buckets"),
        ("found", (4, 8), "belonged to a known flow"),
        ("found", (4, 9), "NAT tried and found taken"),
        ("insert", (4, 8), "added to the table"),
        ("insert", MODERN, "tools"),
    ],
)
def test_the_line_fits_the_kernel(name: str, version: Version | None, said: str) -> None:
    assert said in meanings.meaning(name, version)


def test_a_kernel_that_tells_a_counter_has_what_came_with_it() -> None:
    """An enterprise kernel is old by its name only."""
    told = ("insert_failed", "drop", "clash_resolve", "chaintoolong")
    assert "lost" in meanings.meaning("insert_failed", OLD, told)
    assert "buckets" in meanings.meaning("chaintoolong", OLD, told)
    assert meanings.clash_lost({"insert_failed": 5, "drop": 0, "clash_resolve": 0}, OLD) == 5


def test_what_is_no_counter_has_no_meaning() -> None:
    assert meanings.meaning("delete_list", MODERN) == ""


def test_tcp_s_counters_all_have_a_line() -> None:
    assert tuple(meanings.TCP_MEANINGS) == TCP_NAMES
    assert all(len(text) < 120 for text in meanings.TCP_MEANINGS.values())


@pytest.mark.parametrize(
    ("version", "rates", "lost", "full", "syns"),
    [
        (MODERN, {"insert_failed": 41, "drop": 41, "chaintoolong": 0}, 41, 0, 41),
        (MODERN, {"insert_failed": 0, "drop": 17, "chaintoolong": 0}, 0, 17, 0),
        (MODERN, {"insert_failed": 10, "drop": 27, "chaintoolong": 0}, 10, 17, 10),
        (MODERN, {"insert_failed": 10, "drop": 21, "chaintoolong": 6}, 4, 17, 10),
        (MODERN, {"insert_failed": 6, "drop": 0, "chaintoolong": 6}, 0, 0, 6),
        (MODERN, {"insert_failed": 3, "drop": 1, "chaintoolong": 0}, 3, 0, 3),
        ((5, 10), {"insert_failed": 3, "drop": 3}, 3, 0, 3),
        (None, {"insert_failed": 3, "drop": 3}, 3, 0, 3),
        (OLD, {"insert_failed": 50, "drop": 0}, 0, 0, 0),
        (OLD, {"insert_failed": 50, "drop": 8}, 8, 0, 8),
        (OLD, {"insert_failed": 2, "drop": 8}, 2, 6, 2),
        (MODERN, {"insert_failed": 2}, None, None, 2),
        (MODERN, {"drop": 2}, None, None, None),
        (OLD, {"insert_failed": 2}, None, None, None),
    ],
)
def test_a_clash_is_told_from_a_full_table(
    version: Version | None, rates: dict[str, float], lost: float | None, full: float | None, syns: float | None
) -> None:
    assert meanings.clash_lost(rates, version) == lost
    assert meanings.table_full(rates, version) == full
    assert meanings.lost_syns(rates, version) == syns
    assert meanings.derived(rates, version, 9.0) == Derived(full, lost, syns, 9.0)


def test_without_rates_nothing_follows() -> None:
    assert meanings.derived(None, MODERN, None) == Derived()


@given(RATES, RATES, RATES, st.sampled_from((None, OLD, MODERN)))
def test_what_follows_is_never_negative(failed: float, dropped: float, chains: float, version: Version | None) -> None:
    rates = {"insert_failed": failed, "drop": dropped, "chaintoolong": chains}
    lost, full = meanings.clash_lost(rates, version), meanings.table_full(rates, version)
    assert lost is not None
    assert full is not None
    assert 0 <= lost <= failed
    assert 0 <= full <= dropped


def test_found_for_each_new_flow() -> None:
    assert meanings.found_per_new(10, {"found": 430}, MODERN) == 43
    assert meanings.found_per_new(10, {"found": 0}, MODERN) == 0
    assert meanings.found_per_new(0, {"found": 7}, MODERN) is None
    assert meanings.found_per_new(10, {}, MODERN) is None


def test_flows_that_were_lost_looked_for_a_port_too() -> None:
    """Of a full pool nothing is new: each SYN tries 129 ports, clashes and is dropped."""
    lost = {"found": 1290, "insert_failed": 10, "drop": 10, "chaintoolong": 0}
    assert meanings.found_per_new(0, lost, MODERN) == 129
    assert meanings.found_per_new(20, lost, MODERN) == 43
    assert meanings.found_per_new(0, lost | {"chaintoolong": 10}, MODERN) is None, "no clash"


def test_found_counts_other_things_on_an_old_kernel() -> None:
    assert meanings.found_per_new(10, {"found": 430}, (4, 4)) is None
    assert meanings.found_per_new(10, {"found": 430}, None) is None
    assert meanings.found_per_new(10, {"found": 430, "clash_resolve": 0}, None) == 43
