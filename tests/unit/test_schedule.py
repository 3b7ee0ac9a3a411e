"""Which target is probed when, played on a clock of the test's own."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count, pairwise

import pytest

from natop.collect.schedule import EVERY_S, JITTER, Round, Schedule
from natop.model import Aim, ProbePath, ProbeWay

Took = Callable[[Aim], float]
"""How long a connect of this aim takes, in seconds."""


def aim(number: int, ways: int = 1) -> Aim:
    name = f"192.0.2.{number}:80"
    return Aim(name, tuple(ProbeWay(ProbePath.HOST, name, f"192.0.2.{number}", way) for way in range(ways)))


class Played:
    """A schedule that is followed: when each connect was made, on a clock that jumps from one event to the next."""

    def __init__(self, schedule: Schedule, took: Took = lambda _: 0.001, thread_s: float = 0.0) -> None:
        self.schedule, self._took, self._thread_s = schedule, took, thread_s
        self.now_s = 0.0
        self.connects: list[tuple[float, str]] = []
        self.most_at_once = self._at_once = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()

    def until(self, end_s: float) -> None:
        while True:
            found = self.schedule.next()
            due_s = max(found[1], self.now_s) if found else float("inf")
            event_s = self._events[0][0] if self._events else float("inf")
            if min(due_s, event_s) > end_s:
                self.now_s = end_s
                return
            self.now_s = min(due_s, event_s)
            if event_s <= due_s:
                heapq.heappop(self._events)[2]()
            elif found:
                self._begin(found[0])

    def at(self, target: Aim) -> list[float]:
        return [at for at, key in self.connects if key == target.key]

    def _begin(self, begun: Round) -> None:
        self.schedule.begin(begun, self.now_s)
        self._at_once += len(begun.aim.ways)
        self.most_at_once = max(self.most_at_once, self._at_once)
        for _ in begun.aim.ways:
            self._later(self._thread_s, lambda: self._connect(begun))

    def _connect(self, begun: Round) -> None:
        self.schedule.connect(begun, self.now_s)
        self.connects.append((self.now_s, begun.aim.key))
        self._later(self._took(begun.aim), lambda: self._end(begun))

    def _end(self, begun: Round) -> None:
        self.schedule.end(begun)
        self._at_once -= 1

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_s + seconds, next(self._number), what))


@pytest.mark.parametrize("thread_s", [0.0, 0.7])
def test_a_target_waits_its_time_and_its_jitter(thread_s: float) -> None:
    played = Played(Schedule(uniform=random.Random(1).uniform), thread_s=thread_s)
    played.schedule.aim([aim(1)], 200, played.now_s)
    played.until(1_000)
    waits = [later - earlier for earlier, later in pairwise(played.at(aim(1)))]
    assert len(waits) == 199
    assert min(waits) >= EVERY_S - 1e-9, "never sooner"
    assert max(waits) <= EVERY_S * (1 + JITTER) + thread_s + 1e-9
    assert len(set(waits)) > (150 if thread_s == 0.0 else 1), "never in step"


def test_a_late_thread_moves_the_next_round() -> None:
    played = Played(Schedule(uniform=lambda low, _: low), thread_s=0.7)
    played.schedule.aim([aim(1)], 3, played.now_s)
    played.until(100)
    assert played.at(aim(1)) == pytest.approx([0.7, 3.4, 6.1])


def test_without_end_the_first_rounds_are_spread() -> None:
    played = Played(Schedule(per_s=10_000.0, uniform=random.Random(2).uniform))
    aims = [aim(number) for number in range(200)]
    played.schedule.aim(aims, None, played.now_s)
    played.until(EVERY_S)
    first = [at for each in aims for at in played.at(each)[:1]]
    assert len(first) == 200
    assert min(first) < 0.1
    assert max(first) > EVERY_S - 0.1


def test_all_targets_together_are_bounded() -> None:
    played = Played(Schedule(per_s=50.0))
    played.schedule.aim([aim(number, ways=2) for number in range(20)], 3, played.now_s)
    played.until(100)
    moments = [at for at, _ in played.connects]
    assert len(moments) == 120
    for first in moments:
        assert sum(first <= at < first + 1 for at in moments) <= 52, "a second's worth, and the round it begins with"
    assert played.schedule.is_over


def test_targets_that_hang_delay_nobody_and_are_not_called_again() -> None:
    slow, fast = [aim(number) for number in range(50)], [aim(number) for number in range(50, 100)]
    hanging = {each.key for each in slow}
    played = Played(Schedule(per_s=1_000.0), took=lambda each: 60.0 if each.key in hanging else 0.001)
    played.schedule.aim([*slow, *fast], 3, played.now_s)
    played.until(3 * EVERY_S * (1 + JITTER))
    assert {len(played.at(each)) for each in fast} == {3}
    assert {len(played.at(each)) for each in slow} == {1}
    played.until(200)
    assert {len(played.at(each)) for each in slow} == {3}
    assert played.schedule.is_over


def test_only_so_many_connects_are_under_way() -> None:
    played = Played(Schedule(at_once=4), took=lambda _: 10.0)
    played.schedule.aim([aim(number, ways=2) for number in range(4)], 1, played.now_s)
    played.until(9)
    assert len(played.connects) == 4
    assert played.schedule.next() is None
    played.until(100)
    assert (len(played.connects), played.most_at_once) == (8, 4)


def test_a_round_wider_than_the_bound_is_called_all_the_same() -> None:
    played = Played(Schedule(at_once=2))
    played.schedule.aim([aim(1, ways=5)], 1, played.now_s)
    played.until(1)
    assert len(played.connects) == 5


def test_what_is_no_longer_aimed_at_is_left_alone_and_the_rest_keeps_its_pace() -> None:
    played = Played(Schedule(uniform=random.Random(3).uniform))
    for moment in range(200):
        played.schedule.aim([aim(1), aim(2)], None, played.now_s)
        played.until(0.05 * (moment + 1))
    played.schedule.aim([aim(1)], None, played.now_s)
    stopped = played.now_s
    played.until(stopped + 10)
    waits = [later - earlier for earlier, later in pairwise(played.at(aim(1)))]
    assert len(waits) >= 8
    assert min(waits) >= EVERY_S - 1e-9, "aiming anew is no reason to call sooner"
    assert max(waits) <= EVERY_S * (1 + JITTER) + 1e-9, "nor later"
    assert len(played.at(aim(2))) >= 4
    assert played.at(aim(2))[-1] <= stopped


@pytest.mark.parametrize("took_s", [0.001, 7.0])
def test_what_is_aimed_at_again_is_called_no_sooner_than_if_it_had_always_been(took_s: float) -> None:
    played = Played(Schedule(uniform=random.Random(4).uniform), took=lambda _: took_s)
    for moment in range(400):
        played.schedule.aim([aim(1)] if moment % 2 else [], None, played.now_s)
        played.until(0.05 * (moment + 1))
    called = played.at(aim(1))
    assert len(called) >= 2
    assert min(later - earlier for earlier, later in pairwise(called)) >= max(EVERY_S, took_s) - 1e-9


def test_after_a_long_rest_the_first_rounds_are_spread_again() -> None:
    played = Played(Schedule(per_s=10_000.0, uniform=random.Random(5).uniform))
    aims = [aim(number) for number in range(100)]
    played.schedule.aim(aims, None, played.now_s)
    played.until(10)
    played.schedule.aim([], None, played.now_s)
    played.until(100)
    played.schedule.aim(aims, None, played.now_s)
    played.until(100 + EVERY_S)
    again = [at for each in aims for at in played.at(each) if at >= 100]
    assert len(again) >= 100
    assert max(again) - min(again) > EVERY_S / 2
