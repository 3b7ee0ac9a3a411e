"""Which target is probed when: each at most so often, all together bounded, with jitter. No clock, no threads."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from natop.model import Aim

EVERY_S = 2.0
"""The shortest time between two rounds of one target."""
MOST_PER_S = 20.0
"""Connects per second of all targets together."""
MOST_AT_ONCE = 256
"""Connects under way."""
JITTER = 0.1
"""By how much of the time between two rounds the next one may come late."""

Uniform = Callable[[float, float], float]


@dataclass(slots=True)
class Round:
    """The next round of an aim."""

    aim: Aim
    due_s: float
    left: int | None
    """How many are to come; None is without end."""
    under_way: int = 0
    """Connects of the last round that have not ended."""

    @property
    def waits(self) -> bool:
        return not self.under_way and self.left != 0


class Schedule:
    """The rounds of all aims. Times are seconds of a clock that never goes back; who calls has the lock."""

    def __init__(
        self,
        every_s: float = EVERY_S,
        per_s: float = MOST_PER_S,
        at_once: int = MOST_AT_ONCE,
        uniform: Uniform = random.uniform,
    ) -> None:
        self._every_s, self._per_s, self._at_once, self._uniform = every_s, per_s, at_once, uniform
        self._rounds: dict[str, Round] = {}
        self._resting: dict[str, Round] = {}
        """Aimed at before and not now, of rounds without end; should they come back, not sooner than they were due."""
        self._under_way = 0
        self._free_s = 0.0
        """From when on the bound on all targets together allows the next round."""

    def aim(self, aims: Sequence[Aim], rounds: int | None, now_s: float) -> None:
        """These and no others from now on; those that are there already, or were a moment ago, keep their pace."""
        resting = {key: each for key, each in self._resting.items() if each.under_way or each.due_s > now_s}
        known = resting | self._rounds
        self._rounds = {}
        for each in aims:
            spread = self._uniform(0, self._every_s) if rounds is None else 0.0
            kept = known.pop(each.key, None) or Round(each, now_s + spread, rounds)
            kept.aim = each
            self._rounds[each.key] = kept
        self._resting = {key: each for key, each in known.items() if each.left is None}

    @property
    def is_over(self) -> bool:
        """Whether the rounds asked for have come to an end."""
        return not any(each.left or each.under_way for each in self._rounds.values())

    def next(self) -> tuple[Round, float] | None:
        """The next round and when it is due; None until something ends or is aimed at."""
        waiting = [each for each in self._rounds.values() if each.waits]
        first = min(waiting, key=lambda each: each.due_s, default=None)
        if first is None or (self._under_way and self._under_way + len(first.aim.ways) > self._at_once):
            return None
        return first, max(first.due_s, self._free_s)

    def begin(self, begun: Round, now_s: float) -> None:
        """All its connects are under way from now on."""
        ways = len(begun.aim.ways)
        begun.due_s = now_s + self._every_s * (1 + self._uniform(0, JITTER))
        begun.left = None if begun.left is None else begun.left - 1
        begun.under_way += ways
        self._under_way += ways
        self._free_s = now_s + ways / self._per_s

    def connect(self, begun: Round, now_s: float) -> None:
        """One of its connects is made now: until the next, the time counts from here, however late its thread came."""
        begun.due_s = max(begun.due_s, now_s + self._every_s)

    def end(self, begun: Round) -> None:
        """One of its connects has ended."""
        begun.under_way -= 1
        self._under_way -= 1
