"""Synthetic conntrack entries, put straight into a namespace's table by ctnetlink, without any traffic.

Numbers come from the uapi headers linux/netlink.h, linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h,
nf_conntrack_common.h, nf_conntrack_tcp.h and nf_conntrack_sctp.h. They are repeated here on purpose: the lab shares
no code with the product it tests.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tests.lab.netns import Namespace, entered

NETLINK_NETFILTER = 12
NEW_ENTRY = 0x0100  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
NLMSG_ERROR = 2
SOL_NETLINK, NETLINK_CAP_ACK = 270, 10
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
NESTED = 0x8000

CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS, CTA_PROTOINFO = 1, 2, 3, 4
CTA_NAT_SRC, CTA_TIMEOUT, CTA_MARK, CTA_NAT_DST, CTA_ZONE = 6, 7, 8, 13, 18

SEEN_REPLY, ASSURED, CONFIRMED = 2, 4, 8
REPLIED, UNREPLIED = SEEN_REPLY | ASSURED | CONFIRMED, CONFIRMED

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "icmpv6": 58, "sctp": 132, "udplite": 136}
TCP_STATES = (
    *("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT"),
    *("LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"),
)
SCTP_STATES = (
    *("NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED"),
    *("SHUTDOWN_SENT", "SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT"),
)
ECHO = {"icmp": (8, 0), "icmpv6": (128, 129)}
BATCH = 400  # messages a send; about 100 kB, well below what the socket may queue
LIMIT = Path("/proc/sys/net/netfilter/nf_conntrack_max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One conntrack entry as seen by its first packet; the kernel derives the reply tuple from the NAT fields.

    For ICMP `sport` is the echo identifier, for GRE the ports are the keys. `dnat` and `snat` are the addresses that
    replace the destination and the source; a port of 0 keeps the original one. `state` is the uapi number.
    """

    src: str
    dst: str
    sport: int = 40000
    dport: int = 80
    proto: str = "tcp"
    state: int = 3
    dnat: str = ""
    dnat_port: int = 0
    snat: str = ""
    snat_port: int = 0
    status: int = REPLIED
    timeout_s: int = 600
    zone: int = 0
    mark: int = 0
    tcp_flags: tuple[int, int] | None = None


def inject(namespace: Namespace, entries: Iterable[Entry]) -> int:
    """Create the entries in the namespace's table and return their number; any refusal raises OSError."""
    return inject_messages(namespace, map(encode, entries))


def inject_messages(namespace: Namespace, messages: Iterable[bytes]) -> int:
    """Send encoded entries in batches; the acknowledgement of each batch's last message paces the sender."""
    waiting = iter(messages)
    count = 0
    with _netlink(namespace) as netlink:
        while batch := list(islice(waiting, BATCH)):
            count += len(batch)
            netlink.send(b"".join(batch[:-1]) + _asking_for_ack(batch[-1]))
            refused = _refusals(netlink)
            if refused:
                raise OSError(min(refused), f"the kernel refused entries: {_spelled(refused)}")
    return count


def encode(entry: Entry) -> bytes:
    """The ctnetlink message that creates one entry."""
    family = socket.AF_INET6 if ":" in entry.src else socket.AF_INET
    body = b"".join(
        [
            _attribute(CTA_TUPLE_ORIG | NESTED, _tuple(entry, reply=False)),
            _attribute(CTA_TUPLE_REPLY | NESTED, _tuple(entry, reply=True)),
            _attribute(CTA_STATUS, struct.pack(">I", entry.status | CONFIRMED)),
            _attribute(CTA_TIMEOUT, struct.pack(">I", entry.timeout_s)),
            _attribute(CTA_MARK, struct.pack(">I", entry.mark)),
            _attribute(CTA_ZONE, struct.pack(">H", entry.zone)) if entry.zone else b"",
            _protocol_info(entry),
            _nat(CTA_NAT_DST, entry.dnat, entry.dnat_port or entry.dport) if entry.dnat else b"",
            _nat(CTA_NAT_SRC, entry.snat, entry.snat_port or entry.sport) if entry.snat else b"",
        ]
    )
    flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL
    header = struct.pack("=IHHIIBBH", 20 + len(body), NEW_ENTRY, flags, 0, 0, family, 0, 0)
    return header + body


def table_room(entries: int) -> contextlib.AbstractContextManager[None]:
    """Make sure that nf_conntrack_max lets a namespace hold `entries`, and put the machine's value back after."""
    now = int(LIMIT.read_text())
    return contextlib.nullcontext() if now == 0 or now >= entries else table_limit(entries)


@contextlib.contextmanager
def table_limit(entries: int) -> Iterator[None]:
    """Have nf_conntrack_max be so much, and put the machine's value back after.

    The limit is one number for the machine, writable in the first network namespace only, and compared with each
    namespace's own count (net/netfilter/nf_conntrack_standalone.c).
    """
    before = LIMIT.read_text()
    LIMIT.write_text(f"{entries}\n")
    try:
        yield
    finally:
        LIMIT.write_text(before)


def _attribute(kind: int, value: bytes) -> bytes:
    """One netlink attribute, padded to four bytes."""
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def _tuple(entry: Entry, reply: bool) -> bytes:
    """The original tuple, or its plain inversion (CTA_TUPLE_IP, CTA_TUPLE_PROTO)."""
    ends = (entry.dst, entry.src) if reply else (entry.src, entry.dst)
    base = 3 if ":" in entry.src else 1
    addresses = [_attribute(base + index, _packed(address)) for index, address in enumerate(ends)]
    return _attribute(1 | NESTED, b"".join(addresses)) + _attribute(2 | NESTED, _protocol(entry, reply))


def _protocol(entry: Entry, reply: bool) -> bytes:
    """CTA_TUPLE_PROTO's content: the number, then ports, or ICMP's identifier, type and code."""
    number = _attribute(1, bytes([PROTOCOLS[entry.proto]]))
    if entry.proto in ECHO:
        first = 7 if entry.proto == "icmpv6" else 4
        kind = ECHO[entry.proto][reply]
        values = (struct.pack(">H", entry.sport), bytes([kind]), b"\0")
        return number + b"".join(_attribute(first + index, value) for index, value in enumerate(values))
    ports = (entry.dport, entry.sport) if reply else (entry.sport, entry.dport)
    return number + b"".join(_attribute(2 + index, struct.pack(">H", port)) for index, port in enumerate(ports))


def _protocol_info(entry: Entry) -> bytes:
    """CTA_PROTOINFO for the protocols that have a state."""
    if entry.proto == "tcp":
        flags = b"".join(
            _attribute(4 + index, bytes([value, 0xFF])) for index, value in enumerate(entry.tcp_flags or ())
        )
        return _attribute(CTA_PROTOINFO | NESTED, _attribute(1 | NESTED, _attribute(1, bytes([entry.state])) + flags))
    if entry.proto == "sctp":
        tags = _attribute(2, struct.pack(">I", 0x1111)) + _attribute(3, struct.pack(">I", 0x2222))
        return _attribute(CTA_PROTOINFO | NESTED, _attribute(3 | NESTED, _attribute(1, bytes([entry.state])) + tags))
    return b""


def _nat(kind: int, address: str, port: int) -> bytes:
    """CTA_NAT_SRC or CTA_NAT_DST: map to exactly this address and port; the kernel sets the status bits itself."""
    lowest, highest = (4, 5) if ":" in address else (1, 2)
    ports = _attribute(1, struct.pack(">H", port)) + _attribute(2, struct.pack(">H", port))
    packed = _packed(address)
    return _attribute(
        kind | NESTED, _attribute(lowest, packed) + _attribute(highest, packed) + _attribute(3 | NESTED, ports)
    )


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


@contextlib.contextmanager
def _netlink(namespace: Namespace) -> Iterator[socket.socket]:
    """A netlink socket that lives in the namespace, with room for a batch and for an error about each message."""
    with entered(namespace):
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    with netlink:
        netlink.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 20)
        netlink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        netlink.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        netlink.settimeout(30)
        netlink.bind((0, 0))
        yield netlink


def _asking_for_ack(message: bytes) -> bytes:
    """The message with sequence number 1 and NLM_F_ACK: its answer ends a batch."""
    size, kind, flags, _ = struct.unpack_from("=IHHI", message)
    return struct.pack("=IHHI", size, kind, flags | NLM_F_ACK, 1) + message[12:]


def _refusals(netlink: socket.socket) -> Counter[int]:
    """Errors by errno among the answers to one batch, up to and including its acknowledged last message."""
    refused: Counter[int] = Counter()
    while True:
        answers = netlink.recv(1 << 16)
        at = 0
        while at < len(answers):
            size, kind, _, sequence = struct.unpack_from("=IHHI", answers, at)
            code = -struct.unpack_from("=i", answers, at + 16)[0] if kind == NLMSG_ERROR else 0
            refused.update([code] if code else [])
            if sequence == 1:
                return refused
            at += (size + 3) & ~3


def _spelled(refused: Counter[int]) -> str:
    return ", ".join(f"{errno.errorcode.get(code, code)} {count} times" for code, count in refused.items())
