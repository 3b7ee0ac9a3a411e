"""NAT pools as the lines of a table: filtered, sorted, ready to draw. Pure.

Tens of thousands of pools are possible, so cells are made only for the lines in sight.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from natop.columns.ordering import numbers_by
from natop.model import Rows, Snapshot
from natop.summarise.pools import filter_of, held_by
from natop.tui.arrange import filter_in_force
from natop.tui.formats import chance, count, rate, share
from natop.tui.glyphs import Glyphs
from natop.tui.layout import Column
from natop.tui.poolcolumns import COLUMNS, UNKNOWN, PoolColumn, Pools, bar_of, loss_tone, marked, name_of, use_tone
from natop.tui.tones import Line, Piece, Tone
from natop.tui.wish import Arranged, Wish, order

_LABEL = 11
_BAR = 30
"""Cells of the gauge under the table."""
FEW_HOLDERS = 3
"""So many of a pool's holders are in sight on any screen."""


class PoolId(NamedTuple):
    """What tells a pool from the others, from one dump to the next."""

    proto: int
    zone: int
    nat: int
    remote: int
    remote_port: int
    first_port: int
    last_port: int


def arrange_pools(snapshot: Snapshot, wish: Wish, glyphs: Glyphs) -> Arranged:
    """The pools, or those of which a flow that the filter selects holds a port, in order."""
    column, descending = order(COLUMNS, wish, "use")
    accepted, mistake = filter_in_force(wish)
    pools = Pools.of(snapshot)
    if pools is None:
        return Arranged(None, column.key, descending, mistake=mistake)
    mask = held_by(pools.table, pools.flows.table, accepted.rows(pools.flows)) if accepted else None
    every = np.arange(len(pools.table))
    rows = numbers_by(column.order(pools), every if mask is None else every[mask], descending, UNKNOWN)
    return Arranged(PoolLines(pools, rows, glyphs), column.key, descending, len(rows), len(pools.table), mistake)


class PoolLines:
    """Pools as the content of a table: `rows` of them, in their order. A line is known by its PoolId."""

    def __init__(self, pools: Pools, rows: Rows, glyphs: Glyphs) -> None:
        self.columns: Sequence[PoolColumn] = COLUMNS
        self.pools, self.rows = pools, rows
        self._glyphs = glyphs

    def __len__(self) -> int:
        return len(self.rows)

    def identity(self, line: int) -> Hashable:
        return pool_id(self.pools, int(self.rows[line]))

    def line_of(self, identity: Hashable) -> int | None:
        row = find_pool(self.pools, identity)
        lines = np.flatnonzero(self.rows == row).tolist() if row is not None else []
        return lines[0] if lines else None

    def filter_at(self, line: int) -> str:
        """The filter expression for the pool's flows."""
        return filter_of(self.pools.table, int(self.rows[line]))

    def name_at(self, line: int) -> str:
        return name_of(self.pools, int(self.rows[line]), self._glyphs)

    def text(self, line: int) -> str:
        """The line for the clipboard: every column but the drawn one, and the expression for its flows."""
        told = [column for column in self.columns if column.key != "gauge"]
        cells = [f"{column.title} {self.cell(line, column, 60)[0]}" for column in told]
        return "\t".join([*cells, f"FLOWS {self.filter_at(line)}"])

    def facts(self, line: int) -> Sequence[Line]:
        return pool_lines(self.pools, int(self.rows[line]), self._glyphs)

    def cell(self, line: int, column: Column, width: int) -> Piece:
        assert isinstance(column, PoolColumn)
        return column.cell(self.pools, int(self.rows[line]), width, self._glyphs)


def pool_id(pools: Pools, row: int) -> PoolId:
    table = pools.table
    return PoolId(
        int(table.proto[row]),
        int(table.zone[row]),
        table.nat.value(row),
        table.remote.value(row),
        int(table.remote_port[row]),
        int(table.first_port[row]),
        int(table.last_port[row]),
    )


def find_pool(pools: Pools, identity: Hashable) -> int | None:
    """The row of that pool in another snapshot, or None where it has gone."""
    if not isinstance(identity, PoolId):
        return None
    table = pools.table
    alike = table.remote.equal(identity.remote) & (table.remote_port == identity.remote_port)
    return next((int(row) for row in np.flatnonzero(alike) if pool_id(pools, int(row)) == identity), None)


# More about one pool


def pool_lines(pools: Pools, row: int, glyphs: Glyphs) -> list[Line]:
    """Seven lines about one pool, to stand under the table."""
    table = pools.table
    ports = f"   ports {table.first_port[row]}-{table.last_port[row]}"
    return [
        [(f" {name_of(pools, row, glyphs)}", Tone.NAME), (ports, Tone.QUIET)],
        _line("in use", _in_use(pools, row, glyphs)),
        _line("of these", _parts(pools, row, glyphs)),
        _line("new", _speed(pools, row, glyphs)),
        _line("lost", _lost(pools, row, glyphs)),
        _line("kept", _kept(pools, row, glyphs)),
        _line("held by", _holders(pools, row, glyphs)),
    ]


def _line(label: str, pieces: Sequence[Piece]) -> Line:
    return [(f" {label}".ljust(_LABEL), Tone.QUIET), *pieces]


def _in_use(pools: Pools, row: int, glyphs: Glyphs) -> list[Piece]:
    used, capacity, tone = int(pools.table.used[row]), pools.capacity(row), use_tone(pools, row)
    heavy, light, empty = bar_of(pools, row, _BAR, glyphs)
    numbers = f"  {count(used)} of {count(capacity)}  "
    percent = marked(share(used, capacity, glyphs), tone, glyphs)
    return [(heavy, tone), (light, Tone.TIME_WAIT), (empty, Tone.QUIET), (numbers, Tone.TITLE), percent]


def _parts(pools: Pools, row: int, glyphs: Glyphs) -> list[Piece]:
    table = pools.table
    used, soft, waiting, by_rule = (
        int(column[row]) for column in (table.used, table.soft, table.time_wait, table.by_rule)
    )
    numbers = {"hard": used - soft, "soft": soft, "TIME_WAIT": waiting, "host's own": used - by_rule}
    pieces: list[Piece] = []
    for name, number in numbers.items():
        pieces += [(f"{name} ", Tone.QUIET), (f"{count(number, glyphs)}  ", Tone.PLAIN if number else Tone.QUIET)]
    return [*pieces, ("" if pools.evicting else "this kernel evicts none", Tone.QUIET)]


def _speed(pools: Pools, row: int, glyphs: Glyphs) -> list[Piece]:
    """New flows beside what the pool bears, and when what goes by itself will have gone."""
    new, limit = pools.new(row), pools.limit(row)
    tone = Tone.NOTICE if new and limit is not None and new > limit else Tone.PLAIN
    return [
        marked(rate(new, glyphs), tone, glyphs),
        (", ", Tone.QUIET),
        (rate(limit, glyphs), Tone.PLAIN),
        (" sustainable  ", Tone.QUIET),
        (_drains(pools, row), Tone.QUIET),
    ]


def _drains(pools: Pools, row: int) -> str:
    used, going, seconds = (
        int(column[row]) for column in (pools.table.used, pools.table.draining, pools.table.drain_s)
    )
    if not going:
        return "none goes by itself"
    part, rest = (count(going), f", {count(used - going)} stay") if going < used else ("all", "")
    return f"{part} go in {seconds} s{rest}"


def _lost(pools: Pools, row: int, glyphs: Glyphs) -> list[Piece]:
    loss = float(pools.table.loss[row])
    number, tone = marked(f"{chance(loss)} %", loss_tone(loss), glyphs)
    return [(number, tone), (" of the new flows whose own port is taken", Tone.QUIET)]


def _kept(pools: Pools, row: int, glyphs: Glyphs) -> list[Piece]:
    """How many source ports NAT kept: what tells rules that say random from those that do not."""
    choice = pools.table.choice(row)
    by_rule = choice.kept + choice.rewritten
    pieces: list[Piece] = [
        (f"{count(choice.kept)} of {count(by_rule)}  ", Tone.PLAIN),
        (f"{share(choice.kept, by_rule, glyphs)}  ", Tone.PLAIN),
        (f"{count(choice.rewritten)} rewritten by a rule", Tone.QUIET),
    ]
    moved = int(pools.table.rewritten[row]) - choice.rewritten
    return [*pieces, (f", {count(moved)} of the host's own without one", Tone.QUIET)] if moved else pieces


def _holders(pools: Pools, row: int, glyphs: Glyphs) -> list[Piece]:
    """Most ports first; how many they are in all where not all may be in sight."""
    used, holders = int(pools.table.used[row]), pools.holders(row)
    pieces: list[Piece] = [(f"{len(holders):,} in all: ", Tone.QUIET)] if len(holders) > FEW_HOLDERS else []
    for name, ports in holders:
        part = f" {count(ports)} ({share(ports, used, glyphs)})   "
        pieces += [(name or "nobody known", Tone.NAME if name else Tone.QUIET), (part, Tone.PLAIN)]
    return pieces or [(glyphs.unknown, Tone.QUIET)]
