"""What the verdict remembers of each instant of the last minute."""

from collections.abc import Mapping
from dataclasses import dataclass

from natop.model.kernel import Conntrack, NetnsTcp


@dataclass(frozen=True, slots=True)
class Pool:
    """One row of `NatPools`, as text and numbers."""

    proto: int
    name: str
    """As `203.0.113.10 → 198.51.100.7:443/tcp`."""
    filter: str
    """The expression for its flows."""
    used: int
    soft: int
    capacity: int
    time_wait: int
    loss: float
    holders: tuple[tuple[str, int], ...]

    @property
    def nat(self) -> str:
        """The address that it is of."""
        return self.name.partition(" → ")[0]

    @property
    def remote(self) -> str:
        """As `198.51.100.7:443/tcp`."""
        return self.name.partition(" → ")[2]

    @property
    def use(self) -> float:
        return self.used / self.capacity

    @property
    def hard_use(self) -> float:
        """Without what a kernel of 6.5 or later may evict."""
        return (self.used - self.soft) / self.capacity


@dataclass(frozen=True, slots=True)
class Mark:
    """Counters as they stood at one instant, and the NAT pools, to tell later how far they have come."""

    taken_at: float
    """Wall clock, seconds since the epoch."""
    monotonic_s: float
    conntrack: Conntrack
    tcp: Mapping[str, NetnsTcp]
    """By container id; the namespace read itself under HOST_MARK."""
    new_per_s: float | None = None
    """New flows per second between the last two dumps."""
    pools: tuple[Pool, ...] | None = None
    """Of the last dump those where ports are scarcest: by all that is taken, by what cannot be had, and by the chance
    of a loss. None where none was read of late."""
    dumped_s: float | None = None
    """When that dump was taken."""


HOST_MARK = ""
