"""A number on two sides: what it is of, how it is written, what became of it, and how much that is."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Generic, TypeVar

from natop.formats import count, decimal, milliseconds

S = TypeVar("S")
Number = int | float


def per_minute(rate: Number) -> str:
    """As `41/min`, below ten `0.4/min`; a rate that is not 0 never looks like it."""
    if 0 < rate < 0.05:
        return "<0.1/min"
    return f"{decimal(rate) if rate < 9.95 and rate != round(rate) else f'{rate:,.0f}'}/min"


def _per_second(rate: Number) -> str:
    return "<0.1/s" if 0 < rate < 0.05 else f"{decimal(rate)}/s"


def _percent(value: Number) -> str:
    """A pool or table with room left is never 100 % full, one that is not empty never 0 %."""
    if 0 < value < 0.05:
        return "<0.1 %"
    return f"{value:.0f} %" if value >= 100 or value == 0 else f"{min(value, 99.9):.1f} %"


class Unit(StrEnum):
    """What a number is of, and how it is written. Numbers are not negative, differences may be."""

    COUNT = "count"
    PER_MINUTE = "per_min"
    PER_SECOND = "per_s"
    PERCENT = "percent"
    MILLISECONDS = "ms"
    RATIO = "ratio"

    def told(self, value: Number) -> str:
        return _TOLD[self](value)

    def signed(self, difference: Number) -> str:
        """A difference between two such numbers."""
        told = self.told(abs(difference))
        if self is Unit.PERCENT:
            told = told.removesuffix(" %") + " points"
        return f"{'-' if difference < 0 else '+'}{told}"


_TOLD: Mapping[Unit, Callable[[Number], str]] = {
    Unit.COUNT: lambda value: count(round(value)),
    Unit.PER_MINUTE: per_minute,
    Unit.PER_SECOND: _per_second,
    Unit.PERCENT: _percent,
    Unit.MILLISECONDS: lambda value: f"{milliseconds(value)} ms",
    Unit.RATIO: decimal,
}


NOTABLE = 3.0
"""The least `Change.weight` that chance seldom has: of counts, about three standard deviations."""


class Verdict(StrEnum):
    """What became of a number."""

    WORSE = "worse"
    BETTER = "better"
    CHANGED = "changed"
    """Where neither way is better."""
    SAME = "same"
    UNKNOWN = "unknown"
    """On one side at least."""


@dataclass(frozen=True, slots=True)
class Measure(Generic[S]):
    """A number that both sides may have."""

    key: str
    """As the JSON document and `--sort` spell it."""
    title: str
    unit: Unit
    read: Callable[[S], Number | None]
    rank: int
    """0 is what people come for, 1 what explains it, 2 the rest."""
    worse: bool = False
    """Whether more of it is worse; there is none of which less is."""
    counter: Callable[[S], int | None] | None = None
    """The cumulative counter behind a rate."""
    modulus: int | None = None
    """Where the counter begins anew; None for those that are wide enough."""

    def change(self, before: S | None, after: S | None) -> "Change":
        """None is a side that does not have it at all."""
        return Change(self, self.read(before) if before else None, self.read(after) if after else None)

    def rise(self, earlier: S, later: S) -> int | None:
        """How far the counter came; None where that is unknown."""
        then, now = self._counted(earlier, later)
        if then is None or now is None or self.began_anew(earlier, later):
            return None
        return (now - then) % self.modulus if self.modulus else now - then

    def began_anew(self, earlier: S, later: S) -> bool:
        """Whether the counter fell, where that is no wrap: then the rise would be more than half of its range."""
        then, now = self._counted(earlier, later)
        return then is not None and now is not None and now < then and then - now < (self.modulus or math.inf) / 2

    def _counted(self, earlier: S, later: S) -> tuple[int | None, int | None]:
        return (self.counter(earlier), self.counter(later)) if self.counter else (None, None)


@dataclass(frozen=True, slots=True)
class Change:
    """A number on both sides."""

    measure: "Measure[Any]"
    before: Number | None
    after: Number | None
    rise: int | None = None
    """How far its counter came between the two sides; None where they do not count on from each other."""

    def risen(self, rise: int | None) -> "Change":
        return replace(self, rise=rise)

    @property
    def difference(self) -> Number | None:
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def verdict(self) -> Verdict:
        """Numbers that are written alike are the same."""
        if self.before is None or self.after is None:
            return Verdict.UNKNOWN
        told = self.measure.unit.told
        if told(self.before) == told(self.after):
            return Verdict.SAME
        if not self.measure.worse:
            return Verdict.CHANGED
        return Verdict.WORSE if self.after > self.before else Verdict.BETTER

    @property
    def is_told(self) -> bool:
        """Whether there is something to tell: it changed, rose, or is not 0 on the one side that knows it."""
        if self.verdict is Verdict.UNKNOWN:
            return bool(self.rise or self.before or self.after)
        return self.verdict is not Verdict.SAME

    @property
    def is_blank(self) -> bool:
        """Whether neither side knows it."""
        return self.before is None and self.after is None

    @property
    def is_half(self) -> bool:
        """Whether one side alone knows it."""
        return (self.before is None) != (self.after is None)

    @property
    def weight(self) -> float:
        """How much it changed: |difference| / √(before + after), by which 5,320 to 210 is more than 1 to 0."""
        difference = self.difference
        if difference is None:
            return math.sqrt(self.rise or 0)
        return abs(difference) / math.sqrt(abs(self.before or 0) + abs(self.after or 0) or 1)

    @property
    def place(self) -> tuple[int, int, float]:
        """What got notably worse stands before other changes, and these before what one side does not know."""
        groups = {Verdict.UNKNOWN: 2, Verdict.SAME: 3}
        known = 0 if self.verdict is Verdict.WORSE and self.weight >= NOTABLE else 1
        return groups.get(self.verdict, known), self.measure.rank, -self.weight


def in_time(before: S, after: S, is_backwards: bool) -> tuple[S, S]:
    """The earlier one, then the later one."""
    return (after, before) if is_backwards else (before, after)
