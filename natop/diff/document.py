"""A comparison as a JSON document: every key always present, null for what is unknown, never 0."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from natop import __version__
from natop.diff.change import Change, Verdict
from natop.diff.compare import Comparison
from natop.diff.matching import ContainerChange, Fact, FindingChange
from natop.diff.sections import View
from natop.diff.sides import Side
from natop.export import Json
from natop.export.document import SCHEMA
from natop.formats import timestamp


def as_json(comparison: Comparison, view: View) -> Iterator[str]:
    """One document on one line; all that was compared is in it, changed or not, of the containers that are wanted."""
    elapsed_s = comparison.elapsed_s
    document: Json = {
        "natop": __version__,
        "schema": SCHEMA,
        "before": _side(comparison.before),
        "after": _side(comparison.after),
        "elapsed_s": round(elapsed_s, 3),
        "same_boot": comparison.same_boot,
        "notes": comparison.notes,
        "facts": _facts(comparison.facts),
        "host": _numbers(comparison.host, elapsed_s),
        "containers": [_container(each, elapsed_s) for each in view.containers(comparison)],
        "probes": [{"way": each.name, "numbers": _numbers(each.changes, elapsed_s)} for each in comparison.ways],
        "findings": [_finding(each) for each in comparison.findings],
        "nat_rules": _rules(comparison),
        "gaps": [
            {"side": side.lower(), "source": gap.source, "reason": gap.reason, "remedy": gap.remedy}
            for side, gap in comparison.gaps
        ],
    }
    yield msgspec.json.encode(document).decode() + "\n"


def _side(side: Side) -> Json:
    state = side.state
    return {
        "file": side.name,
        "natop": state.natop,
        "taken_at": timestamp(state.taken_at.timestamp()),
        "hostname": state.host.hostname,
        "kernel": state.host.kernel,
        "netns": state.host.netns,
        "boot_id": state.host.boot_id,
        "readings": side.readings,
        "rates_over_s": round(side.rated_s, 3) if side.rated_s else None,
        "cut_short": side.is_cut,
    }


def _facts(facts: Iterable[Fact]) -> list[Json]:
    return [
        {
            "key": each.key,
            "before": each.before,
            "after": each.after,
            "changed": None if None in (each.before, each.after) else each.is_told,
        }
        for each in facts
    ]


def _numbers(changes: Sequence[Change], elapsed_s: float) -> Json:
    """By key; foremost changes first."""
    return {each.measure.key: _change(each, elapsed_s) for each in changes}


def _change(change: Change, elapsed_s: float) -> Json:
    return {
        "unit": change.measure.unit,
        "before": change.before,
        "after": change.after,
        "difference": change.difference,
        "verdict": None if change.verdict is Verdict.UNKNOWN else change.verdict,
        "rise": change.rise,
        "rise_per_min": None if change.rise is None or not elapsed_s else 60 * change.rise / abs(elapsed_s),
    }


def _container(container: ContainerChange, elapsed_s: float) -> Json:
    return {
        "name": container.name,
        "fate": container.fate,
        "id_before": container.before.part.id if container.before else None,
        "id_after": container.after.part.id if container.after else None,
        "changed": container.is_told,
        "facts": _facts(container.facts),
        "numbers": _numbers(container.changes, elapsed_s),
    }


def _finding(finding: FindingChange) -> Json:
    before, after = finding.before, finding.after
    return {
        "fate": finding.fate,
        "rule": finding.part.rule,
        "subject": finding.part.subject,
        "severity_before": before.severity if before else None,
        "severity_after": after.severity if after else None,
        "summary_before": before.summary if before else None,
        "summary_after": after.summary if after else None,
    }


def _rules(comparison: Comparison) -> Json | None:
    """None where either side could not read them."""
    if comparison.rules is None:
        return None
    gone, new = comparison.rules
    return {"gone": gone, "new": new}
