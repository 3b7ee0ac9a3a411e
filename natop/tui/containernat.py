"""What NAT's ports and TIME_WAIT come to for one container, as lines for its details. Pure.

NAT ports  198.51.100.1 → 198.51.100.7:443/tcp  366 of 64,512  0.6 %  its own 300 (82.0 %)
           of all its ports 3 rewritten, 99.2 % kept
TIME_WAIT  1,269 conntrack entries  97.9 % of TCP  +12/min  settles at about 1,300
           closed first by client 69, server 1,200  most to 443/tcp 900, with 198.51.100.7 900  harmless
"""

from __future__ import annotations

from natop.model import ContainerSummary, Snapshot
from natop.tui.formats import count, share
from natop.tui.glyphs import Glyphs
from natop.tui.poolcolumns import Pools, marked, name_of, use_tone
from natop.tui.timewaitlines import time_wait_pieces
from natop.tui.tones import Line, Piece, Tone

_LABEL = 11


def container_nat_lines(summary: ContainerSummary, snapshot: Snapshot, glyphs: Glyphs) -> list[Line]:
    """Two lines of facts that `folded` may part, and what is to be said of TIME_WAIT; none where NAT has no part."""
    if summary.untracked and not summary.flows:
        return []
    lines = [_line("NAT ports", _ports(summary, snapshot, glyphs))]
    waiting = summary.time_wait
    if waiting is None:
        return [*lines, _line("TIME_WAIT", [(glyphs.unknown, Tone.QUIET)])]
    lines.append(_line("TIME_WAIT", time_wait_pieces(waiting, snapshot.conntrack, glyphs)))
    if waiting.concern:
        lines.append(_line("", [(waiting.concern, Tone.NOTICE)]))
    return lines


def _ports(summary: ContainerSummary, snapshot: Snapshot, glyphs: Glyphs) -> list[Piece]:
    """Of the fullest pool that it holds ports of: how full it is, its own part; then how NAT chose all its ports.

    Unknown where its flows are in another table.
    """
    pools = Pools.of(snapshot)
    if pools is None or summary.flows is None:
        return [(glyphs.unknown, Tone.QUIET)]
    row = summary.busiest_pool
    if row is None:
        return [("holds none", Tone.QUIET)]
    used, capacity = int(pools.table.used[row]), pools.capacity(row)
    percent, tone = marked(share(used, capacity, glyphs), use_tone(pools, row), glyphs)
    own = dict(pools.holders(row)).get(summary.container.name)
    return [
        (f"{name_of(pools, row, glyphs)}  ", Tone.NAME),
        (f"{count(used)} of {count(capacity)}  ", Tone.PLAIN),
        (f"{percent}  ", tone),
        (f"its own {count(own, glyphs)} ({share(own, used, glyphs)})  ", Tone.PLAIN),
        *_choice(summary, glyphs),
    ]


def _choice(summary: ContainerSummary, glyphs: Glyphs) -> list[Piece]:
    """What NAT did to the source ports of all its flows."""
    kept = summary.port_choice.kept_percent if summary.port_choice else None
    part = "" if kept is None else f", {kept:.1f} % kept"
    return [(f"of all its ports {count(summary.rewritten_ports, glyphs)} rewritten{part}  ", Tone.QUIET)]


def _line(label: str, pieces: list[Piece]) -> Line:
    return [(f" {label}".ljust(_LABEL), Tone.QUIET), *pieces]
