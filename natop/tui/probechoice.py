"""What the user chose to be probed. Pure; loads nothing of natop's numbers before the first picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from natop.formats import many

if TYPE_CHECKING:
    from natop.model import ProbeTarget
    from natop.probing import ProbeWish

NOTHING_PROBED = "nothing is probed: P calls the published ports, a adds a target"
"""With the keys that change it; whole at 80 columns."""


@dataclass(frozen=True, slots=True)
class ProbeChoice:
    is_on: bool = False
    """Whether anything is probed."""
    published: bool = False
    """The published ports too, and not the user's targets alone."""
    targets: tuple[ProbeTarget, ...] = ()
    """The user's own; they stay when nothing is probed."""
    sources: tuple[str, ...] = ()
    """Containers that were chosen last to call a target."""
    counts_own: bool = False
    """Whether natop's own connections count among the flows."""

    @property
    def wish(self) -> ProbeWish | None:
        """As the feed takes it; None where nothing is to be probed."""
        from natop.probing import ProbeWish

        return ProbeWish(self.published, self.targets, self.counts_own) if self.is_on else None

    def switched(self) -> ProbeChoice:
        """All that there is to probe or, where that is so already, nothing."""
        is_all = self.is_on and self.published
        return replace(self, is_on=not is_all, published=not is_all)

    def with_target(self, target: ProbeTarget) -> ProbeChoice:
        """That one too, in the place of one with the same name; to name it is to want it probed."""
        others = {each.text: each for each in self.targets}
        targets = tuple((others | {target.text: target}).values())
        return replace(self, is_on=True, targets=targets, sources=target.sources)

    def without(self, text: str) -> ProbeChoice:
        """All but the target of that name."""
        targets = tuple(each for each in self.targets if each.text != text)
        return replace(self, is_on=self.is_on and bool(self.published or targets), targets=targets)

    def told(self) -> str:
        """What is probed now, in a line."""
        if not self.is_on:
            return "probing no more"
        number = len(self.targets)
        targets = many(number, "target") if number else ""
        things = " and ".join(part for part in ("the published ports" if self.published else "", targets) if part)
        return f"probing {things}"
