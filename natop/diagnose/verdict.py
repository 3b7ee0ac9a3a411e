"""All rules over one snapshot, and the one line that sums them up."""

from collections.abc import Sequence
from dataclasses import dataclass

from natop.diagnose.evidence import Evidence
from natop.diagnose.namespace import found_by, found_inside
from natop.diagnose.rules import RULES
from natop.model import Finding, Severity, Snapshot

MOST_FINDINGS = 50
"""Kept, gravest first; no host has more to say that a person would read."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to say on one line."""

    severity: Severity | None
    """Of the gravest finding; None where there is none above info."""
    text: str
    is_known: bool = True
    """False where too little was read to judge by: without a finding that is not health."""


def diagnose(snapshot: Snapshot) -> tuple[Finding, ...]:
    """The findings of all rules, gravest first; of equals those first that account for more lost packets."""
    evidence, entered = Evidence(snapshot), snapshot.host.entered
    options = snapshot.inventory.engine.options if snapshot.inventory else ()
    judged = (finding for rule in RULES.values() for finding in rule.judge(evidence))
    found = [found_by(options, found_inside(entered, finding)) for finding in judged]
    return tuple(sorted(found, key=lambda each: (-each.severity.rank, -each.lost))[:MOST_FINDINGS])


def verdict(findings: Sequence[Finding] | None, snapshot: Snapshot) -> Verdict:
    """The gravest finding in its own words; else the few packets that were lost, or that nothing is wrong."""
    if findings is None:
        return Verdict(None, "not judged yet", is_known=False)
    grave = [each for each in findings if each.severity is not Severity.INFO]
    if grave:
        more = f" (+{len(grave) - 1} more)" if len(grave) > 1 else ""
        return Verdict(grave[0].severity, grave[0].summary + more)
    evidence = Evidence(snapshot)
    if evidence.since is None:
        return Verdict(None, "watching: rates need a second reading", is_known=False)
    if snapshot.gaps_of("flows"):
        return Verdict(None, f"nothing seen wrong {evidence.span}, but flows could not be read", is_known=False)
    blind = ", as far as natop can see" if snapshot.gaps or evidence.losses is None else ""
    lossy = next((each for each in findings if each.lost), None)
    if lossy:
        return Verdict(None, f"nothing grave{blind}: {lossy.summary}")
    return Verdict(None, f"nothing wrong {evidence.span}{blind}")
