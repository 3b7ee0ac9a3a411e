"""The network namespaces that can be read instead of this host's.

    ╭─ Read the network namespace of ──────────────────────────╮
    │ this host                                                │
    │ ingress_sbox     /run/docker/netns/ingress_sbox          │
    │ shop-web-1       /run/docker/netns/4f1a7c20be11          │
    ╰──────────────────────────────────────────────────────────╯

Enter reads it, Esc leaves all as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

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
from natop.tui.glyphs import ASCII, Glyphs, plain

if TYPE_CHECKING:
    from natop.model import Namespace

_NAME_WIDTH = 40
_HERE = "this host"


class NamespacesScreen(ModalScreen["Namespace | None"]):
    """Gives the namespace chosen; None is this host, or no choice."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,backspace,N,q", "dismiss(None)", "Back", show=False)]

    def __init__(self, namespaces: Sequence[Namespace], glyphs: Glyphs) -> None:
        super().__init__()
        self._namespaces, self._glyphs = namespaces, glyphs

    def compose(self) -> ComposeResult:
        lines = [(_HERE, "where natop reads now"), *((clean(each.name), clean(each.path)) for each in self._namespaces)]
        wide = min(_NAME_WIDTH, max(cell_len(name) for name, _ in lines))
        options = [Option(self._text(f"{fit(name, wide, self._glyphs)}  {path}")) for name, path in lines]
        panel = Vertical(OptionList(*options, markup=False), id="panel")
        panel.border_title = "Read the network namespace of"
        yield panel

    def _text(self, text: str) -> Text:
        return Text(plain(text) if self._glyphs is ASCII else text, no_wrap=True, overflow="ellipsis")

    def on_mount(self) -> None:
        self.query_one(OptionList).highlighted = 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._namespaces[event.option_index - 1] if event.option_index else None)
