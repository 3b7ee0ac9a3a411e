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
from natop.decode.columns import GRAMMAR, Columns, flow_family
from natop.decode.layout import Layout, Layouts
from natop.model import U8, U32, FlowDump, FlowTable, Rows, Skipped
from natop.uapi import CtMessage


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
        self._layouts = Layouts(GRAMMAR)

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
            messages = netlink.matrix(words, flows[lengths == length], int(length))
            for part, layout in self._layouts.split(messages, int(length)):
                self._add(part, layout)

    def _control(self, words: U32, starts: Rows, types: np.ndarray) -> None:
        self.done = self.done or bool((types == uapi.NLMSG_DONE).any())
        for start in starts[types == uapi.NLMSG_ERROR]:
            if words[start] >= uapi.NLMSG_HDRLEN + 4:
                self.errno = -int(words[start + uapi.NLMSG_HDRLEN // 4].view(np.int32))

    def _add(self, matrix: U8, layout: Layout) -> None:
        self.attributes_skipped += layout.unknown * len(matrix)
        family = flow_family(layout)
        if family is None:
            self.messages_skipped += len(matrix)
        else:
            self.columns.append(matrix, layout, family)


_EXPECTED = (CtMessage.NEW.nlmsg_type, uapi.NLMSG_DONE, uapi.NLMSG_ERROR)


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
