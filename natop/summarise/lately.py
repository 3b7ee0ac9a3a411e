"""How fast flows came in the last half minute, by the time that each has left: one dump tells it.

A timeout that began when a flow came says how long ago that was. A rate is told only where it has been even for all of
that time: a burst that is over is none, and one that has just begun is not known to last.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from natop.model import U8, U32, UNKNOWN32

LATELY_S = 30
"""So far back a rate is looked for, or a quarter of the timeout where that is less."""
PARTS = 6
"""Of that time, compared with one another: of five seconds each where the timeout is 120 s."""
UNEVEN = 0.5
"""A part may differ from their mean by so much of it."""
NOISE = 3.0
"""Or by so many of the standard deviations that chance alone makes (a Poisson process: the root of the mean)."""

Floats = npt.NDArray[np.float64]


class Rates(NamedTuple):
    """Flows per second of each group."""

    even: Floats
    """NaN where they came too unevenly to tell, or were too few."""
    peak: Floats
    """Of the part in which most came."""


@dataclass(frozen=True, slots=True)
class Lately:
    """The last seconds before a dump, in parts of equal length, newest first."""

    timeout_s: int
    """Above 0; it began anew when a flow came."""
    part_s: int
    parts: int

    @classmethod
    def of(cls, timeout_s: int) -> "Lately":
        return cls(timeout_s, max(1, min(LATELY_S, timeout_s // 4) // PARTS), min(PARTS, timeout_s))

    @property
    def width(self) -> int:
        """How many values `part` has: one for each part, then those of older flows and of a longer timeout."""
        return self.parts + 2

    def part(self, left_s: U32) -> U8:
        """In which part each flow came; the kernel tells whole seconds, those begun left out."""
        age_s = np.maximum(self.timeout_s - left_s.astype(np.int64), 1) - 1
        part: U8 = np.minimum(age_s // self.part_s, self.parts).astype(np.uint8)
        part[left_s > self.timeout_s] = self.parts + 1
        part[left_s == UNKNOWN32] = self.parts
        return part

    def rates(self, counts: npt.NDArray[np.integer[Any]]) -> Rates:
        """Of flows counted by group and by `part`.

        Where many have more time left than the timeout is, it was longer until lately: then the time left of those that
        came before tells nothing.
        """
        recent = counts[:, : self.parts].astype(np.float64)
        total, mean = recent.sum(axis=1), recent.mean(axis=1)
        spread = np.abs(recent - mean[:, None]).max(axis=1)
        even = spread <= np.maximum(UNEVEN * mean, NOISE * np.sqrt(mean))
        even &= (total == 0) | (total >= self.parts)
        even &= counts[:, self.parts + 1] <= UNEVEN * total
        return Rates(np.where(even, mean / self.part_s, np.nan), recent.max(axis=1) / self.part_s)
