"""Probes at a pace that harms nobody: each target at most once every two seconds, all together bounded, with jitter.

A round is the ways to one target, called at the same time. It runs on threads of its own, one a way, and the next
round of a target waits for it; so a target that hangs delays only itself.
"""

import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from natop.collect import names, probe
from natop.model import Aim, OwnFlow, ProbeResult, ProbeWay
from natop.text import clean

EVERY_S = 2.0
"""The shortest time between two rounds of one target."""
TIMEOUT_S = 10.0
"""Long enough to see the sixth SYN answered, after 7 s."""
MOST_PER_S = 20.0
"""Connects per second of all targets together."""
MOST_AT_ONCE = 256
"""Connects under way."""
JITTER = 0.1
"""By how much of the time between two rounds the next one may come late."""
OWN_KEPT_S = 150.0
"""How long a connection that has ended is told of; conntrack keeps it for 10 s after RST, for 120 s otherwise."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How targets are treated."""

    every_s: float = EVERY_S
    timeout_s: float = TIMEOUT_S
    polite: bool = False
    """Close with a FIN, which leaves a TIME_WAIT behind, instead of RST, which some servers log."""


@dataclass(slots=True)
class _Round:
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


class Prober:
    """Probes what it is aimed at, on threads of its own; all methods may be called from any thread."""

    def __init__(self, manners: Manners, home: Path | None = None) -> None:
        """`home` is the network namespace that natop reads, None being the process's own."""
        self._manners, self._home = manners, home
        self._changed = threading.Condition()
        self._rounds: dict[str, _Round] = {}
        self._at_once = 0
        self._free_s = 0.0
        """From when on the bound on all targets together allows the next round."""
        self._results: list[ProbeResult] = []
        self._own: dict[OwnFlow, float] = {}
        """When each of natop's connections began or, once it has ended, ended."""
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="natop-prober", daemon=True)
        self._thread.start()

    def aim(self, aims: Sequence[Aim], rounds: int | None = None) -> None:
        """Probe these and no others from now on; those that are probed already keep their pace."""
        _load_what_is_needed(aims)
        now = time.monotonic()
        with self._changed:
            known: Mapping[str, _Round] = self._rounds
            self._rounds = {}
            for each in aims:
                spread = random.uniform(0, self._manners.every_s) if rounds is None else 0.0
                kept = known.get(each.key) or _Round(each, now + spread, rounds)
                kept.aim = each
                self._rounds[each.key] = kept
            self._changed.notify_all()

    def take(self) -> tuple[ProbeResult, ...]:
        """The results that have come since they were last taken."""
        with self._changed:
            taken, self._results = tuple(self._results), []
        return taken

    def own(self) -> tuple[OwnFlow, ...]:
        """natop's connections that are under way or ended of late."""
        with self._changed:
            latest = time.monotonic() - OWN_KEPT_S - self._manners.timeout_s  # those under way have their beginning
            self._own = {each: at for each, at in self._own.items() if at > latest}
            return tuple(self._own)

    def wait(self) -> None:
        """Until the rounds asked for are over."""
        with self._changed:
            self._changed.wait_for(lambda: not any(each.left or each.under_way for each in self._rounds.values()))

    def close(self) -> None:
        """Begin no further probes; those under way end by themselves, and nobody waits for them."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                waiting = [each for each in self._rounds.values() if each.waits]
                first = min(waiting, key=lambda each: each.due_s, default=None)
                if first is None or (self._at_once and self._at_once + len(first.aim.ways) > MOST_AT_ONCE):
                    self._changed.wait()
                    continue
                wait_s = max(first.due_s, self._free_s) - time.monotonic()
                if wait_s > 0:
                    self._changed.wait(wait_s)
                else:
                    self._begin(first)

    def _begin(self, begun: _Round) -> None:
        """Start a round; called with the lock held."""
        now = time.monotonic()
        ways = begun.aim.ways
        begun.due_s = now + self._manners.every_s * (1 + random.uniform(0, JITTER))
        begun.left = None if begun.left is None else begun.left - 1
        self._free_s = now + len(ways) / MOST_PER_S
        addresses = _Addresses(self._manners.timeout_s)
        for way in ways:
            begun.under_way += 1
            self._at_once += 1
            work = threading.Thread(target=self._probe, args=(begun, way, addresses), name="natop-probe", daemon=True)
            try:
                work.start()
            except RuntimeError:
                self._end(begun, _failed(way, time.time(), "no thread to be had"))

    def _probe(self, begun: _Round, way: ProbeWay, addresses: "_Addresses") -> None:
        """One connect, on its own thread."""
        started = time.time()
        try:
            address = addresses.of(way)
            self._postpone(begun)
            result = probe.timed(
                way,
                address,
                timeout_s=self._manners.timeout_s,
                polite=self._manners.polite,
                home=self._home,
                opened=self._note,
            )
        except names.Unresolved as error:
            result = _failed(way, started, error.error)
        except Exception as error:  # the thread's edge: whatever it was, the probe failed and says so
            result = _failed(way, started, clean(f"{type(error).__name__}: {error}"))
        self._end(begun, result)

    def _postpone(self, begun: _Round) -> None:
        """The time between two rounds counts from the connect itself, however long its thread took to come to it."""
        with self._changed:
            begun.due_s = max(begun.due_s, time.monotonic() + self._manners.every_s)

    def _end(self, begun: _Round, result: ProbeResult) -> None:
        with self._changed:
            if result.own:
                self._own[result.own] = time.monotonic()
            self._results.append(result)
            begun.under_way -= 1
            self._at_once -= 1
            self._changed.notify_all()

    def _note(self, own: OwnFlow) -> None:
        with self._changed:
            self._own[own] = time.monotonic()


def _load_what_is_needed(aims: Sequence[Aim]) -> None:
    """Loading modules takes the interpreter for longer than a connect does; it comes before the first one."""
    ways = [way for each in aims for way in each.ways]
    if any(way.netns for way in ways):
        import pyroute2.netns  # noqa: F401  # by `netns.entered`
    if any(way.request for way in ways):
        import natop.collect.request  # noqa: F401  # by `probe.timed`


class _Addresses:
    """The addresses of one round, each looked up once, so that all ways to a name call the same."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._known: dict[tuple[str, int], names.Address | names.Unresolved] = {}

    def of(self, way: ProbeWay) -> names.Address:
        """Raises Unresolved."""
        with self._lock:
            known = self._known.get((way.host, way.port)) or self._look_up(way.host, way.port)
        if isinstance(known, names.Unresolved):
            raise known
        return known

    def _look_up(self, host: str, port: int) -> "names.Address | names.Unresolved":
        try:
            found: names.Address | names.Unresolved = names.resolve(host, port, self._timeout_s)
        except names.Unresolved as error:
            found = error
        self._known[host, port] = found
        return found


def _failed(way: ProbeWay, at: float, error: str) -> ProbeResult:
    return ProbeResult(way.target, way.path, at, way.container, way.container_name, error=error, subject=way.subject)
