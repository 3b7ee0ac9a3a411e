"""The layout of netlink messages: where their attributes' headers stand, and where each value does.

The kernel builds the messages of a dump from a few layouts. A layout is learnt from one message by walking
its attributes; a message of the same length whose header bytes are equal has its values in the same places.
"""

import struct
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

import numpy as np

from natop import uapi
from natop.model import U8, Mask

Path = tuple[int, ...]
"""The types of the attributes on the way to one."""

LAYOUTS_PER_LENGTH = 64
"""Layouts remembered for one message length. A kernel's table shows a handful; the bound keeps bytes made
to differ in every message from costing more than linear time."""

_NLATTR = struct.Struct("=HH")


@dataclass(frozen=True)
class Grammar:
    """What natop knows of one kind of message."""

    headers_len: int
    """Bytes before the first attribute: nlmsghdr and the family's header."""
    values: Mapping[Path, tuple[str, int]]
    """The attributes that natop keeps: their path, the value's name, and its size in bytes."""
    passed_over: Set[Path]
    """Attributes that natop knows and does not need; any other is counted as unknown."""
    nests: Set[Path] = field(init=False)

    def __post_init__(self) -> None:
        nests = {path[:depth] for path in self.values for depth in range(1, len(path))}
        object.__setattr__(self, "nests", nests)


@dataclass(slots=True)
class Layout:
    """What all messages of one layout share.

    `mask` and `headers` are as long as a message, padded to whole words: a message is of this layout where
    `message & mask` equals `headers`. `offsets` gives the byte offset of each value by name; `unknown` counts the
    attributes that the grammar does not know. Where an attribute does not fit, `broken` is true and no value stands.
    """

    mask: U8
    headers: U8
    offsets: dict[str, int] = field(default_factory=dict)
    unknown: int = 0
    broken: bool = False


def learn(message: bytes, grammar: Grammar) -> Layout:
    """The layout of one whole message. Never raises."""
    padded = (len(message) + 3) & ~3
    layout = Layout(np.zeros(padded, np.uint8), np.zeros(padded, np.uint8))
    layout.mask[4:6] = 0xFF  # nlmsg_type; length is equal by grouping; flags, sequence and port differ
    if len(message) < grammar.headers_len or not _walk(message, grammar.headers_len, len(message), (), layout, grammar):
        layout.offsets.clear()
        layout.broken = True
    layout.headers[: len(message)] = np.frombuffer(message, np.uint8) & layout.mask[: len(message)]
    return layout


def _walk(message: bytes, start: int, end: int, above: Path, layout: Layout, grammar: Grammar) -> bool:
    """Take the attributes between two offsets into `layout`; False where one does not fit."""
    at = start
    while end - at >= uapi.NLA_HDRLEN:
        length, kind = _NLATTR.unpack_from(message, at)
        layout.mask[at : at + uapi.NLA_HDRLEN] = 0xFF
        if length < uapi.NLA_HDRLEN or length > end - at:
            return False
        path = (*above, kind & uapi.NLA_TYPE_MASK)
        value = at + uapi.NLA_HDRLEN
        if path in grammar.nests:
            if not _walk(message, value, at + length, path, layout, grammar):
                return False
        else:
            name, wanted = grammar.values.get(path, ("", 0))
            if name and length - uapi.NLA_HDRLEN == wanted:
                layout.offsets[name] = value
            elif name or path not in grammar.passed_over:
                layout.unknown += 1
        at += (length + 3) & ~3
    return True


class Layouts:
    """The layouts of one grammar learnt so far."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._by_length: dict[int, list[Layout]] = {}

    def split(self, matrix: U8, length: int) -> Iterator[tuple[U8, Layout]]:
        """Messages of `length` bytes, one a row, in parts of one layout each."""
        known = self._by_length.setdefault(length, [])
        for layout in known:
            matrix, same = _split(matrix, layout)
            if len(same):
                yield same, layout
        while len(matrix):
            layout = learn(matrix[0, :length].tobytes(), self._grammar)
            if len(known) < LAYOUTS_PER_LENGTH:
                known.append(layout)
                matrix, same = _split(matrix, layout)
            else:
                matrix, same = matrix[1:], matrix[:1]
            yield same, layout


def _split(matrix: U8, layout: Layout) -> tuple[U8, U8]:
    """The messages of other layouts, and those of this one."""
    headers = matrix.view(np.uint32) & layout.mask.view(np.uint32)
    same: Mask = np.equal(headers, layout.headers.view(np.uint32)).all(axis=1)
    if same.all():
        return matrix[:0], matrix
    return (matrix[~same], matrix[same]) if same.any() else (matrix, matrix[:0])
