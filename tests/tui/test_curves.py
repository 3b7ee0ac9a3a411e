"""From a number's past to what a plot shows: gaps, peaks, axes, words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.model import Series
from natop.summarise.history import BY_KEY
from natop.tui.curves import Curve, age_text, amount, axis_end, brief, runs_of, thinned, ticks_of, words
from natop.tui.glyphs import ASCII, UNICODE

NAN = float("nan")


def runs(*points: tuple[float, float]) -> list[list[float]]:
    """The values of each run."""
    at_s, values = (np.array(column, float) for column in zip(*points, strict=True)) if points else (np.zeros(0),) * 2
    return [found.tolist() for _, found in runs_of(Series(at_s, values))]


def test_a_value_that_is_unknown_is_a_gap() -> None:
    assert runs() == []
    assert runs((0, NAN)) == []
    assert runs((0, 5)) == [[5]]
    assert runs((0, 1), (2, 2), (4, NAN), (6, 3), (8, 4)) == [[1, 2], [3, 4]]
    assert runs((0, NAN), (2, 0), (4, NAN)) == [[0]], "0 is known"


def test_a_time_without_readings_is_a_gap() -> None:
    assert runs((0, 1), (2, 2), (60, 3), (62, 4)) == [[1, 2], [3, 4]]
    assert runs((0, 1), (2, 2), (7, 3), (9, 4)) == [[1, 2, 3, 4]], "a late reading is none"
    assert runs((0, 1), (2, 2), (4, 3), (64, 4)) == [[1, 2, 3], [4]]


def test_another_interval_is_no_gap() -> None:
    assert runs((0, 1), (0.5, 2), (1, 3), (61, 4), (121, 5), (181, 6)) == [[1, 2, 3, 4, 5, 6]]
    assert runs((0, 1), (60, 2)) == [[1, 2]], "two readings are neither far apart nor near"


@given(st.lists(st.tuples(st.floats(0.5, 60), st.one_of(st.just(NAN), st.integers(0, 99))), max_size=60))
def test_runs_hold_every_known_point_once(points: list[tuple[float, float]]) -> None:
    at_s = np.cumsum([space for space, _ in points]) if points else np.zeros(0)
    values = np.array([value for _, value in points], float)
    found = runs_of(Series(at_s, values))
    known = ~np.isnan(values)
    assert [x for xs, _ in found for x in xs] == at_s[known].tolist()
    assert [y for _, ys in found for y in ys] == values[known].tolist()


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=2000), st.integers(10, 120))
def test_thinning_loses_no_peak(values: list[int], columns: int) -> None:
    at_s = np.linspace(-300, 0, len(values))
    xs, ys = thinned((at_s, np.array(values, float)), 300.0, columns)
    assert len(xs) == len(ys) <= 2 * columns + 2, "now is a column of its own"
    assert (ys.min(), ys.max()) == (min(values), max(values))
    assert (np.diff(xs) >= 0).all()
    assert -300 <= xs[0] <= xs[-1] <= 0


def test_thinning_keeps_each_column_s_least_and_most() -> None:
    at_s = np.arange(-100, 0, 1.0)
    values = np.where(at_s == -37, 99.0, 1.0)
    xs, ys = thinned((at_s, values), 100.0, 10)
    assert xs[ys == 99].tolist() == [-35.5]
    assert len(xs) == 20


@pytest.mark.parametrize(
    ("most", "end"),
    [
        (0, 1),
        (1, 1),
        (1.01, 1.5),
        (7, 8),
        (97.5, 100),
        (100, 100),
        (101, 150),
        (5320, 6000),
        (0.003, 0.003),
        (9.99, 10),
    ],
)
def test_an_axis_ends_at_a_round_number(most: float, end: float) -> None:
    assert axis_end(most) == pytest.approx(end)


@given(st.floats(1e-6, 1e9))
def test_an_axis_is_never_too_short_and_never_half_empty(most: float) -> None:
    assert most * (1 - 1e-6) <= axis_end(most) <= 1.6 * most


def test_amounts_have_their_units() -> None:
    assert amount(5320.0, BY_KEY["flows"], UNICODE) == "5,320"
    assert amount(45.13, BY_KEY["new"], UNICODE) == "45.1/s"
    assert amount(12345.6, BY_KEY["new"], UNICODE) == "12,346/s"
    assert amount(2.53, BY_KEY["fill"], UNICODE) == "2.5 %"
    assert amount(12.34, BY_KEY["found_per_new"], UNICODE) == "12.3"
    assert amount(None, BY_KEY["flows"], ASCII) == "-"
    assert [brief(value, UNICODE) for value in (0, 0.25, 5320, 262144, 1e9, None)] == [
        "0", "0.25", "5,320", "262k", "1G", "–",  # noqa: RUF001
    ]  # fmt: skip


def curve(key: str, last: float | None, least: float | None, most: float | None, whose: str = "") -> Curve:
    return Curve(BY_KEY[key], 300.0, (), last, least, most, whose)


def test_the_words_take_the_room_there_is() -> None:
    known = curve("insert_failed", 0.5, 0.0, 12.5)
    assert words(known, UNICODE, 80) == "insert_failed 0.5/s  min 0.0/s  max 12.5/s"
    assert words(known, UNICODE, 30) == "insert_failed 0.5, 0 to 12.5/s"
    assert words(known, UNICODE, 20) == "insert_failed 0.5/s"
    assert words(known, UNICODE, 8) == "insert_f"
    assert words(curve("flows", None, 3, 9, "host "), ASCII, 80) == "host flows -  min 3  max 9"
    assert words(curve("flows", None, None, None), ASCII, 80) == "flows -"


def test_the_time_axis_is_marked_at_whole_steps() -> None:
    assert ticks_of(60.0) == [-45, -30, -15]
    assert ticks_of(300.0) == [-240, -180, -120, -60]
    assert ticks_of(900.0) == [-720, -540, -360, -180]
    assert [age_text(age) for age in (-900, -180, -45, 0)] == ["-15 min", "-3 min", "-45 s", "now"]
