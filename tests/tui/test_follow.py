"""The cursor keeps to what it sits on."""

from dataclasses import replace

import numpy as np

from natop.model import Snapshot
from tests.tui.live import Live, open_live
from tests.tui.worlds import flow_table, world

WORLD = world(6)


def without(flows: int, first: int, last: int | None = None) -> list[Snapshot]:
    """A table, and the same one without its first rows (in the order of their ids)."""
    table = flow_table(flows, WORLD.containers)
    table = table.take(np.argsort(table.id))
    before = WORLD.snapshot(table)
    return [before, WORLD.snapshot(table.take(np.arange(first, last or flows)), 1, before)]


def on_screen(live: Live) -> int:
    """The cursor's line, counted from the top of the table's lines in sight."""
    return live.table.cursor - live.table.scroll_offset.y


async def test_the_row_keeps_its_line_on_the_screen() -> None:
    async with open_live(without(2000, 300), sort="src") as live:
        await live.press("2", "end", *["pageup"] * 3, *["up"] * 5)
        identity, line, cursor = live.table.chosen, on_screen(live), live.table.cursor
        await live.step()
        assert live.table.cursor < cursor
        assert live.table.chosen == identity
        assert on_screen(live) == line


async def test_without_following_the_cursor_keeps_its_line_number() -> None:
    async with open_live(without(2000, 300), sort="src") as live:
        await live.press("2", *["pagedown"] * 3, "F")
        assert "follow off" in live.title
        identity, cursor = live.table.chosen, live.table.cursor
        await live.step()
        assert live.table.cursor == cursor
        assert live.table.chosen != identity
        await live.press("F")
        assert "follow off" not in live.title


async def test_a_row_that_goes_leaves_the_cursor_on_its_line() -> None:
    async with open_live(without(400, 399), sort="src") as live:
        await live.press("2", *["down"] * 7)
        await live.step()
        assert live.table.line_count == 1
        assert live.table.cursor == 0


async def test_a_row_that_goes_hands_the_line_to_the_next() -> None:
    table = flow_table(300, WORLD.containers)
    before = WORLD.snapshot(table)
    async with open_live([before], sort="src") as live:
        await live.press("2", *["down"] * 5)
        row = int(live.table.content.rows[5])  # type: ignore[union-attr]  # FlowLines
        after = WORLD.snapshot(table.take(np.delete(np.arange(300), row)), 1, before)
        live.feed.add(after)
        await live.step()
        assert live.table.line_count == 299
        assert live.table.cursor == 5


async def test_the_top_stays_the_top_until_the_cursor_is_moved() -> None:
    async with open_live(without(2000, 0, 1500)[::-1], sort="src") as live:
        await live.press("2")
        await live.step()
        assert live.table.line_count == 2000
        assert live.table.scroll_offset.y == 0


async def test_a_container_is_followed_through_the_order() -> None:
    snapshots = [world(6).history(600, 1, seed=seed)[0] for seed in (1, 2, 3, 4)]
    async with open_live(snapshots) as live:
        await live.press("down", "down", "down")
        identity = live.table.chosen
        for _ in snapshots[1:]:
            await live.step()
            assert live.table.chosen == identity


async def test_the_only_row_there_was_is_not_followed(small: list[Snapshot]) -> None:
    bare = replace(small[0], inventory=None, containers=())
    async with open_live([bare, small[1]]) as live:
        assert live.names == ["(host)"]
        await live.step()
        assert live.table.cursor == 0
        assert live.names[0] != "(host)"


async def test_the_wheel_leaves_the_cursor_where_it_is() -> None:
    async with open_live(without(2000, 5), sort="src") as live:
        await live.press("2", "down")
        live.table.scroll_to(y=900, animate=False)
        await live.step()
        assert live.table.cursor < 5
        assert live.table.scroll_offset.y == 900
        await live.press("down")
        assert live.table.scroll_offset.y <= live.table.cursor


async def test_moving() -> None:
    async with open_live(without(2000, 5), sort="src") as live:
        await live.press("2", "j", "j", "k")
        assert live.table.cursor == 1
        await live.press("G")
        assert live.table.cursor == 1999
        await live.press("home")
        assert (live.table.cursor, live.table.scroll_offset.y) == (0, 0)
        await live.press("pagedown")
        page = live.table.cursor
        assert page == live.table.size.height - 1
        await live.press("pageup")
        assert live.table.cursor == 0
        await live.press("end", "down")
        assert live.table.cursor == 1999
        await live.press("home", "up")
        assert live.table.cursor == 0
