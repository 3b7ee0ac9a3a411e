"""The filter, in force while it is typed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.model import Snapshot
from natop.tui.filterline import PROMPT, mistake_lines
from natop.tui.glyphs import UNICODE
from natop.tui.wish import Mistake
from tests.tui.live import Live, open_live
from tests.tui.worlds import flow_table, world


def mistake(live: Live) -> str | None:
    line = live.view.part("mistake")
    return line.text if line.has_class("-shown") else None


async def test_it_applies_while_it_is_typed(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("slash")
        await live.type("container:shop")
        assert live.names == []
        await live.type("*")
        assert live.names
        assert all(name.startswith("shop") for name in live.names)
        assert f"{len(live.names)} of 6 containers" in live.title
        await live.press("enter")
        assert "filter container:shop*" in live.title
        assert live.table.has_focus


async def test_keys_are_text_while_it_is_typed(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("slash")
        await live.type("qphe2ydFI")
        assert live.view.wish.filter_text == "qphe2ydFI"
        assert live.view.VIEW == "containers"


async def test_esc_takes_the_first_one_away_while_it_is_typed_and_later(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        for typing in (True, False):
            await live.press("slash")
            await live.type("web")
            assert live.table.line_count < 7
            if not typing:
                await live.press("enter")
            await live.press("escape")
            assert live.table.line_count == 7
            assert "filter" not in live.title
            assert live.table.has_focus


async def test_esc_clears_first_and_goes_back_then(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("enter", "slash")
        await live.type("state:time_wait")
        await live.press("enter", "escape")
        assert live.view.VIEW == "flows"
        await live.press("escape")
        assert live.view.VIEW == "containers"


async def test_a_mistake_points_at_its_column_and_the_last_good_one_stays(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("slash")
        await live.type("shop web:")
        assert mistake(live) is not None
        await live.press("backspace")
        assert mistake(live) is None
        await live.type(" dport:")
        assert mistake(live) is not None
        assert live.view.wish.good_filter == "shop web dport"
        await live.type("443 stat:x")
        shown = mistake(live)
        assert shown is not None
        assert shown.index("▲") == len(PROMPT) + len("shop web dport:443 ")
        assert "no field 'stat'" in shown
        assert live.view.wish.good_filter == "shop web dport:443 stat"


@pytest.mark.parametrize("width", [24, 40, 79, 120, 200])
@given(column=st.integers(0, 300), words=st.lists(st.text("abcdefgh", min_size=1, max_size=12), min_size=1))
def test_all_that_is_to_be_said_of_a_mistake_is_in_sight(width: int, column: int, words: list[str]) -> None:
    lines = mistake_lines(Mistake(" ".join(words), column), width, UNICODE)
    assert all(len(line) <= width for line in lines)
    assert " ".join(lines).split() == [UNICODE.caret, *words]
    assert lines[0].index(UNICODE.caret) == min(len(PROMPT) + column, width - 1), "under what it is about"


async def test_enter_leaves_a_mistake_open_until_it_is_mended(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("slash")
        await live.type("shop-web stat:x")
        names = live.names
        await live.press("enter", "enter")
        assert live.view.filter_line.is_open
        assert mistake(live) is not None
        assert live.names == names, "the last good one stays in force, no more"
        assert live.view.wish.filter_text == "shop-web stat:x"
        for _ in range(len(" stat:x")):
            await live.press("backspace")
        await live.press("enter")
        assert live.table.has_focus
        assert mistake(live) is None
        assert live.names == ["shop-web-1"]
        assert "filter shop-web " in live.title


async def test_enter_right_behind_a_mistake_does_not_slip_through(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.pilot.press("slash", *"web dport:", "enter", *"443", "enter")
        await live.settle()
        assert not live.view.filter_line.is_open
        assert live.view.wish.filter_text == live.view.wish.good_filter == "web dport:443"


async def test_esc_leaves_the_filter_as_it_was_before_typing(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("slash")
        await live.type("shop*")
        await live.press("enter")
        names = live.names
        for typed in (" stat:x", " dport:1", ""):
            await live.press("slash")
            await live.type(typed)
            await live.press("enter" if ":x" in typed else "left", "escape")
            assert mistake(live) is None
            assert live.table.has_focus
            assert live.view.wish.filter_text == live.view.wish.good_filter == "shop*"
            assert live.names == names
            assert "filter shop*" in live.title
        await live.press("escape")
        assert live.table.line_count == 7


async def test_earlier_filters_come_back_with_the_arrow(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        for text in ("web", "state:time_wait"):
            await live.press("slash")
            await live.type(text)
            await live.press("enter", "escape")
        await live.press("slash")
        await live.type("x")
        await live.press("up")
        assert live.view.wish.filter_text == "state:time_wait"
        await live.press("up", "up", "up")
        assert live.view.wish.filter_text == "web"
        await live.press("down", "down")
        assert live.view.wish.filter_text == "x"
        await live.press("escape", "2", "slash", "up")
        assert live.view.wish.filter_text == "x", "all views share the past"


async def test_it_filters_flows(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        assert small[0].whole is not None
        await live.press("2", "slash")
        await live.type("state:time_wait")
        assert live.table.line_count == small[0].whole.counts.states["TIME_WAIT"]
        await live.press("enter", "slash")
        assert live.view.filter_line.is_open
        await live.press("escape", "escape")
        assert live.table.line_count == 400


async def test_each_view_has_its_own_and_the_first_one_is_given_to_both(small: list[Snapshot]) -> None:
    async with open_live(small, filter_text="web") as live:
        assert live.names == ["shop-web-1"]
        await live.press("2")
        assert "filter web" in live.title
        await live.press("escape", "1")
        assert live.names == ["shop-web-1"]
        await live.press("escape", "2")
        assert "filter" not in live.title


async def test_new_snapshots_are_filtered_too(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("2", "slash")
        await live.type("proto:udp")
        await live.press("enter")
        for taken in small[1:]:
            await live.step()
            assert taken.whole is not None
            assert live.table.line_count == taken.whole.counts.protocols["udp"]


async def test_typing_on_a_large_table_ends_with_the_last_text() -> None:
    large = world(6)
    async with open_live([large.snapshot(flow_table(100_000, large.containers))]) as live:
        await live.press("2", "slash")
        await live.pilot.press(*"udp")
        await live.settle()
        assert live.view.wish.good_filter == "udp"
        assert live.view.arranged is not None
        assert 0 < live.table.line_count == live.view.arranged.found < 100_000


async def test_nothing_that_matches_says_so(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("2", "slash")
        await live.type("dport:1")
        assert any("no flows match the filter; Esc clears it" in line for line in live.frame)
