"""Values out of messages of one layout as columns, and the columns of all layouts as one FlowTable."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from natop.decode.layout import Layout
from natop.model import NO_STATE, U8, U32, U64, UNKNOWN32, UNKNOWN64, V4_MAPPED, Addresses, FlowTable
from natop.uapi import AF_INET

Part = dict[str, np.ndarray]
"""The columns of some rows, by name; addresses as `NAME_hi` and `NAME`, the optional ones left out."""

_ADDRESSES = ("orig_src", "orig_dst", "reply_src", "reply_dst")
_PORTS = ("orig_sport", "orig_dport", "reply_sport", "reply_dport")
_PLAIN: Mapping[str, type[np.unsignedinteger]] = {
    **dict.fromkeys(("family", "proto", "state"), np.uint8),
    **dict.fromkeys(("zone", *_PORTS), np.uint16),
    **dict.fromkeys(("status", "timeout_s", "mark", "id"), np.uint32),
}
_OPTIONAL = ("packets", "bytes", "started_ns")


class _Messages:
    """Messages of one layout as a matrix of bytes, read by the name of a value."""

    def __init__(self, matrix: U8, layout: Layout) -> None:
        self._matrix, self._offsets, self.layout = matrix, layout.offsets, layout
        self._words = matrix.view(np.uint32)

    def __contains__(self, name: str) -> bool:
        return name in self._offsets

    def u8(self, name: str) -> U8:
        return self._matrix[:, self._offsets[name]]

    def be16(self, name: str) -> npt.NDArray[np.uint16]:
        return self._matrix.view(">u2")[:, self._offsets[name] // 2].astype(np.uint16)

    def be32(self, name: str, skip: int = 0) -> U32:
        return self._matrix.view(">u4")[:, (self._offsets[name] + skip) // 4].astype(np.uint32)

    def be64(self, name: str, skip: int = 0) -> U64:
        return self.be32(name, skip).astype(np.uint64) << np.uint64(32) | self.be32(name, skip + 4)

    def opaque32(self, name: str) -> U32:
        return self._words[:, self._offsets[name] // 4]

    def full(self, value: int, dtype: type[np.unsignedinteger]) -> np.ndarray:
        return np.broadcast_to(dtype(value), len(self._matrix))


def part(matrix: U8, layout: Layout) -> Part:
    """The columns of the messages in `matrix` (rows of one message each), all of `layout`, a flow's."""
    messages = _Messages(matrix, layout)
    columns: Part = {
        "family": messages.full(layout.family or 0, np.uint8),
        "proto": messages.u8("orig_proto"),
        "state": messages.u8("state") if "state" in messages else messages.full(NO_STATE, np.uint8),
        "status": messages.be32("status"),
        "timeout_s": _be32_or(messages, "timeout", UNKNOWN32),
        "mark": _be32_or(messages, "mark", 0),
        "id": messages.opaque32("id") if "id" in messages else messages.full(UNKNOWN32, np.uint32),
        "zone": messages.be16("zone") if "zone" in messages else messages.full(0, np.uint16),
    }
    for side in ("orig", "reply"):
        columns |= _ends(messages, side)
    for name in ("packets", "bytes"):
        if f"orig_{name}" in messages and f"reply_{name}" in messages:
            columns[name] = messages.be64(f"orig_{name}") + messages.be64(f"reply_{name}")
    if "started_ns" in messages:
        columns["started_ns"] = messages.be64("started_ns")
    return columns


def _be32_or(messages: _Messages, name: str, absent: int) -> np.ndarray:
    return messages.be32(name) if name in messages else messages.full(absent, np.uint32)


def _ends(messages: _Messages, side: str) -> Part:
    columns: Part = {}
    for end in ("src", "dst"):
        if messages.layout.family == AF_INET:
            columns[f"{side}_{end}"] = messages.be32(f"{side}_{end}4").astype(np.uint64) | np.uint64(V4_MAPPED)
        else:
            columns[f"{side}_{end}_hi"] = messages.be64(f"{side}_{end}6")
            columns[f"{side}_{end}"] = messages.be64(f"{side}_{end}6", skip=8)
    columns[f"{side}_sport"], columns[f"{side}_dport"] = _ports(messages, side)
    return columns


def _ports(messages: _Messages, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Source and destination port; for ICMP its id, and type << 8 | code; 0 for protocols without."""
    if f"{side}_sport" in messages and f"{side}_dport" in messages:
        return messages.be16(f"{side}_sport"), messages.be16(f"{side}_dport")
    if all(f"{side}_icmp_{name}" in messages for name in ("id", "type", "code")):
        kind = messages.u8(f"{side}_icmp_type").astype(np.uint16) << np.uint16(8)
        return messages.be16(f"{side}_icmp_id"), kind | messages.u8(f"{side}_icmp_code")
    none = messages.full(0, np.uint16)
    return none, none


def assemble(parts: Sequence[Part]) -> FlowTable:
    """One table of all parts, in their order."""
    columns = {name: _joined(parts, name, dtype, 0) for name, dtype in _PLAIN.items()}
    for name in _OPTIONAL:
        if any(name in part for part in parts):
            columns[name] = _joined(parts, name, np.uint64, UNKNOWN64)
    rows = sum(len(part["id"]) for part in parts)
    none = np.broadcast_to(np.uint64(0), rows)
    addresses = {}
    for name in _ADDRESSES:
        high = f"{name}_hi"
        hi = _joined(parts, high, np.uint64, 0) if any(high in part for part in parts) else none
        addresses[name] = Addresses(hi, _joined(parts, name, np.uint64, 0))
    return FlowTable(**columns, **addresses)  # type: ignore[arg-type]  # the names are FlowTable's own


def _joined(parts: Sequence[Part], name: str, dtype: type[np.unsignedinteger], absent: int) -> np.ndarray:
    """The column over all parts, taken out of them so that its pieces are freed at once."""
    pieces = [part.get(name, np.broadcast_to(dtype(absent), len(part["proto"]))) for part in parts]
    return np.concatenate(pieces, dtype=dtype) if pieces else np.empty(0, dtype)
