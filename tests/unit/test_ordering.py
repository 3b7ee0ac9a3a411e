"""The order of lines against plain sorting."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.columns.containers import CONTAINER_COLUMNS
from natop.columns.flows import FLOW_COLUMNS
from natop.columns.ordering import Value, numbers_by, rows_by, sort_column, sort_column_or

UNKNOWN = 99


@dataclass(frozen=True)
class Line:
    name: str
    value: Value


@given(st.lists(st.tuples(st.text("ab", max_size=2), st.none() | st.integers(0, 3))), st.booleans())
def test_rows_go_by_value_then_by_name_and_unknown_ones_last(drawn: list[tuple[str, int | None]], down: bool) -> None:
    found = rows_by([Line(*each) for each in drawn], lambda line: line.value, lambda line: line.name, down)
    sign = -1 if down else 1
    expected = sorted(drawn, key=lambda each: (each[1] is None, sign * (each[1] or 0), each[0]))
    assert [(line.name, line.value) for line in found] == expected


def test_trends_go_by_their_last_value_and_an_empty_one_is_unknown() -> None:
    trends = {"a": (9, 1), "b": (), "c": (0, 5), "d": None, "e": (5,)}
    lines = [Line(name, trend) for name, trend in trends.items()]
    for down, expected in ((True, "ceabd"), (False, "acebd")):
        assert [each.name for each in rows_by(lines, lambda x: x.value, lambda x: x.name, down)] == list(expected)


@given(st.lists(st.integers(0, 3) | st.just(UNKNOWN)), st.data(), st.booleans())
def test_numbers_go_by_key_then_as_they_come_and_unknown_ones_last(
    keys: list[int], data: st.DataObject, down: bool
) -> None:
    numbers = [number for number in range(len(keys)) if data.draw(st.booleans())]
    column = np.array(keys, np.uint8)
    sign = -1 if down else 1
    for unknown in (UNKNOWN, None):
        found = numbers_by(column, np.array(numbers, np.intp), down, unknown)
        assert found.tolist() == sorted(numbers, key=lambda each: (keys[each] == unknown, sign * keys[each]))
    assert column.tolist() == keys


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("flows", ("flows", True)),
        ("-flows", ("flows", False)),
        ("name", ("name", False)),
        ("-name", ("name", True)),
        ("trend", ("trend", True)),
        ("-trend", ("trend", False)),
        ("dst", ("flows", True)),
        ("-dst", ("flows", True)),
        ("", ("flows", True)),
        (None, ("flows", True)),
    ],
)
def test_numbers_and_trends_begin_with_the_largest_and_text_with_a(
    sort: str | None, expected: tuple[str, bool]
) -> None:
    column, descending = sort_column_or(CONTAINER_COLUMNS, sort, "flows")
    assert (column.key, descending) == expected


def test_what_names_no_column_is_none() -> None:
    for sort in (None, "", "-", "flows", "--src"):
        assert sort_column(FLOW_COLUMNS, sort) is None
