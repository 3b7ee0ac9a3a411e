"""Two sides of a host, or of two hosts, to what differs between them. Pure.

What one side does not know is unknown and so is the difference to it. Counters are compared only where both sides are
of the same boot and network namespace: everywhere else they count something else.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from natop.diff import matching
from natop.diff.change import Change, in_time
from natop.diff.matching import ContainerChange, Fact, FindingChange, WayChange
from natop.diff.measures import HOST_MEASURES
from natop.diff.reread import Document, GapPart
from natop.diff.sides import Side


@dataclass(frozen=True, slots=True)
class Comparison:
    before: Side
    after: Side
    elapsed_s: float
    """From one to the other; below 0 where AFTER is the older one."""
    same_boot: bool | None
    """Of one host and one network namespace; None where a file does not tell. Counters rise only where it is True."""
    notes: tuple[str, ...]
    """What a reader must know to take the rest right."""
    facts: tuple[Fact, ...]
    host: tuple[Change, ...]
    """What got worse first, then what changed most."""
    containers: tuple[ContainerChange, ...]
    ways: tuple[WayChange, ...]
    findings: tuple[FindingChange, ...]
    """New ones first, then those that are gone."""
    rules: tuple[tuple[str, ...], tuple[str, ...]] | None
    """Source-NAT rules that BEFORE alone has and those that AFTER alone has, in words of their tools."""

    @property
    def gaps(self) -> Iterator[tuple[str, GapPart]]:
        """What either could not read, and which."""
        for side, each in (("BEFORE", self.before), ("AFTER", self.after)):
            yield from ((side, gap) for gap in each.state.gaps)


def compared(before: Side, after: Side) -> Comparison:
    same_boot, why = _continuity(before, after)
    elapsed_s = _elapsed_s(before.state, after.state, same_boot)
    is_backwards = elapsed_s < 0
    containers = matching.containers(before, after, same_boot, is_backwards)
    return Comparison(
        before,
        after,
        elapsed_s,
        same_boot,
        tuple(_notes(before, after, elapsed_s, why)),
        tuple(matching.facts(before, after)),
        tuple(sorted(_host(before, after, same_boot, is_backwards), key=lambda each: each.place)),
        tuple(sorted(containers, key=lambda each: (each.place, each.name))),
        tuple(matching.ways(before, after)),
        tuple(matching.findings(before, after)),
        matching.rules(before, after),
    )


def _continuity(before: Side, after: Side) -> tuple[bool | None, str | None]:
    """Whether counters go on from one to the other, and why not."""
    then, now = before.state.host, after.state.host
    if then.boot_id is not None and then.boot_id == now.boot_id:
        if then.netns != now.netns:
            return False, f"another network namespace: {then.netns}, then {now.netns}"
        earlier, later = in_time(before, after, _elapsed_s(before.state, after.state, True) < 0)
        if any(each.began_anew(earlier, later) for each in HOST_MEASURES):
            return False, "the counters began anew in between: another network namespace of the same number"
        return True, None
    if then.hostname != now.hostname:
        return False, f"another host: {then.hostname}, then {now.hostname}"
    if then.boot_id is None or now.boot_id is None:
        return None, "not known whether the host was started anew in between"
    return False, "the host was started anew in between"


def _elapsed_s(before: Document, after: Document, same_boot: bool | None) -> float:
    """By the clock that nobody sets, where both go by the same one."""
    if same_boot and before.monotonic_s is not None and after.monotonic_s is not None:
        return after.monotonic_s - before.monotonic_s
    return (after.taken_at - before.taken_at).total_seconds()


def _notes(before: Side, after: Side, elapsed_s: float, why: str | None) -> Iterator[str]:
    if elapsed_s < 0:
        yield "AFTER is older than BEFORE: were the files given the other way round?"
    if why:
        yield f"{why}; only rates and states are compared, not how far counters rose"
    for word, side in (("BEFORE", before), ("AFTER", after)):
        if side.is_cut:
            yield f"{word} ends within a snapshot, which was left out"
        if not side.rated_s:
            yield f"{word} has no rates, being one reading: take several, as natop snapshot --every 2 --count 30"
        if not side.state.host.sysctls:
            yield f"{word} has no sysctls"
        for what, value in (
            ("containers", side.state.containers),
            ("flows", side.state.conntrack.flows),
            ("NAT rules", side.state.nat_rules),
            ("findings", side.state.findings),
        ):
            if value is None:
                yield f"{word} has no {what}: they could not be read then"


def _host(before: Side, after: Side, same_boot: bool | None, is_backwards: bool) -> Iterator[Change]:
    earlier, later = in_time(before, after, is_backwards)
    for each in HOST_MEASURES:
        change = each.change(before, after)
        yield change.risen(each.rise(earlier, later)) if same_boot else change
