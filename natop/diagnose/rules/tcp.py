"""Rules from TCP's own testimony: what looks like NAT from outside and is not."""

import shlex
from collections.abc import Iterator, Mapping, Sequence

from natop.diagnose.evidence import HOST, Evidence, address_of, listed, many, named, percent_of
from natop.diagnose.registry import rule
from natop.diagnose.remedies import keep_alive, own_sysctl, sysctl
from natop.diagnose.rules.table import unanswered
from natop.model import Container, ContainerSummary, Finding, Lead, Pile, Remedy, Severity
from natop.sysctls import FULL_CRITICAL

DEFAULT_PORTS = (32_768, 60_999)
"""net.ipv4.ip_local_port_range of a new network namespace, whatever the host's is."""
PORTS_WARN, PORTS_CRITICAL = 0.80, 0.95


@rule("A container runs out of local ports")
def local_ports_exhausted(evidence: Evidence) -> Iterator[Finding]:
    """Towards one remote end a container has only the ports of its own ip_local_port_range, 28,232 by default. When
    they are gone connect() fails with EADDRNOTAVAIL, long before NAT's 64,512 are.

    Decided by: the local ports that its sockets hold towards one remote end (TIME_WAIT for 60 s, where the container
    closed first), from 80 % of its range (warning) and 95 % (critical).

    To fix: keep-alive; a wider range and tcp_tw_reuse inside the container.
    """
    facts = evidence.facts
    by_id = {each.container.id: each for each in evidence.snapshot.containers}
    for pile in facts.local_ports if facts else ():
        container = by_id.get(pile.key or "")
        if container is None:
            continue
        is_read, (first, last) = _range_of(evidence, container)
        size = last - first + 1
        if pile.count < PORTS_WARN * size:
            continue
        name = container.container.name
        failed = evidence.tcp(container, "attempt_fails")
        yield Finding(
            "local-ports-exhausted",
            Severity.CRITICAL if pile.count >= PORTS_CRITICAL * size else Severity.WARNING,
            name,
            f"{name} holds {_percent(pile, size)} % of its local ports towards {pile.what}; then connect() fails",
            (
                f"{pile.count:,} of {size:,} ports ({first} to {last}{'' if is_read else ', the default'})",
                *([f"failed connects +{failed:,} {evidence.span}"] if failed else []),
            ),
            (
                keep_alive([name]),
                _setting(
                    evidence,
                    container,
                    "Widen its range and let it use ports in TIME_WAIT again",
                    (("net.ipv4.ip_local_port_range", "1024 65535"), ("net.ipv4.tcp_tw_reuse", "1")),
                ),
            ),
            Lead("flows", container.container.id, f"dst:{address_of(pile.what)}"),
        )


def _percent(pile: Pile, size: int) -> str:
    """Of the range; sockets that chose their port themselves may hold some beside it."""
    return percent_of(min(pile.count, size), size)


def _range_of(evidence: Evidence, container: ContainerSummary) -> tuple[bool, tuple[int, int]]:
    """Whether its range could be read, and the range; else that of a new network namespace."""
    match _sysctls(evidence, container).get("ip_local_port_range"):
        case (first, last):
            return True, (first, last)
    return False, DEFAULT_PORTS


def _sysctls(evidence: Evidence, container: ContainerSummary) -> Mapping[str, int | tuple[int, ...]]:
    """Those that hold for a container's sockets, as far as they were read."""
    if container.container.network_mode == HOST:
        return evidence.snapshot.host.sysctls
    return container.tcp.sysctls if container.tcp else {}


def _setting(
    evidence: Evidence, container: ContainerSummary, text: str, values: Sequence[tuple[str, int | str]]
) -> Remedy:
    """Kernel parameters where a container's sockets are: Docker takes none for one on the host's network."""
    if container.container.network_mode == HOST:
        return sysctl(f"{text}; it uses the host's.", evidence, values)
    return own_sysctl(container.container.name, [(name, str(value)) for name, value in values], text)


def _at_least(least: int, sysctls: Mapping[str, int | tuple[int, ...]], name: str) -> int:
    """So much, or twice of what a parameter is now."""
    now = sysctls.get(name.rpartition(".")[2])
    return max(least, 2 * now) if isinstance(now, int) else least


@rule("An application accepts connections too slowly")
def accept_queue_overflow(evidence: Evidence) -> Iterator[Finding]:
    """The queue of connections that wait for accept() is full, so the kernel drops SYNs at the server. The caller sees
    the same stall of a second as with a race, and NAT has nothing to do with it.

    Decided by: ListenOverflows of the container's network namespace rises (net/ipv4/tcp_ipv4.c).

    To fix: more workers, a longer backlog in the application, and somaxconn where the backlog is above it.
    """
    for each in evidence.snapshot.containers:
        overflows = evidence.tcp(each, "listen_overflows")
        if overflows:
            name = each.container.name
            values = ((SOMAXCONN, str(_at_least(BACKLOG, _sysctls(evidence, each), SOMAXCONN))),)
            yield Finding(
                "accept-queue-overflow",
                Severity.WARNING,
                name,
                f"accept queue of {name} is full: {many(overflows, 'connection')} lost {evidence.span}; not NAT",
                tuple(_overflown(evidence, overflows, evidence.tcp(each, "listen_drops"))),
                (
                    Remedy(f"Give {name} more workers, or a longer backlog in listen()."),
                    own_sysctl(name, values, "Where its backlog is above somaxconn, raise that"),
                ),
                Lead("containers", each.container.id),
            )
    yield from _host_overflow(evidence)


SOMAXCONN, BACKLOG = "net.core.somaxconn", 16_384


def _host_overflow(evidence: Evidence) -> Iterator[Finding]:
    """In the host's own namespace, which containers on its network share with the processes of the host."""
    overflows = evidence.host_tcp("listen_overflows")
    if not overflows:
        return
    value = _at_least(BACKLOG, evidence.snapshot.host.sysctls, SOMAXCONN)
    containers = evidence.on_host_network
    yield Finding(
        "accept-queue-overflow",
        Severity.WARNING,
        HOST,
        f"accept queue of a host's listener is full: {many(overflows, 'connection')} lost {evidence.span}; not NAT",
        (
            *_overflown(evidence, overflows, evidence.host_tcp("listen_drops")),
            *([f"on the host's network: {listed(containers)}, and the host's own processes"] if containers else []),
        ),
        (
            Remedy(
                "Find the listener whose Recv-Q is above its Send-Q; give it more workers, or a longer backlog in "
                "listen().",
                ("ss -ltnp",),
            ),
            sysctl("Where its backlog is above somaxconn, raise that.", evidence, ((SOMAXCONN, value),)),
        ),
        Lead("counters"),
    )


def _overflown(evidence: Evidence, overflows: int, drops: int | None) -> Iterator[str]:
    yield f"ListenOverflows +{overflows:,} {evidence.span}"
    if drops:
        yield f"ListenDrops +{drops:,}"
    yield from _no_conntrack_loss(evidence)


def _no_conntrack_loss(evidence: Evidence) -> Iterator[str]:
    failed = evidence.risen("insert_failed")
    if failed == 0:
        yield f"insert_failed +0 {evidence.span}: conntrack lost nothing"


SYN_LOSS_LEAST = 5
"""A single lost SYN in a minute is weather."""


@rule("SYNs are lost on their way, not in NAT")
def syn_loss_elsewhere(evidence: Evidence) -> Iterator[Finding]:
    """Containers send SYNs again although conntrack dropped none and no accept queue here was full: they, or their
    answers, are lost on the way or at the other end, or a rule of a firewall drops them. Not NAT.

    Decided by: at least 5 SYN retransmits in containers that open connections, while insert_failed and drop stand still
    and ListenOverflows rose neither in a container nor in the host's own namespace. With containers on the host's
    network the host's own SYN retransmits count too. Containers whose own table is full, or who have more than
    50 unanswered flows to one end, are left out: other rules tell of them.

    To fix: probe the same target from the host; look for firewall rules that drop; a cloud's own limit on connections
    (`ethtool -S`, conntrack_allowance_exceeded) shows the same picture.
    """
    senders = _callers(evidence)
    total = sum(count for _, count, _ in senders)
    if not evidence.losses or total < SYN_LOSS_LEAST or _something_was_dropped(evidence):
        return
    name, _, container = max(senders, key=lambda sender: sender[1])
    piles = evidence.facts.unreplied if evidence.facts else ()
    yield Finding(
        "syn-loss-elsewhere",
        Severity.WARNING,
        name,
        f"SYNs lost on the way, not in NAT: {total:,} sent again {evidence.span}",
        (
            f"SYN retransmits in {named((name, count) for name, count, _ in senders)}",
            f"insert_failed +0, drop +0 {evidence.span}: conntrack lost nothing",
            *([f"unanswered: {named((pile.what, pile.count) for pile in piles)}"] if piles else []),
        ),
        (
            Remedy(
                "Connect to the same target from the host and from inside the container; equal losses are not NAT's.",
                (_probe(container, piles),),
            ),
            Remedy(
                "Look for rules that drop on this host, by their counters: a dropped SYN leaves no trace in conntrack.",
                (_rules_with_counters(evidence),),
            ),
            Remedy(
                "In a cloud, look for conntrack_allowance_exceeded in `ethtool -S` of the interface that leads out."
            ),
        ),
        Lead("containers", container.id) if container else Lead("counters"),
    )


def _callers(evidence: Evidence) -> list[tuple[str, int, Container | None]]:
    """Who opens connections and sent SYNs again, most first. The host is among them where containers use its network.

    Who opens none has sent answers to SYNs again, as each server on the Internet does for those who scan it.
    """
    found: list[tuple[str, int, Container | None]] = [
        (each.container.name, count, each.container)
        for each, count in evidence.retransmitting
        if not _is_explained(evidence, each)
        and (evidence.tcp(each, "active_opens") != 0 or (each.flows and each.flows.counts.states["SYN_SENT"]))
    ]
    count = evidence.host_tcp("syn_retrans")
    if count and evidence.on_host_network and evidence.host_tcp("active_opens") != 0:
        found.append((HOST, count, None))
    return sorted(found, key=lambda sender: -sender[1])


def _something_was_dropped(evidence: Evidence) -> bool:
    """Whether this host lost connections itself: in conntrack, or at a listener."""
    if any(evidence.risen(name) for name in ("insert_failed", "drop")):
        return True
    overflows = [evidence.tcp(each, "listen_overflows") for each in evidence.snapshot.containers]
    return any((*overflows, evidence.host_tcp("listen_overflows")))


def _rules_with_counters(evidence: Evidence) -> str:
    firewall = evidence.snapshot.firewall
    return "nft list ruleset" if firewall and firewall.backend == "nftables" else "iptables -nvL"


def _probe(container: Container | None, unreplied: Sequence[Pile]) -> str:
    """To what is not answered, where that is known."""
    called = next((pile.what for pile in unreplied if pile.what.endswith("/tcp")), "HOST:PORT/tcp")
    start = f"--from {shlex.quote(container.name)} " if container else ""
    return f"natop probe {start}--count 5 {shlex.quote(called.removesuffix('/tcp'))}"


def _is_explained(evidence: Evidence, container: ContainerSummary) -> bool:
    """Whether another rule says why this container sends SYNs again."""
    most = evidence.snapshot.conntrack.max
    full = bool(most and container.own_table and container.own_table >= FULL_CRITICAL * most)
    return full or any(container.container.name in pile.owners for pile in unanswered(evidence))


@rule("The limit of TIME_WAIT sockets is reached")
def time_wait_bucket_overflow(evidence: Evidence) -> Iterator[Finding]:
    """A network namespace had more sockets in TIME_WAIT than tcp_max_tw_buckets; further ones were closed at once.

    Decided by: TCPTimeWaitOverflow rises in the namespace of a container or of the host.

    To fix: raise the limit there, or open fewer connections.
    """
    for each in evidence.snapshot.containers:
        rose = evidence.tcp(each, "time_wait_overflow")
        if rose:
            name = each.container.name
            values = ((MOST_WAITING, str(_at_least(WAITING, _sysctls(evidence, each), MOST_WAITING))),)
            yield _overflow(
                evidence, name, rose, own_sysctl(name, values, "Raise its limit"), Lead("containers", each.container.id)
            )
    rose = evidence.host_tcp("time_wait_overflow")
    if rose:
        most = _at_least(WAITING, evidence.snapshot.host.sysctls, MOST_WAITING)
        yield _overflow(
            evidence, HOST, rose, sysctl("Raise the limit.", evidence, ((MOST_WAITING, most),)), Lead("counters")
        )


MOST_WAITING, WAITING = "net.ipv4.tcp_max_tw_buckets", 262_144


def _overflow(evidence: Evidence, name: str, rose: int, remedy: Remedy, lead: Lead) -> Finding:
    return Finding(
        "time-wait-bucket-overflow",
        Severity.WARNING,
        name,
        f"tcp_max_tw_buckets of {name} is reached: {many(rose, 'TIME_WAIT socket')} closed early {evidence.span}",
        (f"TCPTimeWaitOverflow +{rose:,} {evidence.span}",),
        (remedy,),
        lead,
    )
