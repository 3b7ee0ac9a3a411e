"""The rule about what natop does not see, so that silence is not taken for health."""

from collections.abc import Iterator

from natop.diagnose.evidence import HOST, Evidence
from natop.diagnose.registry import rule
from natop.model import Finding, Remedy, Severity


@rule("What natop cannot see here")
def blind_spots(evidence: Evidence) -> Iterator[Finding]:
    """Some flows are in no table that natop reads, and what was not read cannot be judged.

    Decided by: the gaps of the snapshot (a source that failed, bridge-nf-call-iptables not 1, a rootless engine), and
    running containers on macvlan, ipvlan or no network.

    To fix: each gap names what would help.
    """
    gaps = evidence.snapshot.gaps
    outside = [each for each in evidence.snapshot.containers if each.untracked]
    if not gaps and not outside:
        return
    unseen = len(gaps) + len(outside)
    yield Finding(
        "blind-spots",
        Severity.INFO,
        HOST,
        f"{unseen} thing{'s' if unseen > 1 else ''} that natop cannot see here, and so does not judge",
        (
            *(f"{gap.source}: {gap.reason}" for gap in gaps),
            *(f"{each.container.name}: its flows are in no table of this host ({each.untracked})" for each in outside),
        ),
        tuple(Remedy(f"{gap.source}: {gap.remedy}") for gap in gaps if gap.remedy),
    )
