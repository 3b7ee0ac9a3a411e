"""Rules about the conntrack table itself: how full it is, what piles up in it, and what should not be there."""

from collections.abc import Iterator, Sequence

from natop.diagnose.evidence import HOST, Evidence, address_of, few, known_caller, many, named, percent_of
from natop.diagnose.registry import rule
from natop.diagnose.remedies import deleted_flows, drop_invalid, keep_alive, sysctl
from natop.join.local import GONE
from natop.model import Conntrack, Finding, Lead, Pile, Remedy, Severity
from natop.sysctls import CHAIN_WARNING, FULL_CRITICAL, FULL_WARNING


@rule("The conntrack table is full")
def table_full(evidence: Evidence) -> Iterator[Finding]:
    """Every tracked flow of the host and its containers takes one of nf_conntrack_max entries. When all are taken, the
    first packet of each new flow is dropped; flows that exist go on.

    Decided by: the fill, from 75 % (warning) and 90 % (critical); drop rising faster than insert_failed, as it does for
    refused entries; early_drop rising, which means that unanswered flows are thrown out to make room.

    To fix: raise nf_conntrack_max (some 320 bytes of kernel memory an entry) and the buckets with it, and look at who
    fills the table.
    """
    count, most, peak = evidence.snapshot.conntrack.count, evidence.snapshot.conntrack.max, evidence.peak
    if count is None or not most or not peak:
        return
    was_full = peak[0] >= FULL_WARNING * peak[1]
    refused = evidence.losses.table_full if evidence.losses and was_full else 0
    if count < FULL_WARNING * most and not refused:
        return
    yield Finding(
        "table-full",
        Severity.CRITICAL if refused or count >= FULL_CRITICAL * most else Severity.WARNING,
        HOST,
        _fill(count, most, peak) + f": {many(refused, 'new flow')} refused {evidence.span}" * bool(refused),
        (
            f"{count:,} of {most:,} entries",
            *([f"drop - insert_failed +{refused:,} {evidence.span}"] if refused else []),
            *_thrown_out(evidence),
            *_fillers(evidence),
        ),
        (_larger_table(evidence, most),),
        Lead("containers"),
    )


def _fill(count: int, most: int, peak: tuple[int, int]) -> str:
    if count >= FULL_WARNING * most:
        return f"the conntrack table is {percent_of(count, most)} % full"
    return f"the conntrack table was {percent_of(*peak)} % full (now {percent_of(count, most)} %)"


def _thrown_out(evidence: Evidence) -> Iterator[str]:
    early = evidence.risen("early_drop")
    if early:
        yield f"early_drop +{early:,} {evidence.span}: unanswered flows thrown out to make room"


def _larger_table(evidence: Evidence, most: int) -> Remedy:
    """Twice the limit, and as many buckets as keep the chains of a full table short; never fewer than there are."""
    values, buckets = [("net.netfilter.nf_conntrack_max", 2 * most)], evidence.snapshot.conntrack.buckets
    wanted = 2 * most // CHAIN_WARNING
    if buckets is not None and wanted > buckets:
        values.append(("net.netfilter.nf_conntrack_buckets", wanted))
    hint = f", and nf_conntrack_buckets to {wanted:,} where it is less" if buckets is None else ""
    return sysctl(
        "Raise the limit, and the hash table with it." if len(values) > 1 else f"Raise the limit{hint}.",
        evidence,
        values,
        cost=f"about {ENTRY_BYTES * most / 1e6:.0f} MB more of kernel memory when full",
        check="conntrack on top of the screen falls; drop stands still",
    )


ENTRY_BYTES = 320
"""Of one entry with its extensions, as the slab nf_conntrack has it."""


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
        if not most or each.own_table is None or each.own_table < FULL_WARNING * most:
            continue
        yield Finding(
            "table-full-in-container",
            Severity.CRITICAL if each.own_table >= FULL_CRITICAL * most else Severity.WARNING,
            each.container.name,
            f"the conntrack table inside {each.container.name} is {percent_of(each.own_table, most)} % full",
            (f"{each.own_table:,} of {most:,} entries in its own network namespace",),
            (
                sysctl(
                    "Raise the limit; it counts for each namespace by itself.",
                    evidence,
                    (("net.netfilter.nf_conntrack_max", 2 * most),),
                    cost=f"about {ENTRY_BYTES * most / 1e6:.0f} MB more of kernel memory for each table that is full",
                ),
            ),
            Lead("containers", each.container.id),
        )


TIME_WAIT_SHARE = 0.60
TIME_WAIT_LEAST = 1_000
"""A table in which most TCP flows are in TIME_WAIT, and enough of them that people ask why."""


@rule("Most flows are in TIME_WAIT")
def time_wait_buildup(evidence: Evidence) -> Iterator[Finding]:
    """Many short connections: each leaves an entry in conntrack's TIME_WAIT, by default for 120 s, and with it its NAT
    port.

    By itself that is harmless, and it is not what makes first connections slow: a kernel of 6.5 or later gives such
    ports to new connections, and before that only a pool that is nearly full matters.

    Decided by: more than 60 % of the TCP flows and at least 1,000 in TIME_WAIT. It is a warning only where it matters:
    a NAT pool of which 80 % are held and cannot be evicted, or a table that is 75 % full. Where it is not known how
    full the table is, nobody can say that it is harmless.

    To fix: keep-alive, so that fewer connections are opened.
    """
    waiting, table = evidence.snapshot.time_wait, evidence.snapshot.conntrack
    if not waiting or waiting.count < TIME_WAIT_LEAST or waiting.share is None or waiting.share <= TIME_WAIT_SHARE:
        return
    if waiting.concern is None and (table.count is None or table.max is None):
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
        f"{waiting.count:,} flows in TIME_WAIT, {100 * waiting.share:.0f} % of TCP: {verdict}",
        (
            *([f"closed first by {closer}: {ends[closer]:,}"] if ends[closer] else []),
            *([f"most in {named(busiest)}"] if busiest else []),
            *([f"services: {named(waiting.services)}"] if waiting.services else []),
            *([f"at this rate it settles at about {waiting.steady_state:,.0f}"] if waiting.steady_state else []),
            *_fullest(evidence),
        ),
        (keep_alive([name for name, _ in busiest]),),
        Lead("flows", filter="state:time_wait"),
    )


def _fullest(evidence: Evidence) -> Iterator[str]:
    pool = evidence.fullest
    if pool:
        evictable = f"; {pool.soft:,} of its ports may be evicted for new connections" if pool.soft else ""
        yield f"fullest NAT pool: {percent_of(pool.used, pool.capacity)} % of {pool.capacity:,}{evictable}"


@rule("Hash chains of the conntrack table are too long")
def hash_chains(evidence: Evidence) -> Iterator[Finding]:
    """The limit was raised without the hash table, so that each bucket holds many entries: lookups get slow, and from
    50 to 79 in one chain new entries are refused (since Linux 5.15, nf_conntrack_core.c).

    Decided by: chaintoolong rising, or more than 4 entries for each bucket in the table as it is.

    To fix: more buckets; 8 bytes each.
    """
    table = evidence.snapshot.conntrack
    refused = evidence.losses.chain if evidence.losses else 0
    a_bucket = table.count / table.buckets if table.count is not None and table.buckets else None
    if not refused and (a_bucket is None or a_bucket <= CHAIN_WARNING):
        return
    yield Finding(
        "hash-chains",
        Severity.CRITICAL if refused else Severity.WARNING,
        HOST,
        f"hash chains are too long: {many(refused, 'new flow')} refused {evidence.span}"
        if refused
        else f"{a_bucket:.0f} entries in each hash bucket: lookups are slow",
        tuple(_hashed(table)),
        tuple(_more_buckets(evidence, table)),
        Lead("counters"),
    )


def _hashed(table: Conntrack) -> Iterator[str]:
    if table.count is not None and table.buckets is not None:
        yield f"{table.count:,} entries on {table.buckets:,} buckets"
    if table.max is not None:
        yield f"the limit is {table.max:,} entries"


def _more_buckets(evidence: Evidence, table: Conntrack) -> Iterator[Remedy]:
    """Twice as many at least; all namespaces share them, so that the limit alone does not say how many are enough."""
    if table.buckets and table.max:
        yield sysctl(
            "Enlarge the hash table.",
            evidence,
            (("net.netfilter.nf_conntrack_buckets", max(2 * table.buckets, table.max // 2)),),
            check="chaintoolong stands still",
        )


INVALID_PER_S, INVALID_LEAST = 10.0, 100
"""A burst of a second is no fault."""


@rule("Packets that conntrack calls INVALID")
def invalid_packets(evidence: Evidence) -> Iterator[Finding]:
    """Packets out of their connection's window, or of no connection known, are INVALID. NAT leaves them alone, so they
    reach the peer with a wrong address, and the peer may reset the connection in mid-transfer.

    Decided by: invalid rising by more than 10 a second, and by at least 100.

    To fix: let conntrack be liberal about windows, or drop INVALID packets before they leave; first find out which they
    are with nf_conntrack_log_invalid.
    """
    rose = evidence.risen("invalid")
    if rose is None or not evidence.since or rose < INVALID_LEAST or rose / evidence.since.seconds <= INVALID_PER_S:
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
            drop_invalid(evidence),
        ),
        Lead("counters"),
    )


ZOMBIES_LEAST = 100


@rule("Connections that ended long ago are still ESTABLISHED")
def established_zombies(evidence: Evidence) -> Iterator[Finding]:
    """An entry in ESTABLISHED that sees no packet stays for nf_conntrack_tcp_timeout_established, five days by default.
    Where peers vanish without a FIN, such entries outlive them and fill the table.

    Decided by: at least 100 flows in ESTABLISHED without a packet for more than a day, as their timeouts tell. Flows
    with data in flight have a timeout of minutes, however fresh, and do not count.

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
            known_caller(pile),
            f"{pile.count:,} connections to {pile.what} are not answered: it is down or filtered; not NAT",
            (f"{pile.count:,} flows in SYN_SENT without a reply", f"opened by {few(pile.owners)}"),
            (Remedy(f"See whether {pile.what} listens and whether a firewall on the way drops the SYNs."),),
            Lead("flows", filter=f"state:syn_sent dst:{address_of(pile.what)}"),
        )


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

    Decided by: flows whose server is a container that is gone: they were that container's when they were seen before,
    or began before the present owner of the address did, or DNAT leads them to an address of a bridge network that
    no container has and that ARP asks for in vain (IPv4 only; up to a minute after the last answer). It is a warning
    for UDP that DNAT sends there. UDP to an address that a container of the same name has again is where it should be.

    To fix: delete these entries; the next packet makes a new one.
    """
    facts = evidence.facts
    for pile in facts.stale if facts else ():
        is_mapped = pile.answering is not None and pile.answering != address_of(pile.what)
        if pile.what.endswith("/udp") and _is_back(evidence, pile):
            continue
        yield Finding(
            "stale-mapping",
            Severity.WARNING if is_mapped and pile.what.endswith("/udp") else Severity.INFO,
            pile.owners[0] if pile.owners else HOST,
            _leads_nowhere(pile, is_mapped),
            (f"{many(pile.count, 'flow')} of kind STALE; {pile.answering} should answer",),
            (deleted_flows(pile),) if is_mapped else (),
            Lead("flows", filter=f"kind:stale dst:{address_of(pile.what)}"),
        )


def _is_back(evidence: Evidence, pile: Pile) -> bool:
    """Whether containers of the same names have the address again: what has no connection goes where it should."""
    if pile.answering is None:
        return False
    there = {
        GONE + name
        for each in evidence.snapshot.containers
        for place in each.container.networks
        if pile.answering in (place.ipv4, place.ipv6)
        for name in (each.container.name, pile.answering)
    }
    return bool(pile.owners) and there.issuperset(pile.owners)


def _leads_nowhere(pile: Pile, is_mapped: bool) -> str:
    name = pile.owners[0].removeprefix(GONE) if pile.owners else "a container"
    if is_mapped:
        fate = "which no container has" if name == pile.answering else "which is gone"
        return f"{pile.what} still leads to {name}, {fate}: {many(pile.count, 'flow')}"
    return f"{name} is gone, and {pile.what}, where it was, is still called: {many(pile.count, 'flow')}"
