"""Rows brought into order, and equal ones together, also where somebody made their hashes collide."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.model import U64
from natop.summarise.alike import hashed, kinds, order_of

Table = Sequence[tuple[int, ...]]
WORDS = st.integers(0, 2**64 - 1)
FACTORS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
"""Of the hash's first two columns."""
FEW = st.integers(0, 2) | st.sampled_from((2**32, 2**63, 2**64 - 1))


def columns(rows: Table, number: int) -> list[U64]:
    return [np.array([row[i] for row in rows], np.uint64) for i in range(number)]


def by_kind(rows: Table, number: int) -> list[list[int]]:
    """The numbers of the rows of each kind, in the order that `kinds` gives them."""
    found = kinds(columns(rows, number))
    starts = np.flatnonzero(found.begins).tolist()
    return [part.tolist() for part in np.split(found.order, starts)[1:]]


def plainly(rows: Table) -> list[list[int]]:
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(row, []).append(number)
    return sorted(groups.values())


@given(st.data(), st.integers(1, 5))
def test_equal_rows_stand_together_as_they_stood(data: st.DataObject, number: int) -> None:
    rows = data.draw(st.lists(st.tuples(*[FEW] * number), max_size=40))
    assert sorted(by_kind(rows, number)) == plainly(rows)


@given(st.lists(st.integers(0, 2**20 - 1) | st.integers(0, 3)), st.integers(20, 64))
def test_the_order_of_keys_is_that_of_a_stable_sort(keys: list[int], bits: int) -> None:
    array = np.array(keys, np.uint64)
    assert order_of(array, bits).tolist() == sorted(range(len(keys)), key=lambda row: keys[row])


@given(st.lists(WORDS, min_size=1))
def test_keys_too_wide_to_stand_beside_their_row(keys: list[int]) -> None:
    assert order_of(np.array(keys, np.uint64), 64).tolist() == sorted(range(len(keys)), key=lambda row: keys[row])


def colliding(first: int, second: int, count: int) -> list[tuple[int, ...]]:
    """Rows of two columns that all have the hash of (first, second): the factors are odd, so each has an inverse."""
    wanted = hashed(columns([(first, second)], 2)).tolist()
    target = first * FACTORS[0] ^ second * FACTORS[1]
    inverse = pow(FACTORS[1], -1, 2**64)
    rows: list[tuple[int, ...]] = [(n, (target ^ n * FACTORS[0]) * inverse % 2**64) for n in range(count)]
    assert set(hashed(columns(rows, 2)).tolist()) == set(wanted)
    return rows


@pytest.mark.parametrize("others", [0, 500])
def test_crafted_collisions_merge_nothing(others: int) -> None:
    crafted = colliding(7, 9, 300)
    rows = [*crafted, *[(n, n) for n in range(others)], *reversed(crafted), *crafted[:50]]
    assert sorted(by_kind(rows, 2)) == plainly(rows)
