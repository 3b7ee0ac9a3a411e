"""Rules about NAT's source ports: races and exhaustion, told apart, and what looks like them and is harmless."""

from collections.abc import Iterator

from natop.diagnose.evidence import (
    HOST,
    POOL_CRITICAL,
    POOL_NO_RACE,
    POOL_WARN,
    Evidence,
    Pool,
    few,
    listed,
    many,
    named,
    percent_of,
)
from natop.diagnose.randomports import fully_random
from natop.diagnose.registry import rule
from natop.diagnose.remedies import host_network, keep_alive, more_addresses, sysctl
from natop.meanings import CLASHES_APART
from natop.model import Finding, Lead, Remedy, Severity
from natop.sysctls import SHORT_TIME_WAIT_S
from natop.uapi import IpProto

FULL_PROBES = 20
"""Probes per new flow (`found`) from which on a pool is nearly full; 9 at 90 %, 21 at 95 %, 129 when full, measured."""


@rule("Two connections raced for one NAT source port")
def snat_race(evidence: Evidence) -> Iterator[Finding]:
    """Two containers take the same source port towards the same remote end within microseconds, on two CPUs.

    Both entries claim one reply tuple when they are confirmed; the later is dropped without a word, and TCP sends its
    SYN again after a second. Later requests on the connection are fast.

    Decided by: insert_failed rises together with drop, no hash chain is too long, every NAT pool is used below 90 %,
    TCP SYNs were sent again, and NAT does not choose ports at random. A kernel before 5.10 counts harmless clashes in
    insert_failed too; there only what drop counts as well is a loss.

    To fix: choose source ports at random (a small table). It costs that source ports are no longer kept.
    """
    if not _clash_of_tcp(evidence) or evidence.ports_are_random:
        return
    losses = evidence.losses
    assert losses
    yield Finding(
        "snat-race",
        Severity.WARNING if losses.clash < MANY_LOST else Severity.CRITICAL,
        HOST,
        f"race for a NAT source port: {many(losses.clash, 'new connection')} lost a SYN {evidence.span}",
        (
            f"insert_failed +{losses.clash:,} and drop with it {evidence.span}{evidence.on_cpus('insert_failed')}",
            _retransmits(evidence),
            _pool_text(evidence),
            *_choice_text(evidence),
        ),
        (
            fully_random(evidence),
            *(host_network(each.container.name) for each, _ in evidence.retransmitting[:1]),
        ),
        Lead("counters"),
    )


MANY_LOST = 30
"""SYNs lost while natop watched, a minute at most, from which on people notice."""


def _clash_of_tcp(evidence: Evidence) -> bool:
    """Whether clashes lost SYNs, and neither a full pool nor UDP explains them; without the pools nobody knows."""
    if not evidence.losses or not evidence.losses.clash or evidence.snapshot.pools is None:
        return False
    if evidence.fullest and evidence.fullest.use >= POOL_NO_RACE:
        return False
    retransmits = evidence.syn_retransmits
    return retransmits is None or retransmits * 2 >= evidence.losses.clash


def _retransmits(evidence: Evidence) -> str:
    total = evidence.syn_retransmits
    if total is None:
        return "SYN retransmits could not be read"
    return f"SYN retransmits +{total:,}" + (f" in {evidence.senders}" if evidence.senders else "")


def _pool_text(evidence: Evidence) -> str:
    pool = evidence.fullest
    if pool is None:
        return "no NAT pool holds a port → not exhaustion"
    verdict = "not exhaustion" if pool.use < POOL_WARN else "nearly full"
    return f"busiest pool {percent_of(pool.used, pool.capacity)} % of {pool.capacity:,} ({pool.name}) → {verdict}"


def _choice_text(evidence: Evidence) -> Iterator[str]:
    choice = evidence.snapshot.port_choice
    if choice and choice.kept_share is not None and choice.kept_share >= MOSTLY_KEPT:
        yield f"NAT kept the source port of {100 * choice.kept_share:.0f} % of flows: ports are not chosen at random"


MOSTLY_KEPT = 0.5
"""Of NAT's source ports: clashes move some, random choice moves all."""


@rule("All NAT source ports towards one remote end are taken")
def nat_port_exhaustion(evidence: Evidence) -> Iterator[Finding]:
    """One SNAT address has 64,512 source ports towards each remote address and port (fewer with --to-ports).

    When they are nearly all held, the kernel tries up to 248 of them for a new connection, then drops its SYN without
    any message. A kernel of 6.5 or later gives ports in TIME_WAIT to new connections, so there only the others count.

    Decided by: the use of the pool without what can be evicted, from 80 % (warning) and 95 % (critical), the chance of
    a loss that follows from it, and the probes per new flow (`found`).

    To fix: keep-alive in the containers named, more SNAT addresses or remote addresses. Random ports do not help.
    """
    for pool in evidence.pools:
        use = pool.hard_use
        losing = (
            pool is evidence.fullest and pool.use >= POOL_NO_RACE and bool(evidence.losses and evidence.losses.clash)
        )
        if use < POOL_WARN and not losing:
            continue
        yield Finding(
            "nat-port-exhaustion",
            Severity.CRITICAL if use >= POOL_CRITICAL else Severity.WARNING,
            pool.name,
            f"{percent_of(pool.used, pool.capacity)} % of {pool.capacity:,} NAT ports of {pool.name} are taken",
            tuple(_exhausted(evidence, pool, losing)),
            tuple(_more_ports(evidence, pool)),
            Lead("pools", filter=pool.filter),
        )


def _exhausted(evidence: Evidence, pool: Pool, losing: bool) -> Iterator[str]:
    waiting = f", of these {pool.time_wait:,} in TIME_WAIT" if pool.time_wait else ""
    evictable = f"; {pool.soft:,} may be evicted for new connections" if pool.soft else ""
    yield f"{pool.used:,} ports in use{waiting}{evictable}"
    first = "SYN" if pool.proto == IpProto.TCP else "flow"
    yield f"chance that a new {first} is lost: {100 * pool.loss:.1f} %"
    if pool.holders:
        yield f"held by {named(pool.holders)}"
    found = evidence.found_per_new
    if found is not None and found >= 1:
        meaning = "nearly full" if found >= FULL_PROBES else "filling"
        yield f"{found:.0f} ports tried for each new flow (found): {meaning}"
    if losing and evidence.losses:
        yield f"insert_failed +{evidence.losses.clash:,} {evidence.span}: first packets are being lost"


def _more_ports(evidence: Evidence, pool: Pool) -> Iterator[Remedy]:
    holders = [name for name, _ in pool.holders]
    if pool.proto == IpProto.TCP:
        yield keep_alive(holders)
    else:
        yield Remedy(f"Send more from each socket in {listed(holders[:3]) or 'its clients'}; for DNS, a cache there.")
    if pool.capacity < WHOLE_RANGE:
        yield Remedy(
            f"A rule of NAT, or a source port below 1024, leaves it {pool.capacity:,} ports: widen that range."
        )
    yield more_addresses(evidence)
    timeout = evidence.sysctl("nf_conntrack_tcp_timeout_time_wait")
    if not evidence.evicts(pool.proto) and pool.time_wait and (timeout is None or timeout > SHORT_TIME_WAIT_S):
        yield sysctl(
            "Free ports sooner; a kernel of 6.5 or later evicts them by itself.",
            evidence,
            (("net.netfilter.nf_conntrack_tcp_timeout_time_wait", SHORT_TIME_WAIT_S),),
            check="the pool's TIME_WAIT falls within two minutes",
        )


WHOLE_RANGE = 64_512
"""Ports that NAT picks from where neither a rule nor a privileged source port confines it."""


@rule("UDP datagrams of several containers raced for one NAT source port")
def udp_port_clash(evidence: Evidence) -> Iterator[Finding]:
    """Several containers send UDP from the same source port to the same remote end at once; one datagram is lost.

    With DNS it shows as answers that take 5 s, the resolver's own retry. Two datagrams of one socket (A and AAAA) are
    something else: kernels since 5.x resolve that clash without loss and count it in clash_resolve.

    Decided by: insert_failed and drop rise, SYN retransmits explain less than half of it, masqueraded UDP flows of
    several containers have source port and remote end in common, and NAT does not choose ports at random.

    To fix: choose source ports at random; a DNS cache in each container or on the host; newer kernels for one socket.
    """
    losses, facts = evidence.losses, evidence.facts
    retransmits = evidence.syn_retransmits
    if not losses or not losses.clash or not facts or retransmits is None or retransmits * 2 >= losses.clash:
        return
    if (evidence.fullest and evidence.fullest.use >= POOL_NO_RACE) or not facts.udp_shared or evidence.ports_are_random:
        return
    pile = facts.udp_shared[0]
    yield Finding(
        "udp-port-clash",
        Severity.WARNING,
        HOST,
        f"race of UDP for a NAT source port: about {many(losses.clash, 'datagram')} lost {evidence.span}",
        (
            f"insert_failed +{losses.clash:,} and drop with it {evidence.span}{evidence.on_cpus('insert_failed')}",
            f"SYN retransmits +{retransmits:,}: TCP does not explain it",
            f"{pile.count:,} masqueraded UDP flows to {pile.what} share a source port: {few(pile.owners)}",
        ),
        (
            fully_random(evidence),
            Remedy("For DNS: `options single-request-reopen` in the containers' resolv.conf, or a cache near them."),
        ),
        Lead("flows", filter="proto:udp kind:masqueraded"),
    )


OVER_S = 5.0
"""What ended that long ago is told by the counters, not by a finding."""


@rule("New connections were lost, and no other rule says why")
def unexplained_loss(evidence: Evidence) -> Iterator[Finding]:
    """conntrack dropped first packets because two entries claimed one tuple, and what natop could read does not tell a
    race from a full pool, or rules both out. Or their entries were deleted while they were made, as by `conntrack -F`.

    Decided by: insert_failed and drop rise together, and neither the race, nor exhaustion, nor UDP's clash was found;
    or insert_failed rises by itself, on a kernel that does not count harmless clashes in it. Where NAT chooses ports at
    random and nothing was lost in the last 5 s, what was lost before is over.

    To fix: let natop see more (the gaps name what is missing), or watch for longer.
    """
    losses = evidence.losses
    if not losses or (evidence.ports_are_random and evidence.risen_lately("insert_failed", OVER_S) == 0):
        return
    unclear = 0 if any(True for judge in _EXPLAINING for _ in judge(evidence)) else losses.clash
    if not unclear + losses.deleted:
        return
    yield Finding(
        "unexplained-loss",
        Severity.WARNING,
        HOST,
        f"cause unclear: {many(unclear + losses.deleted, 'new connection')} lost a first packet {evidence.span}",
        tuple(_unclear(evidence, unclear, losses.deleted)),
        lead=Lead("counters"),
    )


def _unclear(evidence: Evidence, clashes: int, deleted: int) -> Iterator[str]:
    if clashes:
        yield f"insert_failed +{clashes:,} and drop with it {evidence.span}{evidence.on_cpus('insert_failed')}"
    if deleted:
        yield f"insert_failed +{deleted:,} without drop: entries deleted while they were made, as by a flush"
    yield _retransmits(evidence)
    yield "the NAT pools could not be read" if evidence.snapshot.pools is None else _pool_text(evidence)
    if evidence.ports_are_random:
        yield "NAT chooses ports at random: a race is unlikely"


_EXPLAINING = (snat_race, nat_port_exhaustion, udp_port_clash)


@rule("Clashes that conntrack resolved")
def clash_resolve(evidence: Evidence) -> Iterator[Finding]:
    """Two packets of one new UDP flow met on two CPUs and conntrack let both through: nothing is lost.

    Decided by: clash_resolve rises and insert_failed does not (nf_conntrack_core.c, since 5.10).

    To fix: nothing. It is said because the counter worries people who find it.
    """
    resolved, failed = evidence.risen("clash_resolve"), evidence.risen("insert_failed")
    if resolved and failed == 0:
        yield Finding(
            "clash-resolve",
            Severity.INFO,
            HOST,
            f"{many(resolved, 'clash', 'clashes')} {evidence.span}, all resolved without loss: harmless",
            (f"clash_resolve +{resolved:,}, insert_failed +0 {evidence.span}",),
            lead=Lead("counters"),
        )


@rule("insert_failed counts clashes that were resolved")
def insert_failed_harmless(evidence: Evidence) -> Iterator[Finding]:
    """Before Linux 5.10 insert_failed also counts clashes that conntrack resolved without loss.

    Decided by: insert_failed rises, drop stands still, and the kernel is older than 5.10 and has no clash_resolve.

    To fix: nothing; a newer kernel counts them apart, as clash_resolve.
    """
    failed, dropped = evidence.risen("insert_failed"), evidence.risen("drop")
    is_told_apart = evidence.risen("clash_resolve") is not None
    if failed and dropped == 0 and evidence.kernel_is(CLASHES_APART) is False and not is_told_apart:
        yield Finding(
            "insert-failed-harmless",
            Severity.INFO,
            HOST,
            f"insert_failed +{failed:,} {evidence.span} without a drop: clashes that this kernel resolved, harmless",
            (f"drop +0 {evidence.span}", f"kernel {evidence.snapshot.host.kernel}: older than 5.10"),
            lead=Lead("counters"),
        )


REMAPPED_LEAST = 10
"""Flows of the host whose port was moved from which on it is worth a word."""


@rule("NAT moved source ports of the host's own connections")
def host_flow_remapped(evidence: Evidence) -> Iterator[Finding]:
    """A connection of the host itself wanted a source port that a container's flow already had at that remote end.

    Every tracked flow passes NAT, rule or not (a null binding, nf_nat_core.c), and so its port was changed on the way
    out. It works, but shows that ports towards that end are sought after.

    Decided by: flows from a host address with SRC_NAT, the same address and another port.

    To fix: nothing by itself; look at the pools.
    """
    facts = evidence.facts
    if facts and facts.remapped >= REMAPPED_LEAST:
        yield Finding(
            "host-flow-remapped",
            Severity.INFO,
            HOST,
            f"NAT moved the source port of {facts.remapped:,} of the host's own connections",
            (f"{facts.remapped:,} flows of kind REMAPPED", _pool_text(evidence)),
            lead=Lead("flows", filter="kind:remapped"),
        )
