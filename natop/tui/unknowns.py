"""Why nothing is known of a number, in a few words. Pure."""

from __future__ import annotations

from natop.model import UNOWNED, ContainerSummary, Snapshot
from natop.summarise.history import Metric
from natop.tui.formats import span

CHOOSE = "t chooses one"
_NONE_OF_IT = {"pool_use": "no NAT port in use", "kept_ports": "no source port that NAT translated by a rule"}
"""What it means where flows were read and yet there is no such number, by key."""


def why_unknown(metric: Metric, subject: str | None, snapshot: Snapshot, span_s: float) -> str:
    """Why a metric of the host (no subject) or of one subject has no value in the last `span_s`.

    Where nothing gives a reason, for how long it was looked for: less than `span_s` soon after the start.
    """
    if subject in (None, UNOWNED) and metric.host is None:
        return f"containers have this number; {CHOOSE}"
    if subject == UNOWNED and metric.flows is None:
        return f"this host and containers have this number; {CHOOSE}"
    summary = next((each for each in snapshot.containers if each.container.id == subject), None)
    if reason := (_of_container(metric, summary) if summary else "") or _of_source(metric, snapshot):
        return f"not known: {reason}"
    if metric.key in _NONE_OF_IT and snapshot.reading is not None:
        return _NONE_OF_IT[metric.key]
    return _looked_for(metric, snapshot, span_s)


def _of_container(metric: Metric, summary: ContainerSummary) -> str:
    """What the container itself is the reason for."""
    if metric.source == "flows" and summary.untracked:
        return f"none of its flows are in this table ({summary.untracked})"
    if metric.source == "tcp" and summary.tcp_of:
        return f"counted with {summary.tcp_of}, whose namespace it shares"
    return "" if summary.container.is_alive else f"it is {summary.container.state}"


def _of_source(metric: Metric, snapshot: Snapshot) -> str:
    return next((gap.told() for gap in snapshot.gaps_of(metric.source)), "")


def _looked_for(metric: Metric, snapshot: Snapshot, span_s: float) -> str:
    at_s = [each.monotonic_s for each in snapshot.history.moments if each.has_dump or not metric.of_dumps]
    if len(at_s) < 2:
        return "not known yet: a rate takes two readings" if metric.unit == "/s" else "not known yet"
    looked_s = at_s[-1] - at_s[0]
    return f"not known for {f'{span_s / 60:g} min' if looked_s >= span_s else span(looked_s)}"
