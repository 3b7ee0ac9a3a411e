"""What the kernel keeps as tables: flows, and sockets."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Self

import numpy as np

from natop.model.arrays import U8, U16, U32, U64, Addresses, Mask, Rows, freeze
from natop.uapi import AF_INET


class Closer(IntEnum):
    """Which side sent the first FIN: IP_CT_TCP_FLAG_CLOSE_INIT of linux/netfilter/nf_conntrack_tcp.h."""

    NOBODY = 0
    """Nobody yet, or the kernel does not tell."""
    CLIENT = 1
    SERVER = 2
    BOTH = 3


@dataclass(frozen=True, slots=True)
class FlowTable:
    """One row per conntrack entry, one array per column, all of the same length and read-only.

    For ICMP the ports hold what tells its flows apart: `*_sport` the id, `*_dport` type << 8 | code.
    `packets`, `bytes` (both directions together) and `started_ns` (since the epoch) are None where no
    entry carries them: nf_conntrack_acct or nf_conntrack_timestamp is off.
    """

    family: U8
    proto: U8
    state: U8
    """Number within the protocol's own states (`uapi.STATEFUL`), or NO_STATE."""
    status: U32
    """`uapi.Ips` bits."""
    timeout_s: U32
    """Seconds left, or UNKNOWN32 (offloaded flows have none)."""
    zone: U16
    mark: U32
    id: U32
    """CTA_ID, equal for one entry's whole life and of no other meaning; read as `conntrack -o id` reads it."""
    orig_src: Addresses
    orig_dst: Addresses
    reply_src: Addresses
    reply_dst: Addresses
    orig_sport: U16
    orig_dport: U16
    reply_sport: U16
    reply_dport: U16
    packets: U64 | None = None
    bytes: U64 | None = None
    started_ns: U64 | None = None
    closed_by: U8 | None = None
    """`Closer` of each TCP flow; None where no entry tells."""

    def __post_init__(self) -> None:
        for array in self._arrays():
            if len(array) != len(self.id):
                raise ValueError(f"columns of {len(array)} and {len(self.id)} rows in one table")
            freeze(array)

    def _arrays(self) -> Iterable[np.ndarray]:
        for column in fields(self):
            match getattr(self, column.name):
                case Addresses(hi, lo):
                    yield hi
                    yield lo
                case np.ndarray() as array:
                    yield array

    def __len__(self) -> int:
        return len(self.id)

    def take(self, rows: Rows | Mask) -> Self:
        """The table of these rows, in their order."""

        def part(column: object) -> object:
            if isinstance(column, Addresses):
                return column.take(rows)
            return column[rows] if isinstance(column, np.ndarray) else None

        return type(self)(*(part(getattr(self, column.name)) for column in fields(self)))  # type: ignore[arg-type]  # each column keeps its type

    def is_ipv4(self, row: int) -> bool:
        return int(self.family[row]) == AF_INET


@dataclass(frozen=True, slots=True)
class Skipped:
    """What a dump held that natop does not understand."""

    messages: int = 0
    attributes: int = 0


@dataclass(frozen=True, slots=True)
class FlowDump:
    """A decoded dump: its flows, what was skipped, and how it ended."""

    flows: FlowTable
    skipped: Skipped = Skipped()
    complete: bool = True
    """False where the kernel's NLMSG_DONE never came: flows are missing."""
    errno: int = 0
    """The kernel's refusal (EPERM …), or 0."""


@dataclass(frozen=True, slots=True)
class SocketTable:
    """One row per TCP or UDP socket of a network namespace, one array per column, read-only.

    An unconnected socket has the remote address :: or 0.0.0.0 and the remote port 0.
    """

    proto: U8
    state: U8
    """TCP_ESTABLISHED … of net/tcp_states.h."""
    local: Addresses
    remote: Addresses
    local_port: U16
    remote_port: U16
    inode: U32
    """By which /proc/PID/fd names it; 0 where no process holds it any more."""
    cgroup: U64
    """cgroup-v2 id of who opened it, or UNKNOWN64 (before Linux 5.8)."""

    def __post_init__(self) -> None:
        for array in (self.proto, self.state, self.local_port, self.remote_port, self.inode, self.cgroup):
            freeze(array)

    def __len__(self) -> int:
        return len(self.inode)
