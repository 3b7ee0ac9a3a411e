"""Entries put straight into the router's conntrack table by ctnetlink, where traffic would need minutes for them.

They are the kernel's own from then on: they hold NAT ports, count, and time out as any other.
"""

import os
import random
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from natop.uapi import (
    CTA_PROTOINFO_STATE,
    NETLINK_NETFILTER,
    NFNETLINK_V0,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    NLMSG_HDRLEN,
    Cta,
    CtaIp,
    CtaProto,
    CtaProtoinfo,
    CtaTuple,
    CtMessage,
    IpProto,
    Ips,
    TcpState,
)

# linux/netlink.h
NLM_F_ACK = 0x4
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLA_F_NESTED = 0x8000

# linux/netfilter/nfnetlink_conntrack.h: enum ctattr_nat, enum ctattr_protonat
CTA_NAT_V4_MINIP = 1
CTA_NAT_PROTO = 3
CTA_PROTONAT_PORT_MIN, CTA_PROTONAT_PORT_MAX = 1, 2

FIRST_PORT, LAST_PORT = 1024, 65_535
"""What NAT picks from for a port that is not privileged (nf_nat_core.c)."""
ESTABLISHED_S = 432_000
"""What a connection has left that was used just now (nf_conntrack_proto_tcp.c)."""
BATCH = 400
"""Messages a send; the last of each asks for an answer, which paces the sender."""


@dataclass(frozen=True, slots=True)
class Filling:
    """A NAT pool and how much of it to take: connections of some sources that leave by one address."""

    sources: tuple[str, ...]
    remote: str
    port: int
    nat: str
    share: float

    @property
    def size(self) -> int:
        return int(self.share * (LAST_PORT - FIRST_PORT + 1))


def fill(filling: Filling, timeout_s: int = ESTABLISHED_S) -> int:
    """Make the entries, at ports chosen by chance, in this process' network namespace; returns how many.

    Raises OSError where the kernel refuses one.
    """
    ports = random.Random(1).sample(range(FIRST_PORT, LAST_PORT + 1), filling.size)
    messages = list(_messages(filling, ports, timeout_s))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.settimeout(5)
        for start in range(0, len(messages), BATCH):
            batch = messages[start : start + BATCH]
            netlink.send(b"".join(batch[:-1]) + _acknowledged(batch[-1]))
            _check(netlink)
    return len(messages)


def _messages(filling: Filling, ports: list[int], timeout_s: int) -> Iterator[bytes]:
    for number, port in enumerate(ports):
        source = filling.sources[number % len(filling.sources)]
        ends = (source, filling.remote), (port, filling.port)
        body = (
            _tuple(Cta.TUPLE_ORIG, *ends)
            + _tuple(Cta.TUPLE_REPLY, ends[0][::-1], ends[1][::-1])
            + _attribute(Cta.STATUS, struct.pack(">I", Ips.SEEN_REPLY | Ips.ASSURED | Ips.CONFIRMED))
            + _attribute(Cta.TIMEOUT, struct.pack(">I", timeout_s))
            + _nested(
                Cta.PROTOINFO,
                _nested(CtaProtoinfo.TCP, _attribute(CTA_PROTOINFO_STATE, bytes([TcpState.ESTABLISHED]))),
            )
            + _nat(filling.nat, port)
        )
        header = struct.pack(
            "=IHHIIBBH",
            NLMSG_HDRLEN + 4 + len(body),
            CtMessage.NEW.nlmsg_type,
            NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL,
            0,
            0,
            socket.AF_INET,
            NFNETLINK_V0,
            0,
        )
        yield header + body


def _tuple(kind: Cta, addresses: tuple[str, str], ports: tuple[int, int]) -> bytes:
    ends = zip((CtaIp.V4_SRC, CtaIp.V4_DST), addresses, strict=True)
    numbers = zip((CtaProto.SRC_PORT, CtaProto.DST_PORT), ports, strict=True)
    return _nested(
        kind,
        _nested(CtaTuple.IP, b"".join(_attribute(which, socket.inet_aton(address)) for which, address in ends))
        + _nested(
            CtaTuple.PROTO,
            _attribute(CtaProto.NUM, bytes([IpProto.TCP]))
            + b"".join(_attribute(which, struct.pack(">H", port)) for which, port in numbers),
        ),
    )


def _nat(address: str, port: int) -> bytes:
    """The source becomes that address and port; the kernel makes the reply tuple from it."""
    wanted = struct.pack(">H", port)
    ports = _attribute(CTA_PROTONAT_PORT_MIN, wanted) + _attribute(CTA_PROTONAT_PORT_MAX, wanted)
    return _nested(Cta.NAT_SRC, _attribute(CTA_NAT_V4_MINIP, socket.inet_aton(address)) + _nested(CTA_NAT_PROTO, ports))


def _nested(kind: int, content: bytes) -> bytes:
    return _attribute(kind | NLA_F_NESTED, content)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def _acknowledged(message: bytes) -> bytes:
    (flags,) = struct.unpack_from("=H", message, 6)
    return message[:6] + struct.pack("=H", flags | NLM_F_ACK) + message[8:]


def _check(netlink: socket.socket) -> None:
    """Read answers until the acknowledgement; each message refused has an answer too."""
    while True:
        data = netlink.recv(1 << 16)
        at = 0
        while at + NLMSG_HDRLEN + 4 <= len(data):
            length, kind = struct.unpack_from("=IH", data, at)
            if kind == NLMSG_ERROR:
                number = -struct.unpack_from("=i", data, at + NLMSG_HDRLEN)[0]
                if number:
                    raise OSError(number, f"a conntrack entry was refused: {os.strerror(number)}")
                return
            at += max(length + 3 & ~3, NLMSG_HDRLEN)
