"""What is read now: one feed at a time, by a thread of its own that tells the screen."""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Thread
from typing import TYPE_CHECKING

from textual.message import Message

from natop.tui.messages import Feed, FeedEnded, FeedFailed, FeedOpened, FromFeed, SnapshotTaken

if TYPE_CHECKING:
    from natop.model import Namespace
    from natop.probing import ProbeWish

OpenFeed = Callable[[str | None], Feed]
"""Opens the feed of the network namespace with that path; None is the one that natop was started for."""
SWITCH_S = 0.001
"""How long a thread may compute while another waits. By default 5 ms, which the screen's thread would wait for the
reading one several times a picture."""


class Reading:
    """The feed in use, from the moment that it is asked for until another takes its place."""

    def __init__(self, open_feed: OpenFeed, post: Callable[[Message], object], interval_s: float) -> None:
        self.interval_s = interval_s
        """Wished for; `pace` changes it."""
        self.namespace: Namespace | None = None
        """What is read instead of this host; None is this host."""
        self.number = 0
        """Counts the feeds opened."""
        self._open_feed, self._post = open_feed, post
        self._feed: Feed | None = None
        """None until it is open."""

    def start(self, namespace: Namespace | None) -> None:
        """A new feed, of that namespace, in place of the one there is."""
        self.close()
        self.number += 1
        self.namespace = namespace
        path = namespace.path if namespace else None
        start_reading(lambda: self._open_feed(path), self.number, self._post)

    def is_of(self, message: FromFeed) -> bool:
        """Whether a message is of the feed in use. What an earlier one still has to say is of no interest."""
        return message.number == self.number

    def opened(self, feed: Feed, wish: ProbeWish | None) -> None:
        """The feed is there now, to be read and to probe as wished."""
        self._feed = feed
        feed.interval_s = self.interval_s
        feed.probe(wish)

    def pace(self, interval_s: float) -> None:
        self.interval_s = interval_s
        if self._feed:
            self._feed.interval_s = interval_s

    def probe(self, wish: ProbeWish | None) -> None:
        if self._feed:
            self._feed.probe(wish)

    def read_now(self) -> None:
        if self._feed:
            self._feed.read_now()

    def close(self) -> None:
        if self._feed:
            self._feed.close()
        self._feed = None


def start_reading(open_feed: Callable[[], Feed], number: int, post: Callable[[Message], object]) -> Thread:
    """Open the feed of that number and post its snapshots, in a thread that ends with the program."""
    sys.setswitchinterval(SWITCH_S)
    thread = Thread(target=_read, args=(open_feed, number, post), name="natop-feed", daemon=True)
    thread.start()
    return thread


def _read(open_feed: Callable[[], Feed], number: int, post: Callable[[Message], object]) -> None:
    """Whatever goes wrong becomes a message: a dead thread would look like a quiet host."""
    opened, waiting = False, None
    try:
        feed = open_feed()
        opened = True
        post(FeedOpened(feed, number))
        for snapshot in feed:
            if waiting is None or not waiting.renew(snapshot):
                waiting = SnapshotTaken(snapshot, number)
                post(waiting)
        post(FeedEnded(number))
    except Exception as error:
        post(FeedFailed(error, opened, number))
