"""Rules about ways through Docker's networking that cost more than they need to."""

from collections.abc import Iterator

from natop.diagnose.callers import HOST
from natop.diagnose.evidence import Evidence, few
from natop.diagnose.registry import rule
from natop.diagnose.remedies import by_name, no_proxy
from natop.model import Finding, Lead, Severity

PROXIED_LEAST = 50
HAIRPIN_LEAST = 50


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
