"""sock_diag as bytes: every TCP and UDP socket of a network namespace. Nothing is decoded here."""

import socket
import struct
from contextlib import closing

from natop import uapi
from natop.collect.conntrack import TIMEOUT_S, dumped

_REQUEST = struct.Struct("=IHHIIBBBBI48s")
"""nlmsghdr, then inet_diag_req_v2 (linux/inet_diag.h): family, protocol, extensions, padding, states, socket id."""

_WANTED = tuple(
    (family, proto)
    for proto in (socket.IPPROTO_TCP, socket.IPPROTO_UDP)
    for family in (socket.AF_INET, socket.AF_INET6)
)
_STATES = 0xFFF & ~(1 << uapi.TCP_TIME_WAIT)
"""All states but TIME_WAIT, whose sockets have no owner any more."""


def dump() -> bytes:
    """The sockets of the calling thread's netns: the answers to a request for each protocol and family.

    The protocol stands in the sequence number, since the answers do not tell it. Raises OSError.
    """
    answers = bytearray()
    with closing(
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, uapi.NETLINK_SOCK_DIAG)
    ) as netlink:
        netlink.settimeout(TIMEOUT_S)
        for family, proto in _WANTED:
            netlink.send(
                _REQUEST.pack(
                    _REQUEST.size, uapi.SOCK_DIAG_BY_FAMILY, uapi.NLM_F_REQUEST | uapi.NLM_F_DUMP, proto, 0,
                    family, proto, 0, 0, _STATES, b"",
                )
            )  # fmt: skip
            answers += dumped(netlink)
    return bytes(answers)
