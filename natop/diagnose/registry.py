"""The rules by name: each a plain function from evidence to findings, which its docstring explains to people."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from natop.diagnose.evidence import Evidence
from natop.model import Finding

Judge = Callable[[Evidence], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One fault and how it is told from others."""

    name: str
    """As `snat-race`: the function's own, with hyphens."""
    title: str
    judge: Judge

    @property
    def explanation(self) -> str:
        """What it means, how it is decided, what its remedy costs: the function's docstring."""
        return inspect.getdoc(self.judge) or ""


RULES: dict[str, Rule] = {}
"""In the order they are declared in."""


def rule(title: str) -> Callable[[Judge], Judge]:
    """Enter a function among RULES."""

    def enter(judge: Judge) -> Judge:
        name = judge.__name__.replace("_", "-")
        RULES[name] = Rule(name, title, judge)
        return judge

    return enter
