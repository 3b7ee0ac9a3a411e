"""The footer: the keys that matter here, as many as fit.

     ? help  / filter  Enter flows  < > sort  p pause  e save  q quit

A click on one does what its key does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.binding import Binding

from natop.tui.glyphs import UNICODE, Glyphs
from natop.tui.lines import Lines
from natop.tui.tones import Piece, Tone

_GAP = 2


def bind(keys: str, action: str, description: str) -> Binding:
    """A binding that acts in the order in which keys are typed.

    Others act when their key has come back up from the focused widget, and by then a later key may have acted.
    """
    return Binding(keys, action, description, show=False, priority=True)


@dataclass(frozen=True, slots=True)
class Hint:
    """A key worth showing."""

    key: str
    """Textual's name of the key that a click stands for."""
    shown: str
    does: str
    rank: int = 2
    """1 is always shown; the higher, the sooner it gives way."""

    @property
    def width(self) -> int:
        return len(self.shown) + 1 + len(self.does) + _GAP


def fitting(hints: Sequence[Hint], width: int) -> tuple[Hint, ...]:
    """The hints that fit, by rank, in their own order. Pure."""
    room, chosen = width - 1, []
    for hint in sorted(hints, key=lambda hint: hint.rank):
        if hint.width - _GAP <= room:
            chosen.append(hint)
            room -= hint.width
    return tuple(hint for hint in hints if hint in chosen)


class KeyLine(Lines):
    """The hints that fit the width; a click on one is its key."""

    def __init__(self, glyphs: Glyphs = UNICODE) -> None:
        super().__init__(glyphs, id="keys")
        self._hints: tuple[Hint, ...] = ()

    def hint(self, hints: Sequence[Hint]) -> None:
        self._hints = fitting(hints, self.size.width)
        pieces: list[Piece] = [(" ", Tone.PLAIN)]
        for hint in self._hints:
            pieces += [(hint.shown, Tone.TITLE), (f" {hint.does}".ljust(hint.width - len(hint.shown)), Tone.QUIET)]
        self.show([pieces])

    def on_click(self, event: events.Click) -> None:
        at = 1
        for hint in self._hints:
            if at <= event.x < at + hint.width - _GAP:
                self.app.simulate_key(hint.key)
            at += hint.width
