"""Findings as lines: of the table of findings, and of one finding with all that says so and what to do. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

from natop.model import Finding, Remedy, Severity, Snapshot
from natop.tui.formats import shortened
from natop.tui.glyphs import Glyphs
from natop.tui.layout import Column
from natop.tui.tones import Line, Piece, Tone
from natop.tui.wish import Arranged

_TONES = {Severity.CRITICAL: Tone.ALARM, Severity.WARNING: Tone.NOTICE, Severity.INFO: Tone.PLAIN}


@dataclass(frozen=True, slots=True)
class FindingColumn:
    key: str
    title: str
    width: int
    help: str
    numeric: bool = False
    rank: int = 1


COLUMNS = (
    FindingColumn("severity", "SEVERITY", 10, "critical, warning or info; the gravest first"),
    FindingColumn("subject", "ABOUT", 14, "the container, NAT pool or host that it is about", rank=3),
    FindingColumn("finding", "FINDING", 20, "what is wrong, in one sentence with its number", rank=0),
)


def severity_mark(severity: Severity, glyphs: Glyphs) -> Piece:
    """As `! CRITICAL`: never by colour alone."""
    mark = glyphs.alarm if severity is not Severity.INFO else glyphs.dot
    return f"{mark} {severity.upper()}", _TONES[severity]


def arrange_findings(snapshot: Snapshot, glyphs: Glyphs, width: int, compared: Sequence[str] = ()) -> Arranged:
    """The findings as the verdict has them, gravest first; `compared` is what changed at the marker."""
    findings = snapshot.findings or ()
    return Arranged(FindingLines(findings, glyphs, width, compared), "", False, len(findings), len(findings))


def identity_of(finding: Finding) -> Hashable:
    """What a finding is known by from one snapshot to the next."""
    return finding.rule, finding.subject


class FindingLines:
    """Findings as the content of a table."""

    columns: Sequence[FindingColumn] = COLUMNS

    def __init__(self, findings: Sequence[Finding], glyphs: Glyphs, width: int, compared: Sequence[str] = ()) -> None:
        """`width` is that of the facts about a line."""
        self.findings, self._glyphs, self._width, self._compared = findings, glyphs, width, compared

    def __len__(self) -> int:
        return len(self.findings)

    def identity(self, line: int) -> Hashable:
        return identity_of(self.findings[line])

    def line_of(self, identity: Hashable) -> int | None:
        return next((line for line, each in enumerate(self.findings) if identity_of(each) == identity), None)

    def text(self, line: int) -> str:
        """The finding for the clipboard, evidence and all that its remedies have to copy included."""
        finding = self.findings[line]
        blocks = [block.text for block in copyable(finding)]
        return "\n".join([f"{finding.severity.upper()} {finding.summary}", *finding.evidence, *blocks])

    def facts(self, line: int) -> Sequence[Line]:
        """The whole sentence, for which a narrow table has no room, and what says so; all else is a screen of its own.

        What changed at the marker is news, and so comes before the evidence.
        """
        finding = self.findings[line]
        lines: list[Line] = [[(f" {part}", Tone.TITLE)] for part in self._parts(finding.summary, 1)]
        for each in (*self._compared, *finding.evidence):
            for number, part in enumerate(self._parts(each, 3)):
                lines.append([(f" {self._glyphs.dot} " if number == 0 else "   ", Tone.QUIET), (part, Tone.PLAIN)])
        return lines

    def _parts(self, text: str, indent: int) -> list[str]:
        return wrap(text, max(20, self._width - indent), break_on_hyphens=False) or [""]

    def cell(self, line: int, column: Column, width: int) -> Piece:
        finding = self.findings[line]
        if column.key == "severity":
            return severity_mark(finding.severity, self._glyphs)
        if column.key == "subject":
            return shortened(finding.subject, width, self._glyphs), Tone.NAME
        return finding.summary, Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Block:
    """What `y` copies at once: the commands of a remedy, or lines to be written somewhere."""

    what: str
    """As `the commands of remedy 1`."""
    text: str


def copyable(finding: Finding) -> list[Block]:
    """Remedy by remedy; they exclude each other, so never all at once."""
    blocks = []
    for number, remedy in enumerate(finding.remedies, start=1):
        if remedy.commands:
            blocks.append(Block(f"the commands of remedy {number}", "\n".join(remedy.commands)))
        blocks += [Block(f"the lines of remedy {number} for {each.place}", each.text) for each in remedy.snippets]
    return blocks


_LABEL = 10


def finding_lines(finding: Finding, width: int, glyphs: Glyphs, compared: Sequence[str] = ()) -> list[Line]:
    """All of one finding; what is left of a long command stands below it, further in."""
    mark, tone = severity_mark(finding.severity, glyphs)
    lines: list[Line] = [[], [(f" {mark}  ", tone), (finding.subject, Tone.NAME), (f"  {finding.rule}", Tone.QUIET)]]
    lines += _told("", finding.summary, width, Tone.TITLE)
    lines.append([])
    for number, each in enumerate(finding.evidence):
        lines += _told("evidence" if number == 0 else "", each, width)
    for number, each in enumerate(compared):
        lines += _told("marker" if number == 0 else "", each, width)
    for number, remedy in enumerate(finding.remedies, start=1):
        lines += [[], *_remedy(number, remedy, width)]
    lines += [[], *_told("why", f"natop explain {finding.rule}", width, Tone.QUIET)]
    return lines


def _remedy(number: int, remedy: Remedy, width: int) -> Iterator[Line]:
    yield from _told(f"remedy {number}", remedy.text, width)
    yield from _whole(remedy.commands, width)
    for snippet in remedy.snippets:
        yield from _told("write", f"into {snippet.place}:", width)
        yield from _whole((snippet.text,), width)
    for number, command in enumerate(remedy.undo):
        yield from _told("undo" if number == 0 else "", command, width, Tone.ESTABLISHED)
    for label, text in remedy.words:
        yield from _told(label, text, width)


def _whole(texts: Sequence[str], width: int) -> Iterator[Line]:
    """What is to be copied, as it is; a line that is too long goes on further in."""
    for part in (line for text in texts for line in text.splitlines()):
        for piece in _pieces(part, width, indent="    "):
            yield [(" " * (_LABEL + 1), Tone.PLAIN), (piece, Tone.ESTABLISHED)]


def _told(label: str, text: str, width: int, tone: Tone = Tone.PLAIN) -> Iterator[Line]:
    for number, part in enumerate(_pieces(text, width)):
        yield [(f" {label if number == 0 else ''}".ljust(_LABEL + 1), Tone.QUIET), (part, tone)]


def _pieces(text: str, width: int, indent: str = "") -> list[str]:
    """A text as lines beside the labels; an option such as `--random-fully` stays in one piece."""
    return wrap(text, max(20, width - _LABEL - 1), subsequent_indent=indent, break_on_hyphens=False) or [""]
