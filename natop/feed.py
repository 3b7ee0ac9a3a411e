"""Snapshots one after the other: `observe` folded over a host's samples, at a pace that the host can bear."""

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from natop.collect import netns
from natop.collect.engine import EngineWatcher, Target
from natop.collect.host import PROCESS_BUDGET_S, HostReader
from natop.collect.prober import Manners, Prober
from natop.collect.proc import cpu_s
from natop.collect.rules import RulesReader
from natop.decode.counters import PROC_FILES
from natop.decode.inventory import decode_inventory
from natop.model import Inventory, Pace, ProbeSeries, ProbeTarget, Sample, Snapshot
from natop.observe import observe
from natop.probefeed import CannotProbe, ProbeFeed, targets_aims
from natop.probing import ProbeWish, aims
from natop.summarise.probed import with_results

SHARE = 0.10
"""The part of one core that reading flows may cost; beyond it dumps come less often than the interval."""
SLOW_DUMP_S = 0.1
"""From this cost on a tick shows counters and inventory before it reads the flows."""
TICK_SLACK_S = 0.05
"""A dump that is due within so little is taken with this tick."""
LIVE_BUDGET_S = 0.02
"""How long a tick looks for the processes that hold sockets; the next one looks on."""
PATIENCE_S = 4.0
"""How long a reading without a screen waits for the first answers of the engine and the firewall's tools."""


class CannotRead(Exception):
    """What was asked for cannot be read at all. The message is one to three lines for a person."""


@dataclass(frozen=True, slots=True)
class Source:
    """Which host: its network namespace and its engine."""

    netns: str | None = None
    docker: Target | None = None
    """None leaves Docker out."""

    def open(self, *, follow: bool, process_budget_s: float = PROCESS_BUDGET_S) -> HostReader:
        """A reader of this host; with `follow`, one that keeps the inventory up to date. Raises CannotRead."""
        namespace = self.namespace()
        engine = EngineWatcher(self.docker, follow=follow) if self.docker else None
        rules = RulesReader(namespace, follow=follow)
        return HostReader(PROC_FILES, namespace, engine, process_budget_s, rules)

    def namespace(self) -> Path | None:
        """The file of the network namespace to read, None for this process's own. Raises CannotRead."""
        if self.netns is None:
            return None
        try:
            namespace = netns.find(self.netns)
            with netns.entered(namespace):
                return namespace
        except netns.NoSuchNetns as error:
            raise CannotRead(f"{error}\ngive --netns a name of `ip netns`, a path or a pid") from error


def readings(source: Source, every_s: float, count: int | None) -> Iterator[Snapshot]:
    """`count` snapshots (None: without end), each with a dump, `every_s` apart. Raises CannotRead."""
    with closing(source.open(follow=count != 1)) as reader:
        reader.wait_for_answers(PATIENCE_S)
        snapshot: Snapshot | None = None
        due = time.monotonic()
        for number in itertools.count(1):
            snapshot = observe(snapshot, _sampled(reader, dump=True, pace=Pace(every_s, every_s)))
            yield snapshot
            if number == count:
                return
            due = max(due + every_s, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))


@dataclass(frozen=True, slots=True)
class Watched:
    """The last snapshot of some that were taken one after the other, and how long that took."""

    snapshot: Snapshot
    seconds: float


def watched(source: Source, for_s: float, every_s: float) -> Watched:
    """Snapshots for so many seconds, at least two, so that there are rates. Raises CannotRead."""
    steps = max(1, math.ceil(for_s / every_s))
    taken = readings(source, for_s / steps, steps + 1)
    started_s = next(taken).monotonic_s
    [last] = deque(taken, maxlen=1)
    return Watched(last, last.monotonic_s - started_s)


def probed(source: Source, rounds: int, manners: Manners, *, counts_own: bool) -> Snapshot:
    """One reading, after so many probes of each published port by each of its ways. Raises CannotRead."""
    with closing(source.open(follow=False)) as reader, closing(Prober(manners, source.namespace())) as prober:
        reader.wait_for_answers(PATIENCE_S)
        before = _sampled(reader, dump=False)
        results = None
        if inventory := observe(None, before).inventory:
            prober.aim(aims(ProbeWish(), inventory, before.addresses), rounds)
            prober.wait()
            results = prober.take()
        own = None if counts_own else prober.own()
        after = _sampled(reader, dump=True)
        return observe(None, replace(after, rules=after.rules or before.rules, probes=results, own=own))


class ProbeRun:
    """Targets probed some times, from the host and from inside containers."""

    def __init__(
        self, source: Source, targets: Sequence[ProbeTarget], names: Sequence[str], rounds: int, manners: Manners
    ) -> None:
        """`names` are the containers'. Raises CannotRead."""
        namespace = source.namespace()
        try:
            found = targets_aims(targets, names, _inventory(source) if names else None)
        except CannotProbe as error:
            raise CannotRead(str(error)) from error
        self._rounds = rounds
        self._order = {way.key: number for number, way in enumerate(way for aim in found for way in aim.ways)}
        self._prober = Prober(manners, namespace)
        self._prober.aim(found, rounds)

    def wait(self) -> None:
        """Until all is measured."""
        self._prober.wait()

    def close(self) -> tuple[ProbeSeries, ...]:
        """What has been measured until now, in the order of the targets; nothing more is."""
        self._prober.close()
        series = with_results((), self._prober.take(), self._rounds, len(self._order))
        return tuple(sorted(series, key=lambda each: self._order[each.last.key]))


def _inventory(source: Source) -> Inventory:
    """What the engine says once. Raises CannotProbe."""
    if source.docker is None:
        raise CannotProbe("--from needs a Docker Engine, and --no-docker leaves it out")
    with closing(EngineWatcher(source.docker, follow=False, is_needed=True)) as engine:
        engine.wait(PATIENCE_S)
        reading, gap = engine.latest()
    if reading is None:
        why = f"{gap.reason}\n{gap.remedy}" if gap and gap.remedy else gap.reason if gap else "it gives no answer"
        raise CannotProbe(f"--from needs Docker's containers: {why}")
    return decode_inventory(reading)


def _sampled(reader: HostReader, *, dump: bool, pace: Pace | None = None) -> Sample:
    try:
        return reader.sample(dump=dump, pace=pace)
    except netns.NoSuchNetns as error:
        raise CannotRead(str(error)) from error


class LiveFeed:
    """Snapshots for a screen: counters at every tick, flows as often as their cost allows.

    Iterate it on one thread; the other methods may be called from any.
    """

    def __init__(self, source: Source, interval_s: float, manners: Manners | None = None) -> None:
        """`manners` are those of probes. Raises CannotRead."""
        self.interval_s = interval_s
        self._probes = ProbeFeed(source.namespace(), manners)
        self._reader = source.open(follow=True, process_budget_s=LIVE_BUDGET_S)
        self._wanted = threading.Event()
        self._closed = False
        self._dump_cost_s = 0.0
        self._dumped_at = -math.inf

    def read_now(self) -> None:
        """Read at once, flows included, without waiting for the next tick."""
        self._dumped_at = -math.inf
        self._wanted.set()

    def probe(self, wish: ProbeWish | None) -> None:
        """Probe so from the next reading on, results being in `Snapshot.probes`; None ends it. Off at first."""
        self._probes.wish(wish)

    def close(self) -> None:
        """End the iteration after the reading under way."""
        self._closed = True
        self._wanted.set()
        self._reader.close()
        self._probes.close()

    def pace(self) -> Pace:
        return Pace(self.interval_s, max(self.interval_s, self._dump_cost_s / SHARE))

    def __iter__(self) -> Iterator[Snapshot]:
        snapshot: Snapshot | None = None
        while not self._closed:
            started = time.monotonic()
            for taken in self._tick(snapshot, started):
                yield taken
                snapshot = taken
            self._wanted.wait(max(0.0, started + self.interval_s - time.monotonic()))
            self._wanted.clear()

    def _tick(self, previous: Snapshot | None, now: float) -> Iterator[Snapshot]:
        """One snapshot; two where a dump is due that takes long: the first without it, both beside `previous`."""
        pace, first = self.pace(), None
        due = now - self._dumped_at >= pace.dump_every_s - TICK_SLACK_S
        if not due or self._dump_cost_s > SLOW_DUMP_S:
            first = self._sample(dump=False, pace=pace)
            yield self._observed(previous, first)
        if due:
            self._dumped_at = now
            before = cpu_s()
            sample = self._sample(dump=True, pace=pace)
            snapshot = self._observed(previous, sample.beside(first) if first else sample)
            self._dump_cost_s = cpu_s() - before
            yield snapshot

    def _sample(self, *, dump: bool, pace: Pace) -> Sample:
        return self._probes.into(_sampled(self._reader, dump=dump, pace=pace))

    def _observed(self, previous: Snapshot | None, sample: Sample) -> Snapshot:
        snapshot = observe(previous, sample)
        self._probes.follow(snapshot, sample.addresses)
        return snapshot
