"""The list of columns to sort by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from natop.tui.choosing import Choice, ChoiceScreen
from natop.tui.layout import Column


class SortScreen(ChoiceScreen[str]):
    """All columns, also those that the width hides; gives the key of the one chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("f6", "dismiss(None)", "Back", show=False)]

    def __init__(self, columns: Sequence[Column], sort: str) -> None:
        super().__init__("Sort by", [Choice(each.key, each.title, each.help) for each in columns], sort)
