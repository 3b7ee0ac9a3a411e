"""What counters mean on which kernel, and what follows from several of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop import meanings
from natop.model import COUNTER_NAMES, TCP_NAMES, Derived
from natop.release import Release, parse

OLD, MODERN = Release(4, 19, 67), Release(6, 18, 44)
RATES = st.floats(0, 1e6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("6.18.44-fc-v769", (6, 18, 44)),
        ("5.10.0-27-amd64", (5, 10, 0)),
        ("4.18.0-513.5.1.el8_9.x86_64", (4, 18, 0)),
        ("6.1+", (6, 1, 0)),
        ("4.4.0-19041-Microsoft", (4, 4, 0)),
        ("Linux 6.12.1", (6, 12, 1)),
        ("6.9.0-rc3", (6, 9, 0)),
        ("6", None),
        ("", None),
        ("mainline", None),
        ("٣.٣", None),
        (None, None),
    ],
)
def test_the_release_is_read_leniently(text: str | None, expected: tuple[int, int, int] | None) -> None:
    assert parse(text) == expected


@given(st.text(max_size=40))
def test_any_release_is_read_without_raising(text: str) -> None:
    found = parse(text)
    assert found is None or found >= (0, 0)


def test_releases_compare_by_number() -> None:
    assert Release(6, 5) >= (6, 5)
    assert Release(6, 10, 3) > (6, 9)
    assert Release(5, 9, 16) < (5, 10)


@pytest.mark.parametrize("release", [None, OLD, Release(4, 8), Release(5, 10), Release(5, 14), MODERN])
@pytest.mark.parametrize("name", COUNTER_NAMES)
def test_each_counter_has_one_plain_line(name: str, release: Release | None) -> None:
    text = meanings.meaning(name, release)
    assert 20 < len(text) < 120
    assert "\n" not in text
    assert text[-1] != "."


@pytest.mark.parametrize(
    ("name", "release", "said"),
    [
        ("insert_failed", Release(5, 9, 16), "resolved without loss"),
        ("insert_failed", Release(5, 10), "lost"),
        ("insert_failed", None, "lost"),
        ("clash_resolve", Release(5, 9), "not counted before Linux 5.10"),
        ("clash_resolve", MODERN, "handled without loss"),
        ("chaintoolong", Release(5, 14, 21), "not counted before Linux 5.15"),
        ("chaintoolong", Release(5, 15), "nf_conntrack_buckets"),
        ("found", Release(4, 8), "belonged to a known flow"),
        ("found", Release(4, 9), "NAT tried and found taken"),
        ("insert", Release(4, 8), "added to the table"),
        ("insert", MODERN, "tools"),
    ],
)
def test_the_line_fits_the_kernel(name: str, release: Release | None, said: str) -> None:
    assert said in meanings.meaning(name, release)


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
    ("release", "rates", "lost", "full", "syns"),
    [
        (MODERN, {"insert_failed": 41, "drop": 41, "chaintoolong": 0}, 41, 0, 41),
        (MODERN, {"insert_failed": 0, "drop": 17, "chaintoolong": 0}, 0, 17, 0),
        (MODERN, {"insert_failed": 10, "drop": 27, "chaintoolong": 0}, 10, 17, 10),
        (MODERN, {"insert_failed": 10, "drop": 21, "chaintoolong": 6}, 4, 17, 10),
        (MODERN, {"insert_failed": 6, "drop": 0, "chaintoolong": 6}, 0, 0, 6),
        (MODERN, {"insert_failed": 3, "drop": 1, "chaintoolong": 0}, 3, 0, 3),
        (Release(5, 10), {"insert_failed": 3, "drop": 3}, 3, 0, 3),
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
    release: Release | None, rates: dict[str, float], lost: float | None, full: float | None, syns: float | None
) -> None:
    assert meanings.clash_lost(rates, release) == lost
    assert meanings.table_full(rates, release) == full
    assert meanings.lost_syns(rates, release) == syns
    assert meanings.derived(rates, release, 9.0) == Derived(full, lost, syns, 9.0)


def test_without_rates_nothing_follows() -> None:
    assert meanings.derived(None, MODERN, None) == Derived()


@given(RATES, RATES, RATES, st.sampled_from((None, OLD, MODERN)))
def test_what_follows_is_never_negative(failed: float, dropped: float, chains: float, release: Release | None) -> None:
    rates = {"insert_failed": failed, "drop": dropped, "chaintoolong": chains}
    lost, full = meanings.clash_lost(rates, release), meanings.table_full(rates, release)
    assert lost is not None
    assert full is not None
    assert 0 <= lost <= failed
    assert 0 <= full <= dropped


def test_found_for_each_new_flow() -> None:
    assert meanings.found_per_new(430, 10) == 43
    assert meanings.found_per_new(0, 10) == 0
    assert meanings.found_per_new(7, 0) is None
