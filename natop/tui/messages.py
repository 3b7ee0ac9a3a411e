"""What happened, as messages, and the feed that the screen reads from."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from textual.message import Message

if TYPE_CHECKING:
    from natop.model import Snapshot
    from natop.probing import ProbeWish


class Feed(Protocol):
    """Snapshots of one host, live or recorded. All but iteration may be called from any thread."""

    interval_s: float
    """Settable while it runs."""

    def __iter__(self) -> Iterator[Snapshot]:
        """Blocks between snapshots; ends after `close`."""

    def read_now(self) -> None:
        """The next snapshot comes at once, with a dump."""

    def probe(self, wish: ProbeWish | None) -> None:
        """Probe so from the next snapshot on; None ends it. Off at first."""

    def close(self) -> None: ...


class FromFeed(Message):
    """What happened to one feed."""

    def __init__(self, number: int = 0) -> None:
        super().__init__()
        self.number = number
        """Of the feed: the app counts those that it opens. What an earlier one still has to say is of no interest."""


class SnapshotTaken(FromFeed):
    """The feed gave a snapshot. Until the message is sealed, a newer snapshot may take the place of its own.

    So there is never more than one in the queue, though the screen may be held up for hours by a terminal that has
    stalled.
    """

    def __init__(self, snapshot: Snapshot, number: int = 0) -> None:
        super().__init__(number)
        self.snapshot = snapshot
        self.taken_s = monotonic()
        """When it came from the feed, on this process's clock."""
        self._lock = Lock()
        self._is_sealed = False

    def renew(self, snapshot: Snapshot) -> bool:
        """Whether that snapshot is the message's now; not where it has been sealed. Called by the reading thread."""
        with self._lock:
            if not self._is_sealed:
                self.snapshot, self.taken_s = snapshot, monotonic()
            return not self._is_sealed

    def seal(self) -> None:
        """It stays as it is from now on."""
        with self._lock:
            self._is_sealed = True


class FeedOpened(FromFeed):
    def __init__(self, feed: Feed, number: int = 0) -> None:
        super().__init__(number)
        self.feed = feed


class FeedFailed(FromFeed):
    """Opening the feed, or reading from it, raised an error; no snapshot follows."""

    def __init__(self, error: Exception, opened: bool, number: int = 0) -> None:
        super().__init__(number)
        self.error = error
        self.opened = opened


class FeedEnded(FromFeed):
    """The feed has no more snapshots."""
