"""Flows as plain Python values, and to and from natop's columns, so that a test can say what it expects row by row."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from natop.model import Addresses, FlowTable

MAPPED = 0xFFFF << 32
"""IPv4 within 128 bits: ::ffff:a.b.c.d."""
TCP, UDP, ICMP, ICMPV6, DCCP, GRE, SCTP, IGMP = 6, 17, 1, 58, 33, 47, 132, 2
ASSURED = 0x18E
"""IPS bits of an established flow: SEEN_REPLY, ASSURED, CONFIRMED, SRC_NAT_DONE, DST_NAT_DONE."""
SRC_NAT, DST_NAT = 0x10, 0x20
NO_STATE, NO_TIMEOUT, NO_NUMBER = 0xFF, 2**32 - 1, 2**64 - 1


@dataclass(frozen=True, slots=True)
class Ends:
    """One tuple. For ICMP `sport` is the id and `dport` is type << 8 | code."""

    src: str
    dst: str
    sport: int = 0
    dport: int = 0

    def inverted(self) -> "Ends":
        return Ends(self.dst, self.src, self.dport, self.sport)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One conntrack entry; None is what the kernel did not tell."""

    orig: Ends
    reply: Ends
    proto: int = TCP
    state: int | None = None
    status: int = ASSURED
    timeout_s: int | None = 100
    zone: int = 0
    mark: int = 0
    id: int = 1
    packets: int | None = None
    bytes: int | None = None
    started_ns: int | None = None
    closed_by: int = 0
    """1 the client, 2 the server, 3 both; only TCP's state comes with it."""

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return 10 if ":" in self.orig.src else 2


def flow(
    source: str,
    target: str,
    *,
    snat: str | None = None,
    dnat: str | None = None,
    proto: int = TCP,
    state: int | None = 3,
    status: int = ASSURED,
    **more: int | None,
) -> Flow:
    """A flow from `address:port` (`[address]:port`) to another; `snat` and `dnat` are what NAT makes of the ends."""
    src, sport = split(source)
    dst, dport = split(target)
    seen_as, seen_port = split(snat) if snat else (src, sport)
    answers, answer_port = split(dnat) if dnat else (dst, dport)
    bits = status | (SRC_NAT if snat else 0) | (DST_NAT if dnat else 0)
    return Flow(
        orig=Ends(src, dst, sport, dport),
        reply=Ends(answers, seen_as, answer_port, seen_port),
        proto=proto,
        state=state if proto == TCP else None,
        status=bits,
        **more,  # type: ignore[arg-type]  # the names are Flow's own
    )


def split(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    return address.strip("[]"), int(port)


def value(address: str) -> int:
    """An address as a number of 128 bits."""
    parsed = ipaddress.ip_address(address)
    return int(parsed) | MAPPED if parsed.version == 4 else int(parsed)


def text(number: int) -> str:
    if number >> 32 == 0xFFFF:
        return str(ipaddress.IPv4Address(number & 0xFFFF_FFFF))
    return str(ipaddress.IPv6Address(number))


def table(flows: Sequence[Flow]) -> FlowTable:
    """The columns of these flows, in their order."""

    def numbers(values: Sequence[int], dtype: str) -> np.ndarray:
        return np.array(values, dtype)

    def optional(values: Sequence[int | None]) -> np.ndarray | None:
        if all(each is None for each in values):
            return None
        return numbers([NO_NUMBER if each is None else each for each in values], "u8")

    def addresses(texts: Sequence[str]) -> Addresses:
        values = [value(each) for each in texts]
        return Addresses(numbers([v >> 64 for v in values], "u8"), numbers([v & NO_NUMBER for v in values], "u8"))

    return FlowTable(
        family=numbers([f.family for f in flows], "u1"),
        proto=numbers([f.proto for f in flows], "u1"),
        state=numbers([NO_STATE if f.state is None else f.state for f in flows], "u1"),
        status=numbers([f.status for f in flows], "u4"),
        timeout_s=numbers([NO_TIMEOUT if f.timeout_s is None else f.timeout_s for f in flows], "u4"),
        zone=numbers([f.zone for f in flows], "u2"),
        mark=numbers([f.mark for f in flows], "u4"),
        id=numbers([f.id for f in flows], "u4"),
        orig_src=addresses([f.orig.src for f in flows]),
        orig_dst=addresses([f.orig.dst for f in flows]),
        reply_src=addresses([f.reply.src for f in flows]),
        reply_dst=addresses([f.reply.dst for f in flows]),
        orig_sport=numbers([f.orig.sport for f in flows], "u2"),
        orig_dport=numbers([f.orig.dport for f in flows], "u2"),
        reply_sport=numbers([f.reply.sport for f in flows], "u2"),
        reply_dport=numbers([f.reply.dport for f in flows], "u2"),
        packets=optional([f.packets for f in flows]),
        bytes=optional([f.bytes for f in flows]),
        started_ns=optional([f.started_ns for f in flows]),
        closed_by=numbers([f.closed_by for f in flows], "u1") if any(f.closed_by for f in flows) else None,
    )


def rows(flows: FlowTable) -> list[Flow]:
    """The rows of a table as flows, in their order."""

    def known(number: int, unknown: int) -> int | None:
        return None if number == unknown else number

    def optional(column: np.ndarray | None, row: int) -> int | None:
        return None if column is None else known(int(column[row]), NO_NUMBER)

    def address(column: Addresses, row: int) -> str:
        return text(int(column.hi[row]) << 64 | int(column.lo[row]))

    found = [
        Flow(
            orig=Ends(
                address(flows.orig_src, row),
                address(flows.orig_dst, row),
                int(flows.orig_sport[row]),
                int(flows.orig_dport[row]),
            ),
            reply=Ends(
                address(flows.reply_src, row),
                address(flows.reply_dst, row),
                int(flows.reply_sport[row]),
                int(flows.reply_dport[row]),
            ),
            proto=int(flows.proto[row]),
            state=known(int(flows.state[row]), NO_STATE),
            status=int(flows.status[row]),
            timeout_s=known(int(flows.timeout_s[row]), NO_TIMEOUT),
            zone=int(flows.zone[row]),
            mark=int(flows.mark[row]),
            id=int(flows.id[row]),
            packets=optional(flows.packets, row),
            bytes=optional(flows.bytes, row),
            started_ns=optional(flows.started_ns, row),
            closed_by=0 if flows.closed_by is None else int(flows.closed_by[row]),
        )
        for row in range(len(flows))
    ]
    assert [each.family for each in found] == flows.family.tolist()
    return found
