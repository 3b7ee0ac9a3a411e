"""View 1: the table of containers."""

from dataclasses import replace

import pytest

from natop.columns.containers import CONTAINER_COLUMNS, HOST_NAME
from natop.model import NetnsTcp, Snapshot
from natop.tui.flows import FlowsScreen
from natop.tui.glyphs import UNICODE
from natop.tui.sorting import SortScreen
from natop.tui.table import VirtualTable
from tests.tui.live import open_live
from tests.tui.worlds import NO_DOCKER, NO_RIGHT, World, container, world


async def test_a_row_for_each_container_and_one_for_the_host(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        names = {each.container.name for each in small[0].containers}
        assert set(live.names) == names | {HOST_NAME}
        assert "6 containers" in live.title
        flows = [int(live.cell(line, "flows").replace(",", "")) for line in range(7)]
        assert flows == sorted(flows, reverse=True)


async def test_the_cells_are_the_snapshots_numbers(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        for each in small[0].containers:
            line = live.names.index(each.container.name)
            assert each.flows is not None
            assert live.cell(line, "flows") == f"{each.flows.counts.total:,}"
            assert live.cell(line, "time_wait") == f"{each.flows.counts.states['TIME_WAIT']:,}"
            assert live.cell(line, "inbound") == f"{each.inbound:,}"


async def test_replicas_with_long_names_are_told_apart() -> None:
    twins = [replace(container(number), name=f"storefront-frontend-{number}") for number in (1, 2)]
    async with open_live([World(tuple(twins)).snapshot(None)]) as live:
        shown = [live.cells(line)[0] for line in range(3) if live.names[line] != HOST_NAME]
        assert [text[-2:] for text in shown] == ["-1", "-2"]
        assert all(UNICODE.ellipsis in text for text in shown)


async def test_unknown_cells_are_dashes() -> None:
    async with open_live([world(3, gaps=(NO_RIGHT,)).snapshot(None)]) as live:
        assert live.table.line_count == 4
        numeric = [column.key for column in CONTAINER_COLUMNS if column.numeric]
        assert {live.cell(line, key) for line in range(4) for key in numeric} == {UNICODE.unknown}
        assert "6,615 of 262,144" in "\n".join(live.frame)
        assert any("reading conntrack needs CAP_NET_ADMIN · run: sudo natop" in line for line in live.frame)


async def test_without_docker_there_is_the_hosts_row(small: list[Snapshot]) -> None:
    bare = replace(small[0], inventory=None, containers=(), gaps=(NO_DOCKER,))
    async with open_live([bare]) as live:
        assert live.names == [HOST_NAME]
        assert "no Docker" in live.frame[0]


async def test_every_column_sorts_both_ways(small: list[Snapshot]) -> None:
    async with open_live(small[1:2]) as live:
        first = live.view.arranged
        assert first is not None
        assert (first.sort, first.descending) == ("flows", True)
        seen = []
        for _ in live.table.places:
            await live.press("greater_than_sign")
            assert live.view.arranged is not None
            seen.append(live.view.arranged.sort)
            down = live.names
            await live.press("I")
            assert sorted(live.names) == sorted(down)
        assert sorted(seen) == sorted(spot.column.key for spot in live.table.places)
        await live.press("less_than_sign")
        assert live.view.arranged is not None
        assert live.view.arranged.sort == seen[-2]


async def test_names_sort_from_a_and_numbers_from_the_largest(small: list[Snapshot]) -> None:
    async with open_live(small, sort="name") as live:
        assert live.names == sorted(live.names)
        await live.press("I")
        assert live.names == sorted(live.names, reverse=True)


async def test_a_sort_column_with_a_minus_goes_the_other_way(small: list[Snapshot]) -> None:
    async with open_live(small, sort="-flows") as live:
        flows = [int(live.cell(line, "flows").replace(",", "")) for line in range(7)]
        assert flows == sorted(flows)


async def test_a_click_on_a_title_sorts_and_another_one_reverses(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        spot = next(spot for spot in live.table.places if spot.column.key == "time_wait")
        for descending in (True, False):
            await live.pilot.click(live.table, offset=(spot.start + 3, 0))
            await live.settle()
            assert live.view.arranged is not None
            assert (live.view.arranged.sort, live.view.arranged.descending) == ("time_wait", descending)
        assert "TIME_WAIT▲" in "\n".join(live.frame)


async def test_syns_sent_again_are_marked_and_not_by_colour_alone(small: list[Snapshot]) -> None:
    first, *rest = small[-1].containers
    losing = replace(first, tcp=NetnsTcp("net:[1]", {}, {"syn_retrans": 2.5, "listen_overflows": 0.0}))
    async with open_live([replace(small[-1], containers=(losing, *rest))]) as live:
        line = live.names.index(first.container.name)
        assert live.cell(line, "syn_retrans") == "2.5!"
        assert live.cell(line, "listen_overflows") == "0.0"
        assert "2.5!" in "\n".join(live.frame)


@pytest.mark.parametrize("width", [40, 60, 80, 133, 160])
async def test_every_column_in_sight_shows_that_it_is_sorted_by(small: list[Snapshot], width: int) -> None:
    async with open_live(small, (width, 24)) as live:
        for column in [spot.column for spot in live.table.places]:
            live.view._sort(column.key)
            await live.settle()
            shown = "\n".join(live.frame)
            mark = "▼" if column.numeric else "▲"
            assert f"{column.title}{mark}" in shown or f"{mark}{column.title}" in shown, column.title


async def test_f6_sorts_by_a_column_out_of_sight(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("f6")
        assert isinstance(live.app.screen, SortScreen)
        await live.press("end", "enter")
        assert live.view.arranged is not None
        assert live.view.arranged.sort == CONTAINER_COLUMNS[-1].key
        assert CONTAINER_COLUMNS[-1].title in "\n".join(live.frame)
        await live.press("f6", "escape")
        assert live.view.arranged.sort == CONTAINER_COLUMNS[-1].key


async def test_enter_shows_the_containers_flows_and_esc_comes_back(small: list[Snapshot]) -> None:
    for back in ("escape", "backspace"):
        async with open_live(small) as live:
            await live.press("down", "enter")
            assert isinstance(live.app.screen, FlowsScreen)
            assert any(f"→ {each.container.name}" in live.title for each in small[0].containers)
            await live.press(back)
            assert live.view.THINGS == "containers"
            assert live.table.cursor == 1


async def test_enter_on_the_host_shows_what_belongs_to_nobody(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        host = live.names.index(HOST_NAME)
        await live.press(*["down"] * host, "enter")
        assert small[0].unowned is not None
        assert live.table.line_count == small[0].unowned.counts.total
        assert HOST_NAME in live.title


async def test_a_second_click_on_a_row_opens_it(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.pilot.click(live.table, offset=(5, 3))
        assert live.table.cursor == 2
        await live.pilot.click(live.table, offset=(5, 3), times=2)
        await live.settle()
        assert isinstance(live.app.screen, FlowsScreen)


async def test_a_tall_screen_tells_more_about_the_row(small: list[Snapshot]) -> None:
    async with open_live(small, (160, 50)) as live:
        shown = "\n".join(live.frame)
        name = live.names[0]
        container = next(each.container for each in small[0].containers if each.container.name == name)
        assert f"image {container.image}" in shown
        assert (container.networks[0].ipv4 or "?") in shown
        await live.press("down")
        assert f"image {container.image}" not in "\n".join(live.frame)
    async with open_live(small, (80, 24)) as live:
        assert "image" not in "\n".join(live.frame)


async def test_lines_that_come_before_the_styles_wait_for_them(small: list[Snapshot]) -> None:
    """On a slow machine the first lines may be made before the stylesheet has reached the table."""
    async with open_live(small) as live:
        bare = VirtualTable(live.table.glyphs)
        bare.show(live.table.content)
        await live.app.screen.mount(bare)
        await live.until(lambda: bool(bare.places))
        assert bare.line_count == live.table.line_count
