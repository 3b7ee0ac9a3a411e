"""Rules about the conntrack table itself: how full it is, what piles up in it, and what should not be there."""

from collections.abc import Iterator

from natop.diagnose.callers import HOST
from natop.diagnose.evidence import Evidence, named, percent_of
from natop.diagnose.registry import rule
from natop.diagnose.remedies import drop_invalid, keep_alive, sysctl
from natop.diagnose.severities import graver, of_losses
from natop.formats import many
from natop.model import Conntrack, Finding, Lead, Remedy, Severity, TimeWait
from natop.summarise.timewait import calm_text
from natop.sysctls import CHAIN_CRITICAL, CHAIN_WARNING, FULL_CRITICAL, FULL_WARNING


@rule("The conntrack table is full")
def table_full(evidence: Evidence) -> Iterator[Finding]:
    """Every tracked flow of the host and its containers takes one of nf_conntrack_max entries. When all are taken, the
    first packet of each new flow is dropped; flows that exist go on.

    Decided by: the fill, from 75 % (warning) and 90 % (critical); drop rising faster than insert_failed, as it does for
    refused entries, where the table was seen 75 % full in the last minute or early_drop rose; early_drop rising, which
    means that the table was full and unanswered flows were thrown out to make room. 30 refused or more that are 1 % of
    the new flows are critical too; where the table is not, and was not seen, 75 % full, fewer than 5 refused or thrown
    out, or than one in 10,000, are a hint.

    To fix: raise nf_conntrack_max (some 320 bytes of kernel memory an entry) and the buckets with it, and look at who
    fills the table.
    """
    count, most, peak = evidence.snapshot.conntrack.count, evidence.snapshot.conntrack.max, evidence.peak
    if count is None or not most or not peak:
        return
    evicted = evidence.risen("early_drop") or 0
    refused = evidence.losses.table_full if evidence.losses and evidence.table_was_full else 0
    if count < FULL_WARNING * most and not refused and not evicted:
        return
    yield Finding(
        "table-full",
        graver(_by_fill(count / most, peak[0] / peak[1]), _by_losses(evidence, refused, evicted)),
        HOST,
        _fill(count, most, peak) + _refused(evidence, refused, evicted),
        (
            f"{count:,} of {most:,} entries",
            *([f"drop - insert_failed +{refused:,} {evidence.span}"] if refused else []),
            *_thrown_out(evidence),
            *_fillers(evidence),
        ),
        _larger_table(evidence, most),
        Lead("containers"),
        refused,
    )


def _by_fill(now: float, peak: float) -> Severity:
    """Of the table as it is; one that was full and no longer is wakes nobody by that alone."""
    if now >= FULL_CRITICAL:
        return Severity.CRITICAL
    return Severity.WARNING if max(now, peak) >= FULL_WARNING else Severity.INFO


def _by_losses(evidence: Evidence, refused: int, evicted: int) -> Severity:
    """Flows that are thrown out had no answer yet; most of them never get one."""
    return graver(of_losses(evidence, refused), of_losses(evidence, evicted, is_sure=False))


def _fill(count: int, most: int, peak: tuple[int, int]) -> str:
    if count >= FULL_WARNING * most:
        return f"the conntrack table is {percent_of(count, most)} % full"
    if peak[0] >= FULL_WARNING * peak[1]:
        return f"the conntrack table was {percent_of(*peak)} % full (now {percent_of(count, most)} %)"
    return f"the conntrack table was full for a moment (now {percent_of(count, most)} %)"


def _refused(evidence: Evidence, refused: int, evicted: int) -> str:
    """What that did to flows: new ones that had no room, or unanswered ones that made it."""
    if refused:
        return f": {many(refused, 'new flow')} refused {evidence.span}"
    return f": {many(evicted, 'flow')} thrown out {evidence.span}" if evicted else ""


def _thrown_out(evidence: Evidence) -> Iterator[str]:
    early = evidence.risen("early_drop")
    if early:
        yield f"early_drop +{early:,} {evidence.span}: unanswered flows thrown out to make room"


def _larger_table(evidence: Evidence, most: int) -> tuple[Remedy, ...]:
    """Twice the limit, and as many buckets as keep the chains of a full table short; never fewer than there are."""
    values, buckets = [("net.netfilter.nf_conntrack_max", 2 * most)], evidence.snapshot.conntrack.buckets
    wanted = 2 * most // CHAIN_WARNING
    if buckets is not None and wanted > buckets:
        values.insert(0, ("net.netfilter.nf_conntrack_buckets", wanted))
    hint = f", and nf_conntrack_buckets to {wanted:,} where it is less" if buckets is None else ""
    return sysctl(
        "Raise the limit, and the hash table with it." if len(values) > 1 else f"Raise the limit{hint}.",
        evidence,
        values,
        cost=f"about {ENTRY_BYTES * most / 1e6:.0f} MB more of kernel memory when full",
        check="conntrack on top of the screen falls; drop stands still",
        undo_text=_WHILE_FULL,
    )


_WHILE_FULL = "while there are more entries than the old limit, that refuses new flows"
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
                *sysctl(
                    "Raise the limit; it counts for each namespace by itself.",
                    evidence,
                    (("net.netfilter.nf_conntrack_max", 2 * most),),
                    cost=f"about {ENTRY_BYTES * most / 1e6:.0f} MB more of kernel memory for each table that is full",
                    check="the evidence's number stays well below the limit",
                    undo_text=_WHILE_FULL,
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
    ports to new connections, and before that only a pool that is nearly full, or will be, matters.

    Decided by: more than 60 % of the TCP flows and at least 1,000 in TIME_WAIT. It is a warning only where it matters:
    a NAT pool of which 80 % are held and cannot be evicted, or a table that is 75 % full; or where one will fill at
    this rate: the table, whose other entries and the number at which TIME_WAIT settles are more than its limit, or,
    before 6.5, a pool of which more connections end than it can sustain. The rate is that of the last half minute,
    by the time that entries have left, and only where it is even: a burst says nothing of what comes. Where it is not
    known how full the table is, or how long TIME_WAIT lasts, nobody can say that it is harmless.

    To fix: keep-alive, so that fewer connections are opened.
    """
    waiting, table = evidence.snapshot.time_wait, evidence.snapshot.conntrack
    if not waiting or waiting.count < TIME_WAIT_LEAST or waiting.share is None or waiting.share <= TIME_WAIT_SHARE:
        return
    if waiting.concern is None and (table.count is None or table.max is None):
        return
    ends = {"their clients": waiting.closed_by_client, "their servers": waiting.closed_by_server}
    closer = max(ends, key=lambda name: ends[name] or 0)
    owners = [(each.container.name, each.time_wait.count) for each in evidence.snapshot.containers if each.time_wait]
    busiest = sorted((pair for pair in owners if pair[1]), key=lambda pair: -pair[1])
    verdict = calm_text(waiting, table) if waiting.concern is None else waiting.concern
    yield Finding(
        "time-wait-buildup",
        Severity.INFO if waiting.concern is None else Severity.WARNING,
        busiest[0][0] if busiest else HOST,
        f"{waiting.count:,} flows in TIME_WAIT, {100 * waiting.share:.0f} % of TCP: {verdict}",
        (
            *([f"closed first by {closer}: {ends[closer]:,}"] if ends[closer] else []),
            *([f"most in {named(busiest)}"] if busiest else []),
            *([f"services: {named(waiting.services)}"] if waiting.services else []),
            *_settles(waiting),
            *_fullest(evidence),
        ),
        (keep_alive(evidence, [name for name, _ in busiest]),),
        Lead("flows", filter="state:time_wait"),
    )


def _settles(waiting: TimeWait) -> Iterator[str]:
    if waiting.steady_state is not None:
        yield f"at the rate of the last half minute it settles at about {waiting.steady_state:,.0f}"
    elif waiting.is_unsteady:
        yield "in the last half minute they came too unevenly to tell where their number settles"
    else:
        yield "how long TIME_WAIT lasts could not be read: nf_conntrack_tcp_timeout_time_wait"


def _fullest(evidence: Evidence) -> Iterator[str]:
    pool = evidence.fullest
    if pool:
        evictable = f"; {pool.soft:,} of its ports may be evicted for new connections" if pool.soft else ""
        yield f"fullest NAT pool: {percent_of(pool.used, pool.capacity)} % of {pool.capacity:,}{evictable}"


@rule("Hash chains of the conntrack table are too long")
def hash_chains(evidence: Evidence) -> Iterator[Finding]:
    """The limit was raised without the hash table, so that each bucket holds many entries: lookups get slow, and from
    50 to 79 in one chain new entries are refused (since Linux 5.15, nf_conntrack_core.c).

    Decided by: chaintoolong rising (a warning; critical where 30 flows or more are refused that are 1 % of the new
    ones), more than 4 entries for each bucket in the table as it is (warning), or a limit that allows more than 8 for
    each bucket (a hint).

    To fix: more buckets; 8 bytes each.
    """
    table = evidence.snapshot.conntrack
    told = _chained(evidence, table)
    if told:
        severity, summary = told
        refused = evidence.losses.chain if evidence.losses else 0
        remedies, lead = tuple(_more_buckets(evidence, table)), Lead("counters")
        yield Finding("hash-chains", severity, HOST, summary, tuple(_hashed(table)), remedies, lead, refused)


def _chained(evidence: Evidence, table: Conntrack) -> tuple[Severity, str] | None:
    """How long chains are, or may become."""
    refused = evidence.losses.chain if evidence.losses else 0
    if refused:
        severity = graver(Severity.WARNING, of_losses(evidence, refused))
        return severity, f"hash chains are too long: {many(refused, 'new flow')} refused {evidence.span}"
    if not table.buckets:
        return None
    now, most = (None if number is None else number / table.buckets for number in (table.count, table.max))
    if now is not None and now > CHAIN_WARNING:
        return Severity.WARNING, f"{now:.0f} entries in each hash bucket: lookups are slow"
    if most is not None and most > CHAIN_CRITICAL:
        return Severity.INFO, f"the limit allows {most:.0f} entries in each hash bucket: too many once they are there"
    return None


def _hashed(table: Conntrack) -> Iterator[str]:
    if table.count is not None and table.buckets is not None:
        yield f"{table.count:,} entries on {table.buckets:,} buckets"
    if table.max is not None:
        yield f"the limit is {table.max:,} entries"


def _more_buckets(evidence: Evidence, table: Conntrack) -> Iterator[Remedy]:
    """Twice as many at least; all namespaces share them, so that the limit alone does not say how many are enough."""
    if table.buckets and table.max:
        wanted = max(2 * table.buckets, table.max // 2)
        yield from sysctl(
            "Enlarge the hash table.",
            evidence,
            (("net.netfilter.nf_conntrack_buckets", wanted),),
            cost=f"{8 * (wanted - table.buckets) / 1e6:.1f} MB more of kernel memory; tracking stops for a moment",
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
            *sysctl(
                "See for a minute which they are, in the kernel's log; then undo it.",
                evidence,
                (("net.netfilter.nf_conntrack_log_invalid", 6),),
                cost=f"a line in the log for each of TCP: here up to {rose / evidence.since.seconds:,.0f} a second",
                check="`dmesg` shows lines with nf_ct_proto_6, which say why",
                lasting=False,
            ),
            *sysctl(
                "Accept packets out of the window.",
                evidence,
                (("net.netfilter.nf_conntrack_tcp_be_liberal", 1),),
                cost="blind injection into a connection gets easier",
                check="invalid rises more slowly, resets stop",
            ),
            drop_invalid(evidence),
        ),
        Lead("counters"),
    )
