"""A list of which one thing is chosen.

    ╭─ Trends of ──────────────────────────────────────╮
    │ this host      the whole table                   │
    │ shop-web-1     container                         │
    ╰──────────────────────────────────────────────────╯

Enter chooses, Esc leaves all as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Generic, NamedTuple, TypeVar, cast

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from natop.text import clean
from natop.tui.formats import fit
from natop.tui.glyphs import ASCII, plain
from natop.tui.shell import Shell

_NAME_WIDTH = 40
"""Cells beyond which a name is cut."""
T = TypeVar("T")


class Choice(NamedTuple, Generic[T]):
    """A line of the list."""

    value: T
    name: str
    about: str = ""


class ChoiceScreen(ModalScreen[Choice[T] | None], Generic[T]):
    """Gives the choice made, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,backspace,q", "dismiss(None)", "Back", show=False)]

    def __init__(self, title: str, choices: Sequence[Choice[T]], current: T) -> None:
        super().__init__()
        self._title, self._choices, self._current = title, choices, current

    def compose(self) -> ComposeResult:
        wide = min(_NAME_WIDTH, max(cell_len(clean(each.name)) for each in self._choices))
        panel = Vertical(
            OptionList(*(Option(self._text(each, wide)) for each in self._choices), markup=False), id="panel"
        )
        panel.border_title = self._title
        yield panel

    def _text(self, choice: Choice[T], wide: int) -> Text:
        glyphs = cast(Shell, self.app).glyphs
        text = f"{fit(clean(choice.name), wide, glyphs)}  {clean(choice.about)}"
        return Text(plain(text) if glyphs is ASCII else text, no_wrap=True, overflow="ellipsis")

    def on_mount(self) -> None:
        values = [each.value for each in self._choices]
        self.query_one(OptionList).highlighted = values.index(self._current) if self._current in values else 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._choices[event.option_index])
