"""Keys that mean the same in every view."""

import errno
import threading
from pathlib import Path

import pytest
from textual.events import Key

from natop.model import Snapshot
from natop.tui.app import INTERVALS_S, NatopApp
from natop.tui.containers import ContainersScreen
from natop.tui.flow import FlowScreen
from natop.tui.flows import FlowsScreen
from natop.tui.help import HelpScreen
from tests.tui.live import Live, open_live
from tests.tui.worlds import NO_DOCKER, NO_RIGHT, ListFeed, save_nowhere, world


def toasts(live: Live) -> list[str]:
    return [notification.message for notification in live.app._notifications]


async def test_pause_keeps_the_screen_and_says_how_old_it_is(
    small: list[Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, read_s = 100.0, iter([100.0, 100.1])
    monkeypatch.setattr("natop.tui.showing.monotonic", lambda: now_s)
    monkeypatch.setattr("natop.tui.messages.monotonic", lambda: next(read_s))
    async with open_live(small) as live:
        await live.press("p")
        before = live.frame[1:]
        await live.step()
        assert live.app.showing.newest_at is not None
        assert live.frame[1:] == before
        assert "PAUSED, 0 s old" in live.frame[0]
        now_s += 14
        await live.until(lambda: "PAUSED, 14 s old" in live.frame[0])
        await live.press("p")
        assert "PAUSED" not in live.frame[0]
        assert live.app.news.snapshot is small[1]


async def test_a_paused_screen_says_that_the_interval_is_another(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("plus")
        assert not toasts(live), "the header says so"
        await live.press("p", "plus")
        assert toasts(live) == ["reading every 5 s; the screen is paused"]


async def test_reading_now_shows_one_snapshot_even_while_paused(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("p", "r")
        await live.until(lambda: live.app.news.snapshot is small[1])
        assert live.feed.reads == 1
        assert live.app.news.paused


async def test_the_interval_goes_up_and_down_within_its_bounds(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("plus")
        assert live.feed.interval_s == 3.0
        assert "every 3 s" in live.frame[0]
        await live.press(*["minus"] * 12)
        assert live.feed.interval_s == INTERVALS_S[0] == 0.5
        assert "every 0.5 s" in live.frame[0]
        await live.press(*["plus"] * 12)
        assert live.feed.interval_s == INTERVALS_S[-1] == 60.0


async def test_saving_is_told_with_the_paths(small: list[Snapshot]) -> None:
    saved: list[tuple[Snapshot, Path, str]] = []

    def save(snapshot: Snapshot, directory: Path) -> tuple[Path, ...]:
        saved.append((snapshot, directory, threading.current_thread().name))
        return (directory / "a.md", directory / "a.json")

    async with open_live(small, save=save) as live:
        await live.press("p")
        await live.step()
        await live.press("e")
        await live.until(lambda: bool(toasts(live)))
        assert toasts(live) == ["saved\n/tickets/a.md\n/tickets/a.json"]
    ((snapshot, directory, thread),) = saved
    assert snapshot is small[0], "what is shown is saved"
    assert directory == Path("/tickets")
    assert thread != threading.main_thread().name


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            OSError(errno.EROFS, "Read-only file system", "/tickets/natop-web-prod-3.md"),
            "cannot save in /tickets: Read-only file system\nnatop saves in the folder that it was started in; "
            "start it where it may write",
        ),
        (ValueError("\x1b[1mno"), "could not save: ValueError: \ufffd[1mno"),
    ],
)
async def test_a_failed_save_is_told_with_its_place_and_reason(
    small: list[Snapshot], error: Exception, told: str
) -> None:
    def save(*_: object) -> tuple[Path, ...]:
        raise error

    async with open_live(small, save=save) as live:
        await live.press("e")
        await live.until(lambda: bool(toasts(live)))
        assert toasts(live) == [told]


async def test_copying_a_row(small: list[Snapshot], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    async with open_live(small) as live:
        await live.press("y")
        assert f"CONTAINER {live.names[0]}\tFLOWS {live.cell(0, 'flows')}" in live.app.clipboard
        assert toasts(live) == ["copied the row"]
        await live.press("2", "y")
        assert "→" in live.app.clipboard
        await live.press("enter", "y")
        assert "original   src" in live.app.clipboard


async def test_in_tmux_the_row_goes_to_its_buffer_too(
    small: list[Snapshot], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in = tmp_path / "tmux"
    stand_in.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat > {tmp_path}/text\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("TMUX", "/tmp/tmux-0/default,1,0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    async with open_live(small) as live:
        await live.press("y")
        await live.until(lambda: bool(toasts(live)))
        assert (tmp_path / "text").read_text() == live.app.clipboard
    assert (tmp_path / "arguments").read_text().split() == ["load-buffer", "-w", "-"]


@pytest.mark.parametrize("key", ["question_mark", "h", "f1"])
async def test_help_is_for_this_view(small: list[Snapshot], key: str) -> None:
    async with open_live(small, (100, 110)) as live:
        await live.press(key)
        assert isinstance(live.app.screen, HelpScreen)
        shown = "\n".join(live.frame)
        assert "the flows of the row under the cursor" in shown
        assert "in conntrack's TIME_WAIT" in shown
        assert "not the socket's" in shown
        await live.press("escape", "2", key)
        shown = "\n".join(live.frame)
        assert "everything about the flow; there" in shown
        assert "who answers, after DNAT" in shown
        await live.press(key)
        assert isinstance(live.app.screen, FlowsScreen)


async def test_help_names_no_key_that_does_nothing(small: list[Snapshot]) -> None:
    async with open_live(small, (100, 110)) as live:
        await live.press("question_mark")
        shown = [line.split("│")[1].split("  ")[1] for line in live.frame if line.count("│") == 2 and "  " in line]
        assert not {"x", "E", "8", "9"} & {word.strip() for word in shown}


async def test_keys_that_mean_nothing_do_nothing(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        before = live.frame[1:]
        await live.press("x", "E", "8", "9")
        assert live.frame[1:] == before


async def test_help_lists_all_that_is_missing() -> None:
    gaps = world(3, gaps=(NO_RIGHT, NO_DOCKER)).snapshot(None)
    async with open_live([gaps], (100, 60)) as live:
        assert "+1 more: ?" in "\n".join(live.frame)
        await live.press("question_mark")
        shown = "\n".join(live.frame)
        assert NO_RIGHT.reason in shown
        assert NO_DOCKER.reason in shown


async def test_views_by_number_and_by_tab(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("2")
        assert isinstance(live.app.screen, FlowsScreen)
        await live.press("1")
        assert isinstance(live.app.screen, ContainersScreen)
        await live.press("tab")
        assert isinstance(live.app.screen, FlowsScreen)
        await live.press("tab", "enter", "1")
        assert isinstance(live.app.screen, ContainersScreen), "the view's own key goes to its first screen"
        await live.press("2", "enter")
        assert isinstance(live.app.screen, FlowScreen)
        await live.press("2")
        assert isinstance(live.app.screen, FlowsScreen)
        await live.press("backspace")
        assert isinstance(live.app.screen, ContainersScreen)
        await live.press("escape", "backspace")
        assert isinstance(live.app.screen, ContainersScreen)


async def test_the_cursor_stays_where_it_was_in_each_view(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("down", "2", "down", "down", "1")
        assert live.table.cursor == 1
        await live.press("2")
        assert live.table.cursor == 2


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_quitting(small: list[Snapshot], key: str) -> None:
    async with open_live(small) as live:
        await live.press("2")
        await live.pilot.press(key)
        await live.until(lambda: live.app._exit)
        assert live.app.return_code == 0
    assert live.feed.closed


async def test_ctrl_c_quits_from_a_panel_and_while_typing(small: list[Snapshot]) -> None:
    for keys in (["question_mark"], ["slash", "a"], ["f6"]):
        async with open_live(small) as live:
            await live.press(*keys)
            await live.pilot.press("ctrl+c")
            await live.until(lambda: live.app._exit)


async def test_a_click_on_a_hint_is_its_key(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        at = live.frame[-1].index("p pause")
        await live.pilot.click(offset=(at + 1, 23))
        await live.settle()
        assert live.app.news.paused


async def test_keys_typed_ahead_act_in_their_order(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        for key in ("slash", *"webq2p", "enter", "2", "p"):
            live.app.post_message(Key(key, key if len(key) == 1 else None))
        await live.until(lambda: live.app.news.paused)
        await live.settle()
        assert isinstance(live.app.screen, FlowsScreen)
        await live.press("1")
        assert live.view.wish.filter_text == "webq2p"


async def test_a_key_before_the_first_picture_does_no_harm(small: list[Snapshot]) -> None:
    feed = ListFeed(small)
    app = NatopApp(lambda _: feed, interval_s=2.0, save_dir=Path("/"), save=save_nowhere)
    for key in ("slash", "enter", "down", "2", "I", "f6", "question_mark", "escape"):
        app.post_message(Key(key, None))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.3)
        assert app.is_running


async def test_sort_keys_typed_ahead_all_count(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        for key in ("greater_than_sign", "greater_than_sign", "greater_than_sign", "I"):
            live.app.post_message(Key(key, None))
        await live.until(lambda: live.view.wish.descending is False)
        await live.settle()
        assert live.view.arranged is not None
        assert (live.view.arranged.sort, live.view.arranged.descending) == ("time_wait", False)


async def test_keys_that_nobody_has_go_to_the_table_again(small: list[Snapshot]) -> None:
    """A terminal that loses the focus takes it from the table; the line for filters must not get it unseen."""
    async with open_live(small) as live:
        live.view.set_focus(None)
        await live.press("question_mark", "escape")
        assert live.app.focused is live.table
        await live.press("down")
        assert live.table.cursor == 1
