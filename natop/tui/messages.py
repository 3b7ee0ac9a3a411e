"""What happened, as messages, and the feed that the screen reads from."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from textual.message import Message

if TYPE_CHECKING:
    from natop.model import Snapshot


class Feed(Protocol):
    """Snapshots of one host, live or recorded. All but iteration may be called from any thread."""

    interval_s: float
    """Settable while it runs."""

    def __iter__(self) -> Iterator[Snapshot]:
        """Blocks between snapshots; ends after `close`."""

    def read_now(self) -> None:
        """The next snapshot comes at once, with a dump."""

    def close(self) -> None: ...


class SnapshotTaken(Message):
    """The feed gave a snapshot. One that waits in the queue gives way to a newer one."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self.snapshot = snapshot
        self.taken_s = monotonic()
        """When it came from the feed, on this process's clock."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, SnapshotTaken)


class FeedOpened(Message):
    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self.feed = feed


class FeedFailed(Message):
    """Opening the feed, or reading from it, raised an error; no snapshot follows."""

    def __init__(self, error: Exception, opened: bool) -> None:
        super().__init__()
        self.error = error
        self.opened = opened


class FeedEnded(Message):
    """The feed has no more snapshots."""
