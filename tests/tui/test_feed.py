"""What the screen does with what the reading thread tells, good or bad."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from textual.message import Message

from natop.model import Snapshot
from natop.tui.app import EXIT_UNREADABLE, NatopApp
from natop.tui.messages import FeedEnded, FeedOpened, SnapshotTaken
from natop.tui.reading import start_reading
from tests.tui.live import Live, open_live
from tests.tui.worlds import ListFeed, save_nowhere


class Broken(ListFeed):
    """Gives one snapshot and fails; the next one that is opened goes on."""

    def __iter__(self) -> Iterator[Snapshot]:
        yield self._snapshots[0]
        raise ZeroDivisionError("by zero\x1b[31m")


def app_on(feed: ListFeed) -> NatopApp:
    return NatopApp(lambda _: feed, interval_s=2.0, save_dir=Path("/"), save=save_nowhere)


async def test_a_feed_that_cannot_be_opened_ends_with_3() -> None:
    def refuse(_: str | None) -> ListFeed:
        raise OSError("no network namespace 'blue'\ntry: ip netns")

    app = NatopApp(refuse, interval_s=2.0, save_dir=Path("/"), save=save_nowhere)
    async with app.run_test() as pilot:
        await Live(app, ListFeed(()), pilot).until(lambda: app.failure is not None)
    assert app.return_code == EXIT_UNREADABLE == 3
    assert app.failure == "no network namespace 'blue'\ntry: ip netns"


async def test_a_feed_that_breaks_is_told_and_can_be_started_again(small: list[Snapshot]) -> None:
    feeds = [Broken(small), ListFeed(small[1:])]
    app = NatopApp(lambda _: feeds.pop(0), interval_s=2.0, save_dir=Path("/"), save=save_nowhere)
    async with app.run_test(size=(80, 24)) as pilot:
        live = Live(app, feeds[0], pilot)
        await live.until(lambda: app.news.failure is not None)
        await live.settle()
        shown = "\n".join(live.frame)
        assert "reading stopped" in live.frame[0]
        assert "ZeroDivisionError: by zero" in shown
        assert "\x1b" not in shown
        assert live.names, "the last snapshot stays"
        await live.press("r")
        await live.until(lambda: app.news.snapshot is small[1])
        assert app.news.failure is None
        assert not app.is_headless or app.return_code is None


async def test_before_the_first_snapshot_the_screen_is_there(small: list[Snapshot]) -> None:
    feed = ListFeed(small, at_once=0)
    app = app_on(feed)
    async with app.run_test(size=(80, 24)) as pilot:
        live = Live(app, feed, pilot)
        await live.settle()
        assert "reading…" in live.frame[0]
        assert any(line.strip() == "reading…" for line in live.frame[6:])
        await live.press("2", "enter", "slash", "a", "escape", "1", "e", "y", "greater_than_sign", "I", "f6", "F", "p")
        assert "reading…" in live.frame[0]
        feed.step()
        await live.until(lambda: app.news.snapshot is small[0])
        await live.settle()
        assert live.table.line_count == 7


async def test_the_feed_runs_in_another_thread_and_is_told_the_interval(small: list[Snapshot]) -> None:
    threads: list[str] = []

    class Noted(ListFeed):
        def __iter__(self) -> Iterator[Snapshot]:
            threads.append(threading.current_thread().name)
            return super().__iter__()

    feed = Noted(small)
    app = NatopApp(lambda _: feed, interval_s=5.0, save_dir=Path("/"), save=save_nowhere)
    async with app.run_test() as pilot:
        live = Live(app, feed, pilot)
        await live.until(lambda: app.news.snapshot is not None)
        assert threads == ["natop-feed"]
        assert feed.interval_s == 5.0
    assert feed.closed


async def test_an_ended_feed_says_so(small: list[Snapshot]) -> None:
    async with open_live(small, at_once=5, endless=False) as live:
        await live.until(lambda: live.app.news.ended)
        await live.settle()
        assert "the end" in live.frame[0]
        assert live.app.news.snapshot is small[-1]


def posted_of(snapshots: list[Snapshot], post: Callable[[Message], object] = lambda _: None) -> list[Message]:
    """What the reading thread posts while nobody looks at it, but for `post`."""
    posted: list[Message] = []

    def keep(message: Message) -> None:
        posted.append(message)
        post(message)

    feed = ListFeed(snapshots, at_once=len(snapshots), endless=False)
    start_reading(lambda: feed, 1, keep).join(60)
    return posted


def test_a_waiting_snapshot_gives_way_to_a_newer_one(small: list[Snapshot]) -> None:
    """A screen that is held up finds one message, whatever came meanwhile."""
    opened, taken, ended = posted_of(small[:3])
    assert (type(opened), type(ended)) == (FeedOpened, FeedEnded)
    assert isinstance(taken, SnapshotTaken)
    assert taken.snapshot is small[2]


def test_a_snapshot_that_was_looked_at_stays(small: list[Snapshot]) -> None:
    def look(message: Message) -> None:
        if isinstance(message, SnapshotTaken):
            message.seal()

    taken = [each.snapshot for each in posted_of(small[:3], look) if isinstance(each, SnapshotTaken)]
    assert len(taken) == 3
    assert all(seen is given for seen, given in zip(taken, small, strict=False))


async def test_a_snapshot_without_a_new_dump_keeps_the_flows(small: list[Snapshot]) -> None:
    tick = replace(small[0], monotonic_s=1001.0, interval_s=1.0, counter_rates={"insert_failed": 3.0, "drop": 0.0})
    async with open_live([small[0], tick]) as live:
        await live.press("2")
        content = live.table.content
        await live.step()
        assert live.table.content is content
        assert "insert_failed 3.0/s !" in "\n".join(live.frame)


async def test_a_feed_that_stalls_is_told(small: list[Snapshot], monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_live(small) as live:
        taken_s = live.app.showing._taken_s
        monkeypatch.setattr("natop.tui.showing.monotonic", lambda: taken_s + 60)
        live.app._deliver()
        await live.settle()
        assert "nothing new for 1 min 00 s" in live.frame[0]
