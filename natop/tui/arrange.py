"""From a snapshot and what the user asked for to the lines of a table: filtered, sorted, ready to draw.

Runs in a thread, for 250,000 flows take some tens of milliseconds. It is imported there too, because numpy
should not delay the first picture.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from natop.columns import filters
from natop.columns.containers import DEFAULT_SORT, HOST_KEY, Connects, ContainerColumn, ContainerRow, sorted_rows
from natop.columns.flows import FLOW_COLUMNS, FlowColumn, sorted_flows
from natop.columns.grouping import MOST_DESTINATIONS, Grouping, columns_of, grouped_rows, in_scope, matching
from natop.columns.terms import FilterError
from natop.formats import decimal
from natop.join.flows import Flows, endpoint, flow_state, path_text
from natop.model import Rows, Snapshot, address_value
from natop.tui.bars import sparkline
from natop.tui.containerfacts import Around, container_lines, network_text
from natop.tui.flowfacts import flow_summary
from natop.tui.formats import count, shortened
from natop.tui.glyphs import Glyphs
from natop.tui.layout import Column
from natop.tui.tones import Line, Piece, Tone, tone_of_state
from natop.tui.wish import Arranged, Mistake, Wish, order
from natop.uapi import proto_name


class FlowId(NamedTuple):
    """What one flow keeps for life. The kernel's id alone is a hash, and may come twice."""

    id: int
    zone: int
    proto: int
    src: int
    sport: int
    dst: int
    dport: int


_RANKS_PROBING = {"connect": 1}
"""While containers are probed, what that found comes before what only describes."""


def arrange_containers(snapshot: Snapshot, wish: Wish, glyphs: Glyphs) -> Arranged:
    """The containers, or the groups asked for, and the host's row: those that the filter lets through, in order."""
    by = (wish.by if snapshot.reading else None) or Grouping.CONTAINER
    columns = columns_of(by)
    rows: Sequence[ContainerRow] = grouped_rows(snapshot, by)
    if any(row.connects for row in rows):
        columns = tuple(replace(each, rank=_RANKS_PROBING.get(each.key, each.rank)) for each in columns)
    column, descending = order(columns, wish, DEFAULT_SORT)
    accepted, mistake = filter_in_force(wish)
    of = sum(row.key != HOST_KEY for row in rows)
    if accepted:
        kept = matching(rows, snapshot, by, accepted)
        rows = [row for row, keep in zip(rows, kept, strict=True) if keep]
    found = sum(row.key != HOST_KEY for row in rows)
    things = f"busiest {by.things}" if by is Grouping.DESTINATION and of == MOST_DESTINATIONS else by.things
    content = ContainerLines(sorted_rows(rows, column, descending), columns, Around.of(snapshot), glyphs)
    known = of if by is not Grouping.CONTAINER or snapshot.inventory else None
    return Arranged(content, column.key, descending, found, known, mistake, things)


def arrange_flows(snapshot: Snapshot, wish: Wish, glyphs: Glyphs) -> Arranged:
    """The flows in scope that the filter lets through, in order."""
    column, descending = order(FLOW_COLUMNS, wish, "dst")
    accepted, mistake = filter_in_force(wish)
    flows = Flows.of(snapshot)
    if flows is None:
        return Arranged(None, column.key, descending, mistake=mistake)
    mask = None if wish.scope is None else in_scope(flows, wish.scope)
    of = len(flows.table) if mask is None else int(np.count_nonzero(mask))
    if accepted:
        passed = accepted.rows(flows)
        mask = passed if mask is None else mask & passed
    rows = np.arange(of) if mask is None else np.flatnonzero(mask)
    rows = sorted_flows(flows, rows, column, descending)
    content = FlowLines(flows, rows, _names(snapshot) if wish.named else {}, glyphs, snapshot.host.entered)
    return Arranged(content, column.key, descending, len(rows), of, mistake)


def filter_in_force(wish: Wish) -> tuple[filters.Filter | None, Mistake | None]:
    """The filter, and what is wrong with the one asked for."""
    mistake = mistake_in(wish.filter_text)
    return _parsed(wish.good_filter if mistake else wish.filter_text), mistake


def mistake_in(text: str) -> Mistake | None:
    """What is wrong with a filter; None where it can be read."""
    try:
        _parsed(text)
    except FilterError as error:
        return Mistake(str(error), error.column)
    return None


@lru_cache(maxsize=8)
def _parsed(text: str) -> filters.Filter | None:
    return filters.parse(text) if text.strip() else None


def _names(snapshot: Snapshot) -> dict[int, str]:
    """Containers' names by their addresses."""
    containers = snapshot.inventory.containers if snapshot.inventory else ()
    return {address_value(text): each.name for each in containers for text in each.addresses}


_CONTAINER_TONES = {
    "name": Tone.NAME,
    "established": Tone.ESTABLISHED,
    "syn": Tone.OPENING,
    "time_wait": Tone.TIME_WAIT,
    "trend": Tone.TREND,
    "closing": Tone.CLOSING,
}
_BAD = frozenset(("syn_retrans", "lost_syns", "listen_overflows"))
"""Rates of which any is bad news, as the view of counters marks them."""
_SIDE_NOTES = frozenset(("project", "mode", "image", "state", "published"))


class ContainerLines:
    """Containers, or groups of them, as the content of a table; a line is known by its row's key."""

    def __init__(
        self, rows: Sequence[ContainerRow], columns: Sequence[ContainerColumn], around: Around, glyphs: Glyphs
    ) -> None:
        self.columns, self.rows = columns, rows
        self._around, self._glyphs = around, glyphs
        self._line_of = {row.key: line for line, row in enumerate(rows)}

    def __len__(self) -> int:
        return len(self.rows)

    def identity(self, line: int) -> Hashable:
        return self.rows[line].key

    def line_of(self, identity: Hashable) -> int | None:
        return self._line_of.get(identity) if isinstance(identity, str) else None

    def text(self, line: int) -> str:
        """The line for the clipboard: every column but the drawn one, `title value`, tabs between."""
        told = (column for column in self.columns if not column.drawn)
        return "\t".join(f"{column.title} {self.cell(line, column, 24)[0]}" for column in told)

    def facts(self, line: int) -> Sequence[Line]:
        return container_lines(self.rows[line], self._around, self._glyphs)

    def cell(self, line: int, column: Column, width: int) -> Piece:
        assert isinstance(column, ContainerColumn)
        row = self.rows[line]
        value = column.value(row)
        if column.key == "mode" and row.container:
            value = network_text(row, self._around)
        tone = _CONTAINER_TONES.get(column.key, Tone.QUIET if column.key in _SIDE_NOTES else Tone.PLAIN)
        match value:
            case None:
                return self._glyphs.unknown if column.numeric else "", Tone.QUIET
            case int():
                return count(value, self._glyphs, width), tone if value else Tone.QUIET
            case Connects():
                return value.told() + (self._glyphs.alarm if value.is_bad else ""), Tone.ALARM if value.is_bad else tone
            case float() if value and column.key in _BAD:
                return f"{decimal(value)}{self._glyphs.alarm}", Tone.ALARM
            case float():
                return decimal(value), tone if value else Tone.QUIET
            case str():
                return shortened(value, width, self._glyphs) if column.key == "name" else value, tone
            case _:
                return sparkline(value, width, self._glyphs), tone


_FLOW_TONES = {"client": Tone.NAME, "server": Tone.NAME, "kind": Tone.QUIET, "nat": Tone.QUIET}
_ENDS = {
    "src": ("orig_src", "orig_sport"),
    "dst": ("orig_dst", "orig_dport"),
    "answers": ("reply_src", "reply_sport"),
}
"""Columns that show an address and a port, and the table's columns they take them from."""
_OWNERS = frozenset(("client", "server"))


class FlowLines:
    """Flows as the content of a table: `rows` of it, in their order. A line is known by the flow's FlowId."""

    def __init__(
        self, flows: Flows, rows: Rows, names: dict[int, str], glyphs: Glyphs, entered: str | None = None
    ) -> None:
        """`entered` as in HostFacts."""
        self.columns: Sequence[FlowColumn] = FLOW_COLUMNS
        self.flows, self.rows = flows, rows
        self._names, self._glyphs, self._entered = names, glyphs, entered

    def __len__(self) -> int:
        return len(self.rows)

    def identity(self, line: int) -> Hashable:
        return flow_id(self.flows, int(self.rows[line]))

    def line_of(self, identity: Hashable) -> int | None:
        row = find_flow(self.flows, identity)
        lines = np.flatnonzero(self.rows == row).tolist() if row is not None else []
        return lines[0] if lines else None

    def text(self, line: int) -> str:
        """The line for the clipboard: protocol, state and the whole path."""
        row = int(self.rows[line])
        table = self.flows.table
        return f"{proto_name(int(table.proto[row]))} {flow_state(table, row)} {path_text(self.flows, row)}"

    def facts(self, line: int) -> Sequence[Line]:
        return flow_summary(self.flows, int(self.rows[line]), self._glyphs, self._entered)

    def cell(self, line: int, column: Column, width: int) -> Piece:
        assert isinstance(column, FlowColumn)
        row = int(self.rows[line])
        text = self._named(column.key, row) if self._names and column.key in _ENDS else column.text(self.flows, row)
        if column.key in _ENDS or column.key in _OWNERS:
            text = shortened(text, width, self._glyphs)
        if column.key == "state":
            return text, tone_of_state(text)
        if not text and column.numeric:
            return self._glyphs.unknown, Tone.QUIET
        return text, _FLOW_TONES.get(column.key, Tone.PLAIN)

    def _named(self, key: str, row: int) -> str:
        """An end of the flow, under the name of the container whose address it is."""
        table = self.flows.table
        addresses, ports = (getattr(table, name) for name in _ENDS[key])
        name = self._names.get(addresses.value(row)) or addresses.text(row)
        return endpoint(name, int(ports[row]), int(table.proto[row]))


def flow_id(flows: Flows, row: int) -> FlowId:
    table = flows.table
    return FlowId(
        int(table.id[row]),
        int(table.zone[row]),
        int(table.proto[row]),
        table.orig_src.value(row),
        int(table.orig_sport[row]),
        table.orig_dst.value(row),
        int(table.orig_dport[row]),
    )


def find_flow(flows: Flows, identity: Hashable) -> int | None:
    """The row of that flow in another table, or None where it has gone."""
    if not isinstance(identity, FlowId):
        return None
    rows = np.flatnonzero(flows.table.id == np.uint32(identity.id))
    return next((int(row) for row in rows if flow_id(flows, int(row)) == identity), None)
