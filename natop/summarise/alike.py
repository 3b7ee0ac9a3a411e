"""Rows brought into order, and equal ones together: by a hash for speed, by comparing for exactness."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from natop.model import U64, Mask, Rows

_FACTORS = tuple(
    np.uint64(factor)
    for factor in (
        *(0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5),
        *(0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53),
    )
)
"""Odd numbers with bits all over: one for each column, and the last to mix what they gave."""


def order_of(keys: U64, bits: int) -> Rows:
    """The order of keys below 2**bits, equal ones as they stand.

    Where key and row fit into 64 bits, sorting both as one number takes a fifth of the time of np.argsort.
    """
    row_bits = len(keys).bit_length()
    if bits + row_bits > 64:
        return np.argsort(keys, kind="stable")
    both = keys << np.uint64(row_bits) | np.arange(len(keys), dtype=np.uint64)
    both.sort()
    return (both & np.uint64((1 << row_bits) - 1)).astype(np.intp)


def hashed(columns: Sequence[U64]) -> U64:
    """A hash of each row over at most five columns; equal rows have equal hashes, and seldom do others."""
    with np.errstate(over="ignore"):
        found = columns[0] * _FACTORS[0]
        for column, factor in zip(columns[1:], _FACTORS[1:-1], strict=False):
            found ^= column * factor
        found ^= found >> np.uint64(29)
        return found * _FACTORS[-1]


@dataclass(frozen=True, slots=True)
class Kinds:
    """Rows by kind: two are of one kind where they are equal in every column."""

    order: Rows
    """The rows, those of one kind together and as they stood."""
    begins: Mask
    """Where in that order a kind begins."""


def kinds(columns: Sequence[U64]) -> Kinds:
    """The rows of at most five columns by kind.

    They are sorted by a hash, then neighbours are compared. Rows that share a hash and are not equal are sorted again,
    by the columns themselves: whoever chooses addresses so that many collide makes this slower, never wrong.
    """
    bits = 64 - len(columns[0]).bit_length()
    hashes = hashed(columns) >> np.uint64(64 - bits)
    order = order_of(hashes, bits)
    begins = _differs(columns, order)
    together = hashes[order]
    collides = begins[1:] & (together[1:] == together[:-1])
    if collides.any():
        places = np.flatnonzero(np.isin(together, together[1:][collides]))
        some = order[places]
        order[places] = some[np.lexsort((*(column[some] for column in columns), hashes[some]))]
        begins = _differs(columns, order)
    return Kinds(order, begins)


def _differs(columns: Sequence[U64], order: Rows) -> Mask:
    begins = np.zeros(len(order), np.bool_)
    begins[:1] = True
    for column in columns:
        ordered = column[order]
        begins[1:] |= ordered[1:] != ordered[:-1]
    return begins
