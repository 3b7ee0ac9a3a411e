"""The rule about what natop does not see, so that silence is not taken for health."""

import shlex
from collections.abc import Iterator

from natop.diagnose.callers import HOST
from natop.diagnose.evidence import Evidence
from natop.diagnose.registry import rule
from natop.diagnose.remedies import loaded, look, sysctl
from natop.formats import many
from natop.model import Finding, Gap, Remedy, Severity
from natop.text import clean


@rule("What natop cannot see here")
def blind_spots(evidence: Evidence) -> Iterator[Finding]:
    """Some flows are in no table that natop reads, and what was not read cannot be judged.

    Decided by: the gaps of the snapshot (a source that failed, bridge-nf-call-iptables not 1, a rootless engine),
    running containers on macvlan, ipvlan or no network, swarm's ingress, which has NAT and a table of its own, and
    numbers that the kernel does not tell: conntrack's counters, its fill and limit, a version that can be understood.

    To fix: each gap names what would help.
    """
    gaps = evidence.snapshot.gaps
    outside = [each for each in evidence.snapshot.containers if each.untracked and each.container.is_alive]
    ingress, untold = tuple(_ingress(evidence)), tuple(_untold(evidence))
    unseen = len(gaps) + len(outside) + len(ingress) + len(untold)
    if not unseen:
        return
    yield Finding(
        "blind-spots",
        Severity.INFO,
        HOST,
        f"{many(unseen, 'thing')} that natop cannot see here, and so does not judge",
        (
            *(f"{gap.source}: {gap.reason}" for gap in gaps),
            *(f"{each.container.name}: its flows are in no table of this host ({each.untracked})" for each in outside),
            *(f"swarm: services' published ports pass NAT again in {path}, a table of its own" for path in ingress),
            *untold,
        ),
        (
            *(each for gap in gaps if gap.remedy for each in _remedies(gap, evidence)),
            *(_other_table(path) for path in ingress),
        ),
    )


INGRESS = "ingress_sbox"
"""What moby calls the namespace of swarm's ingress (libnetwork, controller.go and service_linux.go)."""


def _ingress(evidence: Evidence) -> Iterator[str]:
    """The file of its namespace, where that is not the one that is read."""
    entered = evidence.snapshot.host.entered
    for each in evidence.snapshot.namespaces:
        if each.name == INGRESS and each.path != entered:
            yield clean(each.path)


def _untold(evidence: Evidence) -> Iterator[str]:
    """What other rules are silent about for want of a number."""
    table, host = evidence.snapshot.conntrack, evidence.snapshot.host
    sources = {gap.source for gap in evidence.snapshot.gaps}
    if "counters" not in sources and not table.counters.keys() >= {"insert_failed", "drop"}:
        yield "counters: the kernel does not tell conntrack's; what it loses is not judged"
    if table.count is None or table.max is None:
        yield "fill: the kernel does not tell the entries of the conntrack table or their limit; it is not judged"
    if host.kernel and host.version is None:
        yield f"kernel: the version of {host.kernel} is not known; what depends on it is not judged"


def _other_table(path: str) -> Remedy:
    text = f"swarm: read that table: sudo natop --netns {shlex.quote(path)}"
    return look(text, check="its flows, pools and findings are those of the published ports' second NAT")


BRIDGED = "net.bridge.bridge-nf-call-iptables"


def _remedies(gap: Gap, evidence: Evidence) -> tuple[Remedy, ...]:
    """What the gap says, as commands where they depend on this host alone."""
    if gap.source != "bridge":
        return (look(f"{gap.source}: {gap.remedy}", check="the gap is gone"),)
    is_loaded = evidence.sysctl(BRIDGED.rpartition(".")[2]) is not None
    text = "Let bridged packets pass iptables, and with it conntrack"
    if is_loaded:
        return sysctl(f"{text}.", evidence, ((BRIDGED, 1),), cost=_BRIDGED_COST, check=_BRIDGED_CHECK)
    text += ": the module does by default."
    return (loaded(text, "br_netfilter", cost=_BRIDGED_COST, check=_BRIDGED_CHECK),)


_BRIDGED_CHECK = "flows between containers of one network come: kind:internal"
_BRIDGED_COST = (
    "rules of iptables and nft then judge packets between containers of one network too, and those of every other "
    "bridge of this network namespace, as of libvirt and LXC: where FORWARD's policy is DROP, their traffic may stop"
)
