"""Rules about NAT's source ports running out, seen in the pools or by the counter `found`."""

from collections.abc import Iterator

from natop.diagnose.addresses import more_addresses
from natop.diagnose.callers import HOST
from natop.diagnose.evidence import FOUND_CRITICAL, FOUND_WARN, Cause, Evidence, listed, named, percent_of
from natop.diagnose.losses import LOSS_TELLS
from natop.diagnose.poolwords import clash_text, fullest_text
from natop.diagnose.registry import rule
from natop.diagnose.remedies import BACK_TO_THE_OLD, IN_THE_APPLICATION, keep_alive, look, sysctl
from natop.diagnose.severities import graver, of_losses
from natop.formats import many
from natop.model import Finding, Lead, Pool, Remedy, Severity
from natop.summarise.pools import WHOLE_RANGE
from natop.summarise.portsearch import POOL_CRITICAL, POOL_WARN
from natop.sysctls import SHORT_TIME_WAIT_S
from natop.uapi import IpProto

EXHAUSTION = "nat-port-exhaustion"


@rule("All NAT source ports towards one remote end are taken")
def nat_port_exhaustion(evidence: Evidence) -> Iterator[Finding]:
    """One SNAT address has 64,512 source ports towards each remote address and port (fewer with --to-ports).

    When they are nearly all held, the kernel tries up to 248 of them for a new connection, then drops its SYN without
    any message. A kernel of 6.5 or later gives ports in TIME_WAIT to new connections, so there only the others count.

    Decided by: the use of the pool without what can be evicted, from 80 % (warning) and 95 % (critical). First packets
    lost to clashes are put down to a pool that had 90 % without what can be evicted, or a chance of a loss of 0.5 %,
    at the dumps around them, also where it has emptied since: 30 or more that are 1 % of the new flows are critical,
    fewer than 5, or than one in 10,000, a hint once it has emptied. A pool that is filling is not told where a race
    explains what was lost; the race tells its use. Where no pool was seen that full, or none could be read: more than 9
    ports tried in vain for each new flow (`found`), as at 90 % of use; more than 20, as at 95 %, are critical where as
    many first packets are lost too.

    To fix: keep-alive in the containers named, more SNAT addresses or remote addresses. Random ports do not help.
    """
    worst, told = evidence.clashes.worst, False
    for pool in evidence.pools:
        lost = evidence.clashes.scarce if worst and worst.filter == pool.filter and _is_short(pool) else 0
        if lost or (pool.hard_use >= POOL_WARN and evidence.cause is not Cause.RACE):
            told, worst = True, None if lost else worst
            yield _full(evidence, pool, lost)
    if worst:
        yield _was_full(evidence, worst)
    elif evidence.found_warns and (not told or (evidence.cause is Cause.EXHAUSTION and not evidence.clashes.scarce)):
        yield _probed(evidence)


def _is_short(pool: Pool) -> bool:
    """Whether a pool that lost packets is still to be told as one that is full."""
    return pool.hard_use >= POOL_WARN or pool.loss >= LOSS_TELLS


def _full(evidence: Evidence, pool: Pool, lost: int) -> Finding:
    return Finding(
        EXHAUSTION,
        Severity.CRITICAL if pool.hard_use >= POOL_CRITICAL else graver(Severity.WARNING, of_losses(evidence, lost)),
        pool.name,
        f"{_taken(pool)} are taken{_of_these(pool)}",
        (*_held(pool), *_found(evidence), *_lost(evidence, lost)),
        tuple(_more_ports(evidence, pool)),
        Lead("pools", filter=pool.filter),
        lost,
    )


def _percent(pool: Pool) -> str:
    return percent_of(pool.used, pool.capacity)


def _taken(pool: Pool) -> str:
    return f"{_percent(pool)} % of {pool.capacity:,} NAT ports of {pool.name}"


def _of_these(pool: Pool) -> str:
    """What the use alone does not say."""
    if pool.hard_use < POOL_WARN:
        return ", many in a row"
    kept = percent_of(pool.used - pool.soft, pool.capacity)
    return "" if kept == _percent(pool) else f", {kept} % beyond eviction"


def _was_full(evidence: Evidence, pool: Pool) -> Finding:
    """Of a pool that has ports again."""
    now = next((each for each in evidence.pools if each.filter == pool.filter), None)
    lost = evidence.clashes.scarce
    return Finding(
        EXHAUSTION,
        of_losses(evidence, lost),
        pool.name,
        f"{_taken(pool)} were taken{f' (now {_percent(now)} %)' if now else ''}: {many(lost, 'first packet')} lost",
        (*_held(pool, "then "), *_found(evidence), *_lost(evidence, lost)),
        tuple(_more_ports(evidence, pool)),
        Lead("pools", filter=pool.filter),
        lost,
    )


def _probed(evidence: Evidence) -> Finding:
    """Of a pool that nobody has seen, by the ports that NAT tries in vain."""
    found, lost = evidence.found_per_new or 0.0, evidence.losses.clash if evidence.losses else 0
    explained = lost if evidence.cause is Cause.EXHAUSTION else 0
    return Finding(
        EXHAUSTION,
        graver(Severity.WARNING, of_losses(evidence, explained, is_sure=found > FOUND_CRITICAL)),
        HOST,
        f"a NAT pool is nearly full: {found:.0f} ports tried in vain for each new flow {evidence.span}",
        (
            f"found +{evidence.risen('found') or 0:,} {evidence.span}",
            f"measured: {FOUND_WARN} for each new flow where 90 % of a pool are taken, 21 at 95 %, 129 when all are",
            fullest_text(evidence),
            *_lost(evidence, explained),
        ),
        (
            look(
                "Find the pool: read flows, for which root is needed, and often; it may be full between readings only.",
                check="a pool of the NAT ports is at 90 % or more",
            ),
            keep_alive(evidence, ()),
            more_addresses(evidence, None),
        ),
        Lead("pools"),
        explained,
    )


def _held(pool: Pool, when: str = "") -> Iterator[str]:
    waiting = f", of these {pool.time_wait:,} in TIME_WAIT" if pool.time_wait else ""
    evictable = f"; {pool.soft:,} may be evicted for new connections" if pool.soft else ""
    yield f"{when}{pool.used:,} ports in use{waiting}{evictable}"
    first = "SYN" if pool.proto == IpProto.TCP else "flow"
    yield f"{when}chance that a new {first} is lost: {100 * pool.loss:.1f} %"
    if pool.holders:
        yield f"{when}held by {named(pool.holders)}"


def _found(evidence: Evidence) -> Iterator[str]:
    found = evidence.found_per_new
    if found is not None and found >= 1:
        meaning = "nearly full" if found > FOUND_CRITICAL else "filling"
        yield f"{found:.0f} ports tried for each new flow {evidence.span} (found): {meaning}"


def _lost(evidence: Evidence, lost: int) -> Iterator[str]:
    """What of the clashes it explains; the rest came while no pool was full, too few to tell apart."""
    if lost:
        yield f"{clash_text(evidence, lost)}: first packets lost for want of a port"
    rest = evidence.losses.clash - lost if lost and evidence.losses else 0
    if rest:
        yield f"{rest:,} more lost while no pool was seen full"


def _more_ports(evidence: Evidence, pool: Pool) -> Iterator[Remedy]:
    holders = [name for name, _ in pool.holders]
    if pool.proto == IpProto.TCP:
        yield keep_alive(evidence, holders, pool.remote)
    else:
        yield Remedy(
            f"Send more from each socket in {listed(holders[:3]) or 'its clients'}; for DNS, a cache there.",
            cost=IN_THE_APPLICATION,
            check="the pool falls within three minutes",
            undo_text=BACK_TO_THE_OLD,
        )
    if pool.capacity < WHOLE_RANGE:
        yield Remedy(
            f"A rule of NAT, or a source port below 1024, leaves it {pool.capacity:,} ports: widen that range.",
            cost="whoever goes by the range, as a firewall beyond, must know the new one",
            check="the pool's capacity rises",
            undo_text="the range as it was",
        )
    yield more_addresses(evidence, pool)
    if not evidence.evicts(pool.proto) and pool.time_wait:
        yield from sysctl(
            "Free ports sooner; a kernel of 6.5 or later evicts them by itself.",
            evidence,
            (("net.netfilter.nf_conntrack_tcp_timeout_time_wait", SHORT_TIME_WAIT_S),),
            cost="late segments of an old connection may meet a new one; entries there now keep their timeout",
            check="the pool's TIME_WAIT falls within two minutes",
        )


REMAPPED_LEAST = 10
"""Flows of the host whose port was moved from which on it is worth a word."""


@rule("NAT moved source ports of the host's own connections")
def host_flow_remapped(evidence: Evidence) -> Iterator[Finding]:
    """A connection of the host itself wanted a source port that a container's flow already had at that remote end.

    Every tracked flow passes NAT, rule or not (a null binding, nf_nat_core.c), and so its port was changed on the way
    out. It works, but shows that ports towards that end are sought after.

    Decided by: at least 10 flows from a host address with SRC_NAT, the same address and another port.

    To fix: nothing by itself; look at the pools.
    """
    facts = evidence.facts
    if facts and facts.remapped >= REMAPPED_LEAST:
        yield Finding(
            "host-flow-remapped",
            Severity.INFO,
            HOST,
            f"NAT moved the source port of {facts.remapped:,} of the host's own connections",
            (f"{facts.remapped:,} flows of kind REMAPPED", fullest_text(evidence)),
            lead=Lead("flows", filter="kind:remapped"),
        )
