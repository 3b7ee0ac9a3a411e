"""The header's lines."""

from dataclasses import replace

import pytest
from rich.cells import cell_len

from natop.model import Conntrack, Engine, Namespace, Pace, Snapshot
from natop.tui.frame import banner_lines
from natop.tui.glyphs import ASCII, UNICODE, Glyphs
from natop.tui.header import News, header_lines
from natop.tui.tones import Line, Tone, text_of
from tests.tui.worlds import NO_DOCKER, NO_RIGHT, flow_table, world


def text(news: News, width: int = 80, roomy: bool = False, glyphs: Glyphs = UNICODE) -> str:
    return "\n".join(text_of(line) for line in header_lines(news, width, roomy, glyphs))


def tone_of(lines: list[Line], part: str) -> Tone:
    return next(tone for line in lines for piece, tone in line if part in piece)


@pytest.mark.parametrize("roomy", [False, True])
@pytest.mark.parametrize("rows", [0, 600, 250_000])
@pytest.mark.parametrize("width", [80, 100, 160, 220])
def test_nothing_is_wider_than_the_screen(rows: int, width: int, roomy: bool) -> None:
    snapshots = world(4).history(rows, 2)
    for shown in (None, snapshots[0], snapshots[1]):
        for line in header_lines(News(shown), width, roomy and width > 119, UNICODE):
            assert cell_len(text_of(line).rstrip()) <= width


def test_every_number_is_on_80_columns(small: list[Snapshot]) -> None:
    last = small[-1]
    shown = text(News(last))
    assert last.whole is not None
    states = last.whole.counts.states
    for word in (
        "web-prod-3", "Linux 6.18.5", "Docker 29.0.1", "600 of 262,144", "0.2 %", f"ESTAB {states['ESTABLISHED']}",
        f"TIME_WAIT {states['TIME_WAIT']}", "new ", "gone ", "insert_failed 0.5/s !", "drop 0.5/s !", "· 0 s old",
    ):  # fmt: skip
        assert word in shown


def test_another_engine_has_its_own_name(small: list[Snapshot]) -> None:
    inventory = small[-1].inventory
    assert inventory is not None
    podman = replace(inventory, engine=Engine("4.3.1", "1.41", rootless=True, product="Podman"))
    shown = text(News(replace(small[-1], inventory=podman)), 160)
    assert "Podman 4.3.1 · rootless" in shown
    assert "Docker" not in shown


def test_no_name_stands_without_its_whole_number(small: list[Snapshot]) -> None:
    last = small[-1]
    assert last.whole is not None
    states = last.whole.counts.states
    whole = (
        f"ESTAB {states['ESTABLISHED']}",
        f"TIME_WAIT {states['TIME_WAIT']}",
        "insert_failed 0.5/s !",
        "drop 0.5/s !",
    )
    for width in range(20, 120):
        shown = [line[:width] for line in text(News(last), width).split("\n")]
        for name_and_number in whole:
            name = name_and_number.split()[0]
            assert all(name_and_number in line for line in shown if f"{name} " in line), (width, name)


def test_numbers_have_fixed_places() -> None:
    few, many = (text(News(world(3).history(rows, 2)[-1])) for rows in (50, 90_000))
    for word in ("SYN", "TIME_WAIT", "closing", "gone", "insert_failed", "drop", " of "):
        assert [line.find(word) for line in few.split("\n")] == [line.find(word) for line in many.split("\n")], word


def test_what_is_unknown_is_a_dash_and_never_zero() -> None:
    unread = replace(world(3).snapshot(None), conntrack=Conntrack())
    for shown in (text(News(unread)), text(News(unread), 160, roomy=True), text(News())):
        numbers = shown.split("\n", 1)[1]
        assert "0" not in numbers
        assert UNICODE.unknown in numbers


def test_rates_are_unknown_on_the_first_snapshot(small: list[Snapshot]) -> None:
    shown = text(News(small[0]))
    assert "new –" in shown  # noqa: RUF001
    assert "insert_failed –" in shown  # noqa: RUF001


@pytest.mark.parametrize(
    ("count", "tone", "mark"), [(1000, Tone.ESTABLISHED, "%  "), (850, Tone.NOTICE, "% !"), (990, Tone.ALARM, "% !")]
)
def test_fill_warns_by_tone_and_by_sign(count: int, tone: Tone, mark: str) -> None:
    snapshot = replace(world(1).snapshot(None), conntrack=Conntrack(count, 1000 if count < 1000 else 100_000))
    lines = header_lines(News(snapshot), 80, False, UNICODE)
    assert tone_of(lines, "%") is tone
    assert mark in text_of(lines[2])


def test_insert_failed_is_an_alarm_only_when_it_rises(small: list[Snapshot]) -> None:
    rates = {**(small[-1].counter_rates or {}), "drop": 0.0}
    lines = header_lines(News(replace(small[-1], counter_rates=rates)), 80, False, UNICODE)
    assert tone_of(lines, "0.5/s !") is Tone.ALARM
    assert "drop 0.0/s" in text_of(lines[-1])
    assert tone_of([lines[-1][-2:]], "0.0/s") is Tone.QUIET


def test_the_status_says_how_old_this_is(small: list[Snapshot]) -> None:
    last = small[-1]
    assert "PAUSED, 14 s old" in text(News(last, age_s=14.2, paused=True))
    assert "nothing new for 9 s" in text(News(last, age_s=9))
    assert "nothing new" not in text(News(last, age_s=6))
    assert "reading stopped, 3 s old" in text(News(last, age_s=3, failure="boom"))
    assert "the end" in text(News(last, age_s=300, ended=True))
    assert "reading…" in text(News())


def test_another_namespace_is_told(small: list[Snapshot]) -> None:
    """By its name where that is known; the way back is told where there is one."""
    file = "/run/netns/blue"
    taken = replace(small[-1], host=replace(small[-1].host, entered=file))
    known = replace(taken, namespaces=(Namespace("red", "/run/netns/red"), Namespace("blue", file)))
    assert f"netns {file}  {taken.host.hostname}" in text(News(taken))
    assert f"netns blue  {taken.host.hostname}" in text(News(known))
    assert "N: back" not in text(News(known))
    assert "netns red (N: back)" in text(News(known, namespace="red"))
    assert "netns" not in text(News(small[-1]))


def test_a_stretched_pace_is_told(small: list[Snapshot]) -> None:
    slow = replace(small[-1], pace=Pace(2.0, 12.0), monotonic_s=small[-1].monotonic_s + 6)
    assert "every 2 s · flows every 12 s, 7 s old" in text(News(slow, age_s=1.2))
    assert "flows every" not in text(News(small[-1]))


def test_a_long_hostname_gives_way_to_the_status(small: list[Snapshot]) -> None:
    long = replace(small[-1], host=replace(small[-1].host, hostname="a" * 200))
    first = text(News(long, age_s=4, paused=True)).split("\n")[0]
    assert first.endswith("PAUSED, 4 s old")
    assert cell_len(first) <= 80


def test_with_room_every_state_has_its_number(busy: list[Snapshot]) -> None:
    last = busy[-1]
    assert last.whole is not None
    shown = text(News(last), 160, roomy=True)
    for state, number in last.whole.counts.states.items():
        if number:
            assert state in shown
            assert f"{number:,}" in shown


def test_ascii_header_is_ascii(busy: list[Snapshot]) -> None:
    assert text(News(busy[-1]), 160, roomy=True, glyphs=ASCII).isascii()


def test_banner_only_with_gaps(small: list[Snapshot]) -> None:
    assert banner_lines(News(small[-1]), 80, UNICODE) == []
    gaps = world(3, gaps=(NO_DOCKER, NO_RIGHT, NO_DOCKER)).snapshot(None)
    (line,) = banner_lines(News(gaps), 80, UNICODE)
    assert text_of(line).startswith(" ! flows: reading conntrack needs CAP_NET_ADMIN · run: sudo natop")
    assert text_of(line).endswith("+2 more: ?")
    assert cell_len(text_of(line)) <= 80


def test_banner_of_a_failure(small: list[Snapshot]) -> None:
    (line,) = banner_lines(News(small[-1], failure="no such netns\ngive another"), 80, UNICODE)
    assert "reading stopped: no such netns; give another" in text_of(line)
    assert "r starts again" in text_of(line)


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@pytest.mark.parametrize("width", [80, 100])
def test_a_long_reason_gives_way_to_the_way_out(width: int, glyphs: Glyphs) -> None:
    (line,) = banner_lines(News(failure="conntrack " * 30), width, glyphs)
    assert text_of(line).startswith(f" {glyphs.alarm} reading stopped: conntrack")
    assert text_of(line).endswith(f"{glyphs.ellipsis} {glyphs.dot} r starts again")
    assert cell_len(text_of(line)) < width


def test_nothing_is_judged_once_reading_has_stopped(small: list[Snapshot]) -> None:
    lines = header_lines(News(small[-1], failure="boom"), 80, False, UNICODE)
    assert text_of(lines[1]) == " verdict   UNKNOWN: reading stopped, r starts again"
    assert tone_of(lines, "UNKNOWN") is Tone.ALARM
    assert "UNKNOWN" not in text(News(small[-1]))


def test_snapshot_of_a_full_table_is_an_alarm() -> None:
    flows = flow_table(1000, world(2).containers)
    assert "100 %" in text(News(world(2, maximum=1000).snapshot(flows)))
