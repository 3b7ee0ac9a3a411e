"""View 7: plots of the past, of the host or of a container, in braille and in ASCII."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from natop.model import UNOWNED, Snapshot
from natop.summarise.history import BY_KEY, METRICS
from natop.tui.choosing import ChoiceScreen
from natop.tui.containers import ContainersScreen
from natop.tui.frame import VIEWS as VIEWS_NOW
from natop.tui.frame import tabs
from natop.tui.help import HelpScreen
from natop.tui.tones import length_of, text_of
from natop.tui.trends import Arrangement, TrendsScreen, arrange
from natop.tui.unknowns import why_unknown
from tests.tui.live import Live, open_live
from tests.tui.pasts import insert_failed, past, ports_used, time_wait
from tests.tui.worlds import NO_RIGHT, container, flow_table, untracked_world, world

BRAILLE = {chr(0x2800 + dots) for dots in range(1, 256)}


@pytest.fixture(scope="module")
def ten_minutes() -> list[Snapshot]:
    return past(300)


def body(frame: list[str]) -> list[str]:
    """What is below the title."""
    return frame[next(y for y, line in enumerate(frame) if "7 Trends" in line) + 1 :]


async def press(live: Live, *keys: str) -> list[str]:
    await live.press(*keys)
    return await live.still()


def written(frame: list[str]) -> str:
    """The words of the plots, whatever line each is on."""
    return " ".join(re.sub("[^ -~]", " ", "\n".join(frame)).split())


def view(live: Live) -> TrendsScreen:
    assert isinstance(live.app.screen, TrendsScreen)
    return live.app.screen


def texts(live: Live) -> list[str]:
    """What the plots in sight say, each with all the room it needs."""
    return [plot.text for plot in view(live).plots if plot.display]


def told(title: str, values: Sequence[float], unit: str = "") -> str:
    """What a plot must say of these values, the newest last."""
    last, least, most = (f"{value:,.1f}" if unit else f"{value:,}" for value in (values[-1], min(values), max(values)))
    return f"{title} {last}{unit}  min {least}{unit}  max {most}{unit}"


def waits(ticks: range, part: int = 1) -> list[int]:
    return [time_wait(tick) // part for tick in ticks]


LAST_5_MIN = range(300 - 151, 300)


# What is shown


async def test_the_view_shows_the_host_s_last_five_minutes(ten_minutes: list[Snapshot]) -> None:
    async with open_live(ten_minutes[-1:]) as live:
        frame = await press(live, "7")
        assert live.title.strip().endswith("7 Trends  this host  5 min")
        waiting, flows, new, failed, pool = texts(live)
        assert waiting == told("TIME_WAIT", waits(LAST_5_MIN))
        assert flows.startswith("flows ")
        assert new.endswith("/s  max 65.0/s")
        assert failed == told("insert_failed", [insert_failed(tick) for tick in LAST_5_MIN], "/s")
        assert pool == told("pool use", [100 * ports_used(tick) / 64_512 for tick in LAST_5_MIN], " %")
        shown = "\n".join(frame)
        assert waiting in shown
        assert BRAILLE & set(shown)
        assert "-5 min" in shown
        assert "now" in shown
        while view(live).wish.metrics[0] != "syn_retrans":
            view(live).action_number(1)
        assert "not known for 5 min" in "\n".join(await live.still())
        assert texts(live)[0] == "SYN retransmits –"  # noqa: RUF001  # an en dash stands for what is not known


async def test_the_range_is_chosen_by_keys(ten_minutes: list[Snapshot]) -> None:
    async with open_live(ten_minutes[-1:]) as live:
        await press(live, "7")
        for keys, minutes, known in (
            (["left_square_bracket"], 1, range(300 - 31, 300)),
            (["left_square_bracket"], 1, range(300 - 31, 300)),
            (["right_square_bracket"] * 2, 15, range(300)),
            (["right_square_bracket"], 15, range(300)),
        ):
            frame = await press(live, *keys)
            assert f"this host  {minutes} min" in live.title
            assert texts(live)[0] == told("TIME_WAIT", waits(known))
            assert f"-{minutes} min" in "\n".join(frame)
        await live.pilot.resize_terminal(120, 24)
        await live.still()
        assert live.title.strip().endswith("this host  15 min  9 min 58 s so far")


async def test_another_number_can_be_plotted(ten_minutes: list[Snapshot]) -> None:
    async with open_live(ten_minutes[-1:]) as live:
        await press(live, "7", "greater_than_sign")
        assert texts(live)[0].startswith("closing ")
        await press(live, "less_than_sign", "less_than_sign")
        assert texts(live)[0].startswith("SYN ")
        await press(live, "f6")
        assert isinstance(live.app.screen, ChoiceScreen)
        await press(live, "up", "enter")
        assert texts(live)[0].startswith("ESTABLISHED ")
        assert texts(live)[1].startswith("flows ")
        await press(live, "f6", "down", "escape")
        assert texts(live)[0].startswith("ESTABLISHED ")


async def test_every_number_can_be_reached_and_drawn(ten_minutes: list[Snapshot]) -> None:
    async with open_live(ten_minutes[-1:], (80, 24)) as live:
        await press(live, "7", "enter")
        found = set()
        for _ in METRICS:
            view(live).action_number(1)
            found |= {view(live).wish.metrics[0]}
        assert found == {each.key for each in METRICS if each.host}
        await live.press("escape", "escape", "down", "t", "enter")
        for _ in METRICS:
            view(live).action_number(1)
            found |= {view(live).wish.metrics[0]}
        assert found == {each.key for each in METRICS}


# Whose


async def test_t_shows_the_trends_of_the_row(ten_minutes: list[Snapshot]) -> None:
    async with open_live(ten_minutes[-1:]) as live:
        await live.press("slash", *"shop", "enter", "down", "down")
        name, key, cursor = live.names[2], live.table.chosen, live.table.cursor
        frame = await press(live, "t")
        number = [each.container.id for each in ten_minutes[-1].containers].index(str(key))
        assert f"7 Trends  {name}  5 min" in live.title
        assert texts(live)[0] == told("TIME_WAIT", waits(LAST_5_MIN, number + 2))
        assert texts(live)[3].startswith("host insert_failed 0.0/s"), "only the host has it"
        assert "host insert_failed" in "\n".join(frame)
        await press(live, "escape")
        assert isinstance(live.app.screen, ContainersScreen)
        assert live.table.cursor == cursor


async def test_the_row_of_the_host_has_the_flows_of_nobody(ten_minutes: list[Snapshot]) -> None:
    async with open_live(ten_minutes[-1:]) as live:
        await live.press("end", "t")
        await live.still()
        assert view(live).wish.subject == UNOWNED
        assert "7 Trends  (host)  5 min" in live.title
        assert texts(live)[0] == "TIME_WAIT 5  min 5  max 5"


async def test_groups_have_no_trends(ten_minutes: list[Snapshot]) -> None:
    async with open_live(ten_minutes[-1:]) as live:
        await live.press("g", "t")
        assert isinstance(live.app.screen, ContainersScreen)
        (toast,) = live.app._notifications
        assert "not of groups" in toast.message


async def test_whose_trends_is_chosen_from_a_list(ten_minutes: list[Snapshot]) -> None:
    async with open_live(ten_minutes[-1:]) as live:
        await press(live, "7", "t")
        listed = "\n".join(live.frame)
        for text in ("Trends of", "this host", "(host)", "billing-worker-1", "shop-web-1", "example/shop:1.0"):
            assert text in listed
        await press(live, "down", "down", "enter")
        assert "7 Trends  billing-worker-1  5 min" in live.title
        assert texts(live)[0] == told("TIME_WAIT", waits(LAST_5_MIN, 2))
        await press(live, "t", "up", "up", "enter")
        assert "this host" in live.title
        await press(live, "t", "down", "escape")
        assert "this host" in live.title


async def test_a_container_that_is_gone_can_be_looked_at_for_a_while() -> None:
    host = world(3)
    taken = past(40, containers=host, present=host.containers[1:])
    async with open_live(taken[-1:]) as live:
        await press(live, "7", "t")
        assert any(host.containers[0].name in line and " gone" in line for line in live.frame)
        await press(live, "down", "down", "enter")
        assert host.containers[0].name in live.title
        assert texts(live)[0].startswith("TIME_WAIT –  min ")  # noqa: RUF001


async def test_a_container_s_own_number_is_explained_on_the_host_s_page(ten_minutes: list[Snapshot]) -> None:
    async with open_live(ten_minutes[-1:]) as live:
        await live.press("t")
        while view(live).wish.metrics[0] != "inbound":
            view(live).action_number(1)
        await press(live, "t", "home", "enter")
        assert "containers have this number" in "\n".join(live.frame)


# Gaps


def columns_with_ink(part: Sequence[str], left: int, right: int) -> list[bool]:
    """Of each column of a part of the screen, whether anything is drawn there."""
    lines = [line.ljust(right) for line in part]
    return [any(line[x] in BRAILLE for line in lines) for x in range(left, right)]


async def test_what_is_not_known_is_a_gap_and_zero_is_a_line() -> None:
    taken = past(151, unread=range(60, 90))
    async with open_live(taken[-1:]) as live:
        await press(live, "7", "end", "k", "enter")
        assert texts(live)[0].startswith("insert_failed ")
        ink = columns_with_ink(body(await live.still())[1:-2], 10, 78)
        gap = [x for x, drawn in enumerate(ink) if not drawn]
        assert gap == list(range(gap[0], gap[-1] + 1)), "one gap"
        assert len(gap) == pytest.approx(len(ink) * 30 / 150, abs=3)
        assert gap[0] == pytest.approx(len(ink) * 60 / 150, abs=3)


async def test_ticks_without_a_dump_do_not_break_the_line_of_flows() -> None:
    taken = past(151, without_dump=range(1, 151, 2))
    async with open_live(taken[-1:]) as live:
        ink = columns_with_ink(body(await press(live, "7", "enter"))[1:-2], 10, 78)
        assert len(ink) == 68
        assert all(ink)


async def test_the_keys_say_where_enter_leads() -> None:
    async with open_live(past(3)[-1:]) as live:
        assert "Enter alone" in (await press(live, "7"))[-1]
        assert "Enter all plots" in (await press(live, "enter"))[-1]


async def test_one_reading_is_a_dot() -> None:
    async with open_live(past(1)) as live:
        frame = await press(live, "7")
        assert texts(live)[0] == "TIME_WAIT 3,200  min 3,200  max 3,200"
        assert sum(letter in BRAILLE for line in body(frame)[:5] for letter in line) == 1
        assert re.search(r"not known yet: a rate .*takes two readings", written(frame))


async def test_soon_after_the_start_it_was_not_looked_for_long() -> None:
    async with open_live(past(8)[-1:]) as live:
        await press(live, "7")
        while view(live).wish.metrics[0] != "syn_retrans":
            view(live).action_number(1)
        shown = written(await live.still())
        assert "not known for 14 s" in shown
        assert "not known for 5" not in shown


async def test_a_gap_says_why_a_number_has_no_past() -> None:
    async with open_live([world(3, gaps=(NO_RIGHT,)).snapshot(None)]) as live:
        frame = await press(live, "7")
        assert any(line.startswith(" flows – ──") for line in frame), "no corner behind a short title"  # noqa: RUF001
        shown = written(frame)
        assert "not known: reading conntrack needs CAP_NET_ADMIN; run: sudo natop" in shown
        assert "not known for" not in shown


@pytest.mark.parametrize(
    ("name", "key", "why"),
    [
        ("lan", "time_wait", "not known: none of its flows are in this table (macvlan)"),
        ("none", "pool_use", "not known: none of its flows are in this table (no network)"),
        ("web", "pool_use", "no NAT port in use"),
        ("(host)", "pool_use", "this host and containers have this number; t chooses one"),
        ("(host)", "inbound", "containers have this number; t chooses one"),
        ("side", "syn_retrans", "not known: counted with web, whose namespace it shares"),
        ("gone", "syn_retrans", "not known: it is exited"),
        ("web", "syn_retrans", "not known yet: a rate takes two readings"),
        ("web", "sockets_in_use", "not known yet"),
    ],
)
def test_why_nothing_is_known_of_a_container_s_number(name: str, key: str, why: str) -> None:
    world = untracked_world()
    gone = replace(container(9, "gone"), state="exited")
    host = replace(world, containers=(*world.containers, gone))
    taken = host.snapshot(flow_table(3, [each for each in host.containers if each.name == "web"]))
    by_name = {each.container.name: each for each in taken.containers}
    web = replace(by_name["web"], busiest_pool=None)
    side = replace(by_name["side"], tcp_of="web")
    taken = replace(taken, containers=(web, side, *(by_name[each] for each in ("lan", "none", "gone"))))
    subject = UNOWNED if name == "(host)" else by_name[name].container.id
    assert why_unknown(BY_KEY[key], subject, taken, 300.0) == why


async def test_before_the_first_snapshot_the_view_says_so(ten_minutes: list[Snapshot]) -> None:
    async with open_live(ten_minutes[-1:]) as live:
        await press(live, "7")
        live.app.showing.begin(None)
        live.app._deliver()
        frame = await live.still()
        assert any(line.strip() == "reading…" for line in body(frame))
        assert not BRAILLE & set("\n".join(frame))


# The selected plot, and room


async def test_keys_and_clicks_select_a_plot(ten_minutes: list[Snapshot]) -> None:
    async with open_live(ten_minutes[-1:]) as live:
        await press(live, "7")
        for keys, selected in ((["j"], 1), (["down"], 2), (["right"], 3), (["k"], 2), (["end"], 4), (["j"], 4)):
            await press(live, *keys)
            assert view(live).wish.selected == selected
        frame = await press(live, "home")
        assert view(live).wish.selected == 0
        assert [line.rstrip()[-1] for line in body(frame)[:5]] == ["┓", "┣", "┃", "┣", "┛"]
        await live.pilot.click(offset=(60, 20))
        frame = await live.still()
        assert view(live).wish.selected == 4
        assert [line.rstrip()[-1] for line in body(frame)[:5]] == ["┐", "├", "│", "├", "┘"]


async def test_enter_shows_one_plot_alone(ten_minutes: list[Snapshot]) -> None:
    async with open_live(ten_minutes[-1:]) as live:
        before = body(await press(live, "7", "j"))
        frame = await press(live, "enter")
        assert len(texts(live)) == 1
        assert texts(live)[0].startswith("flows ")
        assert "2 of 5 plots" in live.title
        assert frame[-2].strip().startswith("└ -5 min")
        assert body(await press(live, "escape")) == before
        assert body(await press(live, "enter", "enter")) == before
        await press(live, "escape")
        assert isinstance(live.app.screen, ContainersScreen)


@pytest.mark.parametrize(
    ("width", "height", "selected", "expected"),
    [
        (80, 17, 0, Arrangement(2, 0, 5)),
        (80, 14, 0, Arrangement(2, 0, 4)),
        (80, 14, 4, Arrangement(2, 1, 4)),
        (60, 17, 0, Arrangement(1, 0, 3)),
        (60, 17, 3, Arrangement(1, 2, 3)),
        (160, 36, 2, Arrangement(2, 0, 5)),
        (40, 4, 2, Arrangement(1, 2, 1)),
        (80, 4, 2, Arrangement(2, 2, 2)),
        (80, 4, 4, Arrangement(2, 3, 2)),
    ],
)
def test_as_many_plots_as_there_is_room_for(width: int, height: int, selected: int, expected: Arrangement) -> None:
    assert arrange(width, height, 5, selected) == expected
    assert expected.first <= selected < expected.first + expected.number
    assert expected.is_first_wide == (expected.columns == 2 and expected.number == 5)


async def test_a_window_that_changes_its_size(ten_minutes: list[Snapshot]) -> None:
    async with open_live(ten_minutes[-1:]) as live:
        large = body(await press(live, "7"))
        for width, height in ((40, 10), (20, 6), (160, 50), (60, 30), (10, 4), (80, 24)):
            await live.pilot.resize_terminal(width, height)
            frame = await live.still()
            assert all(len(line) <= width for line in frame)
        assert body(frame) == large
        await live.pilot.resize_terminal(40, 12)
        frame = await press(live, "end")
        assert any("pool use" in line for line in frame), "the selected plot is in sight"


# What is new


async def test_a_new_snapshot_is_drawn_and_a_paused_screen_stays(ten_minutes: list[Snapshot]) -> None:
    async with open_live(ten_minutes[-3:]) as live:
        await press(live, "7")
        assert texts(live)[0] == told("TIME_WAIT", waits(range(298 - 151, 298)))
        await live.step()
        assert texts(live)[0] == told("TIME_WAIT", waits(range(299 - 151, 299)))
        before = await press(live, "p")
        await live.step()
        assert body(await live.still()) == body(before)
        await press(live, "p")
        assert texts(live)[0] == told("TIME_WAIT", waits(LAST_5_MIN))


async def test_what_is_shown_is_drawn_once(ten_minutes: list[Snapshot], monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_live(ten_minutes[-1:]) as live:
        await press(live, "7")
        from natop.tui.plots import TrendPlot

        drawn = []
        monkeypatch.setattr(TrendPlot, "show", lambda *_: drawn.append(1))
        for _ in range(3):
            live.app._deliver()
            await live.settle()
        assert not drawn


async def test_what_was_chosen_stays_for_the_next_screen(ten_minutes: list[Snapshot]) -> None:
    async with open_live(ten_minutes[-1:]) as live:
        await press(live, "7", "right_square_bracket", "greater_than_sign", "1", "t")
        assert "  15 min" in live.title
        assert texts(live)[0].startswith("closing ")


async def test_numbers_are_copied_and_tickets_saved(ten_minutes: list[Snapshot]) -> None:
    saved: list[Snapshot] = []

    def save(snapshot: Snapshot, _: Path) -> tuple[Path, ...]:
        saved.append(snapshot)
        return ()

    async with open_live(ten_minutes[-1:], save=save) as live:
        await press(live, "7", "y", "e")
        await live.until(lambda: bool(saved))
        lines = live.app.clipboard.splitlines()
        assert lines[0] == "this host, last 5 min"
        assert lines[1] == told("TIME_WAIT", waits(LAST_5_MIN))
        assert len(lines) == 6


async def test_tab_goes_round_the_views(ten_minutes: list[Snapshot]) -> None:
    async with open_live(ten_minutes[-1:]) as live:
        seen = [live.app.current_mode]
        for _ in VIEWS_NOW:
            await press(live, "tab")
            seen.append(live.app.current_mode)
        assert seen == [*(name for _, name, _ in VIEWS_NOW), "containers"]
        assert "trends" in seen


async def test_the_help_tells_the_keys_and_every_number(ten_minutes: list[Snapshot]) -> None:
    async with open_live(ten_minutes[-1:], (100, 120)) as live:
        await press(live, "7", "question_mark")
        assert isinstance(live.app.screen, HelpScreen)
        shown = "\n".join(live.frame)
        assert "[ ]" in shown
        assert "filter, in force" not in shown
        assert all(each.title in shown for each in METRICS)


# Terminals of all kinds


def opened(
    ten_minutes: list[Snapshot], monkeypatch: pytest.MonkeyPatch, terminal: str
) -> AbstractAsyncContextManager[Live]:
    if terminal == "colourless":
        monkeypatch.setenv("NO_COLOR", "1")
    return open_live(ten_minutes[-1:], ascii=terminal == "ascii")


@pytest.mark.parametrize("terminal", ["ascii", "colourless"])
async def test_terminals_of_all_kinds(
    ten_minutes: list[Snapshot], monkeypatch: pytest.MonkeyPatch, terminal: str
) -> None:
    async with opened(ten_minutes, monkeypatch, terminal) as live:
        frame = await press(live, "7")
        assert "\n".join(frame).isascii() == (terminal == "ascii")
        ink = set("'-_.:|") if terminal == "ascii" else BRAILLE
        plot = body(frame)[:5]
        assert all(any(line[x] in ink for line in plot[1:4]) for x in range(12, 75)), "the line of TIME_WAIT"
        heavy = plot[4][12:60]
        assert heavy.count("=" if terminal == "ascii" else "━") > 30, "the selected plot, without colour"


NAMES = ("Containers", "Flows", "NAT ports", "Probes", "Counters", "Findings", "Trends")
VIEWS = tuple((str(number), name.lower(), name) for number, name in enumerate(NAMES, 1))


@pytest.mark.parametrize("room", [30, 40, 50, 60, 70, 80, 81, 100])
def test_titles_of_views_give_way_to_what_the_view_says(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr("natop.tui.frame.VIEWS", VIEWS)
    for _, name, title in VIEWS:
        line = tabs(name, room)
        assert length_of(line) <= room
        assert title in text_of(line), "the view that one is in has its whole title"
        assert all(f"{key} " in text_of(line) for key, _, _ in VIEWS)


def test_seven_views_fit_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("natop.tui.frame.VIEWS", VIEWS)
    assert text_of(tabs("flows", 100)).split() == [word for view in VIEWS for word in f"{view[0]} {view[2]}".split()]
    crumbs = len("6,512 flows  ")
    assert text_of(tabs("flows", 80 - crumbs)) == " 1 Cont  2 Flows  3 NAT  4 Probe  5 Count  6 Find  7 Trend  "
    assert text_of(tabs("findings", 58)) == " 1 Cont 2 Flows 3 NAT 4 Probe 5 Count 6 Findings 7 Trend  "
    assert text_of(tabs("trends", 50)) == " 1 2 3 4 5 6 7 Trends  "
