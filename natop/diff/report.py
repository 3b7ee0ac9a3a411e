"""A comparison as text and as a block of Markdown for a ticket. Pure."""

from collections.abc import Iterator

from natop import tables
from natop.diff.compare import Comparison
from natop.diff.sections import Section, View, sections
from natop.export.report import WIDTH, wrapped
from natop.formats import cells_of, padded
from natop.markdown import escaped

LONG = 12
"""Cells of the longest word before a sentence that the sentences are indented for."""
ARROW, MARKDOWN_ARROW = "->", "→"


def as_text(comparison: Comparison, view: View, width: int | None = None) -> Iterator[str]:
    """Tables leave out columns, and sentences are broken, so that they fit `width` cells, where one is given."""
    for number, section in enumerate(sections(comparison, view, ARROW)):
        if number:
            yield "\n"
        if section.title:
            yield f"{section.title}\n"
        yield from _sentences(section.sentences, width)
        yield from _table(section, width)
        yield from _sentences(section.below, width)


def _sentences(sentences: tuple[tuple[str, str], ...], width: int | None) -> Iterator[str]:
    """Texts under each other where all words before them are short, else each behind its word and a colon."""
    longest = max((cells_of(word) for word, _ in sentences), default=0)
    for word, text in sentences:
        if longest > LONG:
            yield from wrapped(text, f"{word}: " if word else "", width or WIDTH, 2)
        else:
            yield from wrapped(text, f"{padded(word, longest)}  " if longest else "", width or WIDTH)


def _table(section: Section, width: int | None) -> Iterator[str]:
    if not section.cells:
        return
    cells = section.cells if width is None else [(_clipped(row[0], width // 3), *row[1:]) for row in section.cells]
    yield from tables.as_text(section.columns, cells, width)
    if missing := [title for title in tables.left_out(section.columns, cells, width) if title]:
        yield from wrapped(", ".join(missing), "in a wider terminal: ", width or WIDTH, 2)


def _clipped(name: str, room: int) -> str:
    """At most `room` cells of a name."""
    if cells_of(name) <= room:
        return name
    kept = ""
    for letter in name:
        if cells_of(kept + letter) > room - 2:
            break
        kept += letter
    return f"{kept}.."


def as_markdown(comparison: Comparison, view: View) -> Iterator[str]:
    yield f"### natop diff: {escaped(comparison.after.state.host.hostname)}\n"
    for section in sections(comparison, view, MARKDOWN_ARROW):
        if section.title:
            yield f"\n#### {section.title.capitalize()}\n"
        yield from _items(section.sentences)
        if section.cells:
            yield "\n"
            yield from tables.as_markdown(section.columns, section.cells)
        yield from _items(section.below)


def _items(sentences: tuple[tuple[str, str], ...]) -> Iterator[str]:
    if sentences:
        yield "\n"
    for word, text in sentences:
        yield f"- **{escaped(word)}** {escaped(text)}\n" if word else f"- {escaped(text)}\n"
