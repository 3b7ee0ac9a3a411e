"""Rules about the conntrack table itself: how full it is, what piles up in it, and what should not be there."""

from collections.abc import Iterator, Sequence

from natop.diagnose.evidence import HOST, Evidence, many, named
from natop.diagnose.registry import rule
from natop.diagnose.remedies import delete_flows, is_address, keep_alive, sysctl
from natop.model import Finding, Lead, Pile, Remedy, Severity

FILL_WARN, FILL_CRITICAL = 0.75, 0.90
"""node-exporter's alert NodeHighNumberConntrackEntriesUsed fires at 75 %; at 95 % the kernel starts to collect hard."""
ENTRIES_A_BUCKET = 8
"""max / buckets above which chains get long; a chain of 50 to 79 refuses new entries (nf_conntrack_core.c)."""


@rule("The conntrack table is full")
def table_full(evidence: Evidence) -> Iterator[Finding]:
    """Every tracked flow of the host and its containers takes one of nf_conntrack_max entries. When all are taken, the
    first packet of each new flow is dropped; flows that exist go on.

    Decided by: the fill, from 75 % (warning) and 90 % (critical); drop rising faster than insert_failed, as it does for
    refused entries; early_drop rising, which means that unanswered flows are thrown out to make room.

    To fix: raise nf_conntrack_max (some 320 bytes of kernel memory an entry) and the buckets with it, and look at who
    fills the table.
    """
    fill, losses = evidence.fill, evidence.losses
    refused = losses.table_full if losses else 0
    early = evidence.risen("early_drop") or 0
    full = bool(refused) and fill is not None and fill >= FILL_WARN
    if fill is None or not (fill >= FILL_WARN or full):
        return
    conntrack = evidence.snapshot.conntrack
    now = conntrack.max or 0
    said = f"{many(refused, 'new flow')} refused {evidence.span}: " if full else ""
    yield Finding(
        "table-full",
        Severity.CRITICAL if full or fill >= FILL_CRITICAL else Severity.WARNING,
        HOST,
        f"{said}the conntrack table is {100 * fill:.0f} % full",
        (
            f"{conntrack.count:,} of {now:,} entries",
            *([f"drop - insert_failed +{refused:,} {evidence.span}"] if refused else []),
            *([f"early_drop +{early:,} {evidence.span}: unanswered flows thrown out to make room"] if early else []),
            *_fillers(evidence),
        ),
        (
            sysctl(
                "Raise the limit, and the hash table with it.",
                evidence,
                (
                    ("net.netfilter.nf_conntrack_max", 2 * now),
                    ("net.netfilter.nf_conntrack_buckets", max(1024, now // 2)),
                ),
                cost=f"about {320 * now / 1e6:.0f} MB of kernel memory when full",
                check="CT on top of the screen falls; drop stands still",
            ),
        ),
        Lead("containers"),
    )


def _fillers(evidence: Evidence) -> Iterator[str]:
    """Who has the most entries."""
    counts = [(each.container.name, each.flows.counts.total) for each in evidence.snapshot.containers if each.flows]
    busiest = sorted((pair for pair in counts if pair[1]), key=lambda pair: -pair[1])
    if busiest:
        yield f"most entries: {named(busiest)}"


@rule("A conntrack table inside a container's namespace is full")
def table_full_in_container(evidence: Evidence) -> Iterator[Finding]:
    """A container on a user-defined network tracks its flows a second time in its own network namespace, because of
    the NAT rules of Docker's DNS there. The limit nf_conntrack_max counts for each namespace by itself.

    Decided by: the namespace's own count against nf_conntrack_max, from 75 % and 90 %.

    To fix: raise nf_conntrack_max, which is one value for all namespaces.
    """
    most = evidence.snapshot.conntrack.max
    for each in evidence.snapshot.containers:
        if not most or each.own_table is None or each.own_table < FILL_WARN * most:
            continue
        fill = each.own_table / most
        yield Finding(
            "table-full-in-container",
            Severity.CRITICAL if fill >= FILL_CRITICAL else Severity.WARNING,
            each.container.name,
            f"the conntrack table inside {each.container.name} is {100 * fill:.0f} % full",
            (f"{each.own_table:,} of {most:,} entries in its own network namespace",),
            (
                sysctl(
                    "Raise the limit; it counts for each namespace by itself.",
                    evidence,
                    (("net.netfilter.nf_conntrack_max", 2 * most),),
                ),
            ),
            Lead("containers", each.container.id),
        )


TIME_WAIT_SHARE = 0.60
TIME_WAIT_LEAST = 1_000
"""A table in which most TCP flows are in TIME_WAIT, and enough of them that people ask why."""


@rule("Most flows are in TIME_WAIT")
def time_wait_buildup(evidence: Evidence) -> Iterator[Finding]:
    """Many short connections: each leaves an entry in conntrack's TIME_WAIT for 120 s, and with it its NAT port.

    By itself that is harmless, and it is not what makes first connections slow: a kernel of 6.5 or later gives such
    ports to new connections, and before that only a pool that is nearly full matters.

    Decided by: more than 60 % of the TCP flows and at least 1,000 in TIME_WAIT. It is a warning only where it matters:
    a NAT pool of which 80 % are held and cannot be evicted, or a table that is 75 % full.

    To fix: keep-alive, so that fewer connections are opened.
    """
    waiting = evidence.snapshot.time_wait
    if not waiting or waiting.count < TIME_WAIT_LEAST or (waiting.share or 0) <= TIME_WAIT_SHARE:
        return
    ends = {"their clients": waiting.closed_by_client, "their servers": waiting.closed_by_server}
    closer = max(ends, key=lambda name: ends[name])
    owners = [(each.container.name, each.time_wait.count) for each in evidence.snapshot.containers if each.time_wait]
    busiest = sorted((pair for pair in owners if pair[1]), key=lambda pair: -pair[1])
    verdict = "harmless" if waiting.concern is None else waiting.concern
    yield Finding(
        "time-wait-buildup",
        Severity.INFO if waiting.concern is None else Severity.WARNING,
        busiest[0][0] if busiest else HOST,
        f"{waiting.count:,} flows in TIME_WAIT, {100 * (waiting.share or 0):.0f} % of TCP: {verdict}",
        (
            *([f"closed first by {closer}: {ends[closer]:,}"] if ends[closer] else []),
            *([f"most in {named(busiest)}"] if busiest else []),
            *([f"services: {named(waiting.services)}"] if waiting.services else []),
            *([f"at this rate it settles at about {waiting.steady_state:,.0f}"] if waiting.steady_state else []),
            *([_fullest(evidence)] if evidence.fullest else []),
        ),
        (keep_alive([name for name, _ in busiest]),),
        Lead("flows", filter="state:time_wait"),
    )


def _fullest(evidence: Evidence) -> str:
    pool = evidence.fullest
    assert pool
    return (
        f"fullest NAT pool: {100 * pool.use:.0f} % of {pool.capacity:,}, {100 * pool.hard_use:.0f} % without TIME_WAIT"
    )


@rule("Hash chains of the conntrack table are too long")
def hash_chains(evidence: Evidence) -> Iterator[Finding]:
    """The limit was raised without the hash table, so that each bucket holds many entries: lookups get slow, and from
    50 to 79 in one chain new entries are refused (since Linux 5.15, nf_conntrack_core.c).

    Decided by: chaintoolong rising, or nf_conntrack_max more than 8 times the buckets in a table that is in use.

    To fix: more buckets; 8 bytes each.
    """
    conntrack, losses = evidence.snapshot.conntrack, evidence.losses
    refused = losses.chain if losses else 0
    long = bool(conntrack.buckets and (conntrack.count or 0) > ENTRIES_A_BUCKET / 2 * conntrack.buckets)
    if not refused and not long:
        return
    now = conntrack.max or 0
    yield Finding(
        "hash-chains",
        Severity.CRITICAL if refused else Severity.WARNING,
        HOST,
        f"{many(refused, 'new flow')} refused {evidence.span}: hash chains are too long"
        if refused
        else f"{(conntrack.count or 0) / (conntrack.buckets or 1):.0f} entries a hash bucket: lookups are slow",
        (f"{conntrack.count or 0:,} entries and a limit of {now:,} on {conntrack.buckets or 0:,} buckets",),
        (
            sysctl(
                "Enlarge the hash table.",
                evidence,
                (("net.netfilter.nf_conntrack_buckets", max(1024, now // 2)),),
                check="chaintoolong stands still",
            ),
        ),
        Lead("counters"),
    )


INVALID_PER_S = 10.0


@rule("Packets that conntrack calls INVALID")
def invalid_packets(evidence: Evidence) -> Iterator[Finding]:
    """Packets out of their connection's window, or of no connection known, are INVALID. NAT leaves them alone, so they
    reach the peer with a wrong address, and the peer may reset the connection in mid-transfer.

    Decided by: invalid rising by more than 10 a second.

    To fix: let conntrack be liberal about windows, or drop INVALID packets before they leave; first find out which they
    are with nf_conntrack_log_invalid.
    """
    rose = evidence.risen("invalid")
    if rose is None or not evidence.since or rose / evidence.since.seconds <= INVALID_PER_S:
        return
    yield Finding(
        "invalid-packets",
        Severity.WARNING,
        HOST,
        f"{rose:,} INVALID packets {evidence.span}: NAT leaves them alone, and peers may answer with resets",
        (f"invalid +{rose:,} {evidence.span}, {rose / evidence.since.seconds:.0f} a second",),
        (
            sysctl(
                "See which they are, in the kernel's log.", evidence, (("net.netfilter.nf_conntrack_log_invalid", 6),)
            ),
            sysctl(
                "Accept packets out of the window.",
                evidence,
                (("net.netfilter.nf_conntrack_tcp_be_liberal", 1),),
                cost="blind injection into a connection gets easier",
            ),
            Remedy(
                "Or drop them before they leave with a wrong address.",
                ("iptables -I DOCKER-USER -m conntrack --ctstate INVALID -j DROP",),
                ("iptables -D DOCKER-USER -m conntrack --ctstate INVALID -j DROP",),
                check="invalid rises on, resets stop",
            ),
        ),
        Lead("counters"),
    )


ZOMBIES_LEAST = 100


@rule("Connections that ended long ago are still ESTABLISHED")
def established_zombies(evidence: Evidence) -> Iterator[Finding]:
    """An entry in ESTABLISHED that sees no packet stays for nf_conntrack_tcp_timeout_established, five days by default.
    Where peers vanish without a FIN, such entries outlive them and fill the table.

    Decided by: at least 100 flows in ESTABLISHED without a packet for more than a day.

    To fix: a shorter timeout, with TCP keep-alive in the applications more often than that.
    """
    facts = evidence.facts
    if not facts or facts.zombies < ZOMBIES_LEAST:
        return
    yield Finding(
        "established-zombies",
        Severity.INFO,
        facts.zombies_of[0].owners[0] if facts.zombies_of else HOST,
        f"{facts.zombies:,} connections ESTABLISHED without a packet for more than a day",
        tuple(f"{pile.count:,} opened by {pile.what}" for pile in facts.zombies_of[:3]),
        (
            sysctl(
                "Let idle connections go after a day.",
                evidence,
                (("net.netfilter.nf_conntrack_tcp_timeout_established", 86_400),),
                cost="connections idle for longer are forgotten; entries there now keep their timeout",
                check="ESTABLISHED falls over the next day",
            ),
        ),
        Lead("flows", filter="state:established"),
    )


UNREPLIED_LEAST = 50


def unanswered(evidence: Evidence) -> Sequence[Pile]:
    """The ends that let more than UNREPLIED_LEAST connections wait."""
    facts = evidence.facts
    return [pile for pile in facts.unreplied if pile.count > UNREPLIED_LEAST] if facts else ()


@rule("Connections that nobody answers")
def unreplied_syns(evidence: Evidence) -> Iterator[Finding]:
    """SYNs went out towards one end and nothing came back: the service is down, or a firewall drops them. Not NAT.

    Decided by: more than 50 flows in SYN_SENT without a reply towards one address and port.

    To fix: look at the service, the route to it and the firewalls between.
    """
    for pile in unanswered(evidence):
        yield Finding(
            "unreplied-syns",
            Severity.WARNING,
            pile.owners[0] if pile.owners else HOST,
            f"{pile.count:,} connections to {pile.what} are not answered: it is down or filtered; not NAT",
            (f"{pile.count:,} flows in SYN_SENT without a reply", f"opened by {', '.join(pile.owners)}"),
            (Remedy(f"See whether {pile.what} listens and whether a firewall on the way drops the SYNs."),),
            Lead("flows", filter=f"state:syn_sent dst:{_address(pile.what)}"),
        )


def _address(end: str) -> str:
    return end.rpartition("/")[0].rpartition(":")[0].strip("[]")


CLOSING_SHARE = 0.05
CLOSING_LEAST = 200


@rule("Connections that do not finish closing")
def closing_pile(evidence: Evidence) -> Iterator[Finding]:
    """Flows stay in FIN_WAIT, CLOSE_WAIT or LAST_ACK because the last packets of the close are not seen: the peer has
    vanished, or the ways there and back differ. These are the states of a man in the middle, not of a socket.

    Decided by: more than 5 % of the TCP flows, and at least 200, in one of these states.

    To fix: look at the peers; the entries go by themselves after 30 to 120 s.
    """
    whole = evidence.snapshot.whole
    if whole is None:
        return
    states = whole.counts.states
    total = sum(states.values())
    name = max(("FIN_WAIT", "CLOSE_WAIT", "LAST_ACK"), key=lambda each: states[each])
    if states[name] < CLOSING_LEAST or states[name] <= CLOSING_SHARE * total:
        return
    percent = 100 * states[name] / total
    yield Finding(
        "closing-pile",
        Severity.INFO,
        HOST,
        f"{states[name]:,} flows stay in {name}, {percent:.0f} % of TCP: their close is never seen whole",
        (f"{states[name]:,} of {total:,} TCP flows",),
        (Remedy("See whether the peers still exist and whether answers take another way than questions."),),
        Lead("flows", filter=f"state:{name.lower()}"),
    )


@rule("Flows still lead to a container that is gone")
def stale_mapping(evidence: Evidence) -> Iterator[Finding]:
    """An entry made for a container that is gone still rewrites packets to its old address. With UDP it lives as long
    as the sender goes on, so that a service that was created anew gets nothing.

    Decided by: flows that began before the present owner of the address did, or lead to an address whose owner is gone.

    To fix: delete these entries; the next packet makes a new one.
    """
    facts = evidence.facts
    for pile in facts.stale if facts else ():
        address, udp = _address(pile.what), pile.what.endswith("/udp")
        command = f"conntrack -D -p {pile.what.rpartition('/')[2]} --orig-dst {address}"
        port = pile.what.rpartition("/")[0].rpartition(":")[2]
        if port.isdigit():
            command += f" --orig-port-dst {port}"
        yield Finding(
            "stale-mapping",
            Severity.WARNING if udp else Severity.INFO,
            pile.owners[0] if pile.owners else HOST,
            f"{pile.count:,} flows to {pile.what} still belong to a container that is gone",
            (f"{pile.count:,} flows of kind STALE", f"their client: {', '.join(pile.owners)}"),
            (delete_flows("Delete these entries.", command),) if is_address(address) else (),
            Lead("flows", filter=f"kind:stale dst:{address}"),
        )
