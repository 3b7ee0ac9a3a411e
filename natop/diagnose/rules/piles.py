"""Rules about flows that pile up in the conntrack table: idle, unanswered, half closed, or led to nobody."""

from collections.abc import Iterator

from natop.diagnose.callers import HOST
from natop.diagnose.evidence import Evidence, address_of, few, known_caller, port_of
from natop.diagnose.registry import rule
from natop.diagnose.remedies import deleted_flows, deleted_of_gone, look, probe, sysctl
from natop.formats import many
from natop.join.local import GONE
from natop.model import Finding, FlowFacts, Lead, Pile, Severity

ZOMBIES_LEAST = 100


@rule("Connections that ended long ago are still ESTABLISHED")
def established_zombies(evidence: Evidence) -> Iterator[Finding]:
    """An entry in ESTABLISHED that sees no packet stays for nf_conntrack_tcp_timeout_established, five days by default.
    Where peers vanish without a FIN, such entries outlive them and fill the table.

    Decided by: at least 100 flows in ESTABLISHED that saw no packet for more than a day, as their timeouts tell, or
    that a container opened which is gone. Flows with data in flight have a timeout of minutes, however fresh, and count
    only where the container is gone.

    To fix: a shorter timeout, with TCP keep-alive in the applications more often than that; entries of containers that
    are gone can be deleted.
    """
    facts = evidence.facts
    if not facts or facts.zombies < ZOMBIES_LEAST:
        return
    yield Finding(
        "established-zombies",
        Severity.INFO,
        facts.zombies_of[0].owners[0] if facts.zombies_of else HOST,
        f"{facts.zombies:,} connections ESTABLISHED {_whose_end(facts)}",
        tuple(f"{pile.count:,} opened by {pile.what}" for pile in facts.zombies_of[:3]),
        (
            *sysctl(
                "Let idle connections go after a day.",
                evidence,
                (("net.netfilter.nf_conntrack_tcp_timeout_established", 86_400),),
                cost="connections idle for longer are forgotten; entries there now keep their timeout",
                check="ESTABLISHED falls over the next day",
            ),
            *(each for pile in facts.zombies_of[:3] if pile.what.startswith(GONE) for each in deleted_of_gone(pile)),
        ),
        Lead("flows", filter="state:established"),
    )


def _whose_end(facts: FlowFacts) -> str:
    idle = facts.zombies - facts.zombies_gone
    if not facts.zombies_gone:
        return "without a packet for more than a day"
    gone = f"{facts.zombies_gone:,} of containers that are gone"
    return f"though dead: {gone}, {idle:,} without a packet for more than a day" if idle else f"though dead: {gone}"


@rule("Connections that nobody answers")
def unreplied_syns(evidence: Evidence) -> Iterator[Finding]:
    """SYNs went out towards one end and nothing came back: the service is down, or a firewall drops them. Not NAT.

    Decided by: more than 50 flows in SYN_SENT that have had no reply for 2 s, towards one address and port. A busy
    client of a far server has as many on their way, which are answered in time; an end that answers more than it lets
    wait is neither down nor filtered.

    To fix: look at the service, the route to it and the firewalls between.
    """
    for pile in evidence.unanswered:
        yield Finding(
            "unreplied-syns",
            Severity.WARNING,
            known_caller(pile),
            f"{pile.count:,} connections to {pile.what} are not answered: it is down or filtered; not NAT",
            (f"{pile.count:,} flows in SYN_SENT without a reply for 2 s", f"opened by {few(pile.owners)}"),
            (
                look(
                    f"See whether {pile.what} listens and whether a firewall on the way drops the SYNs.",
                    probe(evidence, pile.what, known_caller(pile)),
                    check="from the host it is not answered either: not NAT",
                ),
            ),
            Lead("flows", filter=f"state:syn_sent dst:{address_of(pile.what)} dport:{port_of(pile.what)}"),
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
        (
            look(
                "See whether the peers still exist and whether answers take another way than questions.",
                f"conntrack -L -p tcp --state {name}",
                check="few peers have most of them: look there",
            ),
        ),
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
        if pile.answering in each.container.addresses
        for name in (each.container.name, pile.answering)
    }
    return bool(pile.owners) and there.issuperset(pile.owners)


def _leads_nowhere(pile: Pile, is_mapped: bool) -> str:
    name = pile.owners[0].removeprefix(GONE) if pile.owners else "a container"
    if is_mapped:
        fate = "which no container has" if name == pile.answering else "which is gone"
        return f"{pile.what} still leads to {name}, {fate}: {many(pile.count, 'flow')}"
    return f"{name} is gone, and {pile.what}, where it was, is still called: {many(pile.count, 'flow')}"
