"""A busy Docker host's conntrack table in a second or two: a realistic mix of a quarter of a million entries.

One message of each layout is encoded the ordinary way, copied once per row, and its varying bytes are overwritten
column by column. Which bytes vary is found by encoding the layout with each field all zeros and all ones.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.lab.inject import REPLIED, TCP_STATES, UNREPLIED, Entry, encode, inject_messages
from tests.lab.netns import Namespace

Rows = NDArray[np.uint8]  # (rows, bytes of one value), big-endian

CONTAINERS = tuple(f"172.18.0.{number}" for number in range(2, 42))
CONTAINERS_6 = tuple(f"fd00:18::{number:x}" for number in range(2, 42))
HOST = "203.0.113.10"
CLIENTS = "100.64.0.0"
REMOTES = "198.51.100.0"
PORTS = 60000  # source ports 1024 to 61023, used once per block of peers

SHARES: Mapping[str, float] = {
    "published": 0.40,
    "masqueraded": 0.28,
    "internal": 0.12,
    "host": 0.08,
    "dns": 0.07,
    "ping": 0.02,
    "internal6": 0.03,
}
STATE_SHARES: Mapping[str, float] = {
    "TIME_WAIT": 0.62,
    "ESTABLISHED": 0.20,
    "LAST_ACK": 0.05,
    "CLOSE_WAIT": 0.04,
    "FIN_WAIT": 0.04,
    "SYN_SENT": 0.03,
    "CLOSE": 0.02,
}


@dataclass(frozen=True, slots=True)
class Draw:
    """What every kind of flow draws from: row numbers, random choices, and the addresses in play."""

    rows: NDArray[np.int64]
    chance: np.random.Generator
    containers: Rows
    containers6: Rows

    @property
    def sports(self) -> Rows:
        """Source ports that repeat only from one block of `PORTS` rows to the next."""
        return _numbers(1024 + self.rows % PORTS, 2)

    def peers(self, base: str, per_block: int) -> Rows:
        """Addresses counted up from `base`, popular ones far more often; blocks share none, so tuples stay unique."""
        skewed = (self.chance.random(len(self.rows)) ** 3 * per_block).astype(np.int64)
        return _numbers(int(ipaddress.IPv4Address(base)) + self.rows // PORTS * per_block + skewed, 4)

    def members(self, addresses: Rows) -> Rows:
        """A container for every row, the first ones busier than the last."""
        return addresses[self._skewed(len(addresses))]

    def couples(self, addresses: Rows) -> dict[str, Rows]:
        """A client and another container as its server for every row."""
        clients, others = self._skewed(len(addresses)), self._skewed(len(addresses) - 1)
        return {"src": addresses[clients], "dst": addresses[(clients + 1 + others) % len(addresses)]}

    def _skewed(self, choices: int) -> NDArray[np.int64]:
        return (self.chance.random(len(self.rows)) ** 2 * choices).astype(np.int64)

    def states(self) -> dict[str, Rows]:
        """TCP states in their shares, and the status bits that fit: a SYN_SENT entry has seen no reply."""
        numbers = [TCP_STATES.index(name) for name in STATE_SHARES]
        states = self.chance.choice(numbers, len(self.rows), p=list(STATE_SHARES.values()))
        status = np.where(states == TCP_STATES.index("SYN_SENT"), UNREPLIED, REPLIED)
        return {"state": _numbers(states, 1), "status": _numbers(status, 4)}


def fill(
    namespace: Namespace,
    count: int = 250_000,
    containers: Sequence[str] = CONTAINERS,
    containers6: Sequence[str] = CONTAINERS_6,
    host: str = HOST,
    seed: int = 1,
    timeout_s: int = 3600,
) -> int:
    """Inject `count` entries in the proportions of SHARES and STATE_SHARES; the same seed gives the same tuples.

    Deleting the namespace removes them. Wrap the call in `table_room(count)` where nf_conntrack_max may be smaller.
    """
    return inject_messages(namespace, mix(count, containers, containers6, host, seed, timeout_s))


def mix(
    count: int, containers: Sequence[str], containers6: Sequence[str], host: str, seed: int, timeout_s: int
) -> Iterator[bytes]:
    """The encoded messages of `fill`, kind after kind."""
    chance = np.random.default_rng(seed)
    members, members6 = _addresses(containers), _addresses(containers6)
    left = count
    for kind, share in SHARES.items():
        rows = left if kind == "internal6" else min(left, round(count * share))
        left -= rows
        draw = Draw(np.arange(rows), chance, members, members6)
        base, columns = _kind(kind, draw, host)
        yield from stamped(replace(base, timeout_s=timeout_s), columns, rows)


def stamped(base: Entry, columns: Mapping[str, Rows], rows: int) -> Iterator[bytes]:
    """`rows` messages that equal `base` except for the given fields, one row of bytes per message and field."""
    template = np.frombuffer(encode(base), np.uint8)
    messages = np.tile(template, (rows, 1))
    for field, values in columns.items():
        messages[:, _places(base, field, values.shape[1])] = values[:, None, :]
    size, whole = len(template), messages.tobytes()
    return (whole[at : at + size] for at in range(0, rows * size, size))


def _kind(kind: str, draw: Draw, host: str) -> tuple[Entry, dict[str, Rows]]:
    """The layout of one kind of flow and its varying columns."""
    zero, members = "0.0.0.0", draw.members
    sports = {"sport": draw.sports}
    match kind:
        case "published":
            base = Entry(src=zero, dst=host, dport=8080, dnat=zero, dnat_port=80)
            return base, sports | draw.states() | {"src": draw.peers(CLIENTS, 4096), "dnat": members(draw.containers)}
        case "masqueraded":
            base = Entry(src=zero, dst=zero, dport=443, snat=host)
            return base, sports | draw.states() | {"src": members(draw.containers), "dst": draw.peers(REMOTES, 32)}
        case "internal":
            return Entry(src=zero, dst=zero), sports | draw.states() | draw.couples(draw.containers) | _server_ports(
                draw
            )
        case "internal6":
            return Entry(src="::", dst="::"), sports | draw.states() | draw.couples(draw.containers6) | _server_ports(
                draw
            )
        case "host":
            return Entry(src=host, dst=zero, dport=5432), sports | draw.states() | {"dst": draw.peers("192.0.2.0", 16)}
        case "dns":
            base = Entry(src=zero, dst=zero, dport=53, proto="udp", snat=host)
            return base, sports | {"src": members(draw.containers), "dst": draw.peers("192.0.2.240", 1)}
    base = Entry(src=zero, dst=zero, proto="icmp", snat=host)
    return base, sports | {"src": members(draw.containers), "dst": draw.peers(REMOTES, 4)}


def _server_ports(draw: Draw) -> dict[str, Rows]:
    """A server port per block of rows, which keeps the tuples between few containers unique."""
    return {"dport": _numbers(8000 + draw.rows // PORTS, 2)}


def _places(base: Entry, field: str, width: int) -> NDArray[np.intp]:
    """Where a field of `width` bytes stands in the encoded message: one row of byte offsets per occurrence."""
    spellings = {4: ("0.0.0.0", "255.255.255.255"), 16: ("::", "ffff:" * 7 + "ffff")}
    textual = isinstance(getattr(base, field), str)
    extremes: tuple[Any, Any] = spellings[width] if textual else (0, (1 << 8 * width) - 1)
    ends = [np.frombuffer(encode(replace(base, **{field: end})), np.uint8) for end in extremes]
    return np.flatnonzero(ends[0] != ends[1]).reshape(-1, width)


def _numbers(values: NDArray[np.int64], width: int) -> Rows:
    """Integers as rows of `width` big-endian bytes."""
    return values.astype(f">u{width}").view(np.uint8).reshape(-1, width)


def _addresses(texts: Sequence[str]) -> Rows:
    """Addresses of one family as rows of bytes."""
    return np.array([list(ipaddress.ip_address(text).packed) for text in texts], np.uint8)
