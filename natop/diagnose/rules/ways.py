"""Rules about ways through Docker's networking that are not what was meant, or cost more than they need to."""

from collections.abc import Iterator

from natop.diagnose.callers import HOST
from natop.diagnose.evidence import Evidence, few
from natop.diagnose.randomports import TABLE, fully_random
from natop.diagnose.registry import rule
from natop.diagnose.remedies import by_name, no_proxy
from natop.join.firewall import rule_words
from natop.model import Finding, Lead, NatRule, Severity

PROXIED_LEAST = 50
HAIRPIN_LEAST = 50


@rule("natop's table gives a network another address than Docker does")
def hidden_snat(evidence: Evidence) -> Iterator[Finding]:
    """The table for random ports takes what leaves Docker's bridges before Docker's own rules do. A network that got an
    address of its own (`com.docker.network.host_ipv4`) after the table was made leaves by the host's first address all
    the same; one that was made anew without it leaves by the old one still. Whoever lets only the right address in
    turns its containers away.

    Decided by: a rule of the table natop_random that takes a bridge network's packets, and the rule beneath it, which
    gives them another address. Where no rule is found beneath, nothing is said: it may not have been read.

    To fix: make the table anew, with a line for that network.
    """
    firewall = evidence.snapshot.firewall
    for place in firewall.networks if firewall else ():
        taker, own = place.rule, place.beneath.rule if place.beneath else None
        if not taker or not own or taker.natop_s != TABLE or taker.to_address == own.to_address:
            continue
        yield Finding(
            "hidden-snat",
            Severity.WARNING,
            place.network,
            f"network {place.network} leaves by {_leaves_by(taker)}, not by {_leaves_by(own)}: {TABLE} comes first",
            (f"what takes {place.subnet}: {rule_words(taker)}", f"what Docker says: {rule_words(own)}"),
            (fully_random(evidence),),
            Lead("counters"),
        )


def _leaves_by(rule: NatRule) -> str:
    return rule.to_address or "the address of the way out"


@rule("Containers call each other through docker-proxy")
def docker_proxy_path(evidence: Evidence) -> Iterator[Finding]:
    """A container that calls the host's published address is served by docker-proxy, a process that copies every byte
    of the connection in user space: slower, the client's address is lost, and two connections stand for one.

    Decided by: at least 50 flows of containers that go to a docker-proxy.

    To fix: call the other container by its name on a common network, or run dockerd with `"userland-proxy": false`.
    """
    facts = evidence.facts
    for pile in facts.proxied if facts else ():
        if pile.count < PROXIED_LEAST:
            return
        yield Finding(
            "docker-proxy-path",
            Severity.INFO,
            pile.owners[0] if pile.owners else HOST,
            f"{pile.count:,} flows to {pile.what} pass through docker-proxy",
            (f"called by {few(pile.owners)}", "each connection is two flows, copied by a process"),
            (
                by_name(evidence, pile, "proxied"),
                no_proxy(),
            ),
            Lead("flows", pile.key, "kind:proxied"),
        )


@rule("Containers call each other through the host's address (hairpin)")
def hairpin(evidence: Evidence) -> Iterator[Finding]:
    """A container calls a published port of this host and the packets turn round: DNAT to the container and SNAT to the
    bridge's address. It works, takes a NAT port, and hides the client's address.

    Decided by: at least 50 flows of containers with both DNAT and SNAT to a container.

    To fix: the container's name or a network alias instead of the public address.
    """
    facts = evidence.facts
    for pile in facts.hairpin if facts else ():
        if pile.count < HAIRPIN_LEAST:
            return
        yield Finding(
            "hairpin",
            Severity.INFO,
            pile.owners[0] if pile.owners else HOST,
            f"{pile.count:,} flows to {pile.what} turn round at the host (hairpin NAT)",
            (f"called by {few(pile.owners)}", "each takes a NAT source port"),
            (by_name(evidence, pile, "hairpin"),),
            Lead("flows", pile.key, "kind:hairpin"),
        )
