"""TCP's own testimony of one container's network namespace, as a line for its details. Pure.

TCP        connects 4.0/s  accepts 0.0/s  SYN retransmits 0.5/s  SYNs lost to NAT ~0.5/s  sockets 3
           sockets in TIME_WAIT 141 of 32,768
"""

from __future__ import annotations

from collections.abc import Iterator

from natop.model import ContainerSummary, NetnsTcp
from natop.summarise.history import BY_KEY
from natop.tui.formats import count, rate
from natop.tui.glyphs import Glyphs
from natop.tui.tones import Line, Piece, Tone

_LABEL = 11
_ALWAYS = ("active_opens", "passive_opens", "syn_retrans")
_IF_ANY = ("retrans_segs", "timeouts", "attempt_fails", "listen_overflows", "listen_drops", "time_wait_overflow")
"""Told where they rise, or where it is not known whether they do."""
MOST_WAITING = "tcp_max_tw_buckets"
"""The sysctl that bounds the sockets in TIME_WAIT of a namespace."""
_BAD = frozenset(("syn_retrans", "listen_overflows", "time_wait_overflow"))


def container_tcp_line(summary: ContainerSummary, glyphs: Glyphs) -> Line:
    """Facts that `folded` may part."""
    return [(" TCP".ljust(_LABEL), Tone.QUIET), *_facts(summary, glyphs)]


def _facts(summary: ContainerSummary, glyphs: Glyphs) -> Iterator[Piece]:
    tcp = summary.tcp
    if tcp is None:
        words = f"counted with {summary.tcp_of}, whose namespace it shares" if summary.tcp_of else glyphs.unknown
        yield words, Tone.QUIET
        return
    for key in _ALWAYS:
        yield _rate(tcp, key, glyphs)
    yield f"SYNs lost to NAT ~{rate(tcp.lost_syns_per_s, glyphs)}  ", Tone.ALARM if tcp.lost_syns_per_s else Tone.PLAIN
    for key in _IF_ANY:
        if tcp.rates is None or tcp.rates.get(key) != 0:
            yield _rate(tcp, key, glyphs)
    yield f"sockets {count(tcp.sockets_in_use, glyphs)}  ", Tone.PLAIN
    most = tcp.sysctls.get(MOST_WAITING)
    limit = f" of {most:,}" if isinstance(most, int) else ""
    yield f"sockets in TIME_WAIT {count(tcp.time_wait_sockets, glyphs)}{limit}", Tone.TIME_WAIT


def _rate(tcp: NetnsTcp, key: str, glyphs: Glyphs) -> Piece:
    value = tcp.rates.get(key) if tcp.rates else None
    bad = bool(value) and key in _BAD
    return (
        f"{BY_KEY[key].title} {rate(value, glyphs)}{glyphs.alarm if bad else ''}  ",
        Tone.ALARM if bad else Tone.PLAIN,
    )
