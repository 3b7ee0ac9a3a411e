"""Counters, TCP's testimony, kernel parameters and NAT rules as lines of text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from natop.meanings import BAD, TCP_MEANINGS, meaning
from natop.model import COUNTER_NAMES, NetnsTcp, Snapshot
from natop.summarise.window import Marker, Watched
from natop.tui.formats import clock, count, fit, rate
from natop.tui.glyphs import Glyphs
from natop.tui.hostlines import NAME as _NAME
from natop.tui.hostlines import explained, nat_lines, sysctl_lines, unknown
from natop.tui.timewaitlines import time_wait_lines, time_wait_title
from natop.tui.tones import Line, Piece, Tone

_NUMBER, _SINCE = 12, 16
_TCP_NAME = 19
MANY_CPUS = 4
"""More of them are not told one by one."""
LOST = "lost_syns"
"""Stands for `NetnsTcp.lost_syns_per_s`, an estimate, among TCP's counters."""
_TCP = (
    ("syn_retrans", "SYN-RT/s", 0),
    (LOST, "LOST~/s", 1),
    ("retrans_segs", "RETRANS/s", 5),
    ("timeouts", "TIMEOUT/s", 7),
    ("attempt_fails", "FAILS/s", 6),
    ("listen_overflows", "OVERFL/s", 2),
    ("listen_drops", "DROPS/s", 8),
    ("active_opens", "OUT/s", 3),
    ("passive_opens", "IN/s", 4),
)
"""TCP's columns and their ranks: the less room, the fewer ranks are told; sockets always are."""
_TCP_CELL = 10
_SOCKETS = 19
"""Cells of the two columns of sockets."""


class Come(NamedTuple):
    """How far counters came since an instant."""

    at: float
    counters: Mapping[str, int]


def counter_lines(snapshot: Snapshot, width: int, glyphs: Glyphs, come: Come | None = None) -> list[Line]:
    """All sections, for a screen of that width."""
    sections = (
        ("conntrack's counters", _counters(snapshot, width, glyphs, come)),
        ("what follows from them", _derived(snapshot, width, glyphs)),
        (time_wait_title(snapshot), time_wait_lines(snapshot, width, glyphs)),
        ("TCP by network namespace: connections, SYNs sent again, sockets in TIME_WAIT", _tcp(snapshot, width, glyphs)),
        ("TCP's counters of this host", _host_tcp(snapshot, width, glyphs)),
        ("what becomes of source addresses", nat_lines(snapshot, width, glyphs)),
        ("kernel parameters", sysctl_lines(snapshot, width, glyphs)),
    )
    lines: list[Line] = []
    for title, section in sections:
        lines += [[], [(f" {title}", Tone.TITLE)], *section]
    return lines


def come_since(snapshot: Snapshot, watched: Watched | None, marker: Marker | None) -> Come | None:
    """How far the counters came since the marker, or else since natop began to watch."""
    after = marker.after(snapshot) if marker else None
    if marker and after:
        return Come(marker.mark.taken_at, after.counters)
    return Come(watched.since, watched.counters) if watched else None


def _counters(snapshot: Snapshot, width: int, glyphs: Glyphs, come: Come | None) -> Iterator[Line]:
    conntrack, version = snapshot.conntrack, snapshot.host.version
    if not conntrack.counters:
        yield from unknown(snapshot, "conntrack's counters were not told", "counters", width, glyphs)
        return
    numbers = len(conntrack.cpus)
    since = f"SINCE {clock(come.at)}" if come else "SINCE"
    cpus = f"  {numbers} CPUs" if numbers > 1 else "  1 CPU" if numbers else ""
    heads = f"{'TOTAL':>{_NUMBER}}{'PER SECOND':>{_NUMBER}}{since:>{_SINCE}}{cpus}"
    yield [(f" {'COUNTER':<{_NAME}}{heads}", Tone.QUIET)]
    for name in COUNTER_NAMES:
        value = (snapshot.counter_rates or {}).get(name)
        bad = bool(value) and name in BAD
        text = rate(value, glyphs) + (f" {glyphs.alarm}" if bad else "")
        risen = come.counters.get(name) if come else None
        more = f"+{risen:,}" if risen else count(risen, glyphs)
        yield [
            (f" {name:<{_NAME}}", Tone.NAME),
            (f"{count(conntrack.counters.get(name), glyphs):>{_NUMBER}}", Tone.PLAIN),
            (f"{text:>{_NUMBER}}", Tone.ALARM if bad else Tone.PLAIN if value else Tone.QUIET),
            (f"{more:>{_SINCE}}", Tone.PLAIN if risen else Tone.QUIET),
            (f"  {_by_cpu(snapshot, name)}" if value else "", Tone.QUIET),
        ]
        yield from explained(meaning(name, version, conntrack.counters), width)


def _by_cpu(snapshot: Snapshot, name: str) -> str:
    """The rate on each CPU; of many, on how many it rises and where most."""
    rates = [each.get(name, 0.0) for each in snapshot.cpu_rates]
    if len(rates) <= MANY_CPUS:
        return " + ".join(f"{each:,.1f}" for each in rates)
    most = max(range(len(rates)), key=rates.__getitem__)
    return f"on {sum(each > 0 for each in rates)}; {rates[most]:,.1f} on CPU {most}"


def _derived(snapshot: Snapshot, width: int, glyphs: Glyphs) -> Iterator[Line]:
    derived = snapshot.derived
    found = derived.found_per_new
    for name, text, words in (
        (
            "table full",
            rate(derived.table_full_per_s, glyphs),
            "drop less insert_failed: refused for want of room or, where the table had room, by a tracker or helper",
        ),
        (
            "clash lost",
            rate(derived.clash_lost_per_s, glyphs),
            "insert_failed less chaintoolong: another flow took the same addresses and ports first",
        ),
        (
            "found per new",
            glyphs.unknown if found is None else f"{found:,.1f}",
            "NAT ports tried in vain for each new flow, and for each that was lost, between the last two dumps: "
            "about 1 when half full, 9 at 90 %, 21 at 95 %, 129 and more when full",
        ),
    ):
        yield [(f" {name:<{_NAME}}", Tone.NAME), (f"{text:>{_NUMBER}}", Tone.PLAIN)]
        yield from explained(words, width)


def _tcp(snapshot: Snapshot, width: int, glyphs: Glyphs) -> Iterator[Line]:
    fitting = (width - 1 - _NAME - _SOCKETS) // _TCP_CELL
    columns = {key: title for key, title, rank in _TCP if rank < fitting}
    heads = "".join(title.rjust(_TCP_CELL) for title in columns.values()) + "SOCKETS".rjust(9) + "TIME_WAIT".rjust(10)
    yield [(" " + "NAMESPACE OF".ljust(_NAME) + heads, Tone.QUIET)]
    yield _tcp_line("this host", snapshot.tcp, columns, glyphs)
    for each in snapshot.containers:
        if each.tcp_of:
            shared: list[Piece] = [(f" {fit(each.container.name, _NAME, glyphs)}", Tone.NAME)]
            yield [*shared, (f"  counted with {each.tcp_of}, whose namespace it shares", Tone.QUIET)]
        elif each.container.state == "running":
            yield _tcp_line(each.container.name, each.tcp, columns, glyphs)
    yield from explained("LOST~ is an estimate: what conntrack refused, shared out by the SYNs sent again", width)
    for gap in snapshot.gaps_of("tcp"):
        yield from explained(gap.told(), width)


def _tcp_line(name: str, tcp: NetnsTcp | None, columns: Iterable[str], glyphs: Glyphs) -> Line:
    rates: Mapping[str, float | None] = {**(tcp.rates or {}), LOST: tcp.lost_syns_per_s} if tcp else {}
    line: list[Piece] = [(f" {fit(name, _NAME, glyphs)}", Tone.NAME)]
    for key in columns:
        value = rates.get(key)
        bad = bool(value) and key in ("syn_retrans", LOST, "listen_overflows")
        text = rate(value, glyphs).removesuffix("/s") + (glyphs.alarm if bad else "")
        line.append((f"{text:>{_TCP_CELL}}", Tone.ALARM if bad else Tone.PLAIN if value else Tone.QUIET))
    sockets = (tcp.sockets_in_use, tcp.time_wait_sockets) if tcp else (None, None)
    return [*line, (f"{count(sockets[0], glyphs):>9}{count(sockets[1], glyphs):>10}", Tone.PLAIN)]


def _host_tcp(snapshot: Snapshot, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """All of them, in plain words; the words hold for the containers' too."""
    tcp = snapshot.tcp
    if tcp is None:
        yield from unknown(snapshot, "TCP's counters were not told", "tcp", width, glyphs)
        return
    for name, words in TCP_MEANINGS.items():
        value = (tcp.rates or {}).get(name)
        yield [
            (f" {name:<{_TCP_NAME}}", Tone.NAME),
            (f"{count(tcp.counters.get(name), glyphs):>{_NUMBER}}", Tone.PLAIN),
            (f"{rate(value, glyphs):>{_NUMBER}}", Tone.PLAIN if value else Tone.QUIET),
        ]
        yield from explained(words, width)
