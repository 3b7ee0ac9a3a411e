"""Rules from TCP's own testimony: what looks like NAT from outside and is not."""

from collections.abc import Iterator

from natop.diagnose.evidence import HOST, Evidence, many, named
from natop.diagnose.registry import rule
from natop.diagnose.remedies import keep_alive, own_sysctl, sysctl
from natop.diagnose.rules.table import FILL_CRITICAL, unanswered
from natop.model import ContainerSummary, Finding, Lead, Remedy, Severity

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
        first, last = _range_of(container)
        use = pile.count / (last - first + 1)
        if container is None or use < PORTS_WARN:
            continue
        name = container.container.name
        failed = evidence.tcp(container, "attempt_fails")
        yield Finding(
            "local-ports-exhausted",
            Severity.CRITICAL if use >= PORTS_CRITICAL else Severity.WARNING,
            name,
            f"{name} holds {100 * use:.0f} % of its local ports towards {pile.what}; then connect() fails",
            (
                f"{pile.count:,} of {last - first + 1:,} ports ({first} to {last})",
                *([f"failed connects +{failed:,} {evidence.span}"] if failed else []),
            ),
            (
                keep_alive([name]),
                own_sysctl(
                    name,
                    (("net.ipv4.ip_local_port_range", "1024 65535"), ("net.ipv4.tcp_tw_reuse", "1")),
                    "Widen its range and let it use ports in TIME_WAIT again",
                ),
            ),
            Lead("flows", container.container.id, f"dst:{pile.what.rpartition('/')[0].rpartition(':')[0].strip('[]')}"),
        )


def _range_of(container: ContainerSummary | None) -> tuple[int, int]:
    found = container.tcp.sysctls.get("ip_local_port_range") if container and container.tcp else None
    return (found[0], found[1]) if isinstance(found, tuple) and len(found) == 2 else DEFAULT_PORTS


@rule("An application accepts connections too slowly")
def accept_queue_overflow(evidence: Evidence) -> Iterator[Finding]:
    """The queue of connections that wait for accept() is full, so the kernel drops SYNs at the server. The caller sees
    the same stall of a second as with a race, and NAT has nothing to do with it.

    Decided by: ListenOverflows of the container's network namespace rises (net/ipv4/tcp_ipv4.c).

    To fix: more workers, a longer backlog in the application, and somaxconn where the backlog is above it.
    """
    for each in evidence.snapshot.containers:
        overflows = evidence.tcp(each, "listen_overflows")
        if not overflows:
            continue
        name = each.container.name
        drops = evidence.tcp(each, "listen_drops")
        yield Finding(
            "accept-queue-overflow",
            Severity.WARNING,
            name,
            f"{name} did not accept {many(overflows, 'connection')} {evidence.span}: its queue is full; not NAT",
            (
                f"ListenOverflows +{overflows:,} {evidence.span}",
                *([f"ListenDrops +{drops:,}"] if drops else []),
                *_no_conntrack_loss(evidence),
            ),
            (
                Remedy(f"Give {name} more workers, or a longer backlog in listen()."),
                own_sysctl(
                    name, (("net.core.somaxconn", "16384"),), "Where its backlog is above somaxconn, raise that"
                ),
            ),
            Lead("containers", each.container.id),
        )


def _no_conntrack_loss(evidence: Evidence) -> Iterator[str]:
    failed = evidence.risen("insert_failed")
    if failed == 0:
        yield f"insert_failed +0 {evidence.span}: conntrack lost nothing"


SYN_LOSS_LEAST = 5
"""A single lost SYN in a minute is weather."""


@rule("SYNs are lost outside this host")
def syn_loss_elsewhere(evidence: Evidence) -> Iterator[Finding]:
    """Containers send SYNs again although conntrack dropped none and no accept queue here was full: they, or their
    answers, are lost on the way or at the other end. Not NAT.

    Decided by: at least 5 SYN retransmits in containers while insert_failed and drop stand still and no container's
    ListenOverflows rose. Containers whose own table is full, or who call an end that never answers, are left out: other
    rules tell of them.

    To fix: probe the same target from the host; a cloud's own limit on connections (`ethtool -S`,
    conntrack_allowance_exceeded) shows the same picture.
    """
    losses = evidence.losses
    again = [(each, count) for each, count in evidence.retransmitting if not _is_explained(evidence, each)]
    total = sum(count for _, count in again)
    if not losses or losses.clash or losses.table_full or losses.chain or total < SYN_LOSS_LEAST:
        return
    if any(evidence.tcp(each, "listen_overflows") for each in evidence.snapshot.containers):
        return
    worst = again[0][0].container
    targets = evidence.facts.unreplied if evidence.facts else ()
    yield Finding(
        "syn-loss-elsewhere",
        Severity.WARNING,
        worst.name,
        f"{total:,} SYNs sent again {evidence.span} that this host did not drop: the loss is outside; not NAT",
        (
            f"SYN retransmits in {named((each.container.name, count) for each, count in again)}",
            f"insert_failed +0, drop +0 {evidence.span}: conntrack lost nothing",
            *([f"unanswered: {named((pile.what, pile.count) for pile in targets)}"] if targets else []),
        ),
        (
            Remedy(
                "Connect to the same target from the host and from inside the container; equal losses are not NAT's.",
                (f"natop probe --from {worst.name} --count 5 HOST:PORT",),
            ),
            Remedy("In a cloud, look for conntrack_allowance_exceeded.", ("ethtool -S eth0",)),
        ),
        Lead("containers", worst.id),
    )


def _is_explained(evidence: Evidence, container: ContainerSummary) -> bool:
    """Whether another rule says why this container sends SYNs again."""
    most = evidence.snapshot.conntrack.max
    full = bool(most and container.own_table and container.own_table >= FILL_CRITICAL * most)
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
            remedy = own_sysctl(name, (("net.ipv4.tcp_max_tw_buckets", "262144"),), "Raise its limit")
            yield _overflow(evidence, name, rose, remedy, Lead("containers", each.container.id))
    rose = evidence.host_tcp("time_wait_overflow")
    if rose:
        remedy = sysctl("Raise the limit.", evidence, (("net.ipv4.tcp_max_tw_buckets", 262_144),))
        yield _overflow(evidence, HOST, rose, remedy, Lead("counters"))


def _overflow(evidence: Evidence, name: str, rose: int, remedy: Remedy, lead: Lead) -> Finding:
    return Finding(
        "time-wait-bucket-overflow",
        Severity.WARNING,
        name,
        f"{rose:,} TIME_WAIT sockets of {name} closed early {evidence.span}: tcp_max_tw_buckets is reached",
        (f"TCPTimeWaitOverflow +{rose:,} {evidence.span}",),
        (remedy,),
        lead,
    )
