"""The verdict on top, the view of findings, one finding, and the marker."""

import re
from dataclasses import replace

import pytest

from natop.model import Snapshot
from natop.tui.containers import ContainersScreen
from natop.tui.counters import CountersScreen
from natop.tui.finding import FindingScreen
from natop.tui.flows import FlowsScreen
from natop.tui.glyphs import UNICODE
from natop.tui.tableview import fitting
from natop.tui.tones import Line, Tone, text_of
from tests.tui.live import open_live
from tests.tui.worlds import NO_RIGHT, world
from tests.unit.scenarios import FOLDER, read, snapshot
from tests.unit.test_report import judged

SMALL = (80, 24)


def text(frame: list[str]) -> str:
    return "\n".join(frame)


async def test_the_verdict_is_on_top_and_not_by_colour_alone() -> None:
    async with open_live([judged("snat-race/fires")], SMALL) as live:
        assert live.frame[1].startswith(" verdict   ! CRITICAL race for a NAT source port: 41 new connections")


async def test_nothing_wrong_is_said() -> None:
    async with open_live([judged("blind-spots/quiet")], SMALL) as live:
        assert live.frame[1] == " verdict   nothing wrong in 60 s"
        await live.press("6")
        assert "nothing wrong in 60 s" in text(live.frame[5:])


async def test_findings_with_their_evidence() -> None:
    async with open_live([judged("time-wait-buildup/fires")], SMALL) as live:
        await live.press("6")
        assert live.cells(0)[:2] == ["· INFO", "web"]
        assert live.cells(0)[2].startswith("5,320 flows in TIME_WAIT, 80 % of TCP: harmless")
        assert "closed first by their servers: 5,000" in text(live.frame)


async def test_a_wide_screen_has_room_for_the_whole_sentence() -> None:
    shown = judged("nat-port-exhaustion/fires-old-kernel")
    async with open_live([shown], (160, 50)) as live:
        await live.press("6")
        assert live.cells(0)[2] == (shown.findings or ())[0].summary


@pytest.mark.parametrize("size", [(40, 10), (40, 7), (80, 12), (36, 8), (160, 15), (80, 16)])
async def test_the_selected_finding_is_seen_on_any_screen(size: tuple[int, int]) -> None:
    race, pile = judged("snat-race/fires"), judged("time-wait-buildup/fires")
    both = (*(race.findings or ()), *(pile.findings or ()))
    async with open_live([replace(race, findings=both, gaps=(NO_RIGHT,))], size) as live:
        await live.press("6")
        for mark in ("CRITICAL", "INFO"):
            title = next(number for number, line in enumerate(live.frame) if "SEVERITY" in line)
            assert any(mark in line for line in live.frame[title + 1 :]), live.frame
            assert live.cells(live.table.cursor)[0].endswith(mark)
            await live.press("j")


async def test_one_finding_is_no_findings() -> None:
    shown = judged("snat-race/fires")
    one = replace(shown, findings=(shown.findings or ())[:1])
    async with open_live([one], SMALL) as live:
        await live.press("6")
        assert "  1 finding\n" in text(live.frame)


async def test_a_long_command_is_seen_to_its_end() -> None:
    async with open_live([judged("nat-port-exhaustion/fires-old-kernel")], (80, 60)) as live:
        await live.press("6", "enter")
        shown = " ".join(text(live.frame).split())
        assert "docker network create -o com.docker.network.host_ipv4=203.0.113.11 0-egress2" in shown


async def test_filter_and_sort_mean_nothing_there() -> None:
    async with open_live([judged("snat-race/fires")], SMALL) as live:
        await live.press("6", "slash", "f6", "I")
        assert not live.view.is_typing
        assert live.app.screen.VIEW == "findings"  # type: ignore[attr-defined]  # a Frame


async def test_a_finding_in_full_and_its_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []

    async def keep(_app: object, text: str) -> None:
        copied.append(text)

    monkeypatch.setattr("natop.tui.finding.copy", keep)
    async with open_live([judged("nat-port-exhaustion/fires-old-kernel")], (100, 60)) as live:
        await live.press("6", "enter")
        assert isinstance(live.app.screen, FindingScreen)
        shown = text(live.frame)
        assert "remedy 1" in shown
        assert "undo      sysctl -w net.netfilter.nf_conntrack_tcp_timeout_time_wait=120" in shown
        await live.press(*"yyyyy")
        network, parameter, file, module, again = copied
        assert network == (
            "docker network create -o com.docker.network.host_ipv4=203.0.113.11 0-egress2\n"
            "docker network connect 0-egress2 api"
        )
        assert parameter == "sysctl -w net.netfilter.nf_conntrack_tcp_timeout_time_wait=30"
        assert file == "net.netfilter.nf_conntrack_tcp_timeout_time_wait = 30"
        assert (module, again) == ("nf_conntrack", network)
        told = [each.message for each in live.app._notifications]
        for block, message in zip(copied, told[-5:], strict=True):
            (number,) = re.findall(r"remedy (\d)\b", message)
            below = shown.partition(f"remedy {number}")[2].partition("remedy")[0]
            assert block.split()[0] in below, "it is the number on the screen"
            (place,) = re.findall(r" for (\S+);", message) or [""]
            assert not place or f"into {place}:" in below


async def test_lines_of_compose_are_copied_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []

    async def keep(_app: object, text: str) -> None:
        copied.append(text)

    monkeypatch.setattr("natop.tui.finding.copy", keep)
    async with open_live([judged("accept-queue-overflow/fires")], SMALL) as live:
        await live.press("6", "enter", "y", "y")
    assert copied == ['services:\n  "on":\n    sysctls:\n      net.core.somaxconn: "16384"'] * 2


async def test_the_end_of_a_finding_is_one_key_away() -> None:
    async with open_live([judged("snat-race/fires")], SMALL) as live:
        await live.press("6", "enter")
        assert "natop explain snat-race" not in text(live.frame)
        await live.press("G")
        assert "natop explain snat-race" in text(live.frame)


async def test_what_says_so_is_told_whole_below_the_table_or_there_is_a_sign() -> None:
    shown = judged("nat-port-exhaustion/fires-old-kernel")
    finding = (shown.findings or ())[0]
    async with open_live([shown], SMALL) as live:
        await live.press("6")
        below = live.frame[next(y for y, line in enumerate(live.frame) if line.startswith("───")) + 1 : -1]
        assert " ".join(" ".join(below).split()).startswith(finding.summary)
        assert not any(line.endswith("…") for line in below if line != " …")
        assert all(each in " ".join(" ".join(below).split()) for each in finding.evidence) or " …" in below
        await live.pilot.resize_terminal(160, 50)
        await live.settle()
        assert f" {finding.summary}" in live.frame


def test_lines_without_room_leave_a_sign() -> None:
    lines: list[Line] = [[(text, Tone.PLAIN)] for text in "abc"]
    assert fitting(lines, 3, UNICODE) == fitting(lines, 0, UNICODE) == lines
    assert [text_of(line) for line in fitting(lines, 2, UNICODE)] == ["a", " …"]


async def test_a_finding_leads_to_its_flows() -> None:
    taken = world(6).history(300)
    wanted = judged("unreplied-syns/fires").findings
    async with open_live([replace(taken[-1], findings=wanted)], SMALL) as live:
        await live.press("6", "enter", "enter")
        assert isinstance(live.app.screen, FlowsScreen)
        assert live.view.wish.filter_text == "state:syn_sent dst:198.51.100.9 dport:5432"
        await live.press("backspace")
        assert isinstance(live.app.screen, FindingScreen)


async def test_the_way_back_from_where_a_finding_leads_is_to_the_finding() -> None:
    async with open_live([judged("snat-race/fires")], SMALL) as live:
        await live.press("6", "enter", "enter")
        assert isinstance(live.app.screen, CountersScreen)
        await live.press("escape")
        assert isinstance(live.app.screen, FindingScreen)
        await live.press("enter", "1", "5", "escape")
        assert isinstance(live.app.screen, ContainersScreen), "that view was the user's own choice"


async def test_a_finding_that_has_gone_says_so() -> None:
    first, healthy = judged("snat-race/fires"), judged("blind-spots/quiet")
    async with open_live([first, healthy], SMALL) as live:
        await live.press("6", "enter")
        await live.step()
        assert "no longer found since" in text(live.frame)
        assert "41 new connections" in text(live.frame)


async def test_the_marker_compares_before_and_after() -> None:
    scenario = read(FOLDER / "snat-race" / "fires.toml")
    async with open_live([snapshot(scenario)], SMALL) as live:
        await live.press("m")
        line = next(line for line in live.frame if line.startswith(" marker"))
        assert "insert_failed 41/min → –   since 00:01:00" in line  # noqa: RUF001  # an en dash stands for unknown
        await live.press("M")
        assert not any(line.startswith(" marker") for line in live.frame)


async def test_findings_say_what_changed_at_the_marker() -> None:
    """The race goes on, until its remedy stands: then nothing is lost any more, and the screen says so."""
    racing = judged("snat-race/fires")
    async with open_live([racing, _later(racing)], SMALL) as live:
        await live.press("6", "m")
        await live.step()
        line = next(line for line in live.frame if line.startswith(" marker"))
        assert line.startswith(" marker    insert_failed 41/min → 0/min   since 00:01:00   drop 41/min → 0/min")
        assert " · insert_failed 41/min → 0/min since the marker" in live.frame
        await live.press("enter")
        assert " marker    insert_failed 41/min → 0/min since the marker" in live.frame
        assert any("SYN retransmits 39/min → 0/min since the marker" in line for line in live.frame)


@pytest.mark.parametrize(
    ("scenario", "change"),
    [
        ("invalid-packets/fires", "invalid 6,000/min"),
        ("accept-queue-overflow/fires", "ListenOverflows 80/min"),
    ],
)
async def test_the_marker_compares_what_another_fault_counts(scenario: str, change: str) -> None:
    """Only where it rose; a race is told without them."""
    faulty = judged(scenario)
    async with open_live([faulty, _later(faulty)], SMALL) as live:
        await live.press("6", "m", "enter")
        await live.step()
        assert any(f"{change} → 0/min since the marker" in line for line in live.frame)
        assert "early_drop" not in text([line for line in live.frame if "since the marker" in line])


async def test_the_first_seconds_after_the_marker_are_no_rate() -> None:
    racing = judged("snat-race/fires")
    async with open_live([racing, _later(racing, 4), _later(racing, 10)], SMALL) as live:
        await live.press("6", "m")
        await live.step()
        line = next(line for line in live.frame if line.startswith(" marker"))
        assert line.rstrip() == " marker    insert_failed 41/min → 0 in 4 s   drop 41/min → 0 in 4 s"
        assert " · insert_failed 41/min → 0 in 4 s since the marker" in live.frame
        assert any("SYN retransmits 39/min → 0 in 4 s since the marker" in line for line in live.frame)
        await live.step()
        assert " · insert_failed 41/min → 0/min since the marker" in live.frame


def _later(taken: Snapshot, seconds: float = 30) -> Snapshot:
    """So long in which nothing was lost."""
    last = taken.marks[-1]
    mark = replace(last, taken_at=last.taken_at + seconds, monotonic_s=last.monotonic_s + seconds)
    return replace(taken, taken_at=taken.taken_at + seconds, monotonic_s=mark.monotonic_s, marks=(*taken.marks, mark))
