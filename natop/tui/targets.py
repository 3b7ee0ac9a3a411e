"""A target of one's own to be probed, and the containers that call it beside the host.

    ╭─ Probe a target ─────────────────────────────────╮
    │ HOST:PORT or http://HOST/PATH                    │
    │ > 203.0.113.7                                    │
    │   ^ '203.0.113.7' has no port: give HOST:PORT    │
    │ from the host and, in the same second, from      │
    │ [x] shop-app-1                                   │
    │ [ ] shop-web-1                                   │
    │ arrows choose, Space marks, Enter probes         │
    ╰──────────────────────────────────────────────────╯

The line has the keys all the time: a target has no spaces, so Space marks the container.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from rich.cells import cell_len
from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList
from textual.widgets.option_list import Option

from natop.text import clean
from natop.tui.formats import fit
from natop.tui.glyphs import ASCII, Glyphs, plain
from natop.tui.lines import Lines
from natop.tui.shell import Shell
from natop.tui.tones import Line, Tone

if TYPE_CHECKING:
    from natop.model import Inventory, ProbeTarget

PROMPT = "> "
Key = Callable[[str], bool]
"""Called with a key before the line takes it; whether it has been dealt with."""


class TargetInput(Input):
    """One line of text. Keys that come after the one that ends it go back to the app, whoever has them then."""

    def __init__(self, key: Key) -> None:
        super().__init__(compact=True, select_on_focus=False)
        self._key = key
        self.is_open = True

    async def _on_key(self, event: events.Key) -> None:
        if not self.is_open:
            self.app.post_message(events.Key(event.key, event.character))
        elif not self._key(event.key):
            return
        event.stop()
        event.prevent_default()


class TargetScreen(ModalScreen["ProbeTarget | None"]):
    """Gives the target with its containers, or None."""

    def __init__(self, inventory: Inventory | None, sources: Sequence[str]) -> None:
        """`sources` are the containers that are marked at first."""
        super().__init__()
        self._names = _enterable(inventory)
        self._marked = {name for name in self._names if name in sources}
        self._line = TargetInput(self._pressed)
        self._list = OptionList(*(Option(self._text(name)) for name in self._names), markup=False)
        self._list.can_focus = False
        self._mistake = Lines(self._glyphs, id="mistake")
        self._from, self._keys = Lines(self._glyphs), Lines(self._glyphs)

    @property
    def _glyphs(self) -> Glyphs:
        return cast(Shell, self.app).glyphs

    def compose(self) -> ComposeResult:
        head = Label("HOST:PORT or http://HOST/PATH", markup=False)
        line = Horizontal(Label(PROMPT, markup=False), self._line, id="target")
        panel = Vertical(head, line, self._mistake, self._from, self._list, self._keys, id="panel")
        panel.border_title = "Probe a target"
        yield panel

    def on_mount(self) -> None:
        self._list.display = bool(self._names)
        self._list.highlighted = 0 if self._names else None
        self.set_focus(self._line)

    def on_resize(self) -> None:
        self.call_after_refresh(self._explain)

    def _explain(self) -> None:
        """What cannot be called from is not offered."""
        told = "from the host and, in the same second, from inside" if self._names else "from the host"
        keys = "arrows choose, Space marks, Enter probes, Esc leaves" if self._names else "Enter probes, Esc leaves"
        self._from.show([[(told, Tone.QUIET)]])
        self._keys.show([[], [(keys, Tone.QUIET)]])

    def _text(self, name: str) -> Text:
        text = f"[{'x' if name in self._marked else ' '}] {name}"
        return Text(plain(text) if self._glyphs is ASCII else text, no_wrap=True, overflow="ellipsis")

    # Keys

    def _pressed(self, key: str) -> bool:
        match key:
            case "enter":
                self._accept()
            case "escape":
                self._leave(None)
            case "up":
                self._list.action_cursor_up()
            case "down":
                self._list.action_cursor_down()
            case "space":
                self._mark()
            case "tab" | "shift+tab":
                pass
            case _:
                return False
        return True

    def _mark(self) -> None:
        """The container under the cursor, or no more."""
        number = self._list.highlighted
        if number is not None:
            self._marked ^= {self._names[number]}
            self._list.replace_option_prompt_at_index(number, self._text(self._names[number]))

    @on(OptionList.OptionSelected)
    def clicked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._list.highlighted = event.option_index
        self._mark()

    @on(Input.Changed)
    def typed(self, event: Input.Changed) -> None:
        event.stop()
        self._mistake.remove_class("-shown")

    def _accept(self) -> None:
        from natop.probing import BadTarget, parse_target

        try:
            target = parse_target(self._line.value.strip())
        except BadTarget as error:
            self._say(f"{' ' * len(PROMPT)}{self._glyphs.caret} {clean(error)}")
        else:
            self._leave(replace(target, sources=tuple(name for name in self._names if name in self._marked)))

    def _say(self, mistake: str) -> None:
        line: Line = [
            (fit(mistake, min(cell_len(mistake), self._line.size.width + len(PROMPT)), self._glyphs), Tone.ALARM)
        ]
        self._mistake.show([line])
        self._mistake.add_class("-shown")

    def _leave(self, target: ProbeTarget | None) -> None:
        self._line.is_open = False
        self.dismiss(target)


def _enterable(inventory: Inventory | None) -> Sequence[str]:
    """The names of the containers that have a network namespace of which the engine tells."""
    from natop.probing import netns_of

    containers = inventory.containers if inventory else ()
    return [each.name for each in containers if netns_of(each, containers) is not None]
