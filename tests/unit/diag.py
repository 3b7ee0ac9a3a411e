"""sock_diag answers as the kernel sends them, packed byte by byte without natop's decoder: linux/inet_diag.h."""

import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.unit.netlink import Attribute, done, message

SOCK_DIAG_BY_FAMILY = 20
ESTABLISHED, LISTEN = 1, 10
INET_DIAG_SHUTDOWN, INET_DIAG_CGROUP_ID = 8, 21
TCP, UDP = 6, 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """One socket as plain values; an unconnected one has no remote end."""

    local: str
    port: int
    remote: str = ""
    remote_port: int = 0
    proto: int = TCP
    inode: int = 1
    cgroup: int | None = 7

    @property
    def state(self) -> int:
        return ESTABLISHED if self.remote_port else LISTEN

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6; of a dual-stack socket's addresses ::ffff:a.b.c.d the latter."""
        return 10 if ":" in self.local else 2

    @property
    def far(self) -> str:
        return self.remote or ("::" if self.family == 10 else "0.0.0.0")


def connected(local: str, remote: str, **more: Any) -> Socket:
    """From `address:port` to another."""
    (address, port), (far, far_port) = (text.rsplit(":", 1) for text in (local, remote))
    return Socket(local=address, port=int(port), remote=far, remote_port=int(far_port), **more)


def listening(local: str, **more: Any) -> Socket:
    address, port = local.rsplit(":", 1)
    return Socket(local=address, port=int(port), **more)


def answer(socket: Socket) -> bytes:
    """struct inet_diag_msg and its attributes, the protocol in the sequence number as natop asks for it."""
    ends = b"".join(ipaddress.ip_address(text).packed.ljust(16, b"\0") for text in (socket.local, socket.far))
    fixed = struct.pack("=BBBB", socket.family, socket.state, 0, 0)
    identity = struct.pack(">HH", socket.port, socket.remote_port) + ends + bytes(12)
    rest = struct.pack("=IIIII", 0, 0, 0, 1000, socket.inode)
    more = [Attribute(INET_DIAG_SHUTDOWN, b"\0")]
    if socket.cgroup is not None:
        more.append(Attribute(INET_DIAG_CGROUP_ID, struct.pack("=Q", socket.cgroup)))
    payload = fixed + identity + rest + b"".join(each.packed() for each in more)
    return message(SOCK_DIAG_BY_FAMILY, payload, sequence=socket.proto)


def answers(sockets: Iterable[Socket]) -> bytes:
    """All of them, and the end of the dump."""
    return b"".join(answer(each) for each in sockets) + done()
