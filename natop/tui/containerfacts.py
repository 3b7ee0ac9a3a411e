"""What the table of containers has no column for, as lines. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from natop.columns import ContainerRow, published_text
from natop.model import Container
from natop.tui.formats import count
from natop.tui.glyphs import Glyphs
from natop.tui.tones import Line, Piece, Tone

_LABEL = 11


def container_lines(row: ContainerRow, glyphs: Glyphs) -> list[Line]:
    """At most five lines about one row, whatever is known."""
    counts = row.flows.counts if row.flows else None
    ways = {**counts.kinds, "DNAT": counts.dnat, "SNAT": counts.snat} if counts else None
    return [
        *(_of_container(row.container) if row.container else [_line(row.name, _THE_HOST, Tone.NAME)]),
        _line("ways", _numbers(ways, glyphs)),
        _line("protocols", _numbers(counts.protocols if counts else None, glyphs)),
    ]


def _of_container(container: Container) -> list[Line]:
    ports = published_text(container)
    return [
        _line(container.name, _identity(container), Tone.NAME),
        _line("networks", _networks(container)),
        _line("published", [(ports, Tone.PLAIN) if ports else ("none", Tone.QUIET)]),
    ]


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


def _networks(container: Container) -> list[Piece]:
    pieces: list[Piece] = []
    for place in container.networks:
        addresses = " ".join(text for text in (place.ipv4, place.ipv6) if text)
        pieces += [(f"{place.network} ", Tone.QUIET), (f"{addresses}   ", Tone.PLAIN)]
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
