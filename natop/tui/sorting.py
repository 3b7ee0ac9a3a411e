"""The list of columns to sort by.

    ╭──────────────────────────────────────────────────╮
    │ Sort by                                          │
    │                                                  │
    │ FLOWS       conntrack entries                    │
    │ TIME_WAIT   in conntrack's TIME_WAIT (120 s)     │
    ╰──────────────────────────────────────────────────╯

Enter sorts, Esc leaves the order as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from natop.tui.layout import Column


class SortScreen(ModalScreen[str | None]):
    """All columns, also those that the width hides; gives the key of the one chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,backspace,f6,q", "dismiss(None)", "Back", show=False)]

    def __init__(self, columns: Sequence[Column], sort: str) -> None:
        super().__init__()
        self._columns, self._sort = columns, sort

    def compose(self) -> ComposeResult:
        wide = max(len(column.title) for column in self._columns)
        options = [Option(Text(f"{each.title:<{wide}}  {each.help}"), each.key) for each in self._columns]
        panel = Vertical(OptionList(*options, markup=False), id="panel")
        panel.border_title = "Sort by"
        yield panel

    def on_mount(self) -> None:
        keys = [column.key for column in self._columns]
        self.query_one(OptionList).highlighted = keys.index(self._sort) if self._sort in keys else 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)
