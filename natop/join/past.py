"""Whose the flows of the dump before were: what a flow's own addresses and sockets do not tell any more."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from natop.join.local import GONE, NOBODY, Codes, Parties
from natop.model import U8, U32, Attribution, Container, FlowTable, Halves, Kind, Mask, Rows


@dataclass(frozen=True, slots=True)
class Memory:
    """The dump before, and whose its flows were."""

    flows: FlowTable
    attribution: Attribution
    containers: Sequence[Container]
    taken_at: float
    """When its dump was taken, in seconds since the epoch."""


class Last:
    """The dump before, in the codes of this one."""

    def __init__(self, memory: Memory, containers: Sequence[Container], parties: Parties) -> None:
        place = {container.id: index for index, container in enumerate(containers)}
        past = memory.attribution
        self._past = past
        self._flows = memory.flows
        self.taken_ns = np.uint64(max(0, int(memory.taken_at * 1e9)))
        names = [place[each.id] if each.id in place else parties.code(GONE + each.name) for each in memory.containers]
        borne = _borne(past)
        others = [parties.code(name) if borne[i] else NOBODY for i, name in enumerate(past.others)]
        self._now = np.array([*reversed(others), NOBODY, *names], np.int32)
        """Today's code for each of yesterday's, from the lowest up."""
        self._lowest = len(others)
        self.may_tell_stale = tuple(containers) != tuple(memory.containers) or any(
            borne[i] and name.startswith(GONE) for i, name in enumerate(past.others)
        )

    def of(self, flows: FlowTable, rows: Rows, end: str) -> tuple[Codes, U8]:
        """Who was at one end of these flows, and their kind; NOBODY and FORWARDED for those not seen before."""
        past, same = self._find(flows, rows)
        codes, kinds = np.full(len(rows), NOBODY, np.int32), np.full(len(rows), Kind.FORWARDED, np.uint8)
        codes[same] = self._now[(self._past.client if end == "client" else self._past.server)[past] + self._lowest + 1]
        kinds[same] = self._past.kind[past]
        return codes, kinds

    def halves(self, flows: FlowTable, rows: Rows) -> tuple[Rows, Halves] | None:
        """Those of these flows that were in it, and what docker-proxy had to do with each of them.

        Of other halves it knows those among these rows.
        """
        then = self._past.halves
        if then is None:
            return None
        past, same = self._find(flows, rows)
        if not len(past):
            return None
        now, order, sought = rows[same], np.argsort(past), then.other[past]
        place = order[np.minimum(np.searchsorted(past[order], sought), len(past) - 1)]
        other = np.where(past[place] == sought, now[place], NOBODY).astype(np.int32)
        return now, Halves(then.proxies, then.proxy[past], other, then.dialled[past])

    def known(self, flows: FlowTable, rows: Rows) -> Mask:
        """Which of these flows were in it, and whose is beyond doubt."""
        past, known = self._find(flows, rows)
        if self._past.doubtful is not None:
            known[known] = ~self._past.doubtful[past]
        return known

    def _find(self, flows: FlowTable, rows: Rows) -> tuple[Rows, Mask]:
        """The rows that they had, of those that were in it; and which ones these are.

        An entry made right after one of the same original tuple was deleted may have its place in memory, and so its id
        (nf_ct_get_id hashes the place and that tuple); where DNAT leads it, it is another all the same.
        """
        ids = flows.id[rows]
        order = self._among(ids)
        if not len(order):
            return order, np.zeros(len(rows), np.bool_)
        known = self._flows.id[order]
        at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        past = order[at]
        same: Mask = (
            (known[at] == ids)
            & (self._flows.orig_sport[past] == flows.orig_sport[rows])
            & (self._flows.orig_src.lo[past] == flows.orig_src.lo[rows])
            & (self._flows.reply_src.lo[past] == flows.reply_src.lo[rows])
        )
        return past[same], same

    def _among(self, ids: U32) -> Rows:
        """Its rows by id: those with these ids, and some others, by whose last bits it chooses what to sort."""
        wanted = np.zeros(_SLOTS, np.bool_)
        wanted[ids & _LAST_BITS] = True
        rows: Rows = np.flatnonzero(wanted[self._flows.id & _LAST_BITS])
        return rows[np.argsort(self._flows.id[rows])]


_SLOTS = 1 << 20
_LAST_BITS = np.uint32(_SLOTS - 1)


def _borne(attribution: Attribution) -> list[bool]:
    """Which of its `others` are at an end of a flow; what nobody bears any more is not carried on."""
    counts = np.zeros(len(attribution.others), np.intp)
    for codes in (attribution.client, attribution.server):
        counts += np.bincount(-2 - codes[codes < NOBODY], minlength=len(counts))
    return [count > 0 for count in counts.tolist()]
