"""The network namespaces that can be read instead of this host's.

╭─ Read the network namespace of ──────────────────────────╮
│ this host                                                │
│ ingress_sbox     /run/docker/netns/ingress_sbox          │
│ shop-web-1       /run/docker/netns/4f1a7c20be11          │
╰──────────────────────────────────────────────────────────╯
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType

from natop.tui.choosing import Choice, ChoiceScreen

if TYPE_CHECKING:
    from natop.model import Namespace


class NamespacesScreen(ChoiceScreen["Namespace | None"]):
    """Gives the namespace chosen; None is this host, where natop reads now."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("N", "dismiss(None)", "Back", show=False)]

    def __init__(self, namespaces: Sequence[Namespace]) -> None:
        choices: list[Choice[Namespace | None]] = [Choice(None, "this host", "where natop reads now")]
        choices += [Choice(each, each.name, each.path) for each in namespaces]
        super().__init__("Read the network namespace of", choices, None)
