"""ctnetlink as bytes: the dump of all flows, and the statistics. Nothing is decoded here.

The socket is the standard library's. Every request needs CAP_NET_ADMIN in the user namespace that owns the netns
(netlink_net_capable, net/netfilter/nfnetlink.c); without it the answer is an NLMSG_ERROR, returned as it came.
"""

import queue
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing

from natop import uapi
from natop.uapi import CtMessage

_NLMSGHDR = struct.Struct("=IHHII")
_DONE_LEN = uapi.NLMSG_HDRLEN + 4

DATAGRAM = 64 << 10
"""Room for one receive. The kernel fills at most 32,400 bytes however large the buffer is."""
BLOCK = 1 << 20
"""Bytes handed to the decoder at once: large enough that numpy's fixed costs vanish, small enough for the cache."""
BLOCKS = 4
"""Blocks in use at once; bounds the memory of a dump of any size to 4 MiB of raw bytes."""
TIMEOUT_S = 5.0
"""A dump that stalls for so long has ended; the decoder sees that NLMSG_DONE is missing."""


def connect() -> socket.socket:
    """A ctnetlink socket in the calling thread's netns, to which it stays bound. Raises OSError."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, uapi.NETLINK_NETFILTER)
    made.settimeout(TIMEOUT_S)
    return made


def request(message: CtMessage, flags: int = 0) -> bytes:
    """A request without attributes: nlmsghdr and nfgenmsg of family 0, which means all families."""
    header = _NLMSGHDR.pack(uapi.NLMSG_HDRLEN + uapi.NFGENMSG_LEN, message.nlmsg_type, uapi.NLM_F_REQUEST | flags, 1, 0)
    return header + struct.pack("=BBH", 0, uapi.NFNETLINK_V0, 0)


def fill() -> bytes:
    """The reply to CT_GET_STATS of the calling thread's netns. Raises OSError."""
    with closing(connect()) as netlink:
        netlink.send(request(CtMessage.GET_STATS))
        return netlink.recv(DATAGRAM)


def statistics() -> bytes:
    """The replies to CT_GET_STATS and CT_GET_STATS_CPU of the calling thread's netns. Raises OSError."""
    with closing(connect()) as netlink:
        netlink.send(request(CtMessage.GET_STATS))
        whole = netlink.recv(DATAGRAM)
        netlink.send(request(CtMessage.GET_STATS_CPU, uapi.NLM_F_DUMP))
        return whole + dumped(netlink)


def dumped(netlink: socket.socket) -> bytes:
    """The answers to a request for a short dump, to its end. Raises OSError."""
    answers = bytearray()
    while True:
        answer = netlink.recv(DATAGRAM)
        answers += answer
        if is_last(memoryview(answer)):
            return bytes(answers)


def dump() -> Iterator[memoryview]:
    """Ask for all flows of the calling thread's netns, at once; yield the answer in blocks of whole messages.

    The last block ends with NLMSG_DONE, unless the socket fails or stalls. A thread receives the next blocks
    while the caller decodes this one; a block is overwritten after the next one is asked for. Raises OSError.
    """
    netlink = connect()
    netlink.send(request(CtMessage.GET, uapi.NLM_F_DUMP))
    return _blocks(netlink)


def _blocks(netlink: socket.socket) -> Iterator[memoryview]:
    empty: queue.SimpleQueue[bytearray | None] = queue.SimpleQueue()
    filled: queue.SimpleQueue[tuple[bytearray, int] | None] = queue.SimpleQueue()
    for _ in range(BLOCKS):
        empty.put(bytearray(BLOCK))
    receiver = threading.Thread(target=_receive, args=(netlink, empty, filled), name="natop-dump", daemon=True)
    receiver.start()
    try:
        while (item := filled.get()) is not None:
            block, size = item
            yield memoryview(block)[:size]
            empty.put(block)
    finally:
        empty.put(None)
        receiver.join()
        netlink.close()


def _receive(
    netlink: socket.socket,
    empty: "queue.SimpleQueue[bytearray | None]",
    filled: "queue.SimpleQueue[tuple[bytearray, int] | None]",
) -> None:
    """Fill empty blocks with datagrams until the dump ends or the reader gives up (None)."""
    last = False
    while not last and (block := empty.get()) is not None:
        view, size = memoryview(block), 0
        try:
            while not last and size <= BLOCK - DATAGRAM:
                received = netlink.recv_into(view[size : size + DATAGRAM])
                last = received == 0 or is_last(view[size : size + received])
                size += received
        except Exception:  # the thread's edge: whatever it was, the dump has no end, which is told
            last = True
        filled.put((block, size))
    filled.put(None)


def is_last(datagram: memoryview) -> bool:
    """Whether a datagram ends a dump: it begins with an error, or its last message is NLMSG_DONE."""
    if len(datagram) < _DONE_LEN or _NLMSGHDR.unpack_from(datagram)[1] == uapi.NLMSG_ERROR:
        return True
    if _NLMSGHDR.unpack_from(datagram, len(datagram) - _DONE_LEN)[:2] != (_DONE_LEN, uapi.NLMSG_DONE):
        return False
    return _starts_message(datagram, len(datagram) - _DONE_LEN)


def _starts_message(datagram: memoryview, wanted: int) -> bool:
    """Whether a message begins at byte `wanted`; the bytes of a value may look like a header."""
    at = 0
    while at < wanted:
        at += max(_NLMSGHDR.unpack_from(datagram, at)[0] + 3 & ~3, uapi.NLMSG_HDRLEN)
    return at == wanted
