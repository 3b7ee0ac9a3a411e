"""The thread that reads a feed and tells the screen."""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Thread

from textual.message import Message

from natop.tui.messages import Feed, FeedEnded, FeedFailed, FeedOpened, SnapshotTaken

SWITCH_S = 0.001
"""How long a thread may compute while another waits. By default 5 ms, which the screen's thread would wait for the
reading one several times a picture."""


def start_reading(open_feed: Callable[[], Feed], number: int, post: Callable[[Message], object]) -> Thread:
    """Open the feed of that number and post a message a snapshot, in a thread that ends with the program."""
    sys.setswitchinterval(SWITCH_S)
    thread = Thread(target=_read, args=(open_feed, number, post), name="natop-feed", daemon=True)
    thread.start()
    return thread


def _read(open_feed: Callable[[], Feed], number: int, post: Callable[[Message], object]) -> None:
    """Whatever goes wrong becomes a message: a dead thread would look like a quiet host."""
    opened = False
    try:
        feed = open_feed()
        opened = True
        post(FeedOpened(feed, number))
        for snapshot in feed:
            post(SnapshotTaken(snapshot, number))
        post(FeedEnded(number))
    except Exception as error:
        post(FeedFailed(error, opened, number))
