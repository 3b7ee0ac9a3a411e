"""TCP's testimony, per network namespace: how its counters change, whose they are, and the SYNs that conntrack lost.

Containers that share a namespace share its counters, which are shown once: with the container whose namespace it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from natop.decode.tcp import decode_tcp
from natop.model import Container, ContainerSummary, NetnsTcp, Sample, Snapshot
from natop.text import clean

HOST = "host"
"""Whose counters a container has that uses the host's network."""

SYN_PATIENCE_S = 3.0
"""How long a failed insertion waits for its SYN to be sent again: that comes after 1 s (TCP_TIMEOUT_INIT of
include/net/tcp.h), and in a later interval than the loss where natop reads often."""

_ROUNDING = 1e-6
"""Less of a loss than this is none: the numbers come from rates."""

Losses = tuple[tuple[float, float], ...]
"""As `Snapshot.unclaimed`: when, and how many."""
Namespaces = Mapping[str, str]
"""net:[inode] by container id."""
Owners = Mapping[str, Container]
"""The container that each namespace is of."""


@dataclass(frozen=True, slots=True)
class Testimony:
    """What all namespaces say at one tick."""

    host: NetnsTcp | None
    """The namespace read itself."""
    containers: Mapping[str, NetnsTcp]
    """By the id of the container whose namespace it is."""
    shared: Mapping[str, str]
    """Whose namespace a container shares, by its id."""
    unclaimed: Losses = ()

    def told(self, summary: ContainerSummary) -> ContainerSummary:
        """A container's numbers with its testimony."""
        identity = summary.container.id
        return replace(summary, tcp=self.containers.get(identity), tcp_of=self.shared.get(identity))


def testify(
    previous: Snapshot | None,
    sample: Sample,
    containers: Sequence[Container],
    seconds: float,
    lost_per_s: float | None,
) -> Testimony:
    """The testimony of a sample taken `seconds` after `previous`; `lost_per_s` of the host's new flows were refused."""
    namespaces = {identity: clean(netns) for identity, netns in sample.members.items()}
    owners = _owners(containers, namespaces)
    before = _before(previous)
    told: dict[str, NetnsTcp] = {}
    for netns, text in sample.tcp.items():
        if read := decode_tcp(clean(netns), text):
            owner = owners.get(read.netns)
            read = replace(read, started_at=owner.started_at if owner else None)
            told[read.netns] = _changed(read, before.get((read.netns, read.started_at)), seconds)
    here = clean(sample.netns)
    losses = _losses(previous, sample.monotonic_s, seconds, lost_per_s)
    parts, unclaimed = share_out(losses, _sent_again(told, here, owners, seconds), sample.monotonic_s)
    if lost_per_s is not None:
        told |= {netns: replace(told[netns], lost_syns_per_s=part / seconds) for netns, part in parts.items()}
    own = {owner.id: told[netns] for netns, owner in owners.items() if netns in told}
    return Testimony(told.get(here), own, dict(_shared(containers, namespaces, owners)), unclaimed)


def _owners(containers: Sequence[Container], namespaces: Namespaces) -> dict[str, Container]:
    """A namespace is of the container that did not join it or, where that has left, of the first that did."""
    owners: dict[str, Container] = {}
    for container in containers:
        netns = namespaces.get(container.id)
        if netns is None or container.uses_host_network:
            continue
        if netns not in owners or (owners[netns].joined and not container.joined):
            owners[netns] = container
    return owners


def _shared(containers: Sequence[Container], namespaces: Namespaces, owners: Owners) -> Iterator[tuple[str, str]]:
    """Who else's namespace each container uses: as read or, where it was not, as Docker says."""
    names = {container.id: container.name for container in containers}
    for container in containers:
        owner = owners.get(namespaces.get(container.id, ""))
        if container.uses_host_network:
            yield container.id, HOST
        elif owner and owner.id != container.id:
            yield container.id, owner.name
        elif owner is None and container.joined in names:
            yield container.id, names[container.joined]


def _before(previous: Snapshot | None) -> dict[tuple[str, str | None], NetnsTcp]:
    """The testimonies of the snapshot before, by what makes a namespace the same one."""
    if previous is None:
        return {}
    found = [each.tcp for each in previous.containers] + [previous.tcp]
    return {(each.netns, each.started_at): each for each in found if each}


def _changed(now: NetnsTcp, before: NetnsTcp | None, seconds: float) -> NetnsTcp:
    """With rates, and with the sysctls as they were where this tick did not ask.

    A counter of 64 bits never wraps: where one fell, the namespace is another, and there is nothing to compare with.
    """
    if before is None:
        return now
    change = {name: now.counters[name] - number for name, number in before.counters.items() if name in now.counters}
    if min(change.values(), default=0) < 0:
        return now
    rates = {name: number / seconds for name, number in change.items()} if seconds > 0 else None
    return replace(now, rates=rates, sysctls=now.sysctls or before.sysctls)


def _losses(previous: Snapshot | None, now_s: float, seconds: float, lost_per_s: float | None) -> Losses:
    """New flows refused of late: those of the interval, and those before that nobody has claimed."""
    waiting = previous.unclaimed if previous else ()
    return (*waiting, (now_s, lost_per_s * seconds)) if lost_per_s else waiting


def _sent_again(told: Mapping[str, NetnsTcp], here: str, owners: Owners, seconds: float) -> dict[str, float]:
    """The SYNs that each namespace sent again, of those whose flows pass the table read.

    The table of a container's own namespace has no other's.
    """
    return {
        netns: each.rates["syn_retrans"] * seconds
        for netns, each in told.items()
        if each.rates and "syn_retrans" in each.rates and (here not in owners or netns == here)
    }


def share_out(losses: Losses, again: Mapping[str, float], now_s: float) -> tuple[dict[str, float], Losses]:
    """Refused flows given to the namespaces that sent SYNs again, and those that nobody has claimed yet.

    An estimate, from what was measured: a SYN that conntrack drops raises insert_failed of the host by one and, a
    second later, TCPSynRetrans of the client's namespace by one. So the losses of the last SYN_PATIENCE_S are shared
    out in proportion to the SYNs sent again, and nobody gets more than it sent. Too much goes to a namespace whose
    SYNs, or SYN-ACKs, were lost elsewhere in the same seconds; a loss of UDP may be taken for one of TCP.
    """
    fresh = [(at, number) for at, number in losses if now_s - at <= SYN_PATIENCE_S]
    seen = sum(again.values())
    claimed = min(seen, sum(number for _, number in fresh))
    part = claimed / seen if seen else 0.0
    return {netns: number * part for netns, number in again.items()}, _less(fresh, claimed)


def _less(losses: Sequence[tuple[float, float]], claimed: float) -> Losses:
    """What is left of the losses when so many are taken away, the oldest first."""
    left = []
    for at, number in losses:
        taken = min(claimed, number)
        claimed -= taken
        if number - taken > _ROUNDING:
            left.append((at, number - taken))
    return tuple(left)
