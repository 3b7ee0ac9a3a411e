"""Everything about one flow, as lines. Pure; imported once flows are there, because it needs numpy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import wrap

from natop.diagnose.namespace import inside
from natop.join.flows import Flows, endpoint, flow_state, has_ports, path_text, proxy_name, status_names, way_text
from natop.model import UNKNOWN32, UNKNOWN64, Kind
from natop.tui.formats import clock, count, span
from natop.tui.glyphs import Glyphs
from natop.tui.tones import Line, Piece, Tone, length_of, tone_of_state
from natop.uapi import PORTED, IpProto, Ips, proto_name

_LABEL = 12
_WAYS = {
    Kind.PUBLISHED: "came in by a published port: DNAT",
    Kind.MASQUERADED: "left under another source address: SNAT",
    Kind.INTERNAL: "container to container, no NAT",
    Kind.HAIRPIN: "DNAT and SNAT on the way to a container",
    Kind.ROUTED: "the container keeps its address; the other end is none",
    Kind.PROXIED: "one of two flows of a connection through docker-proxy",
    Kind.HOST: "one end is the host itself, none a container",
    Kind.REMAPPED: "the host's own; its source port was taken, NAT moved it",
    Kind.STALE: "of a container gone, or older than its address's owner",
    Kind.FORWARDED: "neither end is the host's or a container's",
}


def flow_lines(
    flows: Flows, row: int, taken_at: float, width: int, glyphs: Glyphs, entered: str | None = None
) -> list[Line]:
    """The flow in that row of a table taken at `taken_at`; `entered` as in HostFacts."""
    return [
        [],
        *_path(flows, row, width, glyphs),
        _line("client", _owner(flows.client(row), glyphs)),
        _line("server", _owner(flows.server(row), glyphs)),
        *_network(flows, row),
        _line("kind", _kind(flows, row)),
        *_halves(flows, row, width, glyphs),
        *_remedy(flows, row, width, entered),
        [],
        *_tuples(flows, row),
        [],
        _line("state", _state(flows, row)),
        *_wrapped("status", _status(flows, row), width, Tone.PLAIN),
        *_numbers(flows, row, taken_at, glyphs),
    ]


def flow_summary(flows: Flows, row: int, glyphs: Glyphs, entered: str | None = None) -> list[Line]:
    """Six lines of it at most, to stand under a table."""
    ends: list[Piece] = [*_owner(flows.client(row), glyphs), (f" {glyphs.arrow} ", Tone.QUIET)]
    return [
        *_path(flows, row, None, glyphs),
        _line("kind", _kind(flows, row)),
        _line("from, to", [*ends, *_owner(flows.server(row), glyphs)]),
        _line("state", _state(flows, row)),
        _line("status", [(_status(flows, row), Tone.PLAIN)]),
        *_remedy(flows, row, None, entered),
    ]


def delete_command(flows: Flows, row: int, entered: str | None = None) -> str | None:
    """What would delete a stale flow, and no other. It is for a person to run; natop never does.

    Without a zone conntrack(8) deletes the flow of that tuple in every zone.
    """
    table = flows.table
    if Kind(int(flows.attribution.kind[row])) is not Kind.STALE:
        return None
    proto, zone = int(table.proto[row]), int(table.zone[row])
    family = "" if table.is_ipv4(row) else " -f ipv6"
    ends = f"--orig-src {table.orig_src.text(row)} --orig-dst {table.orig_dst.text(row)}"
    ports = _tuple_options(proto, int(table.orig_sport[row]), int(table.orig_dport[row]))
    of_zone = f" --zone {zone}" if table.zone.any() else ""
    return inside(entered, f"conntrack -D{family} -p {proto_name(proto)} {ends}{ports}{of_zone}")


def _tuple_options(proto: int, sport: int, dport: int) -> str:
    """What tells flows between the same two addresses apart, in the words of conntrack(8)."""
    if proto in (IpProto.ICMP, IpProto.ICMPV6):
        kind, code = divmod(dport, 256)
        name = proto_name(proto)
        return f" --{name}-type {kind} --{name}-code {code} --{name}-id {sport}"
    if proto == IpProto.GRE:
        return f" --orig-key-src {sport} --orig-key-dst {dport}"
    return f" --orig-port-src {sport} --orig-port-dst {dport}" if proto in PORTED else ""


def _remedy(flows: Flows, row: int, width: int | None, entered: str | None) -> list[Line]:
    command = delete_command(flows, row, entered)
    return _words("deletes it", [(word, Tone.NOTICE) for word in command.split(" ")], width) if command else []


def _path(flows: Flows, row: int, width: int | None, glyphs: Glyphs) -> list[Line]:
    """From the client to who answers, the steps of NAT marked."""
    return _words("path", _steps(path_text(flows, row), Tone.TITLE, glyphs), width)


def _steps(path: str, tone: Tone, glyphs: Glyphs) -> list[Piece]:
    """The words of a path, its marks as this screen draws them."""
    marks = {
        "→": (glyphs.arrow, Tone.QUIET),
        "⇒": (glyphs.rewritten, Tone.NOTICE),
        "⇄": (glyphs.copied, Tone.NOTICE),
    }
    return [marks.get(word, (word, tone)) for word in path.split(" ")]


def _words(label: str, words: Sequence[Piece], width: int | None) -> list[Line]:
    """Broken at spaces only; in one line where there is no `width`."""
    lines: list[list[Piece]] = [[]]
    for text, tone in words:
        if width and lines[-1] and length_of(lines[-1]) + len(text) > width - _LABEL - 1:
            lines.append([])
        lines[-1].append((f"{text} ", tone))
    return [_line("" if number else label, line) for number, line in enumerate(lines)]


def _network(flows: Flows, row: int) -> list[Line]:
    """The network of the container at one end, for those that are on several."""
    name = flows.network(row)
    return [_line("network", [(name, Tone.PLAIN)])] if name else []


def _halves(flows: Flows, row: int, width: int, glyphs: Glyphs) -> list[Line]:
    """The docker-proxy that copies the flow, and the other flow of its connection."""
    if not flows.is_copied(row):
        return []
    proxy, other = flows.proxy(row), flows.other_half(row)
    told = f"{proxy_name(proxy)}: {proxy.command}" if proxy else "one of several docker-proxies"
    lines = _words("copied by", [(word, Tone.PLAIN) for word in told.split(" ")], width)
    if other is None:
        return [*lines, _line("other half", [(f"{glyphs.unknown} not known", Tone.QUIET)])]
    state = flow_state(flows.table, other)
    way = _steps(way_text(flows, other), Tone.PLAIN, glyphs)
    return [*lines, *_words("other half", [*way, (state, tone_of_state(state)), ("Enter shows it", Tone.QUIET)], width)]


def _line(label: str, pieces: Iterable[Piece]) -> Line:
    return [(f" {label}".ljust(_LABEL), Tone.QUIET), *pieces]


def _wrapped(label: str, text: str, width: int, tone: Tone) -> list[Line]:
    """As many lines as the text needs."""
    parts = wrap(text, max(20, width - _LABEL - 1)) or [""]
    return [_line(label if number == 0 else "", [(part, tone)]) for number, part in enumerate(parts)]


def _owner(name: str | None, glyphs: Glyphs) -> list[Piece]:
    return [(name, Tone.NAME)] if name else [(f"{glyphs.unknown} nobody known", Tone.QUIET)]


def _kind(flows: Flows, row: int) -> list[Piece]:
    kind = Kind(int(flows.attribution.kind[row]))
    return [(kind.name, Tone.PLAIN), (f"  {_WAYS[kind]}", Tone.QUIET)]


def _tuples(flows: Flows, row: int) -> list[Line]:
    """The original and the reply tuple, as the kernel keeps them."""
    table, proto = flows.table, int(flows.table.proto[row])
    sides = (
        ("original", table.orig_src, table.orig_sport, table.orig_dst, table.orig_dport),
        ("reply", table.reply_src, table.reply_sport, table.reply_dst, table.reply_dport),
    )
    ends = [
        (name, endpoint(source.text(row), int(sport[row]), proto), endpoint(target.text(row), int(dport[row]), proto))
        for name, source, sport, target, dport in sides
    ]
    wide = max(len(src) for _, src, _ in ends)
    lines = []
    for (name, src, dst), (_, _, sport, _, dport) in zip(ends, sides, strict=True):
        pieces: list[Piece] = [("src ", Tone.QUIET), (src, Tone.PLAIN)]
        pieces += [(" " * (wide - len(src)) + "   dst ", Tone.QUIET), (dst, Tone.PLAIN)]
        if not has_ports(proto):
            kind, code = divmod(int(dport[row]), 256)
            pieces.append((f"   type {kind} code {code} id {int(sport[row])}", Tone.PLAIN))
        lines.append(_line(name, pieces))
    return lines


def _state(flows: Flows, row: int) -> list[Piece]:
    proto, state = int(flows.table.proto[row]), flow_state(flows.table, row)
    pieces = [(f"{proto_name(proto)} ", Tone.PLAIN), (state, tone_of_state(state))]
    if proto == IpProto.TCP and state == "TIME_WAIT":
        holds = (
            "it holds its NAT port to the end"
            if flows.table.status[row] & Ips.SRC_NAT
            else "the socket's own lasts 60 s"
        )
        pieces.append((f"  conntrack's: {holds}", Tone.QUIET))
    return pieces


def _status(flows: Flows, row: int) -> str:
    return " ".join(status_names(int(flows.table.status[row]))) or "none"


def _numbers(flows: Flows, row: int, taken_at: float, glyphs: Glyphs) -> list[Line]:
    table = flows.table
    timeout, started = int(table.timeout_s[row]), _known(table.started_ns, row)
    age = None if started is None else max(0.0, taken_at - started / 1e9)
    since = "" if started is None else f"since {clock(started / 1e9)}"
    return [
        _line("timeout", [(span(None if timeout == UNKNOWN32 else timeout, glyphs), Tone.PLAIN)]),
        _line("age", [*_kept(span(age, glyphs), "nf_conntrack_timestamp", table.started_ns), (since, Tone.QUIET)]),
        _line("packets", _kept(count(_known(table.packets, row), glyphs), "nf_conntrack_acct", table.packets)),
        _line("bytes", _kept(count(_known(table.bytes, row), glyphs), "nf_conntrack_acct", table.bytes)),
        _line("zone", [(str(int(table.zone[row])), Tone.PLAIN), *_mark_and_id(flows, row)]),
    ]


def _mark_and_id(flows: Flows, row: int) -> list[Piece]:
    mark, number = f"{int(flows.table.mark[row]):#x}", str(int(flows.table.id[row]))
    return [("   mark ", Tone.QUIET), (mark, Tone.PLAIN), ("   id ", Tone.QUIET), (number, Tone.PLAIN)]


def _known(column: object, row: int) -> int | None:
    value = UNKNOWN64 if column is None else int(column[row])  # type: ignore[index]  # a numpy column
    return None if value == UNKNOWN64 else value


def _kept(text: str, switch: str, column: object) -> list[Piece]:
    """A number that the kernel keeps only while a sysctl is on."""
    if column is not None:
        return [(f"{text}  ", Tone.PLAIN)]
    return [(f"{text}  net.netfilter.{switch} is off", Tone.QUIET)]
