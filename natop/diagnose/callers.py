"""Whose SYNs were sent again: those of who opens connections, apart from the answers that servers send again.

TCPSynRetrans counts both, and each server on the Internet sends answers again to those who only scan it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from natop.model import HOST_MARK, Container, ContainerSummary, ProbePath, Snapshot
from natop.summarise.probed import sent_again_since
from natop.summarise.window import Since

HOST = "host"
"""The subject of what is not one container's."""
GONE = "containers that are gone"
WEATHER = 0.001
"""Of the connections opened: what the Internet loses by itself, and no host can mend. A crawler of 2,000 connections a
second would have an alarm each minute for less."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One network namespace and what its sockets sent again."""

    name: str
    syns: int
    """SYNs, as far as they can be told from answers."""
    answers: int
    """The rest of TCPSynRetrans: answers to SYNs."""
    container: Container | None = None
    """None for the host, and for namespaces that are no more."""
    opened: int = 0
    """Connections that it opened; 0 where that is unknown, too."""
    accepts: bool = False
    """Whether it accepts connections too, so that its `syns` may be answers."""

    @property
    def is_weather(self) -> bool:
        """Whether so few were sent again that any network loses as many."""
        return self.syns < WEATHER * self.opened


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """SYNs sent again that neither conntrack nor a listener here explains."""

    lost: int
    again: int
    """All that were sent again."""
    callers: Sequence[Caller]
    """Whose, most first."""
    is_sure: bool
    """Whether they are SYNs; those of who accepts connections too may be answers, unless some wait for an answer."""


def callers_of(snapshot: Snapshot, since: Since, ended: Mapping[str, int]) -> tuple[Caller, ...]:
    """All that sent any again, most SYNs first; `ended` is of the namespaces that are no more."""
    found = [
        _caller(each.container.name, since.tcp.get(each.container.id, {}), _pending(each), each.container)
        for each in snapshot.containers
    ]
    found += [_caller(HOST, since.tcp.get(HOST_MARK, {}), 0), _caller(GONE, ended, 0)]
    again = (each for each in found if each.syns or each.answers)
    return tuple(sorted(again, key=lambda caller: -caller.syns))


def _caller(name: str, tcp: Mapping[str, int], pending: int, container: Container | None = None) -> Caller:
    """`pending` are connections that were being opened already.

    Who opens none sends answers. Who opens some and accepts others is given one SYN for each that it opens.
    """
    again, opened = tcp.get("syn_retrans", 0), tcp.get("active_opens")
    if opened is None:
        return Caller(name, again, 0, container)
    most = again if opened + pending and not tcp.get("passive_opens") else opened + pending
    syns = min(again, most)
    return Caller(name, syns, again - syns, container, opened, bool(syns and tcp.get("passive_opens")))


def _pending(summary: ContainerSummary) -> int:
    return summary.flows.counts.states["SYN_SENT"] if summary.flows else 0


def syns_of(callers: Iterable[Caller]) -> int:
    """All that these sent again."""
    return sum(caller.syns for caller in callers)


def elsewhere_of(callers: Sequence[Caller], late: Sequence[Caller], here: int, *, is_sure: bool) -> Elsewhere:
    """Of what these sent again, `late` at a time when it was not lost before; this host lost as many as `here`."""
    again = syns_of(callers)
    return Elsewhere(max(0, min(again, syns_of(late)) - here), again, callers, is_sure)


def refused_of(tcp: Mapping[str, int]) -> int:
    """What the listeners of a namespace dropped: ListenDrops has the overflows of accept queues, and whatever else was
    thrown away, as where the backlog of SYNs is full (net/ipv4/tcp_input.c)."""
    return max(tcp.get("listen_drops", 0), tcp.get("listen_overflows", 0))


def unread(snapshot: Snapshot) -> list[str]:
    """The running containers whose counters could not be read, where they have any of their own."""
    return [
        each.container.name
        for each in snapshot.containers
        if each.container.state == "running" and not (each.tcp or each.tcp_of or each.container.uses_host_network)
    ]


MOST_WAITING = 7
"""SYNs that a probe without an answer may have sent again: its time is up after 10 s, unless the user gives it more."""


def sent_by_probes(snapshot: Snapshot, seconds: float) -> Mapping[str, int]:
    """SYNs that natop's own probes sent again in the last `seconds`, by the container's id, or HOST.

    At most: of those that are under way it is not known yet.
    """
    sent: Counter[str] = Counter()
    homes = {each.container.id: _home(each) for each in snapshot.containers}
    for series in snapshot.probes or ():
        last = series.last
        home = homes.get(last.container or "", "") if last.path == ProbePath.NETNS else HOST
        sent[home] += sum(sent_again_since(each, snapshot.taken_at - seconds) for each in series.results)
    addresses = {address: _home(each) for each in snapshot.containers for address in each.container.addresses}
    for flow in snapshot.reading.waiting if snapshot.reading else ():
        sent[addresses.get(flow.src, HOST)] += MOST_WAITING
    return sent


def _home(summary: ContainerSummary) -> str:
    """Whose counters its SYNs are in."""
    return HOST if summary.container.uses_host_network else summary.container.id
