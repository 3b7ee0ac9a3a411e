"""The view of probes: off until asked for, a line a way, lost SYNs in marks and not by colour alone."""

import re
from dataclasses import replace
from math import inf

import pytest
from textual.containers import VerticalScroll

from natop.columns.containers import CONTAINER_COLUMNS, Connects, connects_of
from natop.model import Attachment, Container, Network, ProbePath, ProbeResult, Snapshot
from natop.probing import ProbeWish, parse_target, published_ways
from natop.summarise.probed import with_results
from natop.tui.containerprobes import probe_lines
from natop.tui.glyphs import ASCII, UNICODE
from natop.tui.probechoice import ProbeChoice
from natop.tui.probelines import STRIP, strip
from natop.tui.targets import TargetScreen
from natop.tui.tones import Tone, text_of
from tests.tui.live import open_live
from tests.tui.worlds import HOST_ADDRESSES, NO_DOCKER, World, container, untracked_world, world

SMALL, ROOMY = (80, 24), (160, 50)


def result(target: str, at: float, syns_lost: int = 0, error: str | None = None, **fields: str | None) -> ProbeResult:
    ms = None if error else 0.2 + 1000 * syns_lost
    return ProbeResult(
        target=target,
        path=fields.get("path") or ProbePath.CONTAINER,
        at=at,
        container=fields.get("container"),
        container_name="shop-web-1",
        connect_ms=ms,
        syns_lost=syns_lost,
        error=error,
        linear_timeouts=4,
    )


def probed(*results: ProbeResult) -> Snapshot:
    taken = world(4).history(200, 2)[-1]
    return replace(taken, probes=with_results((), results, 60), is_probing=True)


SLOW = [result("172.18.0.2:80", at, lost) for at, lost in enumerate((0, 2, 0, 1))]
DEAD = [result("172.18.0.9:80", 1.0, error="refused")]


async def test_nothing_is_probed_until_it_is_asked_for() -> None:
    async with open_live([world(4).history(200, 2)[-1]], SMALL) as live:
        await live.press("4")
        assert " nothing is probed: P calls the published ports, a adds a target" in live.frame
        await live.press("P", "O", "P")
        assert live.feed.wishes == [None, ProbeWish(), ProbeWish(counts_own=True), None]


async def test_lost_syns_are_marks_in_a_strip() -> None:
    async with open_live([probed(*SLOW, *DEAD)], SMALL) as live:
        await live.press("4")
        assert "probing" in live.title
        assert live.cell(0, "strip").strip() == "·!!··!·"
        assert live.cell(0, "syns_lost") == "3 in 2 !"
        assert live.cell(1, "strip").strip() == "x"
        assert live.cell(1, "failed") == "1 !"
        assert "probing" in live.frame[0]
        assert "SYNS LOST" in live.frame[7]
        assert "LAST PROBES" in live.frame[7]


async def test_what_lost_syns_mean_stands_below() -> None:
    async with open_live([probed(*SLOW)], ROOMY) as live:
        await live.press("4")
        shown = "\n".join(live.frame)
        assert "0 lost in 2, 1 lost in 1, 2 lost in 1" in shown
        assert "1 of 4 probes: 2 SYNs lost" in shown


async def test_a_filter_is_looked_for_in_target_way_and_error() -> None:
    async with open_live([probed(*SLOW, *DEAD)], SMALL) as live:
        await live.press("4", "slash", *"refused", "enter")
        assert live.names == ["172.18.0.9:80"]
        await live.press("escape")
        assert len(live.names) == 2


def connects(*results: ProbeResult) -> list[ProbeResult]:
    web = next(each for each in world(4).containers if each.name == "shop-web-1")
    return [replace(each, container=web.id) for each in results]


@pytest.mark.parametrize("size", [SMALL, ROOMY])
async def test_a_container_s_connects_are_a_column_in_sight(size: tuple[int, int]) -> None:
    """As it is drawn: with the mark, whatever the numbers."""
    mine = connects(*(result("172.18.0.2:80", at, lost) for at, lost in enumerate((0, 2, 0))))
    async with open_live([probed(*mine)], size) as live:
        shown = "\n".join(live.frame)
        assert "CONNECT" in shown
        assert " 0.20/2,000!" in shown
        assert live.cell(live.names.index("(host)"), "connect") == UNICODE.unknown


async def test_a_container_whose_connects_fail_is_told_from_one_that_is_not_probed() -> None:
    proxied = {"path": ProbePath.PROXY}
    some = connects(result("172.18.0.2:80", 3.0), result("127.0.0.1:80", 3.5, 3, "timed out", **proxied))
    async with open_live([probed(*some), probed(*some[1:])], SMALL) as live:
        assert " x/0.20!" in "\n".join(live.frame)
        await live.step()
        assert " x/-!" in "\n".join(live.frame)


@pytest.mark.parametrize(
    ("last_ms", "p95_ms", "told"),
    [
        (0.2, 2031.4, "0.20/2,031"),
        (9999.4, 9999.4, "9,999/9,999"),
        (9999.6, 31_031.0, "10 s/31 s"),
        (None, 1.5, "x/1.50"),
        (None, inf, "x/-"),
    ],
)
def test_connects_fit_their_column_with_a_mark(last_ms: float | None, p95_ms: float, told: str) -> None:
    some = Connects(p95_ms)
    some.last_ms = last_ms
    assert some.told() == told
    column = next(each for each in CONTAINER_COLUMNS if each.key == "connect")
    assert len(told) < column.width


def test_a_way_that_is_called_no_longer_says_nothing_of_now() -> None:
    """An address that a container had before it started anew fails for ever."""
    old = connects(result("172.18.0.9:80", 10.0, error="timed out"))
    found = connects_of(probed(*old, *connects(result("172.18.0.2:80", 60.0))).probes or (), old[0].container or "")
    assert found is not None
    assert (found.last_ms, found.p95_ms) == (0.2, 0.2)


async def test_the_ways_to_one_thing_stand_together_and_are_told_whole() -> None:
    ways = [
        (ProbePath.PROXY, "127.0.0.1:8080", "web 8080→80"),
        (ProbePath.CONTAINER, "172.18.0.2:443", "web 8443→443"),
        (ProbePath.PUBLISHED, "203.0.113.10:8080", "web 8080→80"),
        (ProbePath.CONTAINER, "172.18.0.2:80", "web 8080→80"),
    ]
    made = [replace(result(target, 1.0, path=path), subject=subject) for path, target, subject in ways]
    async with open_live([probed(*made)], SMALL) as live:
        await live.press("4")
        assert live.names == ["172.18.0.2:80", "203.0.113.10:8080", "127.0.0.1:8080", "172.18.0.2:443"]
        shown = "\n".join(live.frame)
        for way in ("container shop-web-1", "published shop-web-1", "proxy shop-web-1"):
            assert way in shown


async def test_80x24_has_the_distribution_of_the_way_under_the_cursor_however_many_there_are() -> None:
    many = [replace(result(f"172.18.0.{number}:80", 1.0), subject=f"{number:02}") for number in range(2, 12)]
    late = [result("172.18.0.2:80", at, 0, "timed out") for at in (5.0, 6.0)]
    async with open_live([probed(*SLOW, *late), probed(*many)], SMALL) as live:
        await live.press("4")
        shown = "\n".join(live.frame)
        assert "0 lost in 2, 1 lost in 1, 2 lost in 1, failed 2: timed out ×2" in shown
        assert "P50 0.20  P95 2,000  P99 2,000  MAX 2,000" in shown
        assert "1 of 6 probes: 2 SYNs lost, sent again after 1 and 2 s" in shown, "whole"
        assert shown.index("probes: 2 SYNs lost") < shown.index("probes: 1 SYN lost"), "where there is no room for all"
        await live.step()
        await live.press("G")
        shown = "\n".join(live.frame)
        assert "0 lost in 1" in shown
        assert " 172.18.0.11:80" in shown


async def test_a_low_screen_has_it_where_it_hides_no_line() -> None:
    many = [replace(result(f"172.18.0.{number}:80", 1.0), subject=f"{number:02}") for number in range(2, 9)]
    async with open_live([probed(*SLOW), probed(*many)], (80, 20)) as live:
        await live.press("4")
        assert "0 lost in 2, 1 lost in 1" in "\n".join(live.frame)
        await live.step()
        shown = "\n".join(live.frame)
        assert "lost in" not in shown
        assert all(f" 172.18.0.{number}:80" in shown for number in range(2, 9))


@pytest.mark.parametrize(
    ("width", "more"),
    [
        (40, []),
        (60, ["FAILED", "P95 ms"]),
        (80, ["FAILED", "P95 ms", "SYNS LOST"]),
        (100, ["FAILED", "P95 ms", "SYNS LOST", "ERROR"]),
    ],
)
async def test_the_strip_comes_before_the_numbers(width: int, more: list[str]) -> None:
    async with open_live([probed(*SLOW, *DEAD)], (width, 24)) as live:
        await live.press("4")
        titles = [spot.column.title for spot in live.table.places]
        assert titles[:2] == ["TARGET", "PATH"]
        assert [title for title in titles[2:] if title != "LAST PROBES"] == more
        assert any(line.rstrip().endswith("·!!··!·") for line in live.frame) or width >= 100
        assert "LAST PROBES" in titles


async def test_the_strip_sorts_by_the_last_trouble() -> None:
    good = [replace(result("172.18.0.4:80", 1.0), subject="good")]
    async with open_live([probed(*SLOW, *DEAD, *good)], SMALL) as live:
        await live.press("4")
        for _ in range(len(live.table.places) - 1):
            await live.press("greater_than_sign")
        assert "▼LAST PROBES" in "\n".join(live.frame)
        assert live.names == ["172.18.0.2:80", "172.18.0.9:80", "172.18.0.4:80"]
        await live.press("I")
        assert live.names == ["172.18.0.9:80", "172.18.0.2:80", "172.18.0.4:80"], "the good one last either way"


async def test_containers_show_connects_only_where_a_container_is_probed() -> None:
    """A target of one's own says nothing of any container's ports, and takes no room among them."""
    for made, is_there in ((host_result(), False), (connects(*SLOW)[0], True)):
        async with open_live([probed(made)], SMALL) as live:
            assert ("connect" in [spot.column.key for spot in live.table.places]) is is_there


def test_a_strip_has_a_mark_for_each_lost_syn_the_newest_at_its_right_end() -> None:
    series = with_results((), [*SLOW, result("172.18.0.2:80", 9.0, 3, "timed out")], 60)[0]
    assert strip(series.results, 12, UNICODE) == " ·!!··!·!!!x"
    assert strip(series.results, 2, UNICODE) == "!x"
    assert strip(series.results, 6, ASCII) == "!-!!!x"
    assert strip(series.results, 0, UNICODE) == ""


async def test_a_lost_syn_in_the_strip_stands_out_from_dots() -> None:
    quiet = [replace(result("172.18.0.3:80", 1.0), subject="quiet")]
    async with open_live([probed(*SLOW, *quiet)], SMALL) as live:
        await live.press("4")
        content = live.table.content
        assert content is not None
        tones = {content.cell(line, STRIP, 11) for line in range(2)}
        assert {(text.strip(), tone) for text, tone in tones} == {("·!!··!·", Tone.ALARM), ("·", Tone.TREND)}
        below = next(line for line in content.facts(0) if text_of(line).startswith(" probes"))
        assert below[1:] == [
            ("·", Tone.TREND), ("!!", Tone.ALARM), ("··", Tone.TREND), ("!", Tone.ALARM), ("·", Tone.TREND),
        ]  # fmt: skip


@pytest.mark.parametrize("width", [80, 100, 160])
async def test_an_ipv6_target_keeps_its_port(width: int) -> None:
    long = replace(result("[2001:db8:1234:5678:9abc::42]:18080", 1.0), container_name="storefront-frontend-2")
    async with open_live([probed(long)], (width, 24)) as live:
        await live.press("4")
        [line] = [line for line in live.frame if "[2001:" in line]
        assert ":18080 " in line
        assert re.search(r"container \S*-2 ", line), "which of the replicas"


def test_the_details_too_keep_the_port_of_an_ipv6_way() -> None:
    made = ways_to_first(ProbePath.CONTAINER, 0)
    long = [replace(each, target="[2001:db8:1234:5678:9abc:1234:5678:42]:18080") for each in made]
    [line] = [line for line in details(ProbeChoice(True, True), *long) if "container " in line]
    assert re.search(r"container +\[2001\S*…\S+:18080 ", line)


# Targets of one's own

OUTSIDE = "198.51.100.7:443"
FIRST, SECOND = "shop-app-2", "shop-web-1"


def reachable(*extra: ProbeResult) -> Snapshot:
    """A host of which two containers run in namespaces that the engine tells of."""
    taken = world(4).history(200, 2)[-1]
    assert taken.inventory is not None
    told = (
        replace(each, sandbox=f"/run/docker/netns/{each.name}") if each.name in (FIRST, SECOND) else each
        for each in taken.inventory.containers
    )
    inventory = replace(taken.inventory, containers=tuple(told))
    return replace(taken, inventory=inventory, probes=with_results((), extra, 60))


def first() -> Container:
    """It publishes a port."""
    inventory = reachable().inventory
    assert inventory is not None
    return next(each for each in inventory.containers if each.name == FIRST)


def host_result(error: str | None = None) -> ProbeResult:
    return replace(result(OUTSIDE, 5.0, error=error, path=ProbePath.HOST), container_name=None)


async def test_a_target_is_added_with_the_containers_that_call_it_and_removed() -> None:
    async with open_live([reachable(), reachable(host_result())], SMALL) as live:
        await live.press("4", "a")
        assert isinstance(live.app.screen, TargetScreen)
        shown = "\n".join(live.frame)
        assert "HOST:PORT or http://HOST/PATH" in shown
        assert f"[ ] {FIRST}" in shown
        assert f"[ ] {SECOND}" in shown
        assert shown.count("[ ]") == 2, "the others cannot be called from"
        await live.type(OUTSIDE)
        await live.press("down", "space")
        assert f"> [x] {SECOND}" in "\n".join(live.frame), "not by colour alone"
        assert f"  [ ] {FIRST}" in "\n".join(live.frame)
        await live.press("up", "space", "space", "enter")
        wish = live.feed.wishes[-1]
        assert wish == ProbeWish(published=False, targets=(replace(parse_target(OUTSIDE), sources=(SECOND,)),))
        assert [live.cells(line)[:2] for line in (0, 1)] == [[OUTSIDE, "host"], [OUTSIDE, f"from {SECOND}"]]
        assert live.cell(0, "strip") == live.cell(1, "error") == "waiting"
        await live.step()
        assert [live.cell(line, "count") for line in (0, 1)] == ["1", "0"]
        await live.press("end", "A")
        assert live.feed.wishes[-1] is None
        assert live.names == []
        await live.press("a")
        assert f"[x] {SECOND}" in "\n".join(live.frame), "chosen last"


async def test_a_mistake_in_a_target_is_told_at_the_place() -> None:
    async with open_live([reachable()], SMALL) as live:
        await live.press("4", "a")
        await live.type("example.org")
        await live.press("enter")
        lines = live.frame
        at = next(number for number, line in enumerate(lines) if "> example.org" in line)
        assert "'example.org' has no port: give HOST:PORT" in lines[at + 1]
        await live.type(":443")
        assert "has no port" not in "\n".join(live.frame)
        await live.press("enter")
        assert live.feed.wishes[-1] == ProbeWish(published=False, targets=(parse_target("example.org:443"),))


async def test_leaving_adds_nothing_and_letters_are_letters() -> None:
    async with open_live([reachable()], SMALL) as live:
        await live.press("4", "a")
        await live.type("qP4:1")
        await live.press("escape")
        assert not isinstance(live.app.screen, TargetScreen)
        assert live.feed.wishes == [None]
        assert live.names == []


async def test_keys_typed_in_one_go_find_their_places() -> None:
    async with open_live([reachable()], SMALL) as live:
        await live.press("4", "a", *OUTSIDE, "enter", "slash", *"host", "enter")
        assert live.names == [OUTSIDE]
        assert live.view.wish.filter_text == "host"


async def test_without_containers_only_the_host_calls() -> None:
    async with open_live([replace(reachable(), inventory=None)], SMALL) as live:
        await live.press("4", "a")
        shown = "\n".join(live.frame)
        assert "from the host " in shown
        assert "Space" not in shown
        await live.type(OUTSIDE)
        await live.press("space", "enter")
        assert live.feed.wishes[-1] == ProbeWish(published=False, targets=(parse_target(OUTSIDE),))


async def test_only_targets_of_one_s_own_are_removed() -> None:
    async with open_live([probed(*SLOW)], SMALL) as live:
        await live.press("4", "delete")
        assert live.names == ["172.18.0.2:80"]
        assert live.feed.wishes == [None]


async def test_one_key_starts_all_and_ends_all() -> None:
    mine = parse_target(OUTSIDE)
    async with open_live([reachable()], SMALL, probes=ProbeChoice(True, False, (mine,))) as live:
        await live.press("4", "P", "P")
        assert live.feed.wishes == [ProbeWish(False, (mine,)), ProbeWish(True, (mine,)), None]
        assert live.cell(0, "error") == "not probed now", "and stays"
        await live.press("P")
        assert live.feed.wishes[-1] == ProbeWish(True, (mine,))


async def test_what_keeps_a_container_from_calling_is_told() -> None:
    mine = replace(parse_target(OUTSIDE), sources=("none-such", FIRST))
    async with open_live([reachable()], SMALL, probes=ProbeChoice(True, False, (mine,))) as live:
        await live.press("4")
        told = {live.cell(line, "path"): live.cell(line, "error") for line in range(3)}
        assert told == {"host": "waiting", "from none-such": "no such container", f"from {FIRST}": "waiting"}
        await live.press("slash", *"none", "enter")
        assert [live.cell(0, "path"), len(live.names)] == ["from none-such", 1]
        await live.press("enter")
        assert live.app.screen is live.view, "there is nothing to show of it"


async def test_a_hostile_answer_or_name_reaches_no_terminal() -> None:
    evil = host_result(error="refused\x1b[31m")
    async with open_live(
        [reachable(evil)], (160, 50), probes=ProbeChoice(True, False, (parse_target(OUTSIDE),))
    ) as live:
        await live.press("4")
        assert "\x1b" not in "\n".join(live.frame)


async def test_the_panel_is_ascii_where_the_screen_is() -> None:
    async with open_live([reachable()], SMALL, ascii=True) as live:
        await live.press("4", "a")
        await live.type("x")
        await live.press("enter")
        assert "\n".join(live.frame).isascii()


# The details of a container


def details(choice: ProbeChoice, *results: ProbeResult, width: int = 78) -> list[str]:
    lines = probe_lines(first(), reachable(*results), choice, width, UNICODE)
    return ["".join(text for text, _ in line) for line in lines]


def ways_to_first(path: ProbePath, *lost: int, error: str | None = None) -> list[ProbeResult]:
    subject, _ = next(published_ways(first(), True))
    made = (
        result("172.18.0.2:80", at, number, error, path=path, container=first().id) for at, number in enumerate(lost)
    )
    return [replace(each, subject=subject, container_name=FIRST) for each in made]


def test_without_probes_a_line_says_how_to_have_them() -> None:
    shown = details(ProbeChoice())
    assert shown[1] == " nothing is probed: P calls the published ports, a adds a target"
    ways = [line.split()[0] for line in shown if line.startswith("   ")]
    assert ways[:3] == ["container", "published", "proxy"]
    assert all(line.split()[1:] == ["–"] * 4 for line in shown if line.startswith("   "))  # noqa: RUF001  # natop's dash


@pytest.mark.parametrize("width", [78, 120])
def test_addresses_are_whole_whatever_else_has_to_go(width: int) -> None:
    mine = replace(ways_to_first(ProbePath.PUBLISHED, 0)[0], target="203.113.110.110:65535")
    shown = details(ProbeChoice(True, True), mine, width=width)
    assert any("published 203.113.110.110:65535 " in line for line in shown)
    assert ("P50" in shown[0], "P95" in shown[0]) == (width > 100, True)


def test_the_ways_to_a_container_stand_side_by_side() -> None:
    slow = ways_to_first(ProbePath.CONTAINER, 0, 2, 0)
    dead = ways_to_first(ProbePath.PROXY, 0, 0, error="refused")
    shown = details(ProbeChoice(True, True), *slow, *dead)
    by_way = {line.split()[0]: line for line in shown if line.startswith("   ")}
    assert by_way["container"].split()[1:] == [
        "172.18.0.2:80",
        "0.20",
        "2,000",
        "2,000",
        "!",
        "2",
        "in",
        "1",
        "·!!··",
    ]
    assert "last error refused" in by_way["!"]
    assert "(2 of 2 failed)" in by_way["!"]
    assert by_way["proxy"].split()[-1] == "xx"
    assert "nothing is probed" not in "\n".join(shown)
    assert max(len(line) for line in shown) <= 78


def test_two_published_ports_of_one_are_lines_of_one_group() -> None:
    mine = ways_to_first(ProbePath.CONTAINER, 0) + ways_to_first(ProbePath.PUBLISHED, 0)
    second = replace(mine[-1], target="203.0.113.10:8081")
    shown = details(ProbeChoice(True, True), *mine, second, width=120)
    at = next(number for number, line in enumerate(shown) if line.split()[0] == "container")
    assert [line.split()[0] for line in shown[at : at + 4]] == ["container", "published", "published", "proxy"]
    assert "203.0.113.10:8081" in shown[at + 2]


def test_a_target_s_ways_stand_side_by_side() -> None:
    mine = replace(parse_target(OUTSIDE), sources=(FIRST,))
    other = replace(parse_target("198.51.100.8:443"), sources=(SECOND,))
    shown = details(ProbeChoice(True, False, (mine, other)), host_result())
    assert shown[1] == " published ports are not probed: P calls them too"
    at = shown.index(f" {OUTSIDE}")
    assert shown[at + 1].split() == ["host", "0.20", "0.20", "0.20", "0", "·"]
    assert shown[at + 2].split() == ["from", "inside", *["–"] * 4, "waiting"]  # noqa: RUF001  # natop's dash
    assert "198.51.100.8:443" not in "\n".join(shown), "another container's"


def beside(*drivers: str | None) -> Snapshot:
    """A host that has an address on its own bridge; the other containers are on networks of these drivers."""
    here, *rest = (container(number) for number in range(1 + len(drivers)))
    made = [
        replace(each, networks=(Attachment(f"net{number}", driver, f"10.9.{number}.2"),))
        for number, (each, driver) in enumerate(zip(rest, drivers, strict=True))
    ]
    taken = World((here, *made)).snapshot(None)
    assert taken.inventory
    networks = (Network("1", here.networks[0].network, "bridge", ("172.18.0.0/16",)),)
    inventory = replace(taken.inventory, networks=networks)
    return replace(
        taken, inventory=inventory, host=replace(taken.host, addresses=HOST_ADDRESSES), probes=(), is_probing=True
    )


async def test_containers_that_the_host_cannot_call_are_named_with_the_reason() -> None:
    shown = beside("macvlan", "null", "bridge")
    names = [each.container.name for each in shown.containers]
    async with open_live([shown], ROOMY, probes=ProbeChoice(True, True)) as live:
        await live.press("4")
        said = f"{names[1]} (macvlan) · {names[2]} (no network) · {names[3]} (this host is not on net2)"
        assert f" this host cannot call {said}" in live.frame
        await live.pilot.resize_terminal(*SMALL)
        await live.settle()
        at = next(number for number, line in enumerate(live.frame) if "cannot call" in line)
        assert " ".join(live.frame[at : at + 2]).split() == f"this host cannot call {said}".split(), (
            "whole, on two lines"
        )
        await live.press("P")
        assert "cannot call" not in "\n".join(live.frame), "nobody is to be called now"
    async with open_live([shown], (40, 10), probes=ProbeChoice(True, True)) as live:
        await live.press("4")
        assert any(line.startswith(" this host cannot call ") for line in live.frame)


async def test_without_docker_nobody_waits_for_results() -> None:
    bare = replace(world(4).history(200, 2)[-1], inventory=None, containers=(), gaps=(NO_DOCKER,))
    async with open_live([bare], SMALL) as live:
        await live.press("4", "P")
        assert f" no container is known: {NO_DOCKER.reason}; a adds a target" in live.frame


async def test_many_containers_out_of_reach_are_one_line() -> None:
    async with open_live([beside(*["macvlan"] * 9)], (160, 50), probes=ProbeChoice(True, True)) as live:
        await live.press("4")
        assert any(line.endswith(" and 6 more (macvlan)") for line in live.frame)


def test_the_details_say_why_the_host_cannot_call_a_container() -> None:
    shown = beside("macvlan", "bridge")
    for number, reason in ((1, "macvlan"), (2, "this host is not on net1")):
        lines = probe_lines(shown.containers[number].container, shown, ProbeChoice(True, True), 78, UNICODE)
        told = ["".join(text for text, _ in line) for line in lines]
        assert f" this host cannot call it: {reason}" in told
        assert "waiting" not in "\n".join(told)
    here = probe_lines(shown.containers[0].container, shown, ProbeChoice(True, True), 78, UNICODE)
    told = ["".join(text for text, _ in line) for line in here]
    assert "cannot call" not in "\n".join(told)
    assert all("waiting" in line for line in told[2:])


def test_the_details_of_one_that_shares_a_network_lead_to_whose_ports_they_are() -> None:
    taken = untracked_world().snapshot(None)
    side = next(each.container for each in taken.containers if each.container.name == "side")
    told = ["".join(text for text, _ in line) for line in probe_lines(side, taken, ProbeChoice(), 78, UNICODE)]
    assert " its ports are those of web, whose network it shares; a adds a target that it calls" in told


async def test_a_target_added_in_the_details_is_seen_without_scrolling() -> None:
    async with open_live([reachable(*ways_to_first(ProbePath.CONTAINER, 0, 1))], (80, 16)) as live:
        await live.press("slash", *FIRST, "enter", "i")
        assert live.app.screen.query_one(VerticalScroll).scroll_y == 0
        await live.press("a")
        await live.type(OUTSIDE)
        await live.press("enter")
        await live.until(lambda: OUTSIDE in "\n".join(live.frame))


async def test_details_of_a_container_are_a_screen_and_lead_to_targets_and_flows() -> None:
    async with open_live([reachable(*ways_to_first(ProbePath.CONTAINER, 0, 1))], SMALL) as live:
        await live.press("end", "i")
        assert live.app.screen is live.view, "the host is no container"
        await live.press("home", "slash", *FIRST, "enter", "i")
        assert f"→ {FIRST}" in live.title
        await live.press("end")
        shown = "\n".join(live.frame)
        assert "CONNECTS, ms" in shown
        await live.press("end")
        await live.until(lambda: "1 in 1" in "\n".join(live.frame))
        await live.press("a")
        assert f"[x] {FIRST}" in "\n".join(live.frame)
        await live.type(OUTSIDE)
        await live.press("enter")
        assert live.feed.wishes[-1] is not None
        assert live.feed.wishes[-1].targets[0].sources == (FIRST,)
        await live.press("end", "G")
        await live.press("enter")
        assert live.view.wish.scope == first().id
        await live.press("escape", "escape")
        assert live.view.VIEW == "containers"
