"""`N`: another network namespace is read, and this host again."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from natop.model import Namespace, Snapshot
from natop.tui.containers import ContainersScreen
from natop.tui.flow import FlowScreen
from natop.tui.flows import FlowsScreen
from natop.tui.messages import Feed
from natop.tui.namespaces import NamespacesScreen
from tests.tui.live import Live, open_live
from tests.tui.worlds import HOST, ListFeed, world

HERE = (
    Namespace("blue", "/run/netns/blue"),
    Namespace("ingress_sbox", "/run/docker/netns/ingress_sbox"),
    Namespace("shop-web-1", "/run/docker/netns/4f1a7c20be11"),
)
INGRESS = HERE[1].path


@pytest.fixture
def host(small: list[Snapshot]) -> list[Snapshot]:
    return [replace(each, namespaces=HERE) for each in small]


@pytest.fixture
def inside() -> ListFeed:
    """The feed of a namespace: a table of 60 flows."""
    taken = world(6).history(80, 2, seed=9)
    return ListFeed([replace(each, host=replace(HOST, netns="net:[4026532000]"), namespaces=HERE) for each in taken])


def toasts(live: Live) -> list[str]:
    return [notification.message for notification in live.app._notifications]


async def enter(live: Live, choice: int = 2) -> None:
    """The ingress sandbox, as a rule."""
    await live.press("N", *["down"] * choice, "enter")
    await live.until(lambda: live.app.news.snapshot is not None)
    await live.settle()


async def test_the_chooser_lists_this_host_and_the_others(host: list[Snapshot]) -> None:
    async with open_live(host) as live:
        before = live.frame[1:]
        await live.press("N")
        assert isinstance(live.app.screen, NamespacesScreen)
        shown = "\n".join(live.frame)
        for text in ("this host", *(each.name for each in HERE), *(each.path for each in HERE)):
            assert text in shown
        await live.press("escape")
        assert live.frame[1:] == before
        await live.press("N", "enter")
        assert live.frame[1:] == before, "this host was read already"


@pytest.mark.parametrize("back", ["N", "escape"])
async def test_a_namespace_is_read_and_this_host_again(host: list[Snapshot], inside: ListFeed, back: str) -> None:
    async with open_live(host, others={INGRESS: lambda: inside}) as live:
        await live.press("down")
        await enter(live)
        assert live.app.news.snapshot is inside._snapshots[0]
        assert "netns ingress_sbox (N: back)" in live.frame[0]
        assert "N this host" in live.frame[-1]
        assert isinstance(live.view, FlowsScreen)
        assert live.table.line_count == 60
        assert (live.feed.closed, inside.closed) == (True, False)
        live.feed.closed = False  # the same list stands for the new feed of the host
        live.feed.step()
        await live.press(back)
        await live.until(lambda: live.app.news.snapshot is not None)
        await live.settle()
        assert inside.closed
        assert "netns" not in live.frame[0]
        assert isinstance(live.app.screen, ContainersScreen)
        assert live.table.cursor == 1


async def test_esc_takes_the_filter_and_the_screens_above_away_first(host: list[Snapshot], inside: ListFeed) -> None:
    async with open_live(host, others={INGRESS: lambda: inside}) as live:
        await live.press("2", "enter")
        assert isinstance(live.app.screen, FlowScreen)
        await enter(live)
        assert isinstance(live.view, FlowsScreen)
        await live.press("slash", "t", "c", "p", "enter", "enter", "escape", "escape")
        assert "netns ingress_sbox" in live.frame[0]
        await live.press("escape")
        assert live.app.news.namespace is None
        assert isinstance(live.app.screen, FlowsScreen), "the view that it was entered from"


async def test_no_screen_about_what_was_read_before_stays(host: list[Snapshot], inside: ListFeed) -> None:
    async with open_live(host, others={INGRESS: lambda: inside}) as live:
        await enter(live)
        await live.press("enter")
        assert isinstance(live.app.screen, FlowScreen)
        await live.press("N")
        assert isinstance(live.app.screen, ContainersScreen)
        await live.press("2")
        assert isinstance(live.app.screen, FlowsScreen)


async def test_nothing_of_the_host_is_shown_before_the_namespaces_first_snapshot(host: list[Snapshot]) -> None:
    slow = ListFeed(world(2).history(80, 1), at_once=0)
    async with open_live(host, others={INGRESS: lambda: slow}) as live:
        await live.press("2", "N", "down", "down", "enter")
        await live.settle()
        assert live.table.line_count == 0
        assert "reading…" in live.frame[0]
        live.feed.step()  # too late
        await live.pilot.pause(0.1)
        assert live.app.news.snapshot is None
        await live.press("1")
        assert live.table.line_count == 0
        slow.step()
        await live.until(lambda: live.app.news.snapshot is not None)
        await live.settle()
        assert live.table.line_count == 3


async def test_a_namespace_that_cannot_be_entered_is_told(host: list[Snapshot]) -> None:
    def refuse() -> Feed:
        raise PermissionError("cannot enter the network namespace \x1b[31m[b]x: Operation not permitted\ntry: sudo")

    async with open_live(host, others={INGRESS: refuse}) as live:
        live.feed.step()
        await live.press("N", "down", "down", "enter")
        await live.until(lambda: bool(toasts(live)))
        (told,) = toasts(live)
        assert told == "netns ingress_sbox: Operation not permitted; back to this host"
        assert "\n" not in told
        assert "\x1b" not in told
        assert live.app.news.namespace is None
        assert live.app.return_code is None
        assert isinstance(live.app.screen, ContainersScreen)


async def test_a_namespace_that_vanishes_is_told(host: list[Snapshot]) -> None:
    class Vanishing(ListFeed):
        def __iter__(self) -> Iterator[Snapshot]:
            yield self._snapshots[0]
            self._let_out.acquire()
            raise LookupError("it is gone")

    gone = Vanishing(world(2).history(80, 1), at_once=0)
    async with open_live(host, others={INGRESS: lambda: gone}) as live:
        await enter(live)
        gone.step()
        await live.until(lambda: live.app.news.namespace is None)
        await live.settle()
        assert toasts(live) == ["netns ingress_sbox: it is gone; back to this host"]
        assert gone.closed
        assert isinstance(live.app.screen, ContainersScreen)


async def test_without_other_namespaces_that_is_said(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("N")
        assert toasts(live) == ["no other network namespace is known here"]
        assert isinstance(live.app.screen, ContainersScreen)


async def test_a_feed_that_opens_too_late_is_closed(host: list[Snapshot], inside: ListFeed) -> None:
    async with open_live(host) as live:
        from natop.tui.messages import FeedEnded, FeedFailed, FeedOpened

        number = live.app.reading_number
        for late in (FeedOpened(inside, number - 1), FeedFailed(OSError(), False, number - 1), FeedEnded(number - 1)):
            live.app.post_message(late)
        await live.settle()
        assert inside.closed
        assert live.app._reading._feed is live.feed
        assert not live.app.news.ended
        assert live.app.return_code is None


async def test_a_paused_screen_shows_what_it_enters(host: list[Snapshot], inside: ListFeed) -> None:
    async with open_live(host, others={INGRESS: lambda: inside}) as live:
        await live.press("p")
        await enter(live)
        assert live.table.line_count == 60
        assert "PAUSED" in live.frame[0]


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (160, 50)])
async def test_hostile_names_are_text_and_fit(host: list[Snapshot], inside: ListFeed, size: tuple[int, int]) -> None:
    evil = Namespace("[b]" + "x" * 100 + "\x1b[31m", INGRESS)
    async with open_live([replace(host[0], namespaces=(evil,))], size, others={INGRESS: lambda: inside}) as live:
        await live.press("N")
        assert "[b]xxx" in "\n".join(live.frame)
        assert "\x1b" not in "\n".join(live.frame)
        await live.press("down", "enter")
        await live.until(lambda: live.app.news.snapshot is not None)
        await live.settle()
        assert "netns [b]" in live.frame[0] or size[0] == 40
        assert "\x1b" not in "\n".join(live.frame)
        if size[0] > 40:
            assert "every 2 s" in live.frame[0]


async def test_the_way_back_in_ascii(host: list[Snapshot], inside: ListFeed) -> None:
    async with open_live(host, ascii=True, others={INGRESS: lambda: inside}) as live:
        await live.press("N")
        assert "\n".join(live.frame).isascii()
        await live.press("down", "down", "enter")
        assert "\n".join(live.frame).isascii()
