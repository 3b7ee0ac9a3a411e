"""ctnetlink messages as the kernel sends them, packed byte by byte without natop's decoder.

A message is built as a tree of attributes, so that a test can shuffle, add, drop or spoil any of them before it is
packed. The order is that of ctnetlink_dump_info, net/netfilter/nf_conntrack_netlink.c.
"""

import ipaddress
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

from natop.uapi import NLMSG_DONE, NLMSG_ERROR, Cta, CtaIp, CtaProto, CtaProtoinfo, CtaStatsCpu, CtaTuple
from tests.unit.plain import DCCP, ICMP, ICMPV6, SCTP, TCP, Ends, Flow

NEW, STATS_CPU, STATS_GLOBAL = 0x100, 0x104, 0x105
NESTED = 0x8000
WITHOUT_PORTS = (2, 4, 50, 51, 103, 255)
"""Protocols that the kernel tracks by address alone (nf_conntrack_proto_generic.c): IGMP, IPIP, ESP, AH, PIM …"""
PROTOINFO = {TCP: CtaProtoinfo.TCP, DCCP: CtaProtoinfo.DCCP, SCTP: CtaProtoinfo.SCTP}


@dataclass(frozen=True, slots=True)
class Attribute:
    """One nlattr: its type, and its value or the attributes within."""

    kind: int
    content: "bytes | tuple[Attribute, ...]"

    def packed(self) -> bytes:
        nested = isinstance(self.content, tuple)
        value = b"".join(each.packed() for each in self.content) if isinstance(self.content, tuple) else self.content
        head = struct.pack("=HH", 4 + len(value), self.kind | (NESTED if nested else 0))
        return head + value + bytes(-len(value) % 4)


def be16(kind: int, number: int) -> Attribute:
    return Attribute(kind, struct.pack(">H", number))


def be32(kind: int, number: int) -> Attribute:
    return Attribute(kind, struct.pack(">I", number))


def be64(kind: int, number: int) -> Attribute:
    return Attribute(kind, struct.pack(">Q", number))


def message(kind: int, payload: bytes, *, flags: int = 2, sequence: int = 1, port: int = 0) -> bytes:
    """A netlink message, padded to four bytes; its length says the true one."""
    head = struct.pack("=IHHII", 16 + len(payload), kind, flags, sequence, port)
    return head + payload + bytes(-len(payload) % 4)


def flow_message(flow: Flow, extra: Iterable[Attribute] = (), random: Random | None = None) -> bytes:
    """The entry as a dump has it; with `random`, the attributes of every level in another order."""
    return new_message([*attributes(flow), *extra], flow.family, random)


def new_message(content: Sequence[Attribute], family: int = 2, random: Random | None = None) -> bytes:
    if random:
        content = shuffled(content, random)
    body = b"".join(each.packed() for each in content)
    return message(NEW, struct.pack("=BBH", family, 0, 0) + body)


def shuffled(content: Sequence[Attribute], random: Random) -> list[Attribute]:
    """The attributes in another order, at every level."""
    mixed = [
        replace(each, content=tuple(shuffled(each.content, random))) if isinstance(each.content, tuple) else each
        for each in content
    ]
    random.shuffle(mixed)
    return mixed


def done() -> bytes:
    return message(NLMSG_DONE, struct.pack("=i", 0))


def error(number: int) -> bytes:
    """NLMSG_ERROR with a kernel's negative errno, and the header of the request that it answers."""
    return message(NLMSG_ERROR, struct.pack("=i", -number) + struct.pack("=IHHII", 20, 0x101, 0x301, 1, 0), flags=0)


def dump(flows: Iterable[Flow], random: Random | None = None) -> bytes:
    """A whole dump with its end."""
    return b"".join(flow_message(flow, random=random) for flow in flows) + done()


def attributes(flow: Flow) -> list[Attribute]:
    """In the kernel's order."""
    found = [
        Attribute(Cta.TUPLE_ORIG, tuple_content(flow.orig, flow.proto)),
        Attribute(Cta.TUPLE_REPLY, tuple_content(flow.reply, flow.proto)),
    ]
    if flow.zone:
        found.append(be16(Cta.ZONE, flow.zone))
    found += [be32(Cta.STATUS, flow.status), be32(Cta.MARK, flow.mark), be32(Cta.ID, flow.id), be32(Cta.USE, 1)]
    if flow.timeout_s is not None:
        found.append(be32(Cta.TIMEOUT, flow.timeout_s))
    if flow.state is not None:
        found.append(protoinfo(flow.proto, flow.state, flow.closed_by))
    return found + accounting(flow)


def tuple_content(ends: Ends, proto: int) -> tuple[Attribute, ...]:
    """CTA_TUPLE_IP and CTA_TUPLE_PROTO."""
    src, dst = ipaddress.ip_address(ends.src), ipaddress.ip_address(ends.dst)
    first = CtaIp.V4_SRC if src.version == 4 else CtaIp.V6_SRC
    addresses = (Attribute(first, src.packed), Attribute(first + 1, dst.packed))
    return (
        Attribute(CtaTuple.IP, addresses),
        Attribute(CtaTuple.PROTO, (Attribute(CtaProto.NUM, bytes([proto])), *ports(ends, proto))),
    )


def ports(ends: Ends, proto: int) -> tuple[Attribute, ...]:
    if proto in WITHOUT_PORTS:
        return ()
    if proto in (ICMP, ICMPV6):
        first = CtaProto.ICMP_ID if proto == ICMP else CtaProto.ICMPV6_ID
        kind, code = divmod(ends.dport, 256)
        return (
            be16(first, ends.sport),
            Attribute(first + 1, bytes([kind])),
            Attribute(first + 2, bytes([code])),
        )
    return be16(CtaProto.SRC_PORT, ends.sport), be16(CtaProto.DST_PORT, ends.dport)


def protoinfo(proto: int, state: int, closed_by: int = 0) -> Attribute:
    """The state, and what else each protocol's nlattr function tells; TCP's flags with CLOSE_INIT for who closed."""
    first = Attribute(1, bytes([state]))
    rest: tuple[Attribute, ...] = (Attribute(2, b"\7"), Attribute(3, b"\7"), Attribute(4, b"\x23\0"))
    if proto == TCP:
        flags = [0x23 | (4 if closed_by & side else 0) for side in (1, 2)]
        rest = (*rest[:2], *(Attribute(4 + index, bytes([value, 0])) for index, value in enumerate(flags)))
    elif proto == SCTP:
        rest = (be32(2, 0x1111), be32(3, 0x2222))
    return Attribute(Cta.PROTOINFO, (Attribute(PROTOINFO[proto], (first, *rest)),))


def accounting(flow: Flow) -> list[Attribute]:
    """Counters of both directions, and the time stamp; the original direction carries a third."""
    found = []
    if flow.packets is not None and flow.bytes is not None:
        for kind, packets, octets in (
            (Cta.COUNTERS_ORIG, flow.packets // 3, flow.bytes // 3),
            (Cta.COUNTERS_REPLY, flow.packets - flow.packets // 3, flow.bytes - flow.bytes // 3),
        ):
            found.append(Attribute(kind, (be64(1, packets), be64(2, octets))))
    if flow.started_ns is not None:
        found.append(Attribute(Cta.TIMESTAMP, (be64(1, flow.started_ns),)))
    return found


KNOWN_EXTRAS = (
    Attribute(Cta.HELP, (Attribute(1, b"ftp\0"),)),
    Attribute(Cta.LABELS, bytes(range(16))),
    Attribute(Cta.SECCTX, (Attribute(1, b"system_u:object_r:unlabeled_t:s0\0"),)),
    Attribute(Cta.SECMARK, struct.pack(">I", 7)),
    Attribute(Cta.SEQ_ADJ_ORIG, (be32(1, 5), be32(2, 6), be32(3, 7))),
    Attribute(Cta.SYNPROXY, (be32(1, 1), be32(2, 2), be32(3, 3))),
    Attribute(Cta.TIMESTAMP_EVENT, bytes(8)),
)
"""Attributes that a kernel may add to any entry and that natop knows but does not need."""


def stats_global(count: int, maximum: int | None) -> bytes:
    """The reply to CT_GET_STATS; older kernels leave the maximum out."""
    body = [be32(1, count), *([] if maximum is None else [be32(2, maximum)])]
    return message(STATS_GLOBAL, bytes(4) + b"".join(each.packed() for each in body), flags=0)


def stats_cpu(cpu: int, counters: dict[str, int]) -> bytes:
    """One processor's reply to CT_GET_STATS_CPU, by the names of `enum ctattr_stats_cpu` in lower case."""
    body = [be32(CtaStatsCpu[name.upper()], number) for name, number in counters.items()]
    return message(STATS_CPU, struct.pack(">BBH", 0, 0, cpu) + b"".join(each.packed() for each in body))
