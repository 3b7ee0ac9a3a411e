"""The line in which a filter is typed, in force while it is typed.

     / state:time_wait container:web*

Enter keeps it, Esc clears it, the arrow up brings back earlier ones.
"""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Label

PROMPT = " / "


class FilterInput(Input):
    """One line of text with the earlier filters behind it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "earlier(1)", show=False),
        Binding("down", "earlier(-1)", show=False),
        Binding("escape", "clear", show=False),
    ]

    class Cleared(Message):
        """Esc: no filter any more."""

    def __init__(self) -> None:
        super().__init__(compact=True, select_on_focus=False)
        self.past: list[str] = []
        """Earlier filters, oldest first."""
        self._back = 0
        self._typed = ""

    def begin(self, text: str, past: list[str]) -> None:
        self.past, self._back, self._typed = past, 0, text
        self.value = text
        self.cursor_position = len(text)
        self.focus()

    def action_earlier(self, step: int) -> None:
        if self._back == 0:
            self._typed = self.value
        self._back = max(0, min(self._back + step, len(self.past)))
        self.value = self.past[-self._back] if self._back else self._typed
        self.cursor_position = len(self.value)

    def action_clear(self) -> None:
        self.post_message(self.Cleared())


class FilterLine(Horizontal):
    """The prompt and the input; out of sight while no filter is being typed."""

    def compose(self) -> ComposeResult:
        yield Label(PROMPT, markup=False)
        yield FilterInput()

    @property
    def is_open(self) -> bool:
        return self.has_class("-shown")

    def open(self, text: str, past: list[str]) -> None:
        self.add_class("-shown")
        self.query_one(FilterInput).begin(text, past)

    def close(self) -> None:
        self.remove_class("-shown")
