"""How NAT looks for a free source port, and the chance that it finds none.

As nf_nat_l4proto_unique_tuple of net/netfilter/nf_nat_core.c does it: from a random port of the range upwards, 128
tries; then from another random one 64, 32, 16 and 8. If all fail, the packet leaves with the last port tried, clashes
with the entry that has it, and is dropped: `insert_failed` and `drop` rise by one, nobody is told, the client sends
its SYN again. From Linux 6.5 on, the last 32 tries of each round evict a TCP entry in TIME_WAIT or CLOSE that is in
the way (nf_nat_used_tuple_harder).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from natop.model import U16, Mask, Rows

Shares = npt.NDArray[np.float64]

ROUNDS = (128, 64, 32, 16, 8)
"""Tries in each round. In a range no larger than the first, that one tries each port and is the only one."""
HARDER = 32
"""In the last so many tries of a round NAT evicts where it may (NF_NAT_HARDER_THRESH)."""
NOT_EVICTED = 0.5
"""Of the entries that may be evicted, those that a given SYN may not: its sequence number must be ahead of the old
connection's (nf_seq_has_advanced), and those of different ends begin anywhere.

Measured on Linux 6.18 in a range of 1,000 ports, all taken, 30 of them soft: 22 % of 300 connects lost, 18 % by this
number; it would be 3 % if each could be evicted.
"""
STARTS = 1 << 16
"""A round begins at a random number of 16 bits modulo the size of the range."""
POOL_WARN, POOL_CRITICAL = 0.80, 0.95
"""Use of a NAT pool: measured, a new SYN costs some 5 probes at 80 % and 20 at 95 %, and the first is lost at 98 %."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Ports that are taken, each pool's together and upwards, each port once and within its pool's range."""

    port: U16
    pool: Rows
    """Index of the pool of each port; every pool has one."""
    start: Rows
    """Where each pool's ports begin; one longer than there are pools."""
    first: U16
    """The range of each pool, both ends included."""
    last: U16

    @property
    def used(self) -> Rows:
        return np.diff(self.start)

    @property
    def size(self) -> Rows:
        """Ports in each pool's range."""
        return self.last.astype(np.intp) - self.first + 1


def chance_of_loss(taken: Taken, soft: Mask) -> Shares:
    """For each pool the chance that a new flow whose own port is taken finds no other, from the very ports in use.

    `soft` tells which ports are held by entries that may be evicted. With ports spread evenly over the range, a share
    u of them taken and h of them not soft, it comes to u^128 * h^120, or to u^248 without soft ones: 0.7 % at 98 %, 8 %
    at 99 %, 29 % at 99.5 %, beside 1, 11 and 31 % measured over 200 connects each on Linux 6.18. Ports in a row are
    worse: where clients hold 28,232 neighbours, their ephemeral range, and nothing else, 1.5 % of all searches begin in
    that row five times over.
    """
    size, used = taken.size, taken.used
    chance = np.zeros(len(size))
    large = np.flatnonzero((size > ROUNDS[0]) & (used >= ROUNDS[0]))
    if len(large):
        ring = _Ring.of(taken, soft, large)
        chance[large] = np.prod([ring.fails(tries) for tries in ROUNDS], axis=0)
    full = np.flatnonzero((size <= ROUNDS[0]) & (used == size))
    for tries in np.unique(size[full]).tolist():
        some = full[size[full] == tries]
        chance[some] = _Ring.of(taken, soft, some).fails(tries)
    return chance


@dataclass(frozen=True, slots=True)
class _Ring:
    """The ports taken in some pools. As many as a round tries stand behind each pool's last once more: after the end of
    a range NAT goes on at its beginning."""

    offset: Rows
    """Of each port within its range; of those that stand there again, beyond it."""
    softs: Rows
    """Soft ports before each; one longer than there are ports."""
    numbers: Rows
    """Of the STARTS numbers, those by which a round begins at this port."""
    begin: Rows
    """Where each pool's ports begin."""

    @classmethod
    def of(cls, taken: Taken, soft: Mask, some: Rows) -> "_Ring":
        used, size = taken.used[some], taken.size[some]
        length = used + np.minimum(used, ROUNDS[0])
        begin = np.cumsum(length) - length
        pool = np.repeat(np.arange(len(some)), length)
        nth = np.arange(len(pool)) - begin[pool]
        again = nth >= used[pool]
        place = (taken.start[some][pool] + nth) - again * used[pool]
        offset = taken.port[place] - taken.first[some].astype(np.intp)[pool]
        numbers = (STARTS // size)[pool] + (offset < (STARTS % size)[pool])
        softs = np.concatenate(([0], np.cumsum(soft[place])))
        return cls(offset + again * size[pool], softs, numbers * ~again, begin)

    def fails(self, tries: int) -> Shares:
        """The chance, for each pool, that so many tries in a row from a random start find nothing."""
        starts = len(self.offset) - tries + 1
        in_a_row = self.offset[tries - 1 :] - self.offset[:starts] == tries - 1
        met = self.softs[tries:] - self.softs[tries - min(tries, HARDER) :][:starts]
        weight = np.zeros(len(self.offset))
        weight[:starts] = self.numbers[:starts] * in_a_row * _CHANCE_TO_STAY[met]
        return np.add.reduceat(weight, self.begin) / STARTS


_CHANCE_TO_STAY = NOT_EVICTED ** np.arange(HARDER + 1)
"""The chance that none of so many soft entries is evicted."""
