"""The layout of one ctnetlink message: where its attributes' headers stand, and where each value does.

The kernel builds the messages of a dump from a few layouts. A layout is learnt from one message by walking
its attributes; a message of the same length whose header bytes are equal has its values in the same places.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from natop import uapi
from natop.model import U8
from natop.uapi import Cta, CtaCounters, CtaIp, CtaProto, CtaProtoinfo, CtaTimestamp, CtaTuple

Path = tuple[int, ...]

HEADERS_LEN = uapi.NLMSG_HDRLEN + uapi.NFGENMSG_LEN
_NLATTR = struct.Struct("=HH")


def _tuple_values(tuple_type: Cta, side: str) -> Iterator[tuple[Path, tuple[str, int]]]:
    for group, attribute, name, size in (
        (CtaTuple.IP, CtaIp.V4_SRC, "src4", 4),
        (CtaTuple.IP, CtaIp.V4_DST, "dst4", 4),
        (CtaTuple.IP, CtaIp.V6_SRC, "src6", 16),
        (CtaTuple.IP, CtaIp.V6_DST, "dst6", 16),
        (CtaTuple.PROTO, CtaProto.NUM, "proto", 1),
        (CtaTuple.PROTO, CtaProto.SRC_PORT, "sport", 2),
        (CtaTuple.PROTO, CtaProto.DST_PORT, "dport", 2),
        (CtaTuple.PROTO, CtaProto.ICMP_ID, "icmp_id", 2),
        (CtaTuple.PROTO, CtaProto.ICMP_TYPE, "icmp_type", 1),
        (CtaTuple.PROTO, CtaProto.ICMP_CODE, "icmp_code", 1),
        (CtaTuple.PROTO, CtaProto.ICMPV6_ID, "icmp_id", 2),
        (CtaTuple.PROTO, CtaProto.ICMPV6_TYPE, "icmp_type", 1),
        (CtaTuple.PROTO, CtaProto.ICMPV6_CODE, "icmp_code", 1),
    ):
        yield (tuple_type, group, attribute), (f"{side}_{name}", size)


VALUES: Mapping[Path, tuple[str, int]] = {
    **dict(_tuple_values(Cta.TUPLE_ORIG, "orig")),
    **dict(_tuple_values(Cta.TUPLE_REPLY, "reply")),
    (Cta.STATUS,): ("status", 4),
    (Cta.TIMEOUT,): ("timeout", 4),
    (Cta.MARK,): ("mark", 4),
    (Cta.ID,): ("id", 4),
    (Cta.ZONE,): ("zone", 2),
    (Cta.TUPLE_ORIG, CtaTuple.ZONE): ("zone", 2),
    (Cta.PROTOINFO, CtaProtoinfo.TCP, uapi.CTA_PROTOINFO_STATE): ("state", 1),
    (Cta.PROTOINFO, CtaProtoinfo.SCTP, uapi.CTA_PROTOINFO_STATE): ("state", 1),
    (Cta.PROTOINFO, CtaProtoinfo.DCCP, uapi.CTA_PROTOINFO_STATE): ("state", 1),
    (Cta.COUNTERS_ORIG, CtaCounters.PACKETS): ("orig_packets", 8),
    (Cta.COUNTERS_ORIG, CtaCounters.BYTES): ("orig_bytes", 8),
    (Cta.COUNTERS_REPLY, CtaCounters.PACKETS): ("reply_packets", 8),
    (Cta.COUNTERS_REPLY, CtaCounters.BYTES): ("reply_bytes", 8),
    (Cta.TIMESTAMP, CtaTimestamp.START): ("started_ns", 8),
}
"""The attributes that natop keeps: their path of types, the value's name, and its size in bytes."""

_NESTS = {path[:depth] for path in VALUES for depth in range(1, len(path))}
_PASSED_OVER = {
    *((attribute,) for attribute in Cta),
    *((Cta.PROTOINFO, CtaProtoinfo(proto), number) for proto in CtaProtoinfo for number in range(2, 6)),
    (Cta.TUPLE_REPLY, CtaTuple.ZONE),
    (Cta.TIMESTAMP, CtaTimestamp.STOP),
}
"""Attributes that natop knows and does not need; any other is counted as unknown."""

_NEEDED = {"orig_proto", "reply_proto", "status"}
_ENDS = {
    family: {f"{side}_{end}" for side in ("orig", "reply") for end in ends}
    for family, ends in ((uapi.AF_INET, ("src4", "dst4")), (uapi.AF_INET6, ("src6", "dst6")))
}


@dataclass(slots=True)
class Layout:
    """What all messages of one layout share.

    `mask` and `headers` are as long as a message, padded to whole words: a message is of this layout where
    `message & mask` equals `headers`. `offsets` gives the byte offset of each value by name; `unknown` counts the
    attributes that natop does not know.
    """

    mask: U8
    headers: U8
    offsets: dict[str, int] = field(default_factory=dict)
    unknown: int = 0

    @property
    def family(self) -> int | None:
        """AF_INET or AF_INET6 where the message is a flow: status and both tuples whole; else None."""
        names = self.offsets.keys()
        if names >= _NEEDED:
            for family, ends in _ENDS.items():
                if names >= ends:
                    return family
        return None


def learn(message: bytes) -> Layout:
    """The layout of one whole message of type IPCTNL_MSG_CT_NEW. Never raises.

    An attribute whose length does not fit makes the layout one of no flow, as does a message too short.
    """
    padded = (len(message) + 3) & ~3
    layout = Layout(np.zeros(padded, np.uint8), np.zeros(padded, np.uint8))
    layout.mask[4:6] = 0xFF  # nlmsg_type; length is equal by grouping; flags, sequence and port differ
    if not _walk(message, HEADERS_LEN, len(message), (), layout):
        layout.offsets.clear()
    layout.headers[: len(message)] = np.frombuffer(message, np.uint8) & layout.mask[: len(message)]
    return layout


def _walk(message: bytes, start: int, end: int, above: Path, layout: Layout) -> bool:
    """Take the attributes between two offsets into `layout`; False where one does not fit."""
    at = start
    while end - at >= uapi.NLA_HDRLEN:
        length, kind = _NLATTR.unpack_from(message, at)
        layout.mask[at : at + uapi.NLA_HDRLEN] = 0xFF
        if length < uapi.NLA_HDRLEN or length > end - at:
            return False
        path = (*above, kind & uapi.NLA_TYPE_MASK)
        value = at + uapi.NLA_HDRLEN
        if path in _NESTS:
            if not _walk(message, value, at + length, path, layout):
                return False
        else:
            _take(path, value, length - uapi.NLA_HDRLEN, layout)
        at += (length + 3) & ~3
    return True


def _take(path: Path, value: int, size: int, layout: Layout) -> None:
    name, wanted = VALUES.get(path, ("", size))
    if name and size == wanted:
        layout.offsets[name] = value
    elif name or path not in _PASSED_OVER:
        layout.unknown += 1
