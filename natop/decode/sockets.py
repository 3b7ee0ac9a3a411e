"""sock_diag answers to a SocketTable, in bulk, as `decode.flows` does for conntrack entries."""

import numpy as np

from natop import uapi
from natop.decode import netlink
from natop.decode.layout import Grammar, Layout, Layouts
from natop.model import U8, UNKNOWN64, V4_MAPPED, Addresses, SocketTable
from natop.uapi import AF_INET

_SEQ = 8
"""Offset of nlmsg_seq, in which `collect.sockets` asks for a protocol: an answer does not tell it."""
_BODY = uapi.NLMSG_HDRLEN
_FAMILY, _STATE, _SPORT, _DPORT, _SRC, _DST, _INODE = (_BODY + at for at in (0, 1, 4, 6, 8, 24, 68))
"""Offsets of struct inet_diag_msg, linux/inet_diag.h; ports and addresses are big-endian."""

_GRAMMAR = Grammar(
    _BODY + uapi.INET_DIAG_MSG_LEN,
    {(uapi.INET_DIAG_CGROUP_ID,): ("cgroup", 8)},
    {(number,) for number in range(1, 32)},
)

Columns = dict[str, np.ndarray]


def decode_sockets(answers: bytes) -> SocketTable:
    """The sockets in a run of netlink messages; what makes no sense is left out."""
    words = netlink.as_words(answers)
    starts, _ = netlink.message_starts(words)
    if len(starts):
        starts = starts[netlink.message_types(words, starts) == uapi.SOCK_DIAG_BY_FAMILY]
    layouts = Layouts(_GRAMMAR)
    parts: list[Columns] = []
    lengths = words[starts]
    for length in np.unique(lengths).tolist():
        for part, layout in layouts.split(netlink.matrix(words, starts[lengths == length], length), length):
            if not layout.broken:
                parts.append(_columns(part, layout))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else _NONE
    return SocketTable(
        joined["proto"],
        joined["state"],
        Addresses(joined["src_hi"], joined["src"]),
        Addresses(joined["dst_hi"], joined["dst"]),
        joined["sport"],
        joined["dport"],
        joined["inode"],
        joined["cgroup"],
    )


def refused(answers: bytes) -> list[int]:
    """The protocols that the kernel does not tell: no module tcp_diag or udp_diag is loaded, nor could be.

    Without inet_diag the request is refused (NLMSG_ERROR); without the protocol's own part its dump ends with an
    error (NLMSG_DONE; net/ipv4/inet_diag.c, inet_diag_lock_handler).
    """
    words = netlink.as_words(answers)
    starts, _ = netlink.message_starts(words)
    if len(starts) == 0:
        return []
    ends = np.isin(netlink.message_types(words, starts), (uapi.NLMSG_ERROR, uapi.NLMSG_DONE))
    starts = starts[ends & (words[starts] >= _BODY + 4)]
    with_error = starts[words[starts + _BODY // 4].view(np.int32) < 0]
    found: list[int] = np.unique(words[with_error + _SEQ // 4] & np.uint32(0xFF)).tolist()
    return found


def _columns(messages: U8, layout: Layout) -> Columns:
    def field(at: int, dtype: str) -> np.ndarray:
        return np.ndarray((len(messages),), dtype, messages, at, (messages.shape[1],))

    cgroup = layout.offsets.get("cgroup")
    columns: Columns = {
        "proto": field(_SEQ, "=u4").astype(np.uint8),
        "state": field(_STATE, "u1").copy(),
        "sport": field(_SPORT, ">u2").astype(np.uint16),
        "dport": field(_DPORT, ">u2").astype(np.uint16),
        "inode": field(_INODE, "=u4").astype(np.uint32),
        "cgroup": np.full(len(messages), UNKNOWN64, np.uint64)
        if cgroup is None
        else field(cgroup, "=u8").astype(np.uint64),
    }
    is_v4 = field(_FAMILY, "u1") == AF_INET
    for name, at in (("src", _SRC), ("dst", _DST)):
        v4 = field(at, ">u4").astype(np.uint64) | np.uint64(V4_MAPPED)
        columns[f"{name}_hi"] = np.where(is_v4, np.uint64(0), field(at, ">u8").astype(np.uint64))
        columns[name] = np.where(is_v4, v4, field(at + 8, ">u8").astype(np.uint64))
    return columns


_BLANK = Layout(np.zeros(0, np.uint8), np.zeros(0, np.uint8))
_NONE = {name: column[:0] for name, column in _columns(np.zeros((1, _GRAMMAR.headers_len), np.uint8), _BLANK).items()}
