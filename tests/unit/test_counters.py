"""Kernel statistics and /proc text to counters by name."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.decode import counters
from natop.model import COUNTER_NAMES, Conntrack
from tests.unit import netlink

NETLINK_NAMES = tuple({"chaintoolong": "chain_toolong"}.get(name, name) for name in COUNTER_NAMES)
COUNTS = st.integers(0, 2**32 - 1)

BEFORE_5_10 = (
    "entries  searched found new invalid ignore delete delete_list insert insert_failed drop early_drop icmp_error"
    "  expect_new expect_create expect_delete search_restart\n"
    "000019d7  00000001 00000002 00000003 00000004 00000005 00000006 00000007 00000008 00000009 0000000a 0000000b"
    " 0000000c  0000000d 0000000e 0000000f 00000010\n"
    "000019d7  00000000 00000010 00000000 00000000 00000000 00000000 00000000 00000000 ffffffff 00000000 00000000"
    " 00000000  00000000 00000000 00000000 00000000\n"
)
"""Linux 4.19, two processors."""
SINCE_5_15 = (
    "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error"
    "  expect_new expect_create expect_delete search_restart\n"
    "00000015  00000001 00000002 00000000 00000004 00000000 00000000 00000007 00000008 00000009 0000000a 0000000b"
    " 0000000c  00000000 00000000 00000000 00000010\n"
)


def full(**changed: int) -> dict[str, int]:
    return dict.fromkeys(NETLINK_NAMES, 0) | changed


def test_statistics_by_netlink_are_summed_over_processors() -> None:
    stats = netlink.stats_global(6615, 262144)
    stats += netlink.stats_cpu(0, full(found=3, insert_failed=10, chain_toolong=1))
    stats += netlink.stats_cpu(1, full(found=4, clash_resolve=2)) + netlink.done()
    none = dict.fromkeys(COUNTER_NAMES, 0)
    assert counters.conntrack(stats, {}) == Conntrack(
        count=6615,
        max=262144,
        counters=none | {"found": 7, "insert_failed": 10, "chaintoolong": 1, "clash_resolve": 2},
        cpus=(none | {"found": 3, "insert_failed": 10, "chaintoolong": 1}, none | {"found": 4, "clash_resolve": 2}),
    )


def test_a_counter_that_the_kernel_does_not_tell_is_missing_and_not_0() -> None:
    found = counters.conntrack(netlink.stats_cpu(0, {"found": 1, "drop": 0}), {})
    assert found.counters == {"found": 1, "drop": 0}


def test_a_kernel_that_tells_no_maximum_leaves_it_to_proc() -> None:
    proc = {counters.MAX_FILE: "65536\n", counters.COUNT_FILE: "1\n", counters.BUCKETS_FILE: "16384\n"}
    found = counters.conntrack(netlink.stats_global(7, None), proc)
    assert (found.count, found.max, found.buckets) == (7, 65536, 16384)


def test_without_anything_all_is_unknown() -> None:
    assert counters.conntrack(b"", {}) == Conntrack(None, None, None, {})
    assert counters.conntrack(netlink.error(1), {}) == Conntrack(None, None, None, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            BEFORE_5_10,
            {
                "found": 0x12,
                "invalid": 4,
                "insert": 8,
                "insert_failed": 8,
                "drop": 10,
                "early_drop": 11,
                "error": 12,
                "search_restart": 16,
            },
        ),
        (
            SINCE_5_15,
            {
                "found": 2,
                "invalid": 4,
                "insert": 8,
                "insert_failed": 9,
                "drop": 10,
                "early_drop": 11,
                "error": 12,
                "search_restart": 16,
                "clash_resolve": 1,
                "chaintoolong": 7,
            },
        ),
    ],
)
def test_proc_by_the_names_of_its_columns(text: str, expected: Mapping[str, int]) -> None:
    """0xffffffff and 9 failed insertions on two processors wrap to 8; `searched` is not what `clashres` became."""
    assert counters.conntrack(b"", {counters.STAT_FILE: text}).counters == expected


def test_proc_tells_of_each_processor() -> None:
    first, second = counters.conntrack(b"", {counters.STAT_FILE: BEFORE_5_10}).cpus
    assert (first["found"], first["insert_failed"], first["error"]) == (2, 9, 12)
    assert second == dict.fromkeys(first, 0) | {"found": 16, "insert_failed": 0xFFFFFFFF}


def test_netlink_goes_before_proc() -> None:
    found = counters.conntrack(netlink.stats_cpu(0, full(found=99)), {counters.STAT_FILE: SINCE_5_15})
    assert found.counters["found"] == 99
    assert found.counters["insert_failed"] == 0


@pytest.mark.parametrize("text", ["", "\n", "entries found\n", "entries found\nzz 1\n", "found\n\n\n", "nonsense"])
def test_proc_text_of_no_use_gives_no_counter(text: str) -> None:
    assert counters.conntrack(b"", {counters.STAT_FILE: text}).counters == {}


@given(st.lists(st.dictionaries(st.sampled_from(NETLINK_NAMES), COUNTS), max_size=5))
def test_the_sum_is_modulo_32_bits(cpus: list[dict[str, int]]) -> None:
    stats = b"".join(netlink.stats_cpu(number, cpu) for number, cpu in enumerate(cpus))
    expected: dict[str, int] = {}
    for cpu in cpus:
        for name, number in cpu.items():
            plain = name.replace("chain_toolong", "chaintoolong")
            expected[plain] = (expected.get(plain, 0) + number) % 2**32
    assert counters.conntrack(stats, {}).counters == expected


@given(COUNTS, st.integers(0, 2**31), st.floats(0.01, 1e6))
def test_a_counter_that_wraps_has_grown(before: int, growth: int, seconds: float) -> None:
    now = (before + growth) % 2**32
    assert counters.rates({"drop": now}, {"drop": before}, seconds) == {"drop": growth / seconds}


CPUS = st.lists(st.fixed_dictionaries({"drop": COUNTS, "found": COUNTS}), min_size=1, max_size=8)


@given(CPUS, st.lists(COUNTS, min_size=16, max_size=16), st.floats(0.01, 1e6))
def test_each_processor_s_counters_wrap_by_themselves(
    before: list[dict[str, int]], growths: list[int], seconds: float
) -> None:
    """However far each has come, at most once around, the rates are those of what was counted."""
    growth = [{"drop": growths[2 * i], "found": growths[2 * i + 1]} for i in range(len(before))]
    now = [{name: (cpu[name] + more[name]) % 2**32 for name in cpu} for cpu, more in zip(before, growth, strict=True)]
    total, cpus = counters.per_second(Conntrack(cpus=tuple(now)), Conntrack(cpus=tuple(before)), seconds)
    assert cpus == tuple({name: number / seconds for name, number in more.items()} for more in growth)
    for name in ("drop", "found"):
        assert total[name] == pytest.approx(sum(more[name] for more in growth) / seconds)


def test_other_processors_than_before_leave_the_sums_to_compare() -> None:
    now = Conntrack(counters={"drop": 3}, cpus=({"drop": 1}, {"drop": 2}))
    before = Conntrack(counters={"drop": 1}, cpus=({"drop": 1},))
    assert counters.per_second(now, before, 2) == ({"drop": 1.0}, ())
    assert counters.per_second(Conntrack(), before, 2) == ({}, ())


def test_a_counter_that_one_processor_does_not_tell_is_that_of_the_others() -> None:
    now = Conntrack(cpus=({"drop": 5}, {"drop": 7, "found": 3}))
    before = Conntrack(cpus=({"drop": 1}, {"drop": 1, "found": 1}))
    assert counters.per_second(now, before, 2) == (
        {"drop": 5.0, "found": 1.0},
        ({"drop": 2.0}, {"drop": 3.0, "found": 1.0}),
    )


def test_a_rate_needs_both_readings() -> None:
    assert counters.rates({"drop": 5, "found": 1}, {"drop": 3, "insert": 1}, 2) == {"drop": 1.0}


@given(st.binary(max_size=400))
def test_any_bytes_are_read_without_raising(data: bytes) -> None:
    counters.conntrack(data, {})


@given(st.integers(0, 400), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4))
def test_spoilt_statistics_are_read_without_raising(cut: int, changes: list[tuple[int, int]]) -> None:
    stats = bytearray(netlink.stats_global(7, 8) + netlink.stats_cpu(0, full(found=1)) + netlink.done())
    for at, byte in changes:
        stats[at % len(stats)] = byte
    counters.conntrack(bytes(stats[:cut]), {})


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_proc_text_is_read_without_raising(names: str, lines: str) -> None:
    proc = dict.fromkeys(counters.PROC_FILES, f"{names}\n{lines}")
    counters.conntrack(b"", proc)
    counters.sysctls(proc)


def test_sysctls_by_their_last_name_component() -> None:
    proc = {
        "sys/net/netfilter/nf_conntrack_max": "262144\n",
        "sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
        "sys/net/ipv4/ip_forward": "1\n",
        "sys/net/netfilter/nf_conntrack_acct": "\n",
        "sys/net/netfilter/nf_conntrack_timestamp": "-1\n",
        "sys/net/bridge/bridge-nf-call-iptables": "٣\n",
        "sys/kernel/osrelease": "6\n",
    }
    assert counters.sysctls(proc) == {
        "nf_conntrack_max": 262144,
        "ip_local_port_range": (32768, 60999),
        "ip_forward": 1,
    }


@pytest.mark.parametrize(
    ("text", "expected"), [(None, None), ("", None), (" 12\n", 12), ("-1", None), ("x", None), ("²", None), ("0", 0)]
)
def test_a_number_or_nothing(text: str | None, expected: int | None) -> None:
    assert counters.number(text) == expected
