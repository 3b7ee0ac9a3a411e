"""Rules from TCP's own testimony: what looks like NAT from outside and is not."""

from collections.abc import Iterator, Mapping, Sequence

from natop.diagnose.callers import HOST, Elsewhere, refused_of
from natop.diagnose.evidence import (
    SYN_LOSS_LEAST,
    Evidence,
    address_of,
    few,
    listed,
    named,
    percent_of,
)
from natop.diagnose.places import uses_nftables
from natop.diagnose.poolwords import again_text
from natop.diagnose.registry import rule
from natop.diagnose.remedies import (
    BACK_TO_THE_OLD,
    IN_THE_APPLICATION,
    keep_alive,
    look,
    own_sysctl,
    probe,
    sysctl,
    unmet,
    within,
)
from natop.diagnose.severities import graver, of_losses
from natop.formats import many
from natop.model import HOST_MARK, Container, ContainerSummary, Finding, Lead, Pile, Remedy, Severity
from natop.summarise.localports import range_of, sysctls_of
from natop.summarise.window import Since

PORTS_WARN, PORTS_CRITICAL = 0.80, 0.95


@rule("A container runs out of local ports")
def local_ports_exhausted(evidence: Evidence) -> Iterator[Finding]:
    """Towards one remote end a container has only the ports of its own ip_local_port_range, 28,232 by default. When
    they are gone connect() fails with EADDRNOTAVAIL, long before NAT's 64,512 are.

    Decided by: the ports of its range that its sockets hold towards one remote end (TIME_WAIT for 60 s, where the
    container closed first), from 80 % (warning) and 95 % (critical); never more than it has sockets, which entries
    outlive where the peer has vanished.

    To fix: keep-alive; a wider range and tcp_tw_reuse inside the container.
    """
    facts = evidence.facts
    by_id = {each.container.id: each for each in evidence.snapshot.containers}
    for pile in facts.local_ports if facts else ():
        container = by_id.get(pile.key or "")
        if container is None:
            continue
        is_read, (first, last) = range_of(_sysctls(evidence, container))
        size = last - first + 1
        sockets = _sockets(evidence, container)
        held = pile.count if sockets is None else min(pile.count, sockets)
        if held < PORTS_WARN * size:
            continue
        name = container.container.name
        failed = evidence.tcp(container, "attempt_fails")
        yield Finding(
            "local-ports-exhausted",
            Severity.CRITICAL if held >= PORTS_CRITICAL * size else Severity.WARNING,
            name,
            f"{name} holds {percent_of(held, size)} % of its local ports towards {pile.what}; then connect() fails",
            (
                f"{held:,} of {size:,} ports ({first} to {last}{'' if is_read else ', the default'})",
                *([f"failed connects +{failed:,} {evidence.span}"] if failed else []),
            ),
            (
                keep_alive(evidence, [name], pile.what),
                *_more_local_ports(evidence, container),
            ),
            Lead("flows", container.container.id, f"dst:{address_of(pile.what)}"),
        )


def _sockets(evidence: Evidence, container: ContainerSummary) -> int | None:
    """Those of TCP where its sockets are; None where they were not read."""
    tcp = evidence.snapshot.tcp if container.container.uses_host_network else container.tcp
    if tcp is None or tcp.sockets_in_use is None or tcp.time_wait_sockets is None:
        return None
    return tcp.sockets_in_use + tcp.time_wait_sockets


def _sysctls(evidence: Evidence, container: ContainerSummary) -> Mapping[str, int | tuple[int, ...]]:
    """Those that hold for a container's sockets, as far as they were read."""
    told = {each.container.id: each.tcp for each in evidence.snapshot.containers if each.tcp}
    return sysctls_of(container.container, told, evidence.snapshot.host.sysctls)


RANGE, REUSE = "net.ipv4.ip_local_port_range", "net.ipv4.tcp_tw_reuse"
_DOES = {RANGE: "widen its range", REUSE: "let it use ports in TIME_WAIT again"}


def _more_local_ports(evidence: Evidence, container: ContainerSummary) -> tuple[Remedy, ...]:
    """Kernel parameters where a container's sockets are: Docker takes none for one on the host's network."""
    values = unmet(_sysctls(evidence, container), ((RANGE, "1024 65535"), (REUSE, "1")))
    words = " and ".join(_DOES[name] for name, _ in values)
    text, check = words[:1].upper() + words[1:], "failed connects stand still, the share of ports held falls"
    if container.container.uses_host_network:
        cost = _WIDER if RANGE in dict(values) else _SOONER
        return sysctl(f"{text}; it uses the host's.", evidence, values, cost=cost, check=check)
    return own_sysctl(container, values, text, at_once=True, check=check)


_WIDER = "ports from 1024 on are the kernel's to choose, those of services that start later among them"
_SOONER = "it takes TCP's timestamps at both ends to tell an old connection's segments from a new one's"


def _at_least(least: int, sysctls: Mapping[str, int | tuple[int, ...]], name: str) -> int:
    """So much, or twice of what a parameter is now."""
    now = sysctls.get(name.rpartition(".")[2])
    return max(least, 2 * now) if isinstance(now, int) else least


@rule("An application accepts connections too slowly")
def accept_queue_overflow(evidence: Evidence) -> Iterator[Finding]:
    """The queue of connections that wait for accept() is full, or the backlog of those that are half open, so the
    kernel drops SYNs at the server. The caller sees the same stall of a second as with a race, and NAT has nothing to
    do with it.

    Decided by: ListenOverflows of the container's network namespace rises (net/ipv4/tcp_ipv4.c); or ListenDrops without
    it, most often for a full backlog, which a scan fills too. Fewer than 5, or than one in 10,000 of the connections
    accepted, are a hint; 30 overflows or more that are 1 % of them are critical.

    To fix: more workers, a longer backlog in the application, and somaxconn where the backlog is above it.
    """
    for each in evidence.snapshot.containers:
        tcp = evidence.since.tcp.get(each.container.id, {}) if evidence.since else {}
        if refused_of(tcp):
            name = each.container.name
            values = ((SOMAXCONN, _at_least(BACKLOG, _sysctls(evidence, each), SOMAXCONN)),)
            yield Finding(
                "accept-queue-overflow",
                _lost_at_listener(evidence, tcp),
                name,
                _refused(evidence, tcp, name),
                tuple(_overflown(evidence, tcp)),
                (
                    *_listeners(each.container),
                    Remedy(
                        f"Give {name} more workers, or a longer backlog in listen().",
                        cost=IN_THE_APPLICATION,
                        check=_stands_still(tcp),
                        undo_text=BACK_TO_THE_OLD,
                    ),
                    *own_sysctl(
                        each,
                        values,
                        "Where its backlog is above somaxconn, raise that",
                        at_once=False,
                        check=_stands_still(tcp),
                    ),
                ),
                Lead("containers", each.container.id),
                refused_of(tcp),
            )
    yield from _host_overflow(evidence)


LISTENERS, FULL = "ss -ltnp", "it is the one whose Recv-Q is above its Send-Q"


def _listeners(container: Container) -> Iterator[Remedy]:
    """Which of a container's listeners it is, with its processes as the host numbers them."""
    if container.pid is not None:
        text = f"See, while it lasts, which listener of {container.name} is full."
        yield look(text, within(container, LISTENERS), check=FULL)


def _refused(evidence: Evidence, tcp: Mapping[str, int], whose: str) -> str:
    """What was lost, where: the queue of whole connections is the usual one."""
    refused = refused_of(tcp)
    if tcp.get("listen_overflows"):
        return f"accept queue of {whose} is full: {many(refused, 'SYN')} dropped {evidence.span}; not NAT"
    return f"SYNs dropped by {whose}: {refused:,} lost {evidence.span}; not NAT"


def _stands_still(tcp: Mapping[str, int]) -> str:
    return f"{'ListenOverflows' if tcp.get('listen_overflows') else 'ListenDrops'} stands still"


SOMAXCONN, BACKLOG = "net.core.somaxconn", 16_384


def _lost_at_listener(evidence: Evidence, tcp: Mapping[str, int]) -> Severity:
    """Among the connections accepted there; only an overflow is surely the application's."""
    accepted, overflows = tcp.get("passive_opens", 0), tcp.get("listen_overflows", 0)
    likely = of_losses(evidence, refused_of(tcp), accepted, is_sure=False)
    return graver(likely, of_losses(evidence, overflows, accepted))


def _host_overflow(evidence: Evidence) -> Iterator[Finding]:
    """In the host's own namespace, which containers on its network share with the processes of the host."""
    tcp = evidence.since.tcp.get(HOST_MARK, {}) if evidence.since else {}
    if not refused_of(tcp):
        return
    value = _at_least(BACKLOG, evidence.snapshot.host.sysctls, SOMAXCONN)
    containers = evidence.on_host_network
    yield Finding(
        "accept-queue-overflow",
        _lost_at_listener(evidence, tcp),
        HOST,
        _refused(evidence, tcp, "a host's listener"),
        (
            *_overflown(evidence, tcp),
            *([f"on the host's network: {listed(containers)}, and the host's own processes"] if containers else []),
        ),
        (
            look(
                "Find the listener; give it more workers, or a longer backlog in listen().",
                LISTENERS,
                check=FULL,
            ),
            *sysctl(
                "Where its backlog is above somaxconn, raise that.",
                evidence,
                ((SOMAXCONN, value),),
                cost="the listener must be started anew for it to count",
                check=_stands_still(tcp),
            ),
        ),
        Lead("counters"),
        refused_of(tcp),
    )


def _overflown(evidence: Evidence, tcp: Mapping[str, int]) -> Iterator[str]:
    overflows, drops = tcp.get("listen_overflows", 0), tcp.get("listen_drops", 0)
    yield f"ListenOverflows +{overflows:,} {evidence.span}"
    if drops:
        yield f"ListenDrops +{drops:,} {evidence.span}"
    if drops > overflows:
        yield f"{many(drops - overflows, 'SYN')} dropped for no full accept queue: as a rule the backlog is full"
    yield from _no_conntrack_loss(evidence)


def _no_conntrack_loss(evidence: Evidence) -> Iterator[str]:
    failed = evidence.risen("insert_failed")
    if failed == 0:
        yield f"insert_failed +0 {evidence.span}: conntrack lost nothing"


@rule("SYNs are lost on their way, not in NAT")
def syn_loss_elsewhere(evidence: Evidence) -> Iterator[Finding]:
    """Containers send SYNs again that neither conntrack nor a full accept queue here has dropped: they, or their
    answers, are lost on the way or at the other end, or a rule of a firewall drops them. Not NAT.

    Decided by: at least 5 SYNs sent again by who opens connections, beyond what conntrack dropped (insert_failed and
    drop) and what listeners of containers and host dropped (ListenDrops). With containers on the host's network the
    host's own count too. Who lost less than 0.1 % of the connections that it opened is left out: any network does.
    Answers to SYNs that servers send again are left out. Who both opens and accepts, as a reverse proxy, is given one
    SYN for each connection that it opens; where none of its SYNs waits for an answer they may be answers too: a hint.
    Containers whose own table is full, or who have more than 50 unanswered flows to one end, are left out: other rules
    tell of them.

    To fix: probe the same target from the host; look for firewall rules that drop; a cloud's own limit on connections
    (`ethtool -S`, conntrack_allowance_exceeded) shows the same picture.
    """
    found = evidence.elsewhere
    if not found or found.lost < SYN_LOSS_LEAST:
        return
    both = [] if found.is_sure else [each.name for each in found.callers if each.accepts]
    first = found.callers[0]
    piles = evidence.facts.unreplied if evidence.facts else ()
    yield Finding(
        "syn-loss-elsewhere",
        Severity.WARNING if found.is_sure else Severity.INFO,
        first.name,
        f"SYNs{'' if found.is_sure else ', or answers to SYNs,'} lost on the way, not in NAT: "
        f"{_elsewhere(evidence, found)} sent again {evidence.span}",
        (
            again_text(evidence, found.again, ((each.name, each.syns) for each in found.callers)),
            *([f"these may be answers to clients: {few(both)} accepted connections too"] if both else []),
            *_accounted(evidence),
            *([f"unanswered: {named((pile.what, pile.count) for pile in piles)}"] if piles else []),
        ),
        (
            _probed(evidence, first.name, piles),
            look(
                "Look for rules that drop on this host: a dropped SYN leaves no trace in conntrack.",
                *_rules_with_counters(evidence),
                check="a rule that drops has a counter that rises with the losses; in brackets, packets and bytes",
            ),
            look(
                "In a cloud, look for its own limit in `ethtool -S` of the interface that leads out.",
                check="conntrack_allowance_exceeded rises",
            ),
        ),
        Lead("containers", first.container.id) if first.container else Lead("counters"),
        found.lost,
    )


def _elsewhere(evidence: Evidence, found: Elsewhere) -> str:
    """All that were sent again, where this host lost none; else the rest of them."""
    is_explained = evidence.refused or (evidence.losses and evidence.losses.total)
    return f"about {found.lost:,} of {found.again:,}" if is_explained else f"{found.again:,}"


def _accounted(evidence: Evidence) -> Iterator[str]:
    """What this host lost itself."""
    lost = evidence.losses.total if evidence.losses else 0
    if lost:
        counts = ", ".join(f"{name} +{evidence.risen(name) or 0:,}" for name in ("insert_failed", "drop"))
        yield f"{counts} {evidence.span}: conntrack explains {lost:,}"
    else:
        yield f"insert_failed +0, drop +0 {evidence.span}: conntrack lost nothing"
    if evidence.refused:
        yield f"ListenDrops +{evidence.refused:,} {evidence.span}: listeners here explain as many"


def _rules_with_counters(evidence: Evidence) -> tuple[str, ...]:
    """Those of all tables: Docker drops in raw's PREROUTING too, from 28 on."""
    return ("nft list ruleset",) if uses_nftables(evidence) else ("iptables-save -c", "ip6tables-save -c")


def _probed(evidence: Evidence, name: str, unreplied: Sequence[Pile]) -> Remedy:
    """To what is not answered, else to where the container holds most ports; where neither is known, in words."""
    ends = [pile.what for pile in unreplied]
    ends += [pool.remote for pool in evidence.pools if any(holder == name for holder, _ in pool.holders)]
    called = next((end for end in ends if end.endswith("/tcp")), None)
    return look(
        "Connect to the same target from the host and from inside the container"
        + ("." if called else ": `natop probe --from CONTAINER HOST:PORT`."),
        *([probe(evidence, called, name)] if called else []),
        check="equal losses are not NAT's",
    )


@rule("The limit of TIME_WAIT sockets is reached")
def time_wait_bucket_overflow(evidence: Evidence) -> Iterator[Finding]:
    """A network namespace had more sockets in TIME_WAIT than tcp_max_tw_buckets; further ones were closed at once.

    Decided by: TCPTimeWaitOverflow rises in the namespace of a container or of the host. Fewer than 5, or than one in
    10,000 of its connections, are a hint.

    To fix: raise the limit there, or open fewer connections.
    """
    for each in evidence.snapshot.containers:
        rose = evidence.tcp(each, "time_wait_overflow")
        if rose:
            name = each.container.name
            values = ((MOST_WAITING, _at_least(WAITING, _sysctls(evidence, each), MOST_WAITING)),)
            remedies = own_sysctl(each, values, "Raise its limit", at_once=True, check=_CLOSED_EARLY)
            severity = of_losses(evidence, rose, _connections(evidence.since, each.container.id), is_sure=False)
            yield _overflow(evidence, name, rose, severity, remedies, Lead("containers", each.container.id))
    rose = evidence.host_tcp("time_wait_overflow")
    if rose:
        most = _at_least(WAITING, evidence.snapshot.host.sysctls, MOST_WAITING)
        cost = "up to a few hundred bytes of kernel memory for each socket"
        remedies = sysctl("Raise the limit.", evidence, ((MOST_WAITING, most),), cost=cost, check=_CLOSED_EARLY)
        severity = of_losses(evidence, rose, _connections(evidence.since, HOST_MARK), is_sure=False)
        yield _overflow(evidence, HOST, rose, severity, remedies, Lead("counters"))


def _connections(since: Since | None, namespace: str) -> int:
    """All that were opened and accepted there, as far as it was read."""
    tcp = since.tcp.get(namespace, {}) if since else {}
    return tcp.get("active_opens", 0) + tcp.get("passive_opens", 0)


_CLOSED_EARLY = "TCPTimeWaitOverflow stands still"
MOST_WAITING, WAITING = "net.ipv4.tcp_max_tw_buckets", 262_144


def _overflow(
    evidence: Evidence, name: str, rose: int, severity: Severity, remedies: tuple[Remedy, ...], lead: Lead
) -> Finding:
    return Finding(
        "time-wait-bucket-overflow",
        severity,
        name,
        f"tcp_max_tw_buckets of {name} is reached: {many(rose, 'TIME_WAIT socket')} closed early {evidence.span}",
        (f"TCPTimeWaitOverflow +{rose:,} {evidence.span}",),
        remedies,
        lead,
    )
