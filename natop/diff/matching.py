"""What one side has matched with what the other has: facts, containers, probed ways, findings, NAT rules."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import msgspec

from natop.columns.containers import published_text
from natop.diff.change import Change, in_time
from natop.diff.measures import CONTAINER_MEASURES, WAY_MEASURES, Member
from natop.diff.reread import ContainerPart, Document, FindingPart, NetworkNatPart, RulePart, Sysctls
from natop.diff.sides import Side, probe_series
from natop.join.firewall import nat_words
from natop.model import Attachment, Container, NatRule, ProbePath, PublishedPort
from natop.sysctls import value_text

T = TypeVar("T")
K = TypeVar("K")


class Fate(StrEnum):
    """What became of something between the two sides."""

    STAYED = "stayed"
    RESTARTED = "restarted"
    """The same container with another first process."""
    RECREATED = "recreated"
    """Another container of the same name on the same host."""
    NAMESAKE = "namesake"
    """A container of the same name on another host."""
    GONE = "gone"
    NEW = "new"
    UNKNOWN = "unknown"
    """One side could not tell whether it was there."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that is no number, on both sides; None is unknown."""

    key: str
    title: str
    before: str | None
    after: str | None

    @property
    def is_told(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class ContainerChange:
    """A container, on one side at least."""

    fate: Fate
    before: Member | None
    after: Member | None
    changes: tuple[Change, ...]
    facts: tuple[Fact, ...]

    @property
    def part(self) -> ContainerPart:
        """As it is after, else as it was."""
        member = self.after or self.before
        assert member is not None
        return member.part

    @property
    def name(self) -> str:
        return self.part.name

    @property
    def is_told(self) -> bool:
        """Whether it is not as it was."""
        return (
            self.fate is not Fate.STAYED
            or any(each.is_told for each in self.changes)
            or any(each.is_told for each in self.facts)
        )

    @property
    def is_blank(self) -> bool:
        """Whether neither side has a number of it."""
        return all(each.is_blank for each in self.changes)

    @property
    def place(self) -> tuple[int, int, float]:
        """That of its foremost change."""
        return min((each.place for each in self.changes if each.is_told), default=(3, 0, 0.0))

    def container(self) -> Container:
        """As the filter knows containers."""
        return container_of(self.part)


@dataclass(frozen=True, slots=True)
class WayChange:
    """A way that was probed, on one side at least."""

    name: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class FindingChange:
    fate: Fate
    """GONE, STAYED or NEW; UNKNOWN where the other side was not judged."""
    before: FindingPart | None
    after: FindingPart | None

    @property
    def part(self) -> FindingPart:
        """As it is after, else as it was."""
        part = self.after or self.before
        assert part is not None
        return part


# Facts


def facts(before: Side, after: Side) -> Iterator[Fact]:
    then, now = before.state, after.state
    yield Fact("hostname", "host", then.host.hostname, now.host.hostname)
    yield Fact("kernel", "kernel", then.host.kernel, now.host.kernel)
    yield Fact("natop", "natop", then.natop, now.natop)
    for key, title in _ENGINE:
        yield Fact(key, title, _engine(then, key), _engine(now, key))
    yield from _sysctls("sysctl", then.host.sysctls or None, now.host.sysctls or None)
    if then.nat_rules and now.nat_rules:
        yield from _networks(then.nat_rules.networks, now.nat_rules.networks)


_ENGINE = (
    ("product", "engine"),
    ("version", "Docker"),
    ("api_version", "Docker's API"),
    ("rootless", "rootless Docker"),
    ("userland_proxy", "userland-proxy"),
    ("firewall_backend", "Docker's firewall"),
)


def _engine(document: Document, key: str) -> str | None:
    value = getattr(document.host.docker, key, None)
    return ("on" if value else "off") if isinstance(value, bool) else value


def _sysctls(key: str, before: Sysctls | None, after: Sysctls | None, missing: str | None = None) -> Iterator[Fact]:
    """None are those of a side that could not read them; `missing` is what a name means that one side alone has."""
    if before is None or after is None:
        return
    for name in sorted(before.keys() | after.keys()):
        then, now = (value_text(found[name]) if name in found else missing for found in (before, after))
        yield Fact(f"{key}:{name}", name, then, now)


def _networks(before: Sequence[NetworkNatPart], after: Sequence[NetworkNatPart]) -> Iterator[Fact]:
    """What takes the packets of each subnet, those over UDP apart where that is something else."""
    then, now = ({(each.name, each.subnet): each for each in side} for side in (before, after))
    for name, subnet in dict.fromkeys((*then, *now)):
        sides = then.get((name, subnet)), now.get((name, subnet))
        words = [_nat_words(each, each.rule) if each else NO_NETWORK for each in sides]
        udp = [_nat_words(each, each.udp_rule) if each else NO_NETWORK for each in sides]
        yield Fact(f"nat:{name}:{subnet}", f"NAT of {name} {subnet}", *words)
        if udp != words:
            yield Fact(f"nat:{name}:{subnet}:udp", f"NAT of {name} {subnet} over UDP", *udp)


NO_NETWORK = "no such network"


def _nat_words(place: NetworkNatPart, rule: RulePart | None) -> str:
    known = None if rule is None else msgspec.convert(rule, NatRule, from_attributes=True)
    return nat_words(known, place.internal)


def rules(before: Side, after: Side) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The source-NAT rules that only one of the sides has; None where either could not read them."""
    then, now = before.state.nat_rules, after.state.nat_rules
    if then is None or now is None:
        return None
    had, has = (Counter(map(_rule_line, side.rules)) for side in (then, now))
    return tuple((had - has).elements()), tuple((has - had).elements())


def _rule_line(rule: RulePart) -> str:
    return f"{rule.backend} {rule.chain}: {rule.text}"


# Containers


def container_of(part: ContainerPart) -> Container:
    """As the rest of natop knows containers."""
    return Container(
        id=part.id,
        name=part.name,
        image=part.image,
        state=part.state,
        project=part.project,
        service=part.service,
        network_mode=part.network_mode or "",
        networks=tuple(Attachment(each.name, each.driver, each.ipv4, each.ipv6) for each in part.networks),
        published=tuple(
            PublishedPort(each.proto, each.host_ip, each.host_port, each.container_port) for each in part.published
        ),
    )


def containers(before: Side, after: Side, same_boot: bool | None, is_backwards: bool) -> Iterator[ContainerChange]:
    """By id, the others by name; counters rise where a container goes on."""
    then, now = (_members(side) for side in (before, after))
    unknown = before.state.containers is None or after.state.containers is None
    for was, is_ in _paired(then, now):
        fate = Fate.UNKNOWN if unknown else _fate(was, is_, before.state, after.state)
        changes = [each.change(was, is_) for each in CONTAINER_MEASURES]
        if was and is_ and same_boot and fate is Fate.STAYED and was.part.pid and is_.part.pid:
            earlier, later = in_time(was, is_, is_backwards)
            changes = [
                change.risen(each.rise(earlier, later))
                for each, change in zip(CONTAINER_MEASURES, changes, strict=True)
            ]
        yield ContainerChange(fate, was, is_, tuple(changes), tuple(_container_facts(was, is_)))


def _members(side: Side) -> list[Member]:
    return [Member(each, side.container_rates.get(each.id, {})) for each in side.state.containers or ()]


def _paired(before: Sequence[Member], after: Sequence[Member]) -> Iterator[tuple[Member | None, Member | None]]:
    left: list[Member] = []
    come: list[Member] = []
    for was, is_ in matched(before, after, lambda each: each.part.id):
        if was and is_:
            yield was, is_
        elif was:
            left.append(was)
        elif is_:
            come.append(is_)
    yield from matched(left, come, lambda each: each.part.name)


def matched(before: Iterable[T], after: Iterable[T], key: Callable[[T], K]) -> Iterator[tuple[T | None, T | None]]:
    """Pairs of equal keys, each once, then those left over; of several with one key the first goes with the first."""
    waiting: dict[K, list[T]] = {}
    for each in after:
        waiting.setdefault(key(each), []).append(each)
    for each in before:
        candidates = waiting.get(key(each))
        yield each, candidates.pop(0) if candidates else None
    yield from ((None, each) for candidates in waiting.values() for each in candidates)


def _fate(before: Member | None, after: Member | None, then: Document, now: Document) -> Fate:
    if before is None or after is None:
        return Fate.GONE if after is None else Fate.NEW
    if before.part.id != after.part.id:
        return Fate.RECREATED if then.host.hostname == now.host.hostname else Fate.NAMESAKE
    pids = before.part.pid, after.part.pid
    return Fate.RESTARTED if all(pids) and pids[0] != pids[1] else Fate.STAYED


def _container_facts(before: Member | None, after: Member | None) -> Iterator[Fact]:
    if before is None or after is None:
        return
    then, now = before.part, after.part
    models = container_of(then), container_of(now)
    yield Fact("name", "name", then.name, now.name)
    yield Fact("image", "image", then.image, now.image)
    yield Fact("state", "state", then.state, now.state)
    yield Fact("network_mode", "network mode", then.network_mode, now.network_mode)
    yield Fact("networks", "networks", *(_networks_text(each) for each in models))
    yield Fact("published", "published", *(published_text(each) or "nothing" for each in models))
    yield from _sysctls("sysctl", then.sysctls, now.sysctls, "as the host's")


def _networks_text(container: Container) -> str:
    told = (" ".join(filter(None, (each.network, *each.addresses))) for each in container.networks)
    return ", ".join(sorted(told)) or "none"


# Probes and findings


def ways(before: Side, after: Side) -> Iterator[WayChange]:
    then, now = (probe_series(side.state.probes or ()) for side in (before, after))
    for was, is_ in matched(then, now, lambda series: series.last.key):
        last = (is_ or was or now[0]).last
        source = f" from {last.container_name}" if last.container_name and last.path == ProbePath.NETNS else ""
        yield WayChange(f"{last.target} {last.path}{source}", tuple(each.change(was, is_) for each in WAY_MEASURES))


def findings(before: Side, after: Side) -> Iterator[FindingChange]:
    """New ones, those that are gone, those that stand still."""
    found = [
        FindingChange(_finding_fate(was, is_, before, after), was, is_)
        for was, is_ in matched(
            before.state.findings or (), after.state.findings or (), lambda each: (each.rule, each.subject)
        )
    ]
    yield from sorted(found, key=lambda each: _FINDING_FATES.index(each.fate))


_FINDING_FATES = (Fate.NEW, Fate.GONE, Fate.UNKNOWN, Fate.STAYED)


def _finding_fate(was: FindingPart | None, is_: FindingPart | None, before: Side, after: Side) -> Fate:
    """One that a side does not have is gone or new only where that side was judged, rates and all."""
    if was and is_:
        return Fate.STAYED
    other = after if was else before
    if not other.is_judged:
        return Fate.UNKNOWN
    return Fate.GONE if was else Fate.NEW
