"""Flows in conntrack's TIME_WAIT as lines: of the host and of those that have most, or of one container. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from natop.model import Conntrack, Snapshot, TimeWait
from natop.summarise.timewait import GROWTH_S, calm_text
from natop.tui.formats import count, fit, span
from natop.tui.glyphs import Glyphs
from natop.tui.hostlines import NAME, explained
from natop.tui.tones import Line, Piece, Tone

_NEARLY_S = 5
MOST_WAITING = 10
"""Of more containers than so many, TIME_WAIT stands in their details alone."""


def time_wait_title(snapshot: Snapshot) -> str:
    lasts = snapshot.host.sysctls.get("nf_conntrack_tcp_timeout_time_wait")
    return f"flows in TIME_WAIT (conntrack's{'' if lasts is None else f', {lasts} s'}){_over(snapshot.time_wait)}"


def _over(waiting: TimeWait | None) -> str:
    """How long growth is of; dumps seldom lie exactly a minute apart."""
    if waiting is None or waiting.growth_s is None:
        return ""
    is_a_minute = GROWTH_S - _NEARLY_S <= waiting.growth_s <= GROWTH_S
    return f", growth over the last {'minute' if is_a_minute else span(waiting.growth_s)}"


def time_wait_lines(snapshot: Snapshot, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Of the whole table, then of the containers that have most."""
    known = [(each.container.name, each.time_wait) for each in snapshot.containers if each.time_wait]
    of_containers = sorted((each for each in known if each[1].count), key=lambda each: -each[1].count)
    owners = [("this host", snapshot.time_wait)] if snapshot.time_wait else []
    for name, waiting in [*owners, *of_containers[:MOST_WAITING]]:
        yield [
            (f" {fit(name, NAME, glyphs)}", Tone.NAME),
            (f"{count(waiting.count, glyphs):>9}", Tone.TIME_WAIT),
            (f"  {_share(waiting, glyphs)}  {_growth(waiting, glyphs)}", Tone.PLAIN),
        ]
        sides = (
            f"closed first by client {count(waiting.closed_by_client, glyphs)}, "
            f"server {count(waiting.closed_by_server, glyphs)}"
        )
        services = f"services {_told(waiting.services) or 'none'}"
        remotes = f"remote ends {_told(waiting.remotes) or 'none'}"
        yield from explained("; ".join(filter(None, (sides, _settles(waiting), services, remotes))), width)
        yield from explained(waiting.concern or calm_text(waiting, snapshot.conntrack), width)
    if len(of_containers) > MOST_WAITING:
        yield from explained(f"and {len(of_containers) - MOST_WAITING:,} containers with less: i has each", width)
    if snapshot.time_wait is None:
        yield [(f" {glyphs.unknown} the flows were not read", Tone.QUIET)]


def time_wait_pieces(waiting: TimeWait, conntrack: Conntrack, glyphs: Glyphs) -> list[Piece]:
    """The same of one container as facts that `folded` may part."""
    if not waiting.count:
        return [("none", Tone.QUIET)]
    sides = {"client": waiting.closed_by_client, "server": waiting.closed_by_server}
    closers = ", ".join(f"{side} {number:,}" for side, number in sides.items() if number)
    ends = ", ".join(f"{way} {_told(most[:1])}" for way, most in (("to", waiting.services), ("with", waiting.remotes)))
    facts = (
        *(_share(waiting, glyphs), _growth(waiting, glyphs), _settles(waiting)),
        *(closers and f"closed first by {closers}", f"most {ends}"),
    )
    pieces: list[Piece] = [(f"{count(waiting.count)} conntrack entries  ", Tone.TIME_WAIT)]
    pieces += [(f"{fact}  ", Tone.PLAIN) for fact in facts if fact]
    return pieces if waiting.concern else [*pieces, (calm_text(waiting, conntrack), Tone.QUIET)]


def _share(waiting: TimeWait, glyphs: Glyphs) -> str:
    return f"{glyphs.unknown if waiting.share is None else f'{100 * waiting.share:.1f} %'} of TCP"


def _growth(waiting: TimeWait, glyphs: Glyphs) -> str:
    return f"{glyphs.unknown if waiting.growth_per_min is None else f'{waiting.growth_per_min:+,.0f}'}/min"


def _settles(waiting: TimeWait) -> str:
    if waiting.is_unsteady and waiting.count:
        return "comes too unevenly to tell where it settles"
    return "" if waiting.steady_state is None else f"settles at about {waiting.steady_state:,.0f}"


def _told(ends: tuple[tuple[str, int], ...]) -> str:
    return ", ".join(f"{what} {number:,}" for what, number in ends)
