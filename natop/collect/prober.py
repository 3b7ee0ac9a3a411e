"""Probes at a pace that harms nobody: each target at most once every two seconds, all together bounded, with jitter.

A round is the ways to one target, called at the same time. It runs on threads of its own, one a way, and the next
round of a target waits for it; so a target that hangs delays only itself.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from natop import defects
from natop.collect import names, probe
from natop.collect.schedule import EVERY_S, Round, Schedule
from natop.model import Aim, Gap, OwnFlow, ProbeResult, ProbeWay
from natop.text import clean

TIMEOUT_S = 10.0
"""Long enough to see the sixth SYN answered, after 7 s."""
OWN_KEPT_S = 150.0
"""How long a connection that has ended is told of; conntrack keeps it for 10 s after RST, for 120 s otherwise."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How targets are treated."""

    every_s: float = EVERY_S
    timeout_s: float = TIMEOUT_S
    polite: bool = False
    """Close with a FIN, which leaves a TIME_WAIT behind, instead of RST, which some servers log."""


class Connections:
    """What natop opened itself, for as long as conntrack may hold it; times as those of a `Schedule`."""

    def __init__(self, timeout_s: float) -> None:
        self._kept_s = OWN_KEPT_S + timeout_s  # those under way have the time of their beginning
        self._at: dict[OwnFlow, float] = {}

    def note(self, own: OwnFlow, now_s: float) -> None:
        """It begins now, or ends."""
        self._at[own] = now_s

    def known(self, now_s: float) -> tuple[OwnFlow, ...]:
        """Those that are under way or ended of late."""
        self._at = {each: at for each, at in self._at.items() if at > now_s - self._kept_s}
        return tuple(self._at)


class Prober:
    """Probes what it is aimed at, on threads of its own; all methods may be called from any thread."""

    def __init__(self, manners: Manners, home: Path | None = None, schedule: Schedule | None = None) -> None:
        """`home` is the network namespace that natop reads, None being the process's own."""
        self._manners, self._home = manners, home
        self._changed = threading.Condition()
        self._schedule = schedule or Schedule(manners.every_s)
        self._results: list[ProbeResult] = []
        self._own = Connections(manners.timeout_s)
        self._closed = False
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="natop-prober", daemon=True)
        self._thread.start()

    def aim(self, aims: Sequence[Aim], rounds: int | None = None) -> None:
        """Probe these and no others from now on; those that are probed already keep their pace."""
        _load_what_is_needed(aims)
        with self._changed:
            self._schedule.aim(aims, rounds, time.monotonic())
            self._changed.notify_all()

    def take(self) -> tuple[ProbeResult, ...]:
        """The results that have come since they were last taken."""
        with self._changed:
            taken, self._results = tuple(self._results), []
        return taken

    def own(self) -> tuple[OwnFlow, ...]:
        """natop's connections that are under way or ended of late."""
        with self._changed:
            return self._own.known(time.monotonic())

    def wait(self) -> None:
        """Until the rounds asked for are over. Raises the defect that keeps them from it."""
        with self._changed:
            self._changed.wait_for(lambda: self._fault or self._schedule.is_over)
            if self._fault:
                raise self._fault

    def gap(self) -> Gap | None:
        """Why there are no more probes though nobody ended them."""
        fault = self._fault
        return Gap("probes", defects.told(fault), defects.place(fault)) if fault else None

    def close(self) -> None:
        """Begin no further probes; those under way end by themselves, and nobody waits for them."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        with self._changed:
            try:
                while not self._closed:
                    self._step()
            except Exception as error:  # the thread's edge: whoever waits for it is told
                self._fault = error
                self._changed.notify_all()

    def _step(self) -> None:
        """Begin the next round, or wait for its time or for a change; called with the lock held."""
        found = self._schedule.next()
        if found is None:
            self._changed.wait()
            return
        first, due_s = found
        wait_s = due_s - time.monotonic()
        if wait_s > 0:
            self._changed.wait(wait_s)
        else:
            self._begin(first)

    def _begin(self, begun: Round) -> None:
        """Start a round; called with the lock held."""
        self._schedule.begin(begun, time.monotonic())
        addresses = _Addresses(self._manners.timeout_s)
        for way in begun.aim.ways:
            work = threading.Thread(target=self._probe, args=(begun, way, addresses), name="natop-probe", daemon=True)
            try:
                work.start()
            except RuntimeError:
                self._end(begun, _failed(way, time.time(), "no thread to be had"))

    def _probe(self, begun: Round, way: ProbeWay, addresses: "_Addresses") -> None:
        """One connect, on its own thread."""
        started = time.time()
        try:
            address = addresses.of(way)
            with self._changed:
                self._schedule.connect(begun, time.monotonic())
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

    def _end(self, begun: Round, result: ProbeResult) -> None:
        with self._changed:
            if result.own:
                self._own.note(result.own, time.monotonic())
            self._results.append(result)
            self._schedule.end(begun)
            self._changed.notify_all()

    def _note(self, own: OwnFlow) -> None:
        with self._changed:
            self._own.note(own, time.monotonic())


def _load_what_is_needed(aims: Sequence[Aim]) -> None:
    """Loading modules takes the interpreter for longer than a connect does; it comes before the first one."""
    if any(way.request for each in aims for way in each.ways):
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
