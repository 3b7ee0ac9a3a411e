"""View 3: the table of NAT pools, what stands under it, and the way to their flows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from natop.columns.filters import parse
from natop.join.flows import Flows
from natop.model import Snapshot
from natop.tui.finding import FindingScreen
from natop.tui.flows import FlowsScreen
from natop.tui.glyphs import ASCII, UNICODE
from natop.tui.poolcolumns import COLUMNS, Pools
from natop.tui.poollines import PoolLines, arrange_pools
from natop.tui.pools import PoolsScreen
from natop.tui.tones import text_of
from natop.tui.wish import Wish
from tests.tui.live import Live, open_live
from tests.tui.poolhosts import BUSY, FLOWS, NAT, QUIET, busy_pools, out, three_pools
from tests.tui.worlds import NO_RIGHT, world
from tests.unit import scenarios
from tests.unit.plain import flow

FIRST, SECOND, THIRD = (f"{NAT} → {remote}" for remote in (f"{BUSY}:443/tcp", f"{BUSY}:80/tcp", f"{QUIET}:53/udp"))
WIDE = (200, 40)


def shown(live: Live, key: str) -> list[str]:
    return [live.cell(line, key) for line in range(live.table.line_count)]


def lines(taken: Snapshot, **wish: object) -> PoolLines:
    content = arrange_pools(taken, Wish(**wish), UNICODE).content  # type: ignore[arg-type]  # Wish's own
    assert isinstance(content, PoolLines)
    return content


def cells(taken: Snapshot, key: str, **wish: object) -> list[str]:
    content = lines(taken, **wish)
    column = next(each for each in COLUMNS if each.key == key)
    return [content.cell(line, column, 60)[0] for line in range(len(content))]


async def test_a_line_for_each_pool_the_fullest_first() -> None:
    async with open_live([three_pools()]) as live:
        await live.press("3")
        assert isinstance(live.app.screen, PoolsScreen)
        assert live.names == [FIRST, SECOND, THIRD]
        assert shown(live, "used") == ["9 of 64,512", "4 of 64,512", "2 of 64,512"]
        assert live.title.endswith("  3 pools  ")
        assert shown(live, "new") == ["–"] * 3, "nothing is known of a first reading"  # noqa: RUF001


async def test_numbers_and_limits_of_the_pool_under_the_cursor() -> None:
    async with open_live([three_pools()]) as live:
        await live.press("3")
        aside = live.view.part("aside").text
        assert "9 of 64,512" in aside
        assert "hard 6  soft 3  TIME_WAIT 3  host's own 1" in aside
        assert "kept      5 of 8  62.5 %  3 rewritten by a rule\n" in aside
        assert "537.5/s sustainable  3 go in 100 s, 6 stay" in aside
        assert "3 (33.3 %)" in aside
        await live.press("j", "j")
        assert live.view.part("aside").text.startswith(f" {THIRD}")
        assert "–, – sustainable  all go in" in live.view.part("aside").text, "no timeout of UDP was read"  # noqa: RUF001


async def test_pools_that_only_their_zone_tells_apart_do_not_look_alike() -> None:
    twins = tuple(replace(each, zone=zone) for zone in (0, 7) for each in FLOWS[:5])
    async with open_live([three_pools(twins)], (80, 24)) as live:
        await live.press("3")
        assert len(set(live.names)) == 2
        [line] = [at for at, name in enumerate(live.names) if name.endswith(f"{BUSY}:443/tcp zone 7")]
        await live.press(*["down"] * line)
        assert live.view.part("aside").text.startswith(f" {FIRST} zone 7   ports 1024-65535\n")
        await live.press("enter")
        assert f"→ {FIRST} zone 7  5 flows" in live.title


async def test_enter_shows_the_flows_of_the_pool_and_no_others() -> None:
    async with open_live([three_pools()]) as live:
        await live.press("3", "enter")
        assert isinstance(live.app.screen, FlowsScreen)
        assert f"→ {FIRST}  9 flows" in live.title
        assert live.table.line_count == 9
        assert {live.cell(line, "dst") for line in range(9)} == {f"{BUSY}:443"}
        await live.type("/state:time_wait")
        await live.press("enter")
        assert "3 of 9 flows" in live.title
        await live.press("escape")
        assert live.table.line_count == 9
        await live.press("escape")
        assert isinstance(live.app.screen, PoolsScreen)


async def test_every_pool_leads_to_as_many_flows_as_it_has_ports(busy: list[Snapshot]) -> None:
    taken = busy[-1]
    flows, content = Flows.of(taken), lines(taken)
    assert flows is not None
    assert taken.pools is not None
    for line in range(0, len(content), 40):
        found = int(parse(content.filter_at(line)).rows(flows).sum())
        assert found == int(taken.pools.used[content.rows[line]])


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("proto:udp", [THIRD]),
        ("dport:443", [FIRST]),
        ("state:time_wait", [FIRST]),
        (f"rdst:{NAT}", [FIRST, SECOND, THIRD]),
        (BUSY, [FIRST, SECOND]),
        ("kind:published", []),
        ("!dport:80", [FIRST, THIRD]),
        ("sport:50000-50002", [FIRST]),
    ],
)
def test_a_filter_keeps_the_pools_with_such_flows(expression: str, expected: list[str]) -> None:
    assert cells(three_pools(), "ends", filter_text=expression) == expected


def test_a_container_s_name_finds_the_pools_that_it_holds_ports_of() -> None:
    taken = three_pools()
    holders = cells(taken, "holder")
    name = holders[1].removesuffix(" 100 %")
    assert cells(taken, "ends", filter_text=f"client:{name}") == [FIRST, SECOND]


async def test_typing_a_filter_and_a_mistake() -> None:
    async with open_live([three_pools()]) as live:
        await live.press("3")
        await live.type("/proto:udp")
        assert live.names == [THIRD]
        assert "1 of 3 pools" in live.title
        await live.type(",")
        assert "a value is missing" in "\n".join(live.frame)
        assert live.names == [THIRD]


async def test_the_filter_of_the_command_line_holds_here_too() -> None:
    async with open_live([three_pools()], filter_text="proto:udp") as live:
        await live.press("3")
        assert live.names == [THIRD]


async def test_the_cursor_stays_with_its_pool() -> None:
    async with open_live([three_pools(), three_pools(FLOWS[6:])]) as live:
        await live.press("3", "j")
        assert live.names[live.table.cursor] == SECOND
        await live.step()
        assert live.names == [SECOND, FIRST, THIRD], "the other has lost most of its flows"
        assert live.table.cursor == 0


ORDERS = {
    "ends": [3, 1, 0, 2, 4],
    "used": [0, 1, 2, 3, 4],
    "use": [0, 1, 2, 3, 4],
    "loss": [0, 1, 2, 3, 4],
    "new": [1, 0, 2, 4, 3],
    "soft": [1, 0, 2, 3, 4],
    "rewritten": [1, 3, 0, 2, 4],
    "kept": [0, 2, 4, 1, 3],
    "drain": [0, 1, 2, 3, 4],
}


def known(order: list[int], taken: Snapshot, key: str) -> list[str]:
    assert taken.pools is not None
    column = next(each for each in COLUMNS if each.key == key)
    pools = Pools.of(taken)
    assert pools is not None
    return [column.cell(pools, row, 60, UNICODE)[0] for row in order]


@pytest.mark.parametrize("key", ORDERS)
def test_each_column_sorts(key: str) -> None:
    taken = busy_pools()
    order = lines(taken, sort=key).rows.tolist()
    assert order == ORDERS[key]
    assert cells(taken, key, sort=key) == known(order, taken, key)


def test_kept_ports_sort_by_their_part_of_what_a_rule_translated() -> None:
    """The host's own ports in a pool are no part of it."""
    own = [flow(f"{NAT}:{port}", f"{BUSY}:443", id=port) for port in range(40_100, 40_108)]
    kept = [out(1, 40_000 + n, f"{BUSY}:443") for n in range(2)]
    some = [out(2, 41_000 + n, f"{BUSY}:80", source=51_000 if n == 3 else None) for n in range(4)]
    taken = three_pools((*own, *kept, *some))
    assert cells(taken, "kept", sort="kept") == ["100.0", "75.0"]
    assert cells(taken, "used", sort="kept") == ["10 of 64,512", "4 of 64,512"]


def facts_of(taken: Snapshot) -> list[str]:
    """What is told of the fullest pool."""
    return [text_of(line) for line in lines(taken).facts(0)]


def test_the_host_s_own_that_had_to_give_way_are_none_of_a_rule_s() -> None:
    moved = flow(f"{NAT}:40030", f"{BUSY}:443", snat=f"{NAT}:26252", id=40_030)
    (told,) = [line for line in facts_of(three_pools((*FLOWS, moved))) if line.startswith(" kept")]
    assert told == " kept      5 of 8  62.5 %  3 rewritten by a rule, 1 of the host's own without one"
    (told,) = [line for line in facts_of(three_pools(FLOWS[5:9])) if line.startswith(" kept")]
    assert told == " kept      0 of 3  0.0 %  3 rewritten by a rule"


def test_of_many_holders_the_number_is_told_too() -> None:
    """Their names may not all fit."""
    holders = {f"job-{number}": 40 - number for number in range(4)}
    pool = {"nat": NAT, "remote": BUSY, "used": sum(holders.values()), "holders": holders}
    names = [{"name": name} for name in holders]
    for some, told in ((names, " held by   4 in all: job-0 40 (26.0 %)   job-1 "), (names[:3], " held by   job-0 ")):
        known = {each["name"]: holders[each["name"]] for each in some}
        taken = scenarios.snapshot({"container": names, "pool": [pool | {"holders": known}]})
        assert facts_of(taken)[-1].startswith(told)


def test_unknown_numbers_come_last_either_way() -> None:
    taken = three_pools()
    for sort in ("sustain", "-sustain"):
        assert cells(taken, "sustain", sort=sort) == (
            ["537.6", "537.5"] if sort == "sustain" else ["537.5", "537.6"]
        ) + ["–"]  # noqa: RUF001
    for sort in ("holder", "-holder"):
        assert cells(busy_pools(), "holder", sort=sort)[-1] == "–"  # noqa: RUF001


def test_a_name_that_is_too_long_loses_its_beginning() -> None:
    content = lines(busy_pools())
    column = COLUMNS[0]
    line = next(n for n in range(len(content)) if "2001" in content.cell(n, column, 80)[0])
    assert content.cell(line, column, 43)[0] == "…01:db8:85a3:8d3:1319:8a2e:370:7348]:53/udp"[-43:]
    assert content.cell(line, column, 80)[0] == "2001:db8:1::5 → [2001:db8:85a3:8d3:1319:8a2e:370:7348]:53/udp"


def test_what_warns_is_marked_beside_its_colour() -> None:
    taken = busy_pools()
    every = list(range(5))
    assert known(every, taken, "use") == ["!99.4", "99.0", "!85.3", "70.8", "0.1"], "by what cannot be had"
    assert known(every, taken, "loss") == ["!19", "!8.3", "0", "0", "0"]
    assert known(every, taken, "new") == ["80.1", "!612.4", "12.0", "0.0", "3.0"], "more than it can sustain"


def test_the_bar_tells_what_may_be_evicted() -> None:
    taken = busy_pools()
    pools = Pools.of(taken)
    assert pools is not None
    bar = next(each for each in COLUMNS if each.key == "gauge").cell
    assert bar(pools, 1, 10, ASCII)[0] == "=======---"
    assert bar(pools, 2, 10, ASCII)[0] == "=========."
    assert bar(pools, 4, 10, ASCII)[0] == "=........."
    assert bar(pools, 1, 10, UNICODE)[0] == "━━━━━━━╍╍╍"


async def test_without_flows_it_says_why() -> None:
    unread = world(0, gaps=(NO_RIGHT,)).snapshot(None)
    async with open_live([unread]) as live:
        await live.press("3")
        assert "reading conntrack needs CAP_NET_ADMIN" in "\n".join(live.frame[7:12])


async def test_without_nat_it_says_so() -> None:
    async with open_live([three_pools(FLOWS[-1:])]) as live:
        await live.press("3")
        assert "NAT holds no ports" in "\n".join(live.frame)
        await live.press("enter", "y")
        assert isinstance(live.app.screen, PoolsScreen)


async def test_copying_gives_the_expression_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    async with open_live([three_pools()]) as live:
        await live.press("3", "y")
        assert f"NAT ADDRESS AND REMOTE END {FIRST}\tUSED of CAPACITY 9 of 64,512" in live.app.clipboard
        assert live.app.clipboard.endswith(
            f"FLOWS proto:tcp rsrc:{BUSY} rsport:443 rdst:{NAT} rdport:1024-65535 zone:0"
        )


async def test_how_many_source_ports_nat_kept_where_there_is_room() -> None:
    async with open_live([busy_pools()], WIDE) as live:
        await live.press("3")
        assert "5 pools  99.7 % of source ports kept" in live.title


async def test_help_is_for_this_view() -> None:
    async with open_live([three_pools()], (110, 90)) as live:
        await live.press("3", "question_mark")
        text = "\n".join(live.frame)
        assert "the flows that hold ports of the pool under the cursor" in text
        assert "USED of CAPACITY" in text
        assert "rsrc rdst rsport rdport" in text


async def test_an_exhausted_pool_s_finding_leads_to_it() -> None:
    exhausted = busy_pools()
    flows = three_pools()
    taken = replace(flows, findings=exhausted.findings)
    async with open_live([taken]) as live:
        await live.press("6", "enter", "enter")
        assert isinstance(live.app.screen, PoolsScreen)
        assert "filter proto:tcp" in live.title
        await live.press("backspace")
        assert isinstance(live.app.screen, FindingScreen)
