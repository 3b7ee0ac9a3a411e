"""What conntrack dropped in the last minute: by cause, and by how full the NAT pools were when it did.

A lost first packet is the symptom of several faults. It is counted under one of them, here and nowhere else.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from natop import meanings
from natop.model import Mark, Pool, Version
from natop.summarise.testimony import SYN_PATIENCE_S
from natop.summarise.window import risen

POOL_NO_RACE = 0.90
"""From this use on, a lost SYN is never called a race."""
LOSS_TELLS = 0.005
"""The chance that a new flow is lost from which on a pool explains losses: it is 0.7 % at 98 % of use, where the first
loss was measured, and may be more in a pool that is emptier, if the ports taken stand in a row."""


@dataclass(frozen=True, slots=True)
class Losses:
    """New connections that conntrack dropped, each counted under one cause."""

    clash: int
    """Two entries claimed one tuple; the later lost its first packet."""
    table_full: int
    chain: int
    """Refused because a hash chain was too long."""
    deleted: int
    """Refused because the entry was deleted before it was in the table, as by a flush."""

    @property
    def total(self) -> int:
        return self.clash + self.table_full + self.chain + self.deleted


def losses_of(counters: Mapping[str, int], version: Version | None) -> Losses | None:
    """What conntrack dropped, split by cause (see `natop.meanings`); None while the counters are unknown.

    Who loses a clash is counted under `drop` as well; a deleted entry is not (__nf_conntrack_confirm).
    """
    refused, full = meanings.clash_lost(counters, version), meanings.table_full(counters, version)
    if refused is None or full is None:
        return None
    chain = min(counters["insert_failed"], counters.get("chaintoolong", 0))
    clash = min(int(refused), counters["drop"])
    is_told_apart = "clash_resolve" in counters or (version is not None and version >= meanings.CLASHES_APART)
    return Losses(clash, int(full), chain, int(refused) - clash if is_told_apart else 0)


@dataclass(frozen=True, slots=True)
class Clashes:
    """When clashes lost packets, as far as marks tell."""

    scarce: int = 0
    """While a pool had next to no port to be had: exhaustion."""
    crowded: int = 0
    """While a pool was nearly full of what can be evicted, or before one filled: no race is shown, nor exhaustion."""
    worst: Pool | None = None
    """The pool with the fewest ports to be had while `scarce` were lost."""
    young: int = 0
    """So late that a SYN may not have been sent again yet."""


def is_scarce(pool: Pool) -> bool:
    """Whether a pool has so few ports to be had that new connections are lost for it."""
    return pool.hard_use >= POOL_NO_RACE or pool.loss >= LOSS_TELLS


def is_crowded(pool: Pool) -> bool:
    """Whether a pool is too full for a loss to be called a race."""
    return pool.use >= POOL_NO_RACE or is_scarce(pool)


def clashes_of(marks: Sequence[Mark], version: Version | None, total: int) -> Clashes:
    """The clashes, `total` in all, by when they came: each between two marks.

    None is called young while natop has watched for too short a time to have seen many that are not.
    Beside it stand the dumps around: the last at the mark before, and the first after that. What a later dump shows to
    be crowded may have filled already, unseen; what has emptied before the loss has not.
    """
    scarce, crowded, young, short = 0, 0, 0, list[Pool]()
    filled, late_s = _crowded_from(marks), marks[-1].monotonic_s - SYN_PATIENCE_S
    has_older = marks[0].monotonic_s <= late_s - SYN_PATIENCE_S
    for number, (before, after) in enumerate(pairwise(marks), 1):
        losses = losses_of(risen(before, after), version)
        if losses is None or not losses.clash:
            continue
        young += losses.clash if has_older and before.monotonic_s >= late_s else 0
        around = [*(before.pools or ()), *_next_dump(marks, number)]
        if found := [pool for pool in around if is_scarce(pool)]:
            scarce += losses.clash
            short += found
        elif filled[number] or any(is_crowded(pool) for pool in around):
            crowded += losses.clash
    scarce = min(scarce, total)
    worst = max(short, key=lambda pool: (pool.loss, pool.hard_use), default=None)
    return Clashes(scarce, min(crowded, total - scarce), worst, min(young, total))


def _next_dump(marks: Sequence[Mark], number: int) -> Sequence[Pool]:
    """The pools of the first dump after that of the mark before."""
    before = marks[number - 1]
    later = (mark for mark in marks[number:] if (mark.dumped_s, mark.pools) != (before.dumped_s, before.pools))
    return next((mark.pools or () for mark in later), ())


def _crowded_from(marks: Sequence[Mark]) -> list[bool]:
    """For each mark whether a pool is crowded at it or at a later one."""
    crowded = [any(is_crowded(pool) for pool in mark.pools or ()) for mark in reversed(marks)]
    return list(accumulate(crowded, operator.or_))[::-1]
