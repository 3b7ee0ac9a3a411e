"""`g` in the table of containers: its rows by compose project, by network, by destination."""

from dataclasses import replace

import pytest

from natop.columns.containers import HOST_NAME
from natop.columns.grouping import NO_PROJECT, Grouping
from natop.join.flows import Flows
from natop.model import Attachment, Snapshot
from natop.tui.flows import FlowsScreen
from natop.tui.help import HelpScreen
from tests.tui.live import Live, open_live
from tests.tui.worlds import NO_RIGHT, World, container, world

GROUPINGS = [Grouping.PROJECT, Grouping.NETWORK, Grouping.DESTINATION]


def expected(snapshot: Snapshot, by: Grouping) -> dict[str, int]:
    """Flows of each group, counted one flow at a time."""
    flows = Flows.of(snapshot)
    assert flows is not None
    numbers: dict[str, int] = {}
    for row in range(len(flows.table)):
        ends = {int(flows.attribution.client[row]), int(flows.attribution.server[row])} - {-1}
        match by:
            case Grouping.PROJECT:
                names = {flows.containers[end].project or NO_PROJECT for end in ends} or {HOST_NAME}
            case Grouping.NETWORK:
                names = {
                    place.network
                    for end in ends
                    for place in flows.containers[end].networks
                    if place.ipv4 in (flows.table.orig_src.text(row), flows.table.reply_src.text(row))
                } or {HOST_NAME}
            case _:
                proto = "udp" if int(flows.table.proto[row]) == 17 else "tcp"
                names = {f"{flows.table.orig_dst.text(row)}:{int(flows.table.orig_dport[row])}/{proto}"}
        for name in names:
            numbers[name] = numbers.get(name, 0) + 1
    return numbers


async def regroup(live: Live, by: Grouping) -> None:
    await live.press(*["g"] * list(Grouping).index(by))


@pytest.mark.parametrize("by", GROUPINGS)
async def test_each_groups_flows_are_counted(small: list[Snapshot], by: Grouping) -> None:
    async with open_live(small) as live:
        await regroup(live, by)
        shown = {name: int(live.cell(line, "flows").replace(",", "")) for line, name in enumerate(live.names)}
        assert {name: number for name, number in shown.items() if number} == expected(small[0], by)
        assert f"{len(shown.keys() - {HOST_NAME})} {by.things}" in live.title
        assert by.upper() in "\n".join(live.frame)


async def test_the_fourth_g_comes_back_to_the_containers(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        before = live.frame
        await live.press("g", "g", "g", "g")
        assert live.frame == before


async def test_columns_that_a_grouping_cannot_tell_are_left_out(small: list[Snapshot]) -> None:
    async with open_live(small, (200, 50)) as live:
        await live.press("g")
        keys = {spot.column.key for spot in live.table.places}
        assert keys == {"name", "flows", "established", "syn", "time_wait", "closing", "inbound", "outbound"}
        await live.press("g", "g")
        assert {spot.column.key for spot in live.table.places} == keys - {"inbound", "outbound"}


@pytest.mark.parametrize("by", GROUPINGS)
async def test_enter_shows_the_flows_of_a_group_and_esc_comes_back(small: list[Snapshot], by: Grouping) -> None:
    async with open_live(small) as live:
        await regroup(live, by)
        await live.press("down")
        name, flows = live.names[1], live.cell(1, "flows")
        await live.press("enter")
        assert isinstance(live.app.screen, FlowsScreen)
        assert f"{live.table.line_count:,}" == flows
        assert (name if name == HOST_NAME else f"{by} {name}") in live.title
        await live.press("escape")
        assert live.table.cursor == 1
        assert live.names[1] == name


async def test_the_cursor_stays_on_its_group(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("g", "g", "down")
        name = live.names[1]
        await live.press("I")
        assert live.names[live.table.cursor] == name
        await live.step()
        assert live.names[live.table.cursor] == name


async def test_each_grouping_keeps_its_row(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("down", "down")
        name = live.names[2]
        await live.press("g")
        assert live.table.cursor == 0
        await live.press("down", "g", "g", "g")
        assert live.names[live.table.cursor] == name
        await live.press("g")
        assert live.table.cursor == 1


async def test_the_order_survives_a_grouping(small: list[Snapshot]) -> None:
    async with open_live(small, sort="mode") as live:
        before = live.names
        await live.press("g")
        assert live.view.arranged is not None
        assert live.view.arranged.sort == "flows", "a grouping has no network mode"
        await live.press("g", "g", "g")
        assert live.names == before
        await live.press("f6", "home", "enter", "g")
        assert live.view.arranged.sort == "name"
        assert live.names == sorted(live.names)


async def test_bare_words_filter_the_names_of_groups(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("g")
        await live.press("slash")
        await live.type("SHO")
        assert live.names == ["shop"]
        assert "1 of 2 compose projects" in live.title
        await live.press("escape")
        await live.press("slash")
        await live.type("!shop")
        assert "shop" not in live.names
        assert len(live.names) == 2


async def test_a_filter_of_flows_keeps_the_groups_that_have_some(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("g", "g", "g", "slash")
        await live.type("dport:5432")
        assert live.names
        assert all(":5432/" in name for name in live.names)
        await live.press("escape", "g", "g")
        await live.press("slash")
        await live.type("container:shop-web-1")
        assert live.names == ["shop"] or set(live.names) == {"shop", "billing"}


async def test_without_flows_the_rows_are_containers() -> None:
    async with open_live([world(3, gaps=(NO_RIGHT,)).snapshot(None)]) as live:
        await live.press("g")
        assert "3 containers" in live.title
        assert live.table.line_count == 4


async def test_many_destinations_are_the_busiest() -> None:
    flows = world(6).history(3000, 1)[0]
    async with open_live([flows]) as live:
        await live.press("g", "g", "g")
        assert "500 busiest destinations" in live.title


async def test_a_tall_screen_tells_who_is_in_a_group(small: list[Snapshot]) -> None:
    async with open_live(small, (160, 50)) as live:
        await live.press("g", "f6", "home", "enter", "I")
        assert live.names[0] == "shop"
        shown = "\n".join(live.frame)
        members = [each.container.name for each in small[0].containers if each.container.project == "shop"]
        assert f"containers {' '.join(members)}" in shown


async def test_hostile_names_of_groups_are_text() -> None:
    evil = "[b]x[/b]\x1b[31m:y"
    places = (Attachment(evil, "bridge", "172.18.0.2"),)
    bad = replace(container(0), project=evil, networks=places, network_mode=evil)
    async with open_live(World((bad,)).history(50, 1), (160, 50)) as live:
        for _ in range(2):
            await live.press("g")
            shown = "\n".join(live.frame)
            assert "[b]x[/b]\ufffd[31m:y" in shown
            assert "\x1b" not in shown
            await live.press("enter")
            assert (
                "[b]x[/b]\ufffd[31m:y"
                in live.frame[live.frame.index(next(filter(lambda line: "→" in line, live.frame)))]
            )
            assert live.table.line_count
            await live.press("escape")


async def test_help_tells_of_groups(small: list[Snapshot]) -> None:
    async with open_live(small, (100, 70)) as live:
        await live.press("g", "question_mark")
        assert isinstance(live.app.screen, HelpScreen)
        shown = "\n".join(live.frame)
        assert "by compose project, by network" in shown
        assert "compose project: the flows of its containers" in shown
