"""Columns on a width."""

from dataclasses import dataclass
from itertools import pairwise

import pytest

from natop.columns.containers import CONTAINER_COLUMNS
from natop.columns.flows import FLOW_COLUMNS
from natop.tui.keys import Hint, fitting
from natop.tui.layout import Column, place


@dataclass(frozen=True)
class Plain:
    key: str
    width: int
    rank: int = 1
    title: str = ""
    numeric: bool = False
    help: str = ""


@pytest.mark.parametrize("columns", [CONTAINER_COLUMNS, FLOW_COLUMNS])
@pytest.mark.parametrize("room", [*range(22, 260, 7)])
def test_columns_neither_overlap_nor_leave_the_screen(columns: tuple[Column, ...], room: int) -> None:
    places = place(columns, room)
    for left, right in pairwise(places):
        assert left.start + left.width < right.start
    assert places[-1].start + places[-1].width <= room
    assert all(spot.width >= (spot.column.width if spot.column.rank else len(spot.column.title)) for spot in places)


@pytest.mark.parametrize("columns", [CONTAINER_COLUMNS, FLOW_COLUMNS])
def test_ranks_up_to_one_are_always_there_on_80_cells(columns: tuple[Column, ...]) -> None:
    always = {column.key for column in columns if column.rank <= 1}
    assert always <= {spot.column.key for spot in place(columns, 78)}
    assert place(columns, 78)[-1].start + place(columns, 78)[-1].width <= 78


@pytest.mark.parametrize(
    ("room", "shown"),
    [
        (79, ["proto", "state", "src", "dst", "kind"]),
        (75, ["state", "src", "dst", "kind"]),
        (59, ["state", "src", "dst"]),
        (39, ["src", "dst"]),
        (22, ["src", "dst"]),
    ],
)
def test_a_narrow_screen_keeps_both_ends_of_a_flow(room: int, shown: list[str]) -> None:
    assert [spot.column.key for spot in place(FLOW_COLUMNS, room, "dst")] == shown


def test_what_a_line_is_about_is_cut_short_rather_than_left_out() -> None:
    assert [spot.width for spot in place(FLOW_COLUMNS, 45)] == [22, 22]
    assert [spot.width for spot in place(FLOW_COLUMNS, 39)] == [19, 19]
    by_timeout = place(FLOW_COLUMNS, 39, "timeout")
    assert [(spot.column.key, spot.width) for spot in by_timeout] == [("src", 15), ("dst", 15), ("timeout", 7)]


def test_more_room_shows_more_columns_in_their_order() -> None:
    shown = [[spot.column.key for spot in place(CONTAINER_COLUMNS, room)] for room in (78, 118, 158, 240)]
    assert [len(keys) for keys in shown] == sorted(len(keys) for keys in shown)
    assert {"mode", "project", "published"} <= set(shown[2])
    order = [column.key for column in CONTAINER_COLUMNS]
    assert all(keys == sorted(keys, key=order.index) for keys in shown)


STORY = {"pool", "time_wait", "new", "syn_retrans"}
"""What tells a race, exhausted ports and TIME_WAIT from each other, container by container."""


def test_80_columns_tell_which_container_runs_out_of_ports_or_loses_syns() -> None:
    assert {"flows", "established", "trend", *STORY} <= {spot.column.key for spot in place(CONTAINER_COLUMNS, 78)}


@pytest.mark.parametrize("sort", [column.key for column in CONTAINER_COLUMNS if column.width <= 12])
def test_80_columns_tell_it_in_whatever_order(sort: str) -> None:
    assert {spot.column.key for spot in place(CONTAINER_COLUMNS, 78, sort)} >= STORY


def test_40_columns_tell_how_full_the_fullest_pool_is() -> None:
    shown = [spot.column.key for spot in place(CONTAINER_COLUMNS, 38)]
    assert shown == ["name", "flows", "time_wait", "pool"]


def test_a_narrow_screen_keeps_the_first_and_the_sort_column() -> None:
    assert [spot.column.key for spot in place(CONTAINER_COLUMNS, 30, "closing")] == ["name", "flows", "closing"]
    assert [spot.column.key for spot in place(CONTAINER_COLUMNS, 5)] == ["name"]
    assert [spot.column.key for spot in place(CONTAINER_COLUMNS, 0, "image")] == ["name", "image"]


def test_no_higher_rank_before_a_lower_one_has_its_place() -> None:
    columns = [Plain("a", 10), Plain("b", 50, 2), Plain("c", 3, 3)]
    assert [spot.column.key for spot in place(columns, 40)] == ["a"]


def test_where_none_is_of_rank_0_the_lowest_rank_goes_from_the_right() -> None:
    columns = [Plain("a", 10), Plain("b", 10), Plain("c", 3, 2)]
    assert [[spot.column.key for spot in place(columns, room)] for room in (5, 20, 21, 25)] == [
        ["a"], ["a"], ["a", "b"], ["a", "b", "c"],
    ]  # fmt: skip


def test_the_sort_column_is_shown_whatever_its_rank() -> None:
    assert "image" in {spot.column.key for spot in place(CONTAINER_COLUMNS, 78, "image")}


def test_widths_do_not_depend_on_what_is_sorted_among_the_columns_in_sight() -> None:
    assert place(CONTAINER_COLUMNS, 158, "flows") == place(CONTAINER_COLUMNS, 158, "name")


def test_hints_give_way_by_rank_and_keep_their_order() -> None:
    hints = (
        Hint("a", "a", "first", 1),
        Hint("b", "b", "second", 3),
        Hint("c", "c", "third", 2),
        Hint("q", "q", "quit", 1),
    )
    assert [hint.key for hint in fitting(hints, 80)] == ["a", "b", "c", "q"]
    assert [hint.key for hint in fitting(hints, 26)] == ["a", "c", "q"]
    assert [hint.key for hint in fitting(hints, 17)] == ["a", "q"]
    assert fitting(hints, 3) == ()
