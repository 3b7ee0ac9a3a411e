"""Whole screens as text, kept beside this file; `--snapshot-update` writes them anew."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from natop.model import Snapshot
from tests.tui.live import open_live
from tests.tui.pasts import past
from tests.tui.poolhosts import busy_pools
from tests.tui.test_counters import busy as counted
from tests.tui.worlds import NO_DOCKER, NO_RIGHT, world

SMALL, LARGE = (80, 24), (160, 50)


class TextFrame(SingleFileSnapshotExtension):
    """One file of text a screen, so that a difference can be read."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"


@pytest.fixture
def frame(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(TextFrame)


@pytest.fixture(autouse=True)
def fixed_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All that is shown is 1 s old, and the clock is UTC's."""
    monkeypatch.setattr("natop.tui.showing.monotonic", lambda: 101.0)
    monkeypatch.setattr("natop.tui.messages.monotonic", lambda: 100.0)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


SCREENS = {
    "containers-80x24": (SMALL, []),
    "containers-160x50": (LARGE, ["down", "down"]),
    "flows-80x24": (SMALL, ["2", "down"]),
    "flows-160x50": (LARGE, ["2", "down"]),
    "flows-of-a-container-filtered": (SMALL, ["enter", "slash", *"kind:internal", "enter", "d"]),
    "one-flow": (SMALL, ["2", "enter"]),
    "help-80x24": (SMALL, ["question_mark"]),
    "help-160x50": (LARGE, ["2", "question_mark"]),
    "sort-by": (SMALL, ["f6"]),
    "filter-with-a-mistake": (SMALL, ["slash", *"web stat:x"]),
}


@pytest.mark.parametrize("name", SCREENS)
async def test_frame(busy: list[Snapshot], frame: SnapshotAssertion, name: str) -> None:
    size, keys = SCREENS[name]
    async with open_live(busy[-1:], size) as live:
        await live.press(*keys)
        assert "\n".join(live.frame) == frame


async def test_frame_in_ascii(busy: list[Snapshot], frame: SnapshotAssertion) -> None:
    async with open_live(busy[-1:], SMALL, ascii=True) as live:
        assert "\n".join(live.frame) == frame(name="containers-ascii")


async def test_frame_without_rights_and_docker(frame: SnapshotAssertion) -> None:
    unread = replace(world(0, gaps=(NO_RIGHT, NO_DOCKER)).snapshot(None), inventory=None)
    async with open_live([unread], SMALL) as live:
        assert "\n".join(live.frame) == frame(name="nothing-readable")


NARROW = {
    "containers-40x10": ((40, 10), []),
    "flows-40x12": ((40, 12), ["2"]),
    "flows-60x12": ((60, 12), ["2"]),
    "flows-75x12": ((75, 12), ["2"]),
}


@pytest.mark.parametrize("name", NARROW)
async def test_frame_of_a_narrow_terminal(busy: list[Snapshot], frame: SnapshotAssertion, name: str) -> None:
    size, keys = NARROW[name]
    async with open_live(busy[-1:], size) as live:
        await live.press(*keys)
        assert "\n".join(live.frame) == frame


POOLS = {
    "pools-80x24": (SMALL, False, ["3"]),
    "pools-80x24-ascii": (SMALL, True, ["3", "j"]),
    "pools-160x50": (LARGE, False, ["3", "j"]),
    "pools-40x10": ((40, 10), False, ["3"]),
}


@pytest.mark.parametrize("name", POOLS)
async def test_frame_of_pools(frame: SnapshotAssertion, name: str) -> None:
    size, ascii, keys = POOLS[name]
    async with open_live([busy_pools()], size, ascii=ascii) as live:
        await live.press(*keys)
        assert "\n".join(live.frame) == frame


COUNTERS = {
    "counters-80x24": (SMALL, False, ["5"]),
    "counters-80x24-ascii": (SMALL, True, ["5", *["right_square_bracket"] * 3]),
    "counters-160x50": (LARGE, False, ["5", *["right_square_bracket"] * 4]),
}


@pytest.mark.parametrize("name", COUNTERS)
async def test_frame_of_counters(frame: SnapshotAssertion, name: str) -> None:
    size, ascii, keys = COUNTERS[name]
    async with open_live([counted()], size, ascii=ascii) as live:
        await live.press(*keys)
        assert "\n".join(live.frame) == frame


TRENDS = {
    "trends-80x24": (SMALL, False, ["7"]),
    "trends-80x24-ascii": (SMALL, True, ["7"]),
    "trends-160x50": (LARGE, False, ["7", "right_square_bracket", "j"]),
    "trends-160x50-ascii": (LARGE, True, ["7", "right_square_bracket", "j"]),
    "trends-of-a-container": (SMALL, False, ["down", "t"]),
    "trends-alone": (SMALL, False, ["7", "j", "j", "enter"]),
    "trends-40x10": ((40, 10), False, ["7"]),
}


@pytest.fixture(scope="module")
def ten_minutes() -> Snapshot:
    """Of 40 s nothing is known."""
    return past(300, unread=range(200, 220))[-1]


@pytest.mark.parametrize("name", TRENDS)
async def test_frame_of_trends(ten_minutes: Snapshot, frame: SnapshotAssertion, name: str) -> None:
    size, ascii, keys = TRENDS[name]
    async with open_live([ten_minutes], size, ascii=ascii) as live:
        await live.press(*keys)
        assert "\n".join(await live.still()) == frame
