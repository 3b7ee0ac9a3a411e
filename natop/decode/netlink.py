"""Netlink messages and attributes: one at a time for short answers, as matrices for long ones. Nothing raises."""

import errno
import struct
from collections.abc import Iterator

import numpy as np

from natop import uapi
from natop.model import U8, U16, U32, Rows

Block = bytes | bytearray | memoryview

NO_CTNETLINK = "load the kernel's module: sudo modprobe nf_conntrack_netlink"
"""What helps where the kernel cannot speak of conntrack."""
_CAN_SPEAK = frozenset({errno.EBUSY, errno.ENOBUFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EPERM})
"""Errors of a kernel that can, and refuses it for the moment or to this process."""
_TYPE_HALF = 0 if struct.pack("=H", 1) == b"\x01\x00" else 1
"""Where nlmsg_type stands in the word that it shares with nlmsg_flags, by the machine's byte order."""


def remedy_of(number: int | None) -> str | None:
    """What helps where the kernel refuses with this errno to speak of conntrack."""
    return None if number in _CAN_SPEAK else NO_CTNETLINK


def messages(data: bytes, header: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Type, family header (`header` bytes) and attributes of each message; ends where one does not fit."""
    at = 0
    while len(data) - at >= uapi.NLMSG_HDRLEN:
        length, kind = struct.unpack_from("=IH", data, at)
        if length < uapi.NLMSG_HDRLEN or length > len(data) - at:
            return
        body = data[at + uapi.NLMSG_HDRLEN : at + length]
        yield kind, body[:header], body[header:]
        at += (length + 3) & ~3


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each attribute; ends where one does not fit."""
    at = 0
    while len(data) - at >= uapi.NLA_HDRLEN:
        length, kind = struct.unpack_from("=HH", data, at)
        if length < uapi.NLA_HDRLEN or length > len(data) - at:
            return
        yield kind & uapi.NLA_TYPE_MASK, data[at + uapi.NLA_HDRLEN : at + length]
        at += (length + 3) & ~3


def as_words(block: Block) -> U32:
    """The block as 32-bit words; a ragged end, which no kernel sends, is cut off."""
    return np.frombuffer(block, np.uint32, len(memoryview(block)) // 4)


def message_starts(words: U32) -> tuple[Rows, int]:
    """The index of each message's first word, and how many messages are cut short (0 or 1)."""
    starts: list[int] = []
    lengths = words.data
    at, end = 0, len(lengths)
    while at < end:
        length: int = lengths[at]
        step = (length + 3) >> 2
        if length < uapi.NLMSG_HDRLEN or step > end - at:
            break
        starts.append(at)
        at += step
    return np.array(starts, np.intp), int(at < end)


def message_types(words: U32, starts: Rows) -> U16:
    """nlmsg_type of the messages that begin at `starts`."""
    return words[starts + 1].view(np.uint16).reshape(-1, 2)[:, _TYPE_HALF]


def matrix(words: U32, starts: Rows, length: int) -> U8:
    """The messages that begin at `starts`, all `length` bytes long, one a row, each padded to whole words."""
    wide = (length + 3) >> 2
    rows = np.ndarray((len(words) - wide + 1,), f"V{wide * 4}", words, strides=(4,))
    return rows[starts].view(np.uint8).reshape(len(starts), wide * 4)
