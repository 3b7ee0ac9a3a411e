"""The verdict for people and programs: findings with evidence and remedies as text, Markdown and JSON. Pure."""

import textwrap
from collections.abc import Iterator, Sequence

import msgspec

from natop import __version__
from natop.diagnose import RULES, verdict
from natop.export.document import SCHEMA, finding_objects, gap_objects
from natop.formats import timestamp
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
    yield f"{host.hostname}  Linux {host.kernel or '-'}  {taken}\n"
    yield f"{verdict_line(snapshot)}\n"
    for finding in snapshot.findings or ():
        yield f"\n{finding.severity.upper()}  {finding.rule}  {finding.subject}\n"
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
    """Commands stand on lines of their own, unbroken, so that they can be copied as they are."""
    yield from wrapped(remedy.text, "  remedy: ", width)
    for command in remedy.commands:
        yield f"{command}\n"
    for label, text in (("undo", "; ".join(remedy.undo)), ("costs", remedy.cost), ("check", remedy.check)):
        if text:
            yield from wrapped(text, f"  {label}: ", width)


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
            yield f"\n{escaped(remedy.text)}\n"
            yield from _fenced(remedy.commands)
            if remedy.undo:
                yield "\nUndo:\n"
                yield from _fenced(remedy.undo)
            for label, text in (("Costs", remedy.cost), ("Check", remedy.check)):
                if text:
                    yield f"\n{label}: {escaped(text)}\n"


def _fenced(commands: Sequence[str]) -> Iterator[str]:
    if commands:
        yield "\n```sh\n" + "".join(f"{command}\n" for command in commands) + "```\n"


def is_grave(snapshot: Snapshot) -> bool:
    """Whether a finding of severity warning or worse stands."""
    return any(each.severity is not Severity.INFO for each in snapshot.findings or ())


def explanation(name: str, room: int | None = None) -> str | None:
    """What a rule means, how it decides and what its remedy costs, on a terminal `room` cells wide.

    None where there is no such rule.
    """
    rule = RULES.get(name)
    if rule is None:
        return None
    paragraphs = (rule.name + ": " + rule.title, *rule.explanation.split("\n\n"))
    return "\n".join("".join(wrapped(each, "", _width(room))) for each in paragraphs)


def rule_list() -> Iterator[str]:
    """All rules, a line each."""
    wide = max(map(len, RULES))
    for rule in RULES.values():
        yield f"{rule.name:<{wide}}  {rule.title}\n"
