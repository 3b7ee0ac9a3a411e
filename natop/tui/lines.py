"""A few lines of toned text as a widget that sends only the lines that changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from natop.tui.glyphs import UNICODE, Glyphs
from natop.tui.tones import TONE_CLASSES, Line, strip_of, text_of


class Lines(Widget):
    """Lines one under the other, as high as there are lines, cut at the right."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = set(TONE_CLASSES)

    def __init__(self, glyphs: Glyphs = UNICODE, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.glyphs = glyphs
        self._lines: tuple[Line, ...] = ()

    @property
    def text(self) -> str:
        """What it shows, without tones."""
        return "\n".join(text_of(line) for line in self._lines)

    def show(self, lines: Sequence[Line]) -> None:
        before, self._lines = self._lines, tuple(lines)
        if len(before) != len(self._lines):
            self.refresh(layout=True)
            return
        changed = [y for y, line in enumerate(self._lines) if line != before[y]]
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002  # Textual's
        return len(self._lines)

    def get_content_width(self, container: Size, viewport: Size) -> int:  # noqa: ARG002  # Textual's
        return max((len(text_of(line)) for line in self._lines), default=0)

    def render_line(self, y: int) -> Strip:
        if y >= len(self._lines):
            return Strip.blank(self.size.width, self.rich_style)
        return strip_of(self, self._lines[y], self.size.width, self.glyphs)
