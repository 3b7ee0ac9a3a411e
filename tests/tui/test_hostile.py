"""Names from outside that would act on a terminal, as markup, or on the layout; and screens of any size."""

from dataclasses import replace

import pytest
from rich.cells import cell_len

from natop.model import Gap, Snapshot
from natop.tui.help import HelpScreen
from tests.tui.live import open_live
from tests.tui.worlds import World, container, flow_table

HOSTILE = (
    "[red]loud[/red]",
    "[/]",
    "[@click=app.quit]x[/]",
    "\x1b[2J\x1b]0;owned\x07",
    "a\nb\tc\r",
    "\u202egnp.exe",
    "数据库容器-生产环境-第一号",
    "e\u0301\u0301\u0301",
    "👩‍👩‍👧‍👦 family",
    "x" * 255,
    "",
)
SIZES = ((20, 5), (40, 10), (80, 24), (160, 50), (1, 1), (300, 80))


def hostile_world(name: str) -> list[Snapshot]:
    first = container(0, "web")
    bad = replace(
        first,
        name=name,
        image=name,
        project=name,
        network_mode=name,
        networks=tuple(replace(place, network=name) for place in first.networks),
    )
    world = World((bad, container(1)), gaps=(Gap("docker", name, name),))
    taken = [world.snapshot(flow_table(200, world.containers))]
    taken.append(world.snapshot(flow_table(200, world.containers), 1, taken[0]))
    return [replace(each, host=replace(each.host, hostname=name, kernel=name)) for each in taken]


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_name_is_only_text(name: str) -> None:
    async with open_live(hostile_world(name), (160, 50), sort="image") as live:
        for keys in ([], ["down"], ["2", "d"], ["enter"], ["question_mark"], ["escape", "1", "e", "y"]):
            await live.press(*keys)
            for line in live.frame:
                assert cell_len(line) <= 160
                assert line.isprintable(), ascii(line)
                assert "\u202e" not in line
        assert live.app.is_running


@pytest.mark.parametrize("name", ["[red]loud[/red]", "[/]", "[@click=app.quit]x[/]"])
async def test_markup_is_shown_as_it_is(name: str) -> None:
    async with open_live(hostile_world(name), (160, 50)) as live:
        assert any(name in line for line in live.frame)
        await live.press("enter")
        assert name in live.title


@pytest.mark.parametrize("size", SIZES)
async def test_every_size_is_survived(small: list[Snapshot], size: tuple[int, int]) -> None:
    async with open_live(small, size) as live:
        for keys in (["down"], ["enter"], ["enter"], ["question_mark"], ["escape", "1"], ["slash", "x", ":", "escape"]):
            await live.press(*keys)
        await live.press("f6", "escape", "2", "end", "e")
        await live.step()
        assert live.app.is_running


async def test_resizing_keeps_the_cursor_in_sight(small: list[Snapshot]) -> None:
    async with open_live(small, (160, 50)) as live:
        await live.press("2", *["pagedown"] * 3)
        chosen = live.table.chosen
        for size in SIZES:
            await live.pilot.resize_terminal(*size)
            await live.settle()
            assert live.table.chosen == chosen
            if size[1] >= 10:
                top = live.table.scroll_offset.y
                assert top <= live.table.cursor < top + live.table.size.height


async def test_twelve_rows_fit_80_by_24_with_a_banner(busy: list[Snapshot]) -> None:
    noisy = replace(busy[-1], gaps=(Gap("docker", "gone", "start it"), Gap("flows", "old", None)))
    async with open_live([noisy]) as live:
        assert live.table.size.height - 1 >= 12


async def test_ascii_screens_are_ascii(busy: list[Snapshot]) -> None:
    for size in ((80, 24), (160, 50)):
        async with open_live(busy[-2:], size, ascii=True) as live:
            for keys in ([], ["down", "enter"], ["d", "enter"], ["escape", "f6"], ["escape", "question_mark"]):
                await live.press(*keys)
                assert "\n".join(live.frame).isascii(), "\n".join(live.frame)
            await live.press("escape", "e")
            await live.pilot.pause(0.1)
            assert "\n".join(live.frame).isascii()
            assert not isinstance(live.app.screen, HelpScreen)
