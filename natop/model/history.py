"""The past: what was known at each tick of the last minutes, as numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from natop.model.arrays import freeze

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

UNOWNED = ""
"""The subject that stands for the flows of the host itself and those nobody owns."""

TREND_LENGTH = 60
"""How many dumps a trend goes back."""


@dataclass(frozen=True, slots=True)
class Roster:
    """Whose the rows of a moment's numbers are; one object for all moments between two changes of the inventory."""

    names: Mapping[str, str]
    """By subject, which is a container's id or UNOWNED; in the order of the rows."""
    rows: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", {subject: row for row, subject in enumerate(self.names)})


@dataclass(frozen=True, slots=True)
class Moment:
    """The numbers of one snapshot, NaN where they are not known; read-only."""

    monotonic_s: float
    has_dump: bool
    """Whether flows were read for it; where they were not, numbers that come of flows are NaN."""
    host: F32
    """A value for each of `History.host_metrics`."""
    roster: Roster
    containers: F32
    """A row for each subject of the roster, a value for each of `History.container_metrics`."""

    def __post_init__(self) -> None:
        freeze(self.host)
        freeze(self.containers)


class Series(NamedTuple):
    """One number over time, oldest first."""

    at_s: F64
    """On the clock of `Snapshot.monotonic_s`."""
    values: F64
    """NaN where it was not known."""


@dataclass(frozen=True, slots=True)
class History:
    """The moments of the last minutes, oldest first.

    Each moment holds its own numbers alone: a longer history shares all but a tuple with the shorter one that it began
    as, and a container that is gone leaves the memory with the last moment that knew it.
    """

    host_metrics: tuple[str, ...] = ()
    container_metrics: tuple[str, ...] = ()
    moments: tuple[Moment, ...] = field(default=(), repr=False)

    def series(self, metric: str, subject: str | None = None, *, of_dumps: bool = False) -> Series:
        """A metric of the host (no subject) or of one subject; `of_dumps` leaves out ticks without a dump.

        Raises ValueError for a metric that is not kept of such a subject.
        """
        moments = [each for each in self.moments if each.has_dump] if of_dumps else self.moments
        at_s = np.array([each.monotonic_s for each in moments], np.float64)
        if subject is None:
            column = self.host_metrics.index(metric)
            return Series(at_s, np.array([each.host[column] for each in moments], np.float64))
        column = self.container_metrics.index(metric)
        rows = (each.roster.rows.get(subject) for each in moments)
        found = [
            np.nan if row is None else each.containers[row, column] for each, row in zip(moments, rows, strict=True)
        ]
        return Series(at_s, np.array(found, np.float64))

    def names(self) -> dict[str, str]:
        """All subjects of whom anything is remembered, with the last name of each."""
        names: dict[str, str] = {}
        last: Roster | None = None
        for moment in self.moments:
            if moment.roster is not last:
                last = moment.roster
                names |= last.names
        return names

    def host_trend(self, metric: str, length: int = TREND_LENGTH) -> tuple[int, ...]:
        """A count of the host at the last dumps, oldest first, back to the first dump that did not know it."""
        if metric not in self.host_metrics:
            return ()
        column = self.host_metrics.index(metric)
        found: list[int] = []
        for moment in reversed(self.moments):
            if moment.has_dump:
                value = moment.host[column]
                if np.isnan(value) or len(found) == length:
                    break
                found.append(int(value))
        return tuple(reversed(found))

    def trends(self, metric: str, length: int = TREND_LENGTH) -> dict[str, tuple[int, ...]]:
        """The same for every subject of now; one that was away for a while begins when it came back."""
        if not self.moments or metric not in self.container_metrics:
            return {}
        column = self.container_metrics.index(metric)
        latest = roster = self.moments[-1].roster
        rows = np.arange(len(latest.rows))
        reaching = np.ones(len(rows), np.bool_)
        dumps: list[F32] = []
        for moment in reversed(self.moments):
            if moment.roster is not roster:
                roster = moment.roster
                rows = np.array([roster.rows.get(subject, -1) for subject in latest.rows])
                reaching = reaching & (rows >= 0)
            if len(dumps) == length or not reaching.any():
                break
            if moment.has_dump:
                values = moment.containers[rows, column]
                reaching = reaching & ~np.isnan(values)
                dumps.append(np.where(reaching, values, np.float32(np.nan)))
        table = np.array(dumps[::-1], np.float32).reshape(len(dumps), len(rows)).T
        unknown = np.isnan(table).sum(axis=1).tolist()
        return {
            subject: tuple(map(int, values[first:]))
            for subject, values, first in zip(latest.names, table.tolist(), unknown, strict=True)
        }
