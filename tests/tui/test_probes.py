"""The view of probes: off until asked for, a line a way, lost SYNs in marks and not by colour alone."""

from dataclasses import replace

from natop.model import ProbePath, ProbeResult, Snapshot
from natop.probed import with_results
from natop.probing import ProbeWish
from natop.tui.glyphs import ASCII, UNICODE
from natop.tui.probelines import strip
from tests.tui.live import open_live
from tests.tui.worlds import world

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
        assert any("nothing is probed; P connects" in line for line in live.frame)
        await live.press("P", "O", "P")
        assert live.feed.wishes == [None, ProbeWish(), ProbeWish(counts_own=True), None]


async def test_lost_syns_are_marks_in_a_strip() -> None:
    async with open_live([probed(*SLOW, *DEAD)], SMALL) as live:
        await live.press("4")
        assert "probing" in live.title
        assert live.cell(0, "strip").strip() == "·2·1"
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


async def test_a_container_s_connects_are_a_column() -> None:
    web = next(each for each in world(4).containers if each.name == "shop-web-1")
    mine = [result("172.18.0.2:80", at, lost, container=web.id) for at, lost in enumerate((0, 2, 0))]
    async with open_live([probed(*mine)], (200, 50)) as live:
        assert live.cell(live.names.index("shop-web-1"), "connect") == "0.20/2,000!"
        assert live.cell(live.names.index("(host)"), "connect") == UNICODE.unknown


def test_a_strip_has_the_newest_at_its_right_end() -> None:
    series = with_results((), [*SLOW, result("172.18.0.2:80", 9.0, 12)], 60)[0]
    assert strip(series.results, 8, UNICODE) == "   ·2·19"
    assert strip(series.results, 2, UNICODE) == "19"
    assert strip(series.results, 4, ASCII) == "2-19"
    assert strip(series.results, 0, UNICODE) == ""
