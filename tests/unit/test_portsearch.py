"""NAT's search for a free port, against one that tries port after port as nf_nat_core.c does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.summarise.portsearch import Taken, chance_of_loss

Pool = tuple[int, int, dict[int, bool]]
"""First and last port; the ports taken, and whether each may be evicted."""
EPHEMERAL = range(32768, 61000)


def taken(*pools: Pool) -> tuple[Taken, np.ndarray]:
    ports = [(number, port, soft) for number, pool in enumerate(pools) for port, soft in sorted(pool[2].items())]
    starts = np.cumsum([0, *(len(pool[2]) for pool in pools)])
    return (
        Taken(
            np.array([port for _, port, _ in ports], np.uint16),
            np.array([number for number, _, _ in ports], np.intp),
            starts,
            np.array([pool[0] for pool in pools], np.uint16),
            np.array([pool[1] for pool in pools], np.uint16),
        ),
        np.array([soft for _, _, soft in ports], np.bool_),
    )


def chances(*pools: Pool) -> list[float]:
    return [float(each) for each in chance_of_loss(*taken(*pools))]


def plainly(pool: Pool) -> float:
    """Every round from every number that it may begin with, try after try."""
    first, last, held = pool
    size = last - first + 1
    chance, tries = 1.0, min(size, 128)
    while True:
        fails = 0.0
        for start in range(size):
            numbers = len(range(start, 65536, size))
            fails += numbers * _round(start, size, tries, {port - first: soft for port, soft in held.items()})
        chance *= fails / 65536
        if tries >= size or tries < 16:
            return chance
        tries //= 2


def _round(start: int, size: int, tries: int, held: dict[int, bool]) -> float:
    chance = 1.0
    for number in range(tries):
        port = (start + number) % size
        if port not in held:
            return 0.0
        if held[port] and tries - number <= 32:
            chance /= 2
    return chance


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    """Small ranges, full but for a few gaps."""
    first = draw(st.sampled_from((0, 1, 600, 40000, 65000)))
    size = draw(st.integers(1, 400))
    gaps = draw(st.sets(st.integers(0, size - 1), max_size=min(4, size - 1)))
    softs = draw(st.sets(st.integers(0, size - 1), max_size=40))
    return first, first + size - 1, {first + n: n in softs for n in range(size) if n not in gaps}


@given(st.lists(pools(), min_size=1, max_size=4))
def test_the_chance_of_loss_is_that_of_trying_port_after_port(some: list[Pool]) -> None:
    assert chances(*some) == pytest.approx([plainly(pool) for pool in some], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("first", "last"), [(1, 511), (600, 1023), (1024, 65535), (0, 65535), (40000, 40000)])
def test_a_full_pool_loses_everything_and_one_of_a_single_port_nothing(first: int, last: int) -> None:
    full = dict.fromkeys(range(first, last + 1), False)
    assert chances((first, last, full)) == [1.0]
    assert chances((first, last, {first: False})) == [1.0 if first == last else 0.0]


def test_a_pool_full_of_what_may_be_evicted_loses_nothing_that_one_could_notice() -> None:
    assert chances((1024, 65535, dict.fromkeys(range(1024, 65536), True)))[0] == pytest.approx(0.5**120)
    assert chances((40000, 40009, dict.fromkeys(range(40000, 40010), True)))[0] == pytest.approx(0.5**10)


def test_a_small_range_is_tried_to_its_last_port() -> None:
    """128 ports are one round, in which a single free one is always found; in 129 it may be missed in all rounds."""
    for size, missed in ((128, 0.0), (129, 1 / 129 * 65 / 129 * 97 / 129 * 113 / 129 * 121 / 129)):
        held = dict.fromkeys(range(1001, 1000 + size), False)
        assert chances((1000, 999 + size, held))[0] == pytest.approx(missed, rel=0.02)


@pytest.mark.parametrize(("use", "measured"), [(0.5, 0.0), (0.9, 0.0), (0.98, 0.01), (0.99, 0.115), (0.995, 0.315)])
def test_ports_spread_evenly_follow_the_curve_that_was_measured(use: float, measured: float) -> None:
    """Losses of 200 connects each; three standard deviations of that."""
    chance = np.random.default_rng(1)
    held = chance.choice(np.arange(1024, 65536), round(64512 * use), replace=False).tolist()
    told = chances((1024, 65535, dict.fromkeys(held, False)))[0]
    assert told == pytest.approx(use**248, rel=0.4, abs=1e-4)
    assert told == pytest.approx(measured, abs=3 * max((told * (1 - told) / 200) ** 0.5, 0.001))


def test_neighbours_are_worse_than_their_number() -> None:
    """Rounds that begin in the row and go beyond its end fail less often."""
    share = [(28232 - tries + 1) / 65536 for tries in (128, 64, 32, 16, 8)]
    assert chances((1024, 65535, dict.fromkeys(EPHEMERAL, False)))[0] == pytest.approx(np.prod(share), rel=0.01)
    every_other = dict.fromkeys(range(1024, 65536, 2), False)
    assert chances((1024, 65535, every_other)) == [0.0]


def test_no_pools() -> None:
    assert chances() == []
