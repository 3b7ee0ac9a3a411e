"""The line in which a filter is typed, in force while it is typed.

     / state:time_wait container:web*

Enter keeps it, unless there is a mistake in it; Esc leaves the filter as it was; the arrow up brings back earlier ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import wrap

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Input, Label

from natop.tui.glyphs import Glyphs
from natop.tui.wish import Mistake

PROMPT = " / "

ROOM = 40
"""Cells right of its column from which on a mistake's words stand there; with less, they go on below, from the left."""

Accepts = Callable[[str], bool]
"""Called with the text typed when Enter is to keep it; False leaves the line open."""
Ended = Callable[[str, bool], None]
"""Called with the text typed, and whether to keep it."""


def mistake_lines(mistake: Mistake, width: int, glyphs: Glyphs) -> list[str]:
    """A mark under the mistake's column and all that is to be said of it, in lines of at most so many cells."""
    before = min(len(PROMPT) + mistake.column, max(0, width - 1))
    mark = f"{' ' * before}{glyphs.caret}"
    room = width - len(mark) - 1
    if len(mistake.message) <= room or room >= ROOM:
        first, *more = wrap(mistake.message, max(1, room))
        return [f"{mark} {first}", *(f"{' ' * len(mark)} {part}" for part in more)]
    return [mark, *(f"{' ' * len(PROMPT)}{part}" for part in wrap(mistake.message, max(1, width - len(PROMPT))))]


class FilterInput(Input):
    """One line of text with the earlier filters behind it.

    Keys may be typed faster than they are handled. Therefore the line ends within the handling of the key that ends it,
    and keys that came after that one go back to the app.
    """

    def __init__(self, accepts: Accepts, ended: Ended) -> None:
        super().__init__(compact=True, select_on_focus=False)
        self._accepts, self._ended = accepts, ended
        self._past: Sequence[str] = ()
        self._back = 0
        self._typed = ""
        self._is_open = False

    def begin(self, text: str, past: Sequence[str]) -> None:
        """Take over the keys; `past` are the earlier filters, oldest first."""
        self._past, self._back, self._typed, self._is_open = past, 0, text, True
        self._put(text)
        self.screen.set_focus(self)

    async def _on_key(self, event: events.Key) -> None:
        if not self._is_open:
            self.app.post_message(events.Key(event.key, event.character))
        elif event.key == "escape" or (event.key == "enter" and self._accepts(self.value)):
            self._is_open = False
            self._ended(self.value, event.key == "enter")
        elif event.key in ("up", "down"):
            self._bring_back(1 if event.key == "up" else -1)
        elif event.key not in ("enter", "tab", "shift+tab"):
            return
        event.stop()
        event.prevent_default()

    def _bring_back(self, step: int) -> None:
        if self._back == 0:
            self._typed = self.value
        self._back = max(0, min(self._back + step, len(self._past)))
        self._put(self._past[-self._back] if self._back else self._typed)

    def _put(self, text: str) -> None:
        self.value = text
        self.cursor_position = len(text)


class FilterLine(Horizontal):
    """The prompt and the input; out of sight while no filter is being typed."""

    def __init__(self, accepts: Accepts, ended: Ended) -> None:
        super().__init__(id="filter")
        self._accepts, self._ended = accepts, ended

    def compose(self) -> ComposeResult:
        yield Label(PROMPT, markup=False)
        yield FilterInput(self._accepts, self._close)

    @property
    def is_open(self) -> bool:
        return self.has_class("-shown")

    def open(self, text: str, past: Sequence[str]) -> None:
        self.add_class("-shown")
        self.query_one(FilterInput).begin(text, past)

    def _close(self, text: str, keep: bool) -> None:
        self.remove_class("-shown")
        self._ended(text, keep)
