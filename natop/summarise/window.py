"""How far counters have come since an earlier instant: a minute ago for the verdict, a marker for before and after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from natop.decode import counters
from natop.model import HOST_MARK, Mark, NetnsTcp, Snapshot
from natop.summarise.scarce import remembered_pools

WINDOW_S = 60.0
"""How far back the verdict looks."""


@dataclass(frozen=True, slots=True)
class Since:
    """What happened between two marks."""

    seconds: float
    counters: Mapping[str, int] = field(default_factory=dict)
    """By COUNTER_NAMES, summed over CPUs; those that both marks have."""
    cpus: Mapping[str, int] = field(default_factory=dict)
    """On how many CPUs each counter rose."""
    cpus_known: int = 0
    tcp: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By container id or HOST_MARK, then by TCP_NAMES; only namespaces that were the same at both marks."""

    def tcp_total(self, name: str) -> int | None:
        """One of TCP's counters over all network namespaces; None where none was read."""
        found = [counts[name] for counts in self.tcp.values() if name in counts]
        return sum(found) if found else None


def mark_of(snapshot: Snapshot) -> Mark:
    """The counters of a snapshot, and its scarcest pools."""
    tcp = {each.container.id: each.tcp for each in snapshot.containers if each.tcp}
    if snapshot.tcp:
        tcp[HOST_MARK] = snapshot.tcp
    rates = snapshot.whole.rates if snapshot.whole else None
    new_per_s = rates.new if rates else None
    pools, reading = remembered_pools(snapshot), snapshot.reading
    dumped_s = reading.monotonic_s if reading else None
    return Mark(snapshot.taken_at, snapshot.monotonic_s, snapshot.conntrack, tcp, new_per_s, pools, dumped_s)


def extended(marks: Sequence[Mark], mark: Mark) -> tuple[Mark, ...]:
    """The marks of the last WINDOW_S with one more."""
    return (*(each for each in marks if mark.monotonic_s - each.monotonic_s <= WINDOW_S), mark)


def since(then: Mark, now: Mark) -> Since | None:
    """From one mark to a later one; None where no time has passed."""
    seconds = now.monotonic_s - then.monotonic_s
    if seconds <= 0:
        return None
    pairs = list(zip(then.conntrack.cpus, now.conntrack.cpus, strict=False))
    whole = risen(then, now)
    on_cpus = [counters.risen(before, after) for before, after in pairs]
    return Since(
        seconds,
        whole,
        {name: sum(each.get(name, 0) > 0 for each in on_cpus) for name in whole},
        len(pairs),
        {key: counts for key, after in now.tcp.items() if (counts := _tcp(then.tcp.get(key), after))},
    )


def risen(then: Mark, now: Mark) -> dict[str, int]:
    """How far conntrack's counters came from one mark to a later one; nothing where these tell of different CPUs."""
    if len(then.conntrack.cpus) != len(now.conntrack.cpus):
        return {}
    return counters.risen(then.conntrack.counters, now.conntrack.counters)


def _tcp(before: NetnsTcp | None, after: NetnsTcp) -> dict[str, int]:
    """Nothing where the namespace is another one now, or was not there."""
    if before is None or not _is_same(before, after):
        return {}
    return {
        name: max(0, value - before.counters[name]) for name, value in after.counters.items() if name in before.counters
    }


def _is_same(before: NetnsTcp | None, after: NetnsTcp) -> bool:
    return before is not None and (before.netns, before.started_at) == (after.netns, after.started_at)


def over(marks: Sequence[Mark]) -> Since | None:
    """From the first mark to the last; a namespace that the first did not know, from the first mark that did."""
    if len(marks) < 2:
        return None
    first, last = marks[0], marks[-1]
    known: dict[str, NetnsTcp] = {}
    missing = dict(last.tcp)
    for mark in marks:
        found = {key: mark.tcp[key] for key, now in missing.items() if _is_same(mark.tcp.get(key), now)}
        known |= found
        missing = {key: now for key, now in missing.items() if key not in found}
        if not missing:
            break
    return since(replace(first, tcp=known), last)


def ended(marks: Sequence[Mark]) -> dict[str, int]:
    """TCP's counters of the namespaces that are no more, all together: from the first mark of each to its last."""
    spans: dict[tuple[str, str, str | None], tuple[NetnsTcp, NetnsTcp]] = {}
    for mark in marks:
        for key, tcp in mark.tcp.items():
            identity = (key, tcp.netns, tcp.started_at)
            spans[identity] = (spans[identity][0] if identity in spans else tcp, tcp)
    now = {(key, tcp.netns, tcp.started_at) for key, tcp in marks[-1].tcp.items()} if marks else set()
    total: dict[str, int] = {}
    for identity, (first, last) in spans.items():
        for name, count in _tcp(first, last).items() if identity not in now else ():
            total[name] = total.get(name, 0) + count
    return total


@dataclass(frozen=True, slots=True)
class Watched:
    """How far conntrack's counters came since natop began to watch.

    A sum over all snapshots: over days a counter of 32 bits may wrap many times.
    """

    since: float
    """Wall clock, of the first snapshot."""
    counters: Mapping[str, int]
    """By COUNTER_NAMES, summed over CPUs; those that were there in all snapshots."""
    last: Mapping[str, int]
    """The counters of the last snapshot."""


def watched(before: Watched | None, snapshot: Snapshot) -> Watched:
    """With one more snapshot; the first of all begins it."""
    now = snapshot.conntrack.counters
    if before is None:
        return Watched(snapshot.taken_at, dict.fromkeys(now, 0), now)
    risen = counters.risen(before.last, now)
    come = {name: number + risen[name] for name, number in before.counters.items() if name in risen}
    return Watched(before.since, come, now)


@dataclass(frozen=True, slots=True)
class Marker:
    """An instant that a person marked, and what the minute before it was like."""

    mark: Mark
    before: Since | None
    """None where natop had not watched long enough."""

    def after(self, snapshot: Snapshot) -> Since | None:
        """What has happened since; None where the snapshot is the marked one."""
        return since(self.mark, snapshot.marks[-1]) if snapshot.marks else None


def marker_at(snapshot: Snapshot) -> Marker | None:
    """A marker at this snapshot."""
    marks = snapshot.marks
    return Marker(marks[-1], over(marks)) if marks else None
