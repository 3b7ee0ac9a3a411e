"""What a sysctl is, and what is said of its value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from natop.model import Version

Value = int | tuple[int, ...]
"""A number; several for a range. A list of ports is first, last, first, last …"""


class Scope(StrEnum):
    """What one value holds for."""

    GLOBAL = "global"
    """The machine; only the initial network namespace may write it."""
    NETNS = "netns"
    """One network namespace."""


class Area(StrEnum):
    """What a sysctl governs, and so where its value matters."""

    TABLE = "table"
    """Conntrack's table: of a container only where that tracks connections itself."""
    SOCKETS = "sockets"
    """The sockets of the namespace."""
    ROUTER = "router"
    """Forwarding between containers and the world: the host's alone."""


class Verdict(StrEnum):
    FINE = "fine"
    NOTE = "note"
    """Worth knowing; nothing is wrong."""
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    sentence: str


@dataclass(frozen=True, slots=True)
class About:
    """What else is known where a value is judged; None is unknown."""

    version: Version | None = None
    values: Mapping[str, Value] = field(default_factory=dict)
    """All sysctls of the same namespace, by name."""
    entries: int | None = None
    """In the conntrack table."""


@dataclass(frozen=True, slots=True)
class Sysctl:
    path: str
    """Below /proc/sys."""
    area: Area
    judge: "Judge"
    defaults: tuple[tuple[tuple[int, int], Value], ...] = ()
    """The kernel's default since each version, oldest first; none where it depends on the machine's memory."""
    unit: str = ""
    scope: Scope = Scope.NETNS

    @property
    def name(self) -> str:
        """The last part of its path, by which everything else calls it."""
        return self.path.rpartition("/")[2]

    def default(self, version: Version | None) -> Value | None:
        """The kernel's own; that of the newest where the version is unknown."""
        known = [value for since, value in self.defaults if version is None or version >= since]
        return known[-1] if known else None


Judge = Callable[[Sysctl, Value, About], Judgement]


def value_text(value: Value) -> str:
    return "-".join(f"{part}" for part in value) if isinstance(value, tuple) else f"{value:,}"
