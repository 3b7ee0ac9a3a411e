"""ctnetlink dumps to a FlowTable, in bulk.

Per message, Python does no more than step to the next one. Messages of equal length are gathered into a matrix;
those whose attribute headers equal a known layout's give up each of their values as a column; the first that
matches none teaches the next layout. Nothing in the bytes is trusted, and nothing in them raises: what does
not fit is skipped and counted.
"""

from collections.abc import Iterable

import numpy as np

from natop import uapi
from natop.decode import netlink
from natop.decode.columns import Columns
from natop.decode.layout import Layout, learn
from natop.model import U8, U32, FlowDump, FlowTable, Mask, Rows, Skipped
from natop.uapi import CtMessage

LAYOUTS_PER_LENGTH = 64
"""Layouts remembered for one message length. A kernel's table shows a handful; the bound keeps bytes made
to differ in every message from costing more than linear time."""


def decode_dump(blocks: Iterable[netlink.Block]) -> FlowDump:
    """The flows in blocks of whole netlink messages, as the kernel answers CT_GET with NLM_F_DUMP."""
    decoder = _Decoder()
    for block in blocks:
        decoder.take(block)
    return FlowDump(
        _once(decoder.columns.table()),
        Skipped(decoder.messages_skipped, decoder.attributes_skipped),
        complete=decoder.done,
        errno=decoder.errno,
    )


class _Decoder:
    """What is carried from block to block: the layouts learnt, the columns filled, the counts."""

    def __init__(self) -> None:
        self.columns = Columns()
        self.messages_skipped = 0
        self.attributes_skipped = 0
        self.done = False
        self.errno = 0
        self._layouts: dict[int, list[Layout]] = {}

    def take(self, block: netlink.Block) -> None:
        words = netlink.as_words(block)
        starts, cut = netlink.message_starts(words)
        self.messages_skipped += cut
        if len(starts) == 0:
            return
        types = netlink.message_types(words, starts)
        self._control(words, starts, types)
        flows = starts[types == CtMessage.NEW.nlmsg_type]
        self.messages_skipped += int(np.count_nonzero(~np.isin(types, _EXPECTED)))
        lengths = words[flows]
        for length in np.unique(lengths):
            self._take_length(netlink.matrix(words, flows[lengths == length], int(length)), int(length))

    def _control(self, words: U32, starts: Rows, types: np.ndarray) -> None:
        self.done = self.done or bool((types == uapi.NLMSG_DONE).any())
        for start in starts[types == uapi.NLMSG_ERROR]:
            if words[start] >= uapi.NLMSG_HDRLEN + 4:
                self.errno = -int(words[start + uapi.NLMSG_HDRLEN // 4].view(np.int32))

    def _take_length(self, matrix: U8, length: int) -> None:
        """Decode messages of one length, layout by layout."""
        known = self._layouts.setdefault(length, [])
        for layout in known:
            if len(matrix) == 0:
                return
            matrix = self._take_layout(matrix, layout)
        while len(matrix):
            layout = learn(matrix[0, :length].tobytes())
            if len(known) < LAYOUTS_PER_LENGTH:
                known.append(layout)
                matrix = self._take_layout(matrix, layout)
            else:
                self._add(matrix[:1], layout)
                matrix = matrix[1:]

    def _take_layout(self, matrix: U8, layout: Layout) -> U8:
        """Decode the messages of this layout; return the others."""
        same = _matches(matrix, layout)
        if same.all():
            self._add(matrix, layout)
            return matrix[:0]
        if same.any():
            self._add(matrix[same], layout)
            return matrix[~same]
        return matrix

    def _add(self, matrix: U8, layout: Layout) -> None:
        self.attributes_skipped += layout.unknown * len(matrix)
        if layout.family is None:
            self.messages_skipped += len(matrix)
        else:
            self.columns.append(matrix, layout)


_EXPECTED = (CtMessage.NEW.nlmsg_type, uapi.NLMSG_DONE, uapi.NLMSG_ERROR)


def _matches(matrix: U8, layout: Layout) -> Mask:
    same = matrix.view(np.uint32) & layout.mask.view(np.uint32)
    matching: Mask = np.equal(same, layout.headers.view(np.uint32)).all(axis=1)
    return matching


def _once(flows: FlowTable) -> FlowTable:
    """The table without the entries that a dump of a changing table shows twice: same id, same original tuple."""
    ids = np.sort(flows.id)
    repeated = ids[1:][ids[1:] == ids[:-1]]
    if len(repeated) == 0:
        return flows
    rows = np.flatnonzero(np.isin(flows.id, repeated))
    few = flows.take(rows)
    identity: list[np.ndarray] = [
        *(few.id, few.zone, few.proto, few.orig_sport, few.orig_dport),
        *(few.orig_src.hi, few.orig_src.lo, few.orig_dst.hi, few.orig_dst.lo),
    ]
    keys = np.stack([column.astype(np.uint64) for column in identity], axis=1)
    _, first = np.unique(keys, axis=0, return_index=True)
    later = np.setdiff1d(rows, rows[first])
    return flows.take(np.delete(np.arange(len(flows)), later)) if len(later) else flows
