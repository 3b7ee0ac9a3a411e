"""Rules about clashes in conntrack: races for one NAT source port, and what looks like them and is harmless."""

from collections.abc import Iterator

from natop.diagnose.callers import HOST
from natop.diagnose.evidence import Cause, Evidence, few, named
from natop.diagnose.losses import is_crowded
from natop.diagnose.poolwords import again_text, clash_text, fullest_text, use_text
from natop.diagnose.randomports import fully_random
from natop.diagnose.registry import rule
from natop.diagnose.remedies import dns_one_by_one, host_network, keep_alive, newer_kernel
from natop.diagnose.severities import of_losses
from natop.formats import many
from natop.meanings import CLASHES_APART
from natop.model import Finding, Lead, Remedy, Severity
from natop.summarise.portsearch import POOL_WARN


@rule("Two connections raced for one NAT source port")
def snat_race(evidence: Evidence) -> Iterator[Finding]:
    """Two containers take the same source port towards the same remote end within microseconds, on two CPUs.

    Both entries claim one reply tuple when they are confirmed; the later is dropped without a word, and TCP sends its
    SYN again after a second. Later requests on the connection are fast.

    Decided by: insert_failed rises together with drop (not counting flows refused for a long hash chain), SYNs sent
    again explain at least half of it, and NAT does not choose ports at random. No NAT pool was used to 90 % at the
    dumps around the losses or since; one that was full before them does not count. SYNs sent again are those of who
    opens connections: answers that servers send again are left out, and who does both is given one for each connection
    that it opens. A kernel before 5.10 counts harmless clashes in insert_failed too; there only what drop counts as
    well is a loss. Fewer than 5, or than one in 10,000 new flows, are a hint; 30 or more that are 1 % of the new flows
    are critical. It is called probable, and is a warning at most, where TCP's counters could not be read, or many more
    were sent again, by who accepts connections too, so that they may be answers; then nothing may speak for a race of
    UDP.

    To fix: choose source ports at random (a small table). It costs that source ports are no longer kept.
    """
    losses = evidence.losses
    if evidence.cause is not Cause.RACE or not losses:
        return
    filling = [pool for pool in evidence.pools if pool.hard_use >= POOL_WARN]
    yield Finding(
        "snat-race",
        of_losses(evidence, losses.clash, is_sure=evidence.race_is_sure),
        HOST,
        f"{'' if evidence.race_is_sure else 'probably a '}race for a NAT source port: "
        f"{many(losses.clash, 'new connection')} lost a SYN {evidence.span}",
        (
            clash_text(evidence, losses.clash),
            *_retransmits(evidence),
            fullest_text(evidence),
            *_emptied(evidence),
            *_choice_text(evidence),
        ),
        (
            fully_random(evidence),
            *(host_network(each.container) for each in evidence.callers[:1] if each.container),
            *(keep_alive(evidence, [name for name, _ in pool.holders], pool.remote) for pool in filling[:1]),
        ),
        Lead("counters"),
        losses.clash,
    )


def _retransmits(evidence: Evidence) -> Iterator[str]:
    total = evidence.syns_again
    if total is None:
        yield "SYN retransmits could not be read"
        return
    yield again_text(evidence, total, ((each.name, each.syns) for each in evidence.callers if each.syns))
    both = [each.name for each in evidence.callers if each.accepts]
    if both and not evidence.race_is_sure:
        yield f"these may be answers to clients: {few(both)} accepted connections too"
    yield from _left_out(evidence)


def _left_out(evidence: Evidence) -> Iterator[str]:
    """What is not in that number."""
    answers = [(each.name, each.answers) for each in evidence.callers if each.answers]
    if answers:
        most_first = sorted(answers, key=lambda pair: -pair[1])
        yield f"left out, as answers to SYNs sent again: {named(most_first)}"
    if evidence.unread:
        yield f"TCP's counters could not be read in {few(evidence.unread)}"


def _emptied(evidence: Evidence) -> Iterator[str]:
    """That a pool was full before the losses came."""
    pool = evidence.fullest_of_all
    if pool and is_crowded(pool):
        yield f"before these losses a pool was fuller: {use_text(pool)} ({pool.name})"


def _choice_text(evidence: Evidence) -> Iterator[str]:
    choice = evidence.snapshot.port_choice
    if choice and choice.kept_share is not None and choice.kept_share >= MOSTLY_KEPT:
        yield f"NAT kept the source port of {100 * choice.kept_share:.0f} % of flows: ports are not chosen at random"


MOSTLY_KEPT = 0.5
"""Of NAT's source ports: clashes move some, random choice moves all."""


@rule("UDP datagrams raced for one NAT source port")
def udp_port_clash(evidence: Evidence) -> Iterator[Finding]:
    """Several containers send UDP from the same source port to the same remote end at once; one datagram is lost.

    With DNS it shows as answers that take 5 s, the resolver's own retry. Two datagrams of one socket at once (A and
    AAAA) are something else: a kernel before 5.0 loses one of them where NAT changes them, later ones resolve that
    clash without loss and count it in clash_resolve.

    Decided by: insert_failed and drop rise, SYNs sent again explain less than half of it (answers to SYNs left out), no
    NAT pool was nearly full, and either masqueraded UDP flows of several containers have source port and remote end in
    common while NAT does not choose ports at random, or the kernel is older than 5.0 and containers ask port 53 by UDP
    through NAT.

    To fix: choose source ports at random; for one socket that does not help, but single-request-reopen in resolv.conf
    does, a DNS cache in each container or on the host, or a newer kernel.
    """
    losses, facts = evidence.losses, evidence.facts
    if evidence.cause is Cause.UDP_PORT and losses and facts:
        pile = facts.udp_shared[0]
        told = f"{pile.count:,} masqueraded UDP flows to {pile.what} share a source port: {few(pile.owners)}"
        remedies = (fully_random(evidence), dns_one_by_one(evidence, pile.owners))
        yield _datagrams(evidence, "race of UDP for a NAT source port", told, remedies)
    if evidence.cause is Cause.UDP_TWINS and losses and facts:
        pile = facts.dns[0]
        told = f"{pile.count:,} UDP flows ask {pile.what} through NAT: {few(pile.owners)}"
        kernel = f"kernel {evidence.snapshot.host.kernel}: before 5.0 one of two datagrams of a socket at once is lost"
        remedies = (dns_one_by_one(evidence, pile.owners), newer_kernel())
        yield _datagrams(evidence, "clash of UDP datagrams of one socket, as of DNS", f"{told}; {kernel}", remedies)


def _datagrams(evidence: Evidence, what: str, told: str, remedies: tuple[Remedy, ...]) -> Finding:
    """What TCP does not explain of the clashes."""
    clashes, syns = evidence.losses.clash if evidence.losses else 0, evidence.syns_again or 0
    lost = clashes - syns
    return Finding(
        "udp-port-clash",
        of_losses(evidence, lost, is_sure=False),
        HOST,
        f"{what}: about {many(lost, 'datagram')} lost {evidence.span}",
        (
            clash_text(evidence, clashes),
            f"{again_text(evidence, syns)}: TCP does not explain it",
            *_left_out(evidence),
            told,
        ),
        remedies,
        Lead("flows", filter="proto:udp kind:masqueraded"),
        lost,
    )


OVER_S = 5.0
"""What ended that long ago is told by the counters, not by a finding."""


@rule("New connections were lost, and no other rule says why")
def unexplained_loss(evidence: Evidence) -> Iterator[Finding]:
    """conntrack dropped first packets because two entries claimed one tuple, and what natop could read does not tell a
    race from a full pool, or rules both out. Or their entries were deleted while they were made, as by `conntrack -F`.
    Or packets were dropped, and nobody saw the table full.

    Decided by: insert_failed and drop rise together, and neither the race, nor exhaustion, nor UDP's clash was found;
    or insert_failed rises by itself, on a kernel that does not count harmless clashes in it. Where NAT chooses ports at
    random and nothing was lost in the last 5 s, what was lost before is over. Or drop rises by itself: while the table
    had room a tracker or helper refused the packets (a hint); where its fill is unknown it may have been full.

    To fix: let natop see more (the gaps name what is missing), or watch for longer.
    """
    yield from _dropped(evidence)
    losses = evidence.losses
    if not losses or (evidence.ports_are_random and evidence.risen_lately("insert_failed", OVER_S) == 0):
        return
    unclear = losses.clash if evidence.cause is Cause.UNCLEAR else 0
    lost = unclear + losses.deleted
    if not lost:
        return
    yield Finding(
        "unexplained-loss",
        of_losses(evidence, lost, is_sure=False),
        HOST,
        f"cause unclear: {many(lost, 'new connection')} lost a first packet {evidence.span}",
        tuple(_unclear(evidence, unclear, losses.deleted)),
        lead=Lead("counters"),
        lost=lost,
    )


def _dropped(evidence: Evidence) -> Iterator[Finding]:
    """Packets dropped for no clash, while the table was not seen full."""
    dropped = evidence.losses.table_full if evidence.losses else 0
    is_known = evidence.peak is not None
    if not dropped or (is_known and evidence.table_was_full):
        return
    yield Finding(
        "unexplained-loss",
        Severity.INFO if is_known else of_losses(evidence, dropped, is_sure=False),
        HOST,
        f"{many(dropped, 'packet')} dropped {evidence.span}, "
        + ("though the table had room" if is_known else "and how full the table is could not be read"),
        (
            f"drop - insert_failed +{dropped:,} {evidence.span}",
            "a tracker or helper refused them, or the table was full between two readings"
            if is_known
            else "the kernel's log says `nf_conntrack: table full` where that is why",
        ),
        lead=Lead("counters"),
        lost=dropped,
    )


def _unclear(evidence: Evidence, clashes: int, deleted: int) -> Iterator[str]:
    if clashes:
        yield clash_text(evidence, clashes)
    if deleted:
        rose = f"insert_failed +{deleted:,} without drop {evidence.span}"
        yield f"{rose}: entries deleted while they were made, as by a flush"
    yield from _retransmits(evidence)
    yield fullest_text(evidence)
    yield from _crowded(evidence)
    facts = evidence.facts
    is_udp = not (evidence.race_is_sure or evidence.clashes.crowded or evidence.ports_are_random)
    if clashes and facts and facts.udp_shared and is_udp:
        pile = facts.udp_shared[0]
        yield f"or a race of UDP: {pile.count:,} flows to {pile.what} share a source port"
    if clashes and clashes == evidence.clashes.young:
        yield "too early to tell whose packets they were: a SYN comes again after a second"
    if evidence.ports_are_random:
        yield "NAT chooses ports at random: a race is unlikely"


def _crowded(evidence: Evidence) -> Iterator[str]:
    """Why a pool forbids to call it a race, where it is another than the fullest of now."""
    pool = evidence.fullest_of_all
    if evidence.clashes.crowded and pool:
        if pool != evidence.fullest:
            yield f"a pool was fuller in the last minute: {use_text(pool)} ({pool.name})"
        yield "a race cannot be told where a pool is 90 % used"


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
