"""What a flow's message holds, and the columns of a flow table while they are filled, one layout at a time."""

from collections.abc import Iterator, Mapping

import numpy as np

from natop import uapi
from natop.decode.layout import Grammar, Layout, Path
from natop.model import NO_STATE, U8, UNKNOWN32, UNKNOWN64, V4_MAPPED, Addresses, Closer, FlowTable
from natop.uapi import (
    AF_INET,
    IP_CT_TCP_FLAG_CLOSE_INIT,
    Cta,
    CtaCounters,
    CtaIp,
    CtaProto,
    CtaProtoinfo,
    CtaProtoinfoTcp,
    CtaTimestamp,
    CtaTuple,
)


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


_VALUES: Mapping[Path, tuple[str, int]] = {
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
    (Cta.PROTOINFO, CtaProtoinfo.TCP, CtaProtoinfoTcp.FLAGS_ORIGINAL): ("orig_flags", 2),
    (Cta.PROTOINFO, CtaProtoinfo.TCP, CtaProtoinfoTcp.FLAGS_REPLY): ("reply_flags", 2),
    (Cta.COUNTERS_ORIG, CtaCounters.PACKETS): ("orig_packets", 8),
    (Cta.COUNTERS_ORIG, CtaCounters.BYTES): ("orig_bytes", 8),
    (Cta.COUNTERS_REPLY, CtaCounters.PACKETS): ("reply_packets", 8),
    (Cta.COUNTERS_REPLY, CtaCounters.BYTES): ("reply_bytes", 8),
    (Cta.TIMESTAMP, CtaTimestamp.START): ("started_ns", 8),
}

GRAMMAR = Grammar(
    uapi.NLMSG_HDRLEN + uapi.NFGENMSG_LEN,
    _VALUES,
    {
        *((attribute,) for attribute in Cta),
        *((Cta.PROTOINFO, proto, number) for proto in CtaProtoinfo for number in range(2, 6)),
        (Cta.TUPLE_REPLY, CtaTuple.ZONE),
        (Cta.TIMESTAMP, CtaTimestamp.STOP),
    },
)
"""Messages of type IPCTNL_MSG_CT_NEW."""

_NEEDED = {"orig_proto", "reply_proto", "status"}
_ENDS = {
    family: {f"{side}_{end}" for side in ("orig", "reply") for end in ends}
    for family, ends in ((uapi.AF_INET, ("src4", "dst4")), (uapi.AF_INET6, ("src6", "dst6")))
}


ROOM = 1 << 16
"""Rows there is room for at first; memory that no row has touched costs nothing."""

_U8, _BE16, _BE32, _BE64 = ("u1", ">u2", ">u4", ">u8")

_ADDRESSES = ("orig_src", "orig_dst", "reply_src", "reply_dst")
_ALWAYS: Mapping[str, str] = {
    **dict.fromkeys(("family", "proto", "state"), "u1"),
    **dict.fromkeys(("zone", "orig_sport", "orig_dport", "reply_sport", "reply_dport"), "u2"),
    **dict.fromkeys(("status", "timeout_s", "mark", "id"), "u4"),
    **dict.fromkeys(_ADDRESSES, "u8"),
}
_SOMETIMES: Mapping[str, tuple[str, int]] = {
    **dict.fromkeys(("packets", "bytes", "started_ns"), ("u8", UNKNOWN64)),
    **{f"{name}_hi": ("u8", 0) for name in _ADDRESSES},
    "closed_by": ("u1", Closer.NOBODY),
}
"""Columns that exist once a flow has them: their type, and what stands in the rows of flows without."""


def flow_family(layout: Layout) -> int | None:
    """AF_INET or AF_INET6 where the messages are flows: status and both tuples whole; else None."""
    names = layout.offsets.keys()
    if names >= _NEEDED:
        for family, ends in _ENDS.items():
            if names >= ends:
                return family
    return None


class Columns:
    """Columns with room for more rows."""

    def __init__(self) -> None:
        self._rows, self._room = 0, ROOM
        self._arrays: dict[str, np.ndarray] = {name: np.empty(ROOM, dtype) for name, dtype in _ALWAYS.items()}

    def append(self, messages: U8, layout: Layout, family: int) -> None:
        """Take the values of messages (one a row, whole words wide) that all have `layout`, a flow's of `family`."""
        rows = slice(self._rows, self._rows + len(messages))
        while rows.stop > self._room:
            self._grow()
        written = set()
        for name, values in _values(messages, layout, family):
            column = self._column(name)[rows]
            if name in written:  # the second half of a sum
                column += values
            else:
                column[:] = values
            written.add(name)
        for name in self._arrays.keys() - written:
            self._arrays[name][rows] = _SOMETIMES[name][1]
        if family == AF_INET:
            for name in _ADDRESSES:
                self._arrays[name][rows] |= np.uint64(V4_MAPPED)
        self._rows = rows.stop

    def _column(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            dtype, absent = _SOMETIMES[name]
            self._arrays[name] = np.empty(self._room, dtype)
            self._arrays[name][: self._rows] = absent
        return self._arrays[name]

    def _grow(self) -> None:
        self._room *= 2
        for name, array in self._arrays.items():
            larger = np.empty(self._room, array.dtype)
            larger[: self._rows] = array[: self._rows]
            self._arrays[name] = larger

    def table(self) -> FlowTable:
        """The rows so far. Nothing may be appended after it."""
        part = {name: array[: self._rows] for name, array in self._arrays.items()}
        none = np.broadcast_to(np.uint64(0), self._rows)
        addresses = {name: Addresses(part.pop(f"{name}_hi", none), part.pop(name)) for name in _ADDRESSES}
        return FlowTable(**part, **addresses)  # type: ignore[arg-type]  # the names are FlowTable's own


def _values(messages: U8, layout: Layout, family: int) -> Iterator[tuple[str, np.ndarray | int]]:
    """Each column's values: views of the messages, or one number for all. A name that comes twice is a sum."""

    def field(name: str, dtype: str, skip: int = 0) -> np.ndarray:
        at = layout.offsets[name] + skip
        return np.ndarray((len(messages),), dtype, messages, at, (messages.shape[1],))

    def field_or(absent: int, name: str, dtype: str) -> np.ndarray | int:
        return field(name, dtype) if name in layout.offsets else absent

    yield "family", family
    yield "proto", field("orig_proto", _U8)
    yield "state", field_or(NO_STATE, "state", _U8)
    yield "status", field("status", _BE32)
    yield "timeout_s", field_or(UNKNOWN32, "timeout", _BE32)
    yield "mark", field_or(0, "mark", _BE32)
    yield "id", field_or(UNKNOWN32, "id", _BE32)
    yield "zone", field_or(0, "zone", _BE16)
    for side in ("orig", "reply"):
        for end in ("src", "dst"):
            if family == AF_INET:
                yield f"{side}_{end}", field(f"{side}_{end}4", _BE32)
            else:
                yield f"{side}_{end}_hi", field(f"{side}_{end}6", _BE64)
                yield f"{side}_{end}", field(f"{side}_{end}6", _BE64, 8)
        if {f"{side}_icmp_{part}" for part in ("id", "type", "code")} <= layout.offsets.keys():
            yield f"{side}_sport", field(f"{side}_icmp_id", _BE16)
            yield f"{side}_dport", field(f"{side}_icmp_type", _U8).astype(np.uint16) << np.uint16(8)
            yield f"{side}_dport", field(f"{side}_icmp_code", _U8)
        else:
            yield f"{side}_sport", field_or(0, f"{side}_sport", _BE16)
            yield f"{side}_dport", field_or(0, f"{side}_dport", _BE16)
    if {"orig_flags", "reply_flags"} <= layout.offsets.keys():
        yield "closed_by", _first_fin(field("orig_flags", _U8), Closer.CLIENT)
        yield "closed_by", _first_fin(field("reply_flags", _U8), Closer.SERVER)
    for name in ("packets", "bytes"):
        if {f"orig_{name}", f"reply_{name}"} <= layout.offsets.keys():
            yield name, field(f"orig_{name}", _BE64)
            yield name, field(f"reply_{name}", _BE64)
    if "started_ns" in layout.offsets:
        yield "started_ns", field("started_ns", _BE64)


def _first_fin(flags: U8, side: Closer) -> U8:
    """`side` where its flags say that it sent the first FIN, else 0."""
    return (flags & np.uint8(IP_CT_TCP_FLAG_CLOSE_INIT)) // np.uint8(IP_CT_TCP_FLAG_CLOSE_INIT) * np.uint8(side)
