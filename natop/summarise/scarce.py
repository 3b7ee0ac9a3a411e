"""The NAT pools where ports are scarcest, as text and numbers: what the verdict judges by and remembers."""

import numpy as np
import numpy.typing as npt

from natop.join.flows import UNKNOWN, Flows
from natop.model import NatPools, Pool, Snapshot
from natop.summarise.pools import filter_of, pool_name

F64 = npt.NDArray[np.float64]

FRESH_S = 60.0
"""A dump that is older tells nothing of the last minute."""


def scarcest(snapshot: Snapshot, most: int) -> tuple[Pool, ...] | None:
    """The pools with the fewest ports that can be had, at most so many; None where no pools were read.

    With them, where they are others, the fullest by all that is taken, and the one that most likely loses a new flow.
    """
    pools = snapshot.pools
    if pools is None:
        return None
    if len(pools) == 0:
        return ()
    capacity, flows = pools.capacity, Flows.of(snapshot)
    scarce = _largest(pools.hard / capacity, most)
    others = int(np.argmax(pools.used / capacity)), int(np.argmax(pools.loss))
    return tuple(_pool(pools, row, flows) for row in dict.fromkeys((*scarce, *others)))


def _largest(shares: F64, most: int) -> list[int]:
    """The rows of so many, largest first, of equals the first row first; without sorting all of them."""
    least = np.partition(shares, -most)[-most] if len(shares) > most else -np.inf
    rows = np.flatnonzero(shares >= least)
    largest: list[int] = rows[np.argsort(-shares[rows], kind="stable")[:most]].tolist()
    return largest


def remembered_pools(snapshot: Snapshot) -> tuple[Pool, ...] | None:
    """What a mark keeps: None where the pools are of a dump that is older than FRESH_S, too."""
    reading = snapshot.reading
    if reading is None or snapshot.monotonic_s - reading.monotonic_s > FRESH_S:
        return None
    return scarcest(snapshot, 1)


def _pool(pools: NatPools, row: int, flows: Flows | None) -> Pool:
    shares = slice(int(pools.start[row]), int(pools.start[row + 1]))
    return Pool(
        int(pools.proto[row]),
        pool_name(pools, row),
        filter_of(pools, row),
        int(pools.used[row]),
        int(pools.soft[row]),
        int(pools.last_port[row]) - int(pools.first_port[row]) + 1,
        int(pools.time_wait[row]),
        float(pools.loss[row]),
        tuple(
            ((flows and (flows.container(code) or flows.other(code))) or UNKNOWN, count)
            for code, count in zip(pools.holder[shares].tolist(), pools.holds[shares].tolist(), strict=True)
        ),
    )
