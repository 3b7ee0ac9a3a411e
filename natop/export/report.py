"""The verdict for people and programs: findings with evidence and remedies as text, Markdown and JSON. Pure."""

import re
import textwrap
from collections.abc import Iterator, Sequence

import msgspec

from natop import __version__
from natop.diagnose import RULES, verdict
from natop.export.document import SCHEMA, finding_objects, gap_objects
from natop.formats import UNKNOWN, timestamp
from natop.markdown import escaped
from natop.model import Finding, Remedy, Severity, Snapshot

FORMATS = ("text", "json", "md")
WIDTH = 100
"""Cells a line of explanation may have."""
LEAST_WIDTH = 30


def as_json(snapshot: Snapshot, watched_s: float) -> Iterator[str]:
    """The findings as one JSON document on one line."""
    said = verdict(snapshot.findings, snapshot)
    document = {
        "natop": __version__,
        "schema": SCHEMA,
        "taken_at": timestamp(snapshot.taken_at),
        "watched_s": round(watched_s, 3),
        "host": {"hostname": snapshot.host.hostname, "kernel": snapshot.host.kernel, "netns": snapshot.host.netns},
        "verdict": {"severity": said.severity, "text": said.text},
        "findings": finding_objects(snapshot.findings),
        "gaps": gap_objects(snapshot.gaps),
    }
    yield msgspec.json.encode(document).decode() + "\n"


def as_text(snapshot: Snapshot, watched_s: float, room: int | None = None) -> Iterator[str]:
    """The verdict, then each finding with what says so and what to do, on a terminal `room` cells wide."""
    width = _width(room)
    host = snapshot.host
    taken = f"{timestamp(snapshot.taken_at)}, watched for {watched_s:.0f} s"
    yield from wrapped(f"{host.hostname}  Linux {host.kernel or UNKNOWN}  {taken}", "", width, indent=2)
    yield from wrapped(verdict_line(snapshot), "", width, indent=2)
    for finding in snapshot.findings or ():
        yield "\n"
        yield from wrapped(f"{finding.severity.upper()}  {finding.rule}  {finding.subject}", "", width, indent=2)
        yield from wrapped(finding.summary, "  ", width)
        for each in finding.evidence:
            yield from wrapped(each, "    - ", width)
        for remedy in finding.remedies:
            yield from _remedy_text(remedy, width)


def _width(room: int | None) -> int:
    """Not so narrow that a label has no room for words beside it."""
    return WIDTH if room is None else max(LEAST_WIDTH, min(WIDTH, room))


def verdict_line(snapshot: Snapshot) -> str:
    said = verdict(snapshot.findings, snapshot)
    healthy = "OK" if said.is_known else "UNKNOWN"
    return f"{said.severity.upper() if said.severity else healthy}: {said.text}"


def wrapped(text: str, start: str, width: int = WIDTH, indent: int | None = None) -> Iterator[str]:
    """Lines of at most `width` letters, the first behind `start`, the others under its text or `indent` blanks in."""
    further = " " * (len(start) if indent is None else indent)
    for line in textwrap.wrap(text, width, initial_indent=start, subsequent_indent=further, break_on_hyphens=False):
        yield line + "\n"


def _remedy_text(remedy: Remedy, width: int) -> Iterator[str]:
    """What is to be copied stands on lines of its own, unbroken and from the first column on."""
    yield "\n"
    yield from wrapped(remedy.text, "  remedy: ", width)
    yield from _whole(remedy.commands)
    for snippet in remedy.snippets:
        yield from wrapped(f"{snippet.place}:", "  write into ", width)
        yield from _whole((snippet.text,))
    if remedy.undo:
        yield "  undo:\n"
        yield from _whole(remedy.undo)
    for label, text in remedy.words:
        yield from wrapped(text, f"  {label}: ", width)


def _whole(texts: Sequence[str]) -> Iterator[str]:
    yield from (f"{text}\n" for text in texts)


def as_markdown(snapshot: Snapshot, watched_s: float) -> Iterator[str]:
    """A block for a ticket."""
    yield f"### natop doctor: {escaped(snapshot.host.hostname)}\n\n"
    yield f"- **verdict** {escaped(verdict_line(snapshot))}\n"
    yield f"- **taken** {timestamp(snapshot.taken_at)}, watched for {watched_s:.0f} s\n"
    yield from findings_markdown(snapshot.findings or ())


def findings_markdown(findings: Sequence[Finding]) -> Iterator[str]:
    """A heading a finding, its evidence as a list, commands as code."""
    for finding in findings:
        yield f"\n#### {finding.severity.upper()} {escaped(finding.rule)}: {escaped(finding.subject)}\n\n"
        yield f"{escaped(finding.summary)}\n\n"
        for each in finding.evidence:
            yield f"- {escaped(each)}\n"
        for remedy in finding.remedies:
            yield from _remedy_markdown(remedy)


def _remedy_markdown(remedy: Remedy) -> Iterator[str]:
    yield f"\n{escaped(remedy.text)}\n"
    yield from _fenced(remedy.commands)
    for snippet in remedy.snippets:
        yield f"\nInto {escaped(snippet.place)}:\n"
        yield from _fenced((snippet.text,), "")
    if remedy.undo:
        yield "\nUndo:\n"
        yield from _fenced(remedy.undo)
    for label, text in remedy.words:
        yield f"\n{label.capitalize()}: {escaped(text)}\n"


def _fenced(texts: Sequence[str], language: str = "sh") -> Iterator[str]:
    """As code, between fences longer than any that the code itself may hold."""
    if texts:
        code = "".join(_whole(texts))
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
        yield f"\n{fence}{language}\n{code}{fence}\n"


def is_grave(snapshot: Snapshot) -> bool:
    """Whether a finding of severity warning or worse stands."""
    return any(each.severity is not Severity.INFO for each in snapshot.findings or ())


def unjudged(snapshot: Snapshot) -> str | None:
    """One to three lines why a host without a grave finding cannot be called healthy; None where it can, or has one."""
    said = verdict(snapshot.findings, snapshot)
    if said.is_known:
        return None
    missing = sorted(snapshot.gaps, key=lambda gap: gap.source != "flows")
    return "\n".join([f"no verdict: {said.text}", *(gap.told() for gap in missing[:2])])


def explanation(name: str, room: int | None = None) -> str | None:
    """What a rule means, how it decides and what its remedy costs, on a terminal `room` cells wide.

    None where there is no such rule.
    """
    rule = RULES.get(name)
    if rule is None:
        return None
    paragraphs = (rule.name + ": " + rule.title, *rule.explanation.split("\n\n"))
    return "\n".join("".join(wrapped(each, "", _width(room))) for each in paragraphs)


def rule_list(room: int | None = None) -> Iterator[str]:
    """All rules with what each is about, on a terminal `room` cells wide."""
    wide = max(map(len, RULES))
    for rule in RULES.values():
        yield from wrapped(rule.title, f"{rule.name:<{wide}}  ", max(_width(room), wide + LEAST_WIDTH))
