"""What NAT's ports and TIME_WAIT come to for one container, as lines for its details. Pure.

NAT ports  198.51.100.1 → 198.51.100.7:443/tcp  366 of 64,512  0.6 %  3 rewritten
TIME_WAIT  1,269  97.9 % of TCP  closed first by client 69, server 1,200  most with 198.51.100.7 900
"""

from __future__ import annotations

from natop.model import ContainerSummary, Snapshot, TimeWait
from natop.tui.formats import count, share
from natop.tui.glyphs import Glyphs
from natop.tui.poolcolumns import Pools, marked, name_of, use_tone
from natop.tui.tones import Line, Piece, Tone

_LABEL = 11


def container_nat_lines(summary: ContainerSummary, snapshot: Snapshot, glyphs: Glyphs) -> list[Line]:
    """Two lines of facts that `folded` may part, and what is to be said of TIME_WAIT; none where NAT has no part."""
    if summary.untracked and not summary.flows:
        return []
    lines = [_line("NAT ports", _ports(summary, Pools.of(snapshot), glyphs))]
    waiting = summary.time_wait
    if waiting is None:
        return [*lines, _line("TIME_WAIT", [(glyphs.unknown, Tone.QUIET)])]
    lines.append(_line("TIME_WAIT", _time_wait(waiting, glyphs)))
    if waiting.concern:
        lines.append(_line("", [(waiting.concern, Tone.NOTICE)]))
    return lines


def _ports(summary: ContainerSummary, pools: Pools | None, glyphs: Glyphs) -> list[Piece]:
    """Of the fullest pool that it holds ports of, whoever holds the others; unknown where its flows are elsewhere."""
    if pools is None or summary.flows is None:
        return [(glyphs.unknown, Tone.QUIET)]
    row = summary.busiest_pool
    if row is None:
        return [("holds none", Tone.QUIET)]
    used, capacity = int(pools.table.used[row]), pools.capacity(row)
    percent, tone = marked(share(used, capacity, glyphs), use_tone(pools, row), glyphs)
    moved = count(summary.rewritten_ports, glyphs)
    return [
        (f"{name_of(pools, row, glyphs)}  ", Tone.NAME),
        (f"{count(used)} of {count(capacity)}  ", Tone.PLAIN),
        (f"{percent}  ", tone),
        (f"{moved} rewritten  ", Tone.QUIET),
    ]


def _time_wait(waiting: TimeWait, glyphs: Glyphs) -> list[Piece]:
    if waiting.count == 0:
        return [("none", Tone.QUIET)]
    part = glyphs.unknown if waiting.share is None else f"{100 * waiting.share:.1f} % of TCP"
    sides = {"client": waiting.closed_by_client, "server": waiting.closed_by_server}
    closers = ", ".join(f"{side} {count(number)}" for side, number in sides.items() if number)
    pieces: list[Piece] = [(f"{count(waiting.count)}  ", Tone.TIME_WAIT), (f"{part}  ", Tone.PLAIN)]
    if closers:
        pieces.append((f"closed first by {closers}  ", Tone.PLAIN))
    for remote, number in waiting.remotes[:1]:
        pieces.append((f"most with {remote} {count(number)}  ", Tone.PLAIN))
    return pieces


def _line(label: str, pieces: list[Piece]) -> Line:
    return [(f" {label}".ljust(_LABEL), Tone.QUIET), *pieces]
