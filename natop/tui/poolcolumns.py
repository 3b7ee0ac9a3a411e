"""The columns of the table of NAT pools, each declared once. Pure; imported once pools are there, for numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich.cells import cell_len, chop_cells

from natop.columns.flows import address_order
from natop.formats import decimal
from natop.join.flows import Flows
from natop.model import NatPools, Snapshot
from natop.summarise.pools import evicts, pool_name, sustainable_per_s
from natop.summarise.portsearch import POOL_CRITICAL, POOL_WARN
from natop.tui.bars import gauge_of_two
from natop.tui.formats import chance, count, rate
from natop.tui.glyphs import Glyphs
from natop.tui.tones import Piece, Tone

LOSS_NOTICE, LOSS_ALARM = 0.0001, 0.01
"""Chances of a lost SYN from which on the number is marked; the measured curve has 1 % at 98 % use, 11 % at 99 %."""

UNKNOWN = -1
"""Stands for a number that is not known, where pools are sorted."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pools:
    """The pools of a snapshot, and what else tells about them."""

    table: NatPools
    flows: Flows
    sustainable: Numbers
    """New flows per second that each one can sustain; NaN is unknown."""
    evicting: bool
    """Whether the kernel gives ports of closing TCP flows to new ones."""

    @classmethod
    def of(cls, snapshot: Snapshot) -> Pools | None:
        flows = Flows.of(snapshot)
        if snapshot.pools is None or flows is None:
            return None
        sustainable = sustainable_per_s(snapshot.pools, snapshot.host.sysctls)
        return cls(snapshot.pools, flows, sustainable, evicts(snapshot.host.kernel))

    def new(self, row: int) -> float | None:
        return None if self.table.new_per_s is None else float(self.table.new_per_s[row])

    def limit(self, row: int) -> float | None:
        """New flows per second that the pool can sustain."""
        return None if np.isnan(self.sustainable[row]) else float(self.sustainable[row])

    def capacity(self, row: int) -> int:
        return int(self.table.last_port[row]) - int(self.table.first_port[row]) + 1

    def hard_use(self, row: int) -> float:
        """Part of the ports that no new flow can have."""
        return (int(self.table.used[row]) - int(self.table.soft[row])) / self.capacity(row)

    def holders(self, row: int) -> list[tuple[str | None, int]]:
        """Who holds how many ports, most first; None is nobody known."""
        part = slice(int(self.table.start[row]), int(self.table.start[row + 1]))
        codes, holds = self.table.holder[part].tolist(), self.table.holds[part].tolist()
        return [
            (self.flows.container(code) or self.flows.other(code), ports)
            for code, ports in zip(codes, holds, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class PoolColumn:
    key: str
    title: str
    width: int
    numeric: bool
    cell: Callable[[Pools, int, int, Glyphs], Piece]
    """Of a row, for a width in cells."""
    order: Callable[[Pools], np.ndarray]
    """A number a row, by which the column sorts, or UNKNOWN."""
    help: str
    rank: int = 1


def name_of(pools: Pools, row: int, glyphs: Glyphs) -> str:
    """With the zone where there is one, which may be all that tells two pools apart."""
    zone = int(pools.table.zone[row])
    return pool_name(pools.table, row).replace("→", glyphs.arrow) + (f" zone {zone}" if zone else "")


def use_tone(pools: Pools, row: int) -> Tone:
    """By what cannot be had: calm below 80 %, a warning from there, an alarm from 95 %, as the verdict has it."""
    use = pools.hard_use(row)
    return Tone.ALARM if use >= POOL_CRITICAL else Tone.NOTICE if use >= POOL_WARN else Tone.ESTABLISHED


def loss_tone(loss: float) -> Tone:
    return Tone.ALARM if loss >= LOSS_ALARM else Tone.NOTICE if loss >= LOSS_NOTICE else Tone.QUIET


def marked(text: str, tone: Tone, glyphs: Glyphs) -> Piece:
    """With a mark where the tone warns, so that colour is not alone in saying so."""
    return (f"{glyphs.alarm}{text}" if tone in (Tone.NOTICE, Tone.ALARM) else text), tone


def _ends(pools: Pools, row: int, width: int, glyphs: Glyphs) -> Piece:
    """Cut at the left where it must be: the remote end tells more than the host's own address."""
    text = name_of(pools, row, glyphs)
    if cell_len(text) <= width:
        return text, Tone.NAME
    return glyphs.ellipsis + text[len(text) - width + cell_len(glyphs.ellipsis) :], Tone.NAME


def _used(pools: Pools, row: int, _width: int, glyphs: Glyphs) -> Piece:
    return f"{count(int(pools.table.used[row]), glyphs)} of {count(pools.capacity(row), glyphs)}", Tone.PLAIN


def _use(pools: Pools, row: int, _width: int, glyphs: Glyphs) -> Piece:
    percent = 100 * int(pools.table.used[row]) / pools.capacity(row)
    return marked(f"{percent:.1f}" if percent < 99.95 else "100", use_tone(pools, row), glyphs)


def _gauge(pools: Pools, row: int, width: int, glyphs: Glyphs) -> Piece:
    return "".join(bar_of(pools, row, width, glyphs)), use_tone(pools, row)


def bar_of(pools: Pools, row: int, width: int, glyphs: Glyphs) -> tuple[str, str, str]:
    """What cannot be had, what may be evicted, what is free, in `width` cells."""
    used = int(pools.table.used[row])
    return gauge_of_two(used - int(pools.table.soft[row]), used, pools.capacity(row), width, glyphs)


def _loss(pools: Pools, row: int, _width: int, glyphs: Glyphs) -> Piece:
    loss = float(pools.table.loss[row])
    return marked(chance(loss), loss_tone(loss), glyphs)


def _new(pools: Pools, row: int, _width: int, glyphs: Glyphs) -> Piece:
    new, limit = pools.new(row), pools.limit(row)
    tone = Tone.NOTICE if new and limit is not None and new > limit else Tone.PLAIN if new else Tone.QUIET
    return marked(rate(new, glyphs).removesuffix("/s"), tone, glyphs)


def _sustainable(pools: Pools, row: int, _width: int, glyphs: Glyphs) -> Piece:
    return rate(pools.limit(row), glyphs).removesuffix("/s"), Tone.QUIET


def _number(name: str) -> Callable[[Pools, int, int, Glyphs], Piece]:
    def cell(pools: Pools, row: int, width: int, glyphs: Glyphs) -> Piece:
        number = int(getattr(pools.table, name)[row])
        return count(number, glyphs, width), Tone.PLAIN if number else Tone.QUIET

    return cell


def _by_drain(pools: Pools) -> np.ndarray:
    return np.where(pools.table.draining == pools.table.used, pools.table.drain_s.astype(np.int64), UNKNOWN)


def _drain(pools: Pools, row: int, _width: int, glyphs: Glyphs) -> Piece:
    """A dash where open connections hold ports: it does not drain by itself."""
    empties = int(pools.table.draining[row]) == int(pools.table.used[row])
    return (f"{int(pools.table.drain_s[row])} s", Tone.PLAIN) if empties else (glyphs.unknown, Tone.QUIET)


def _holder(pools: Pools, row: int, width: int, glyphs: Glyphs) -> Piece:
    """Who holds most, and the part of it; the name gives way."""
    holders = pools.holders(row)
    if not holders:
        return glyphs.unknown, Tone.QUIET
    name, ports = holders[0]
    part = f" {100 * ports / int(pools.table.used[row]):.0f} %"
    shown = name or "nobody known"
    room = width - len(part)
    if cell_len(shown) > room:
        shown = chop_cells(shown, max(1, room - 1))[0] + glyphs.ellipsis
    return shown + part, Tone.NAME if name else Tone.QUIET


def _kept(pools: Pools, row: int, _width: int, glyphs: Glyphs) -> Piece:
    percent = pools.table.choice(row).kept_percent
    return (glyphs.unknown, Tone.QUIET) if percent is None else (decimal(percent), Tone.PLAIN)


def _by_kept(pools: Pools) -> np.ndarray:
    table = pools.table
    return np.where(table.by_rule > 0, 100 * table.kept / np.maximum(1, table.by_rule), UNKNOWN)


def _column(name: str) -> Callable[[Pools], np.ndarray]:
    return lambda pools: getattr(pools.table, name)


def _by_use(pools: Pools) -> np.ndarray:
    return pools.table.used / pools.table.capacity


def _by_new(pools: Pools) -> np.ndarray:
    new = pools.table.new_per_s
    return np.full(len(pools.table), UNKNOWN) if new is None else new


def _by_remote(pools: Pools) -> np.ndarray:
    return address_order(pools.table.remote, pools.table.remote_port)


def _by_holder(pools: Pools) -> np.ndarray:
    """Containers are kept in the order of their names; what is none comes behind them."""
    table = pools.table
    first = np.minimum(table.start[:-1], max(0, len(table.holder) - 1))
    codes = table.holder[first] if len(table.holder) else np.full(len(table), UNKNOWN)
    return np.where((codes < 0) | (np.diff(table.start) == 0), UNKNOWN, codes)


COLUMNS = (
    PoolColumn("ends", "NAT ADDRESS AND REMOTE END", 26, False, _ends, _by_remote, "sorts by the remote end"),
    PoolColumn(
        *("used", "USED of CAPACITY", 16, True, _used, _column("used")),
        "ports that an entry holds, the host's own too, of those that NAT may pick from",
    ),
    PoolColumn(*("use", "USE%", 5, True, _use, _by_use), "the same in percent; marked by what cannot be evicted"),
    PoolColumn(
        *("gauge", "BAR", 5, True, _gauge, _by_use),
        "the same as a bar; its lighter part may be evicted for a new flow (Linux 6.5 or later)",
    ),
    PoolColumn(
        *("loss", "LOSS%", 5, True, _loss, _column("loss")),
        "the chance that a new flow whose own port is taken finds no other: its SYN is lost",
    ),
    PoolColumn(
        "new", "NEW/s", 6, True, _new, _by_new, "new flows per second; marked where it cannot sustain so many", 3
    ),
    PoolColumn(
        *("sustain", "SUSTAIN/s", 9, True, _sustainable, lambda pools: np.nan_to_num(pools.sustainable, nan=UNKNOWN)),
        "new flows per second that it can sustain if nothing is evicted: ports that do not stay over the last timeout",
        3,
    ),
    PoolColumn(
        *("drain", "DRAIN", 6, True, _drain, _by_drain),
        "until it is empty, if nothing new comes; a dash where open connections hold ports",
        3,
    ),
    PoolColumn("holder", "HELD MOST BY", 18, False, _holder, _by_holder, "who holds most of the ports in use", 3),
    PoolColumn(*("time_wait", "TIME_WAIT", 9, True, _number("time_wait"), _column("time_wait")), "in TIME_WAIT", 4),
    PoolColumn(
        *("soft", "EVICT", 6, True, _number("soft"), _column("soft")),
        "in TIME_WAIT or CLOSE, which this kernel evicts for a new flow",
        4,
    ),
    PoolColumn(
        *("rewritten", "REWR", 6, True, _number("rewritten"), _column("rewritten")),
        "held by a flow whose source port NAT changed",
        4,
    ),
    PoolColumn(
        *("kept", "KEPT%", 5, True, _kept, _by_kept),
        "source ports that rules of NAT kept, in percent; hardly any under random or fully-random",
        4,
    ),
)
"""In the order shown."""
