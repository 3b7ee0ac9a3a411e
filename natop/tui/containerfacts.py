"""What the table of containers has no column for, as lines. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from textwrap import wrap

from natop.columns.containers import HOST_KEY, ContainerRow, network_mode, published_text
from natop.columns.grouping import NO_PROJECT
from natop.join.firewall import described
from natop.model import Container, Firewall, Snapshot
from natop.tui.formats import count
from natop.tui.glyphs import Glyphs
from natop.tui.tones import Line, Piece, Tone, length_of

_LABEL = 11
_LEAST = 20
"""Cells for words beside the labels, however narrow the screen."""


@dataclass(frozen=True)
class Around:
    """What is told of a row beside the row itself."""

    containers: Sequence[Container] = ()
    most: int | None = None
    """Entries that a conntrack table may hold; the same for every network namespace."""
    firewall: Firewall | None = None

    @classmethod
    def of(cls, snapshot: Snapshot) -> Around:
        containers = snapshot.inventory.containers if snapshot.inventory else ()
        return cls(containers, snapshot.conntrack.max, snapshot.firewall)

    @cached_property
    def by_id(self) -> Mapping[str, Container]:
        return {each.id: each for each in self.containers}


def container_lines(row: ContainerRow, around: Around, glyphs: Glyphs) -> list[Line]:
    """At most six lines about one row, whatever is known."""
    about = _of_container(row, row.container, around, glyphs) if row.container else _of_others(row, around)
    if row.container and not row.flows and row.untracked:
        return about
    counts = row.flows.counts if row.flows else None
    ways = {**counts.kinds, "DNAT": counts.dnat, "SNAT": counts.snat} if counts else None
    return [
        *about,
        _line("ways", _numbers(ways, glyphs)),
        _line("protocols", _numbers(counts.protocols if counts else None, glyphs)),
    ]


def folded(line: Line, width: int) -> Sequence[Line]:
    """The line in lines of at most so many cells where it can be parted: after a fact, which ends in blanks, or within
    one that is too long for a line of its own."""
    lines: list[list[Piece]] = [[]]
    fact: list[Piece] = []
    pieces = [*line[:1], *(part for piece in line[1:] for part in _parts(piece, width - _LABEL))]
    for piece in pieces:
        fact.append(piece)
        if not piece[0].endswith("  ") and piece is not pieces[-1]:
            continue
        blanks = len(piece[0]) - len(piece[0].rstrip())
        if len(lines[-1]) > 1 and length_of([*lines[-1], *fact]) - blanks > width:
            lines.append([(" " * _LABEL, Tone.QUIET)])
        lines[-1] += fact
        fact = []
    return lines


def _parts(piece: Piece, room: int) -> Sequence[Piece]:
    """A piece that is a sentence too long for a line as several, each as long as there is room."""
    text, tone = piece
    if length_of([piece]) <= room:
        return [piece]
    parts = wrap(text, max(_LEAST, room), break_long_words=False, break_on_hyphens=False)
    return [(f"{part}  ", tone) for part in parts] or [piece]


def network_text(row: ContainerRow, around: Around) -> str | None:
    """Docker's network mode, the container that it joins by its name; or why none of its flows are in this table."""
    host = around.by_id.get(row.container.joined or "") if row.container else None
    return f"container:{host.name}" if host and not row.untracked else network_mode(row)


def _of_container(row: ContainerRow, container: Container, around: Around, glyphs: Glyphs) -> list[Line]:
    ports = published_text(container)
    lines: list[Line] = [
        _line(container.name, _identity(container), Tone.NAME),
        _line("networks", _networks(container, around)),
        _line("published", [(ports, Tone.PLAIN) if ports else ("none", Tone.QUIET)]),
    ]
    if row.untracked:
        lines.append(_line("flows", [(_untracked(container, row.untracked, around), Tone.NOTICE)]))
    if row.own_table is not None:
        lines.append(_line("own table", _own_table(row.own_table, around, glyphs)))
    return lines


def _untracked(container: Container, why: str, around: Around) -> str:
    """Why this conntrack table holds none of the container's flows, in a sentence."""
    host = around.by_id.get(container.joined or "", container)
    reason = _REASONS.get(why, f"{why} traffic bypasses this host's netfilter")
    shared = "" if host is container else f"it shares {host.name}'s network: "
    return f"not in this conntrack table: {shared}{reason}"


_REASONS = {"no network": "it has no network", "ipvlan l3": "only what ipvlan l3 sends passes this host's netfilter"}


def _own_table(entries: int, around: Around, glyphs: Glyphs) -> list[Piece]:
    """Containers on user-defined networks track a second time, in their own namespace."""
    most = count(around.most, glyphs)
    return [(f"{entries:,} of {most}", Tone.PLAIN), ("   in its own network namespace; N reads it", Tone.QUIET)]


def _of_others(row: ContainerRow, around: Around) -> list[Line]:
    """The host's row, or a group's."""
    if row.key == HOST_KEY:
        return [_line(row.name, _THE_HOST, Tone.NAME)]
    kind, _, name = row.key.partition(":")
    lines = [_line(kind, [(name, Tone.NAME)])]
    members = [each.name for each in around.containers if name in _groups_of(each, kind)]
    if members:
        lines.append(_line("containers", [(" ".join(members), Tone.PLAIN)]))
    return lines


def _groups_of(container: Container, kind: str) -> list[str]:
    if kind == "network":
        return [place.network for place in container.networks]
    return [container.project or NO_PROJECT] if kind == "project" else []


_THE_HOST: list[Piece] = [("flows of the host itself, and those that belong to no container", Tone.QUIET)]


def _line(label: str, pieces: Iterable[Piece], tone: Tone = Tone.QUIET) -> Line:
    return [(f" {label:<{_LABEL - 1}}" + (" " if len(label) >= _LABEL - 1 else ""), tone), *pieces]


def _identity(container: Container) -> list[Piece]:
    facts = [("image", container.image), ("state", container.state), ("id", container.id[:12])]
    facts += [("pid", str(container.pid or "")), ("service", container.service or "")]
    pieces: list[Piece] = [(" ", Tone.PLAIN)]
    for name, value in facts:
        if value:
            pieces += [(f"{name} ", Tone.QUIET), (f"{value}   ", Tone.PLAIN)]
    return pieces


def _networks(container: Container, around: Around) -> list[Piece]:
    """Each network with its addresses and NAT; those of the container whose namespace it joined."""
    host = around.by_id.get(container.joined or "")
    pieces: list[Piece] = [("joined ", Tone.QUIET), (f"{host.name}   ", Tone.NAME)] if host else []
    for place in (host or container).networks:
        addresses = " ".join(place.addresses)
        nat = described(around.firewall, place.network) if around.firewall else ""
        pieces += [(f"{place.network} ", Tone.QUIET), (addresses, Tone.PLAIN), (f"{nat and f' {nat}'}   ", Tone.QUIET)]
    return pieces or [(container.network_mode, Tone.PLAIN)]


def _numbers(numbers: Mapping[str, int] | None, glyphs: Glyphs) -> list[Piece]:
    """Those above 0; None is unknown."""
    if numbers is None:
        return [(glyphs.unknown, Tone.QUIET)]
    pieces: list[Piece] = []
    for name, number in numbers.items():
        if number:
            pieces += [(f"{name} ", Tone.QUIET), (f"{count(number, glyphs):<9}", Tone.PLAIN)]
    return pieces or [("none", Tone.QUIET)]
