"""What is on the screen, how old it is, and what newer there is behind it while the screen is paused."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from natop.tui.header import News

if TYPE_CHECKING:
    from natop.summarise.window import Watched
    from natop.tui.messages import SnapshotTaken


class Showing:
    """The news that the screens draw from. Nothing here draws: whoever changes it has the screen show it."""

    def __init__(self, interval_s: float) -> None:
        self._news = News(interval_s=interval_s)
        self._newest: SnapshotTaken | None = None
        self._watched: Watched | None = None
        """Up to the newest snapshot, shown or not."""
        self._taken_s = monotonic()
        """When the snapshot shown came, on this process's clock."""
        self._one_more = False
        """Whether the next snapshot is shown although the screen is paused."""

    @property
    def news(self) -> News:
        """What is shown, and how old it is now."""
        return replace(self._news, age_s=max(0.0, monotonic() - self._taken_s))

    @property
    def newest_at(self) -> float | None:
        """When the newest snapshot came, shown or not."""
        return self._newest.taken_s if self._newest else None

    def take(self, message: SnapshotTaken) -> bool:
        """The newest snapshot there is now; whether it is on the screen too."""
        from natop.summarise.window import watched

        self._newest, self._watched = message, watched(self._watched, message.snapshot)
        is_shown = not self._news.paused or self._one_more or self._news.snapshot is None
        if is_shown:
            self._show_newest()
        return is_shown

    def _show_newest(self) -> None:
        self._one_more = False
        if self._newest:
            self._taken_s = self._newest.taken_s
            self._news = replace(self._news, snapshot=self._newest.snapshot, watched=self._watched)

    def switch_pause(self) -> None:
        """Keep what is shown, or go on with the newest."""
        self._news = replace(self._news, paused=not self._news.paused)
        if not self._news.paused:
            self._show_newest()

    def show_one_more(self) -> None:
        """The next snapshot is shown even on a paused screen."""
        self._one_more = True

    def mark(self, wanted: bool) -> None:
        """Remember the counters of what is shown, to compare what comes with what was; or forget them."""
        snapshot = self._news.snapshot
        marker = None
        if wanted and snapshot:
            from natop.summarise.window import marker_at

            marker = marker_at(snapshot)
        self._news = replace(self._news, marker=marker)

    def pace(self, interval_s: float) -> None:
        """Snapshots are to come that often."""
        self._news = replace(self._news, interval_s=interval_s)

    def end(self) -> None:
        """No snapshot comes any more: there are none."""
        self._news = replace(self._news, ended=True)

    def fail(self, reason: str | None) -> None:
        """Why no snapshot comes any more; None once they are to come again."""
        self._news = replace(self._news, failure=reason)

    def begin(self, namespace: str | None) -> None:
        """Nothing is known yet of what is read now: a network namespace by its name, or this host."""
        self._newest = self._watched = None
        self._news = replace(self._news, snapshot=None, marker=None, namespace=namespace, failure=None, ended=False)
