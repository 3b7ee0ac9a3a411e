"""Two clients, a router that masquerades them, and a server beyond it, each in a namespace of its own.

SYNs are sent from one thread, so no two race for a port: what is lost is lost to a pool without a free port.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from tests.lab import oracle, traffic
from tests.lab.fill import stamped
from tests.lab.inject import Entry, inject_messages
from tests.lab.netns import Namespace, entered

CLIENTS = ("172.30.1.2", "172.30.2.2")
CLIENTS_6 = ("fd00:30:1::2", "fd00:30:2::2")
OUTSIDE, OUTSIDE_6 = "198.18.30.1", "fd00:99::1"
"""The router's own address, which masquerade takes."""
SERVERS = ("198.18.30.2", "198.18.30.3")
SERVER_6 = "fd00:99::2"
PORTS = (80, 81)
NOBODY, NOBODY_6 = "172.30.1.99", "fd00:30:1::99"
"""Whom injected entries are of."""
SYN_S = 0.5
"""A SYN not answered by then is lost; TCP sends the next after a second."""
GLANCE_MS = 20
BACKLOG = 4096


@dataclass(frozen=True)
class Outcome:
    """What became of some connects, and of the router's counters meanwhile."""

    asked: int
    lost: int
    found: int
    """Ports that NAT tried in vain."""
    insert_failed: int
    drop: int


class NatHost:
    """The namespaces, wired and with listeners, until the `with` block ends."""

    def __init__(self, to_ports: str = "") -> None:
        """Masquerade, to a range like `40000-40999` where one is given."""
        self._range = f" to :{to_ports}" if to_ports else ""
        self._stack = contextlib.ExitStack()
        self.router, self.server = Namespace("router"), Namespace("server")
        self.clients = tuple(Namespace(f"client{number}") for number in (1, 2))
        self._listeners: list[socket.socket] = []

    def __enter__(self) -> Self:
        """Build everything, or nothing."""
        with contextlib.ExitStack() as stack:
            for namespace in (self.router, self.server, *self.clients):
                stack.enter_context(namespace)
            self._wire()
            self._listen(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the listeners and delete the namespaces."""
        self._stack.close()

    def _wire(self) -> None:
        self.router.sysctl("net.ipv4.ip_forward", 1)
        self.router.sysctl("net.ipv6.conf.all.forwarding", 1)
        self.router.link("out", self.server, "eth0")
        self.router.address("out", f"{OUTSIDE}/24", f"{OUTSIDE_6}/64")
        self.server.address("eth0", *(f"{address}/24" for address in SERVERS), f"{SERVER_6}/64")
        for number, client in enumerate(self.clients, 1):
            self.router.link(f"in{number}", client, "eth0")
            self.router.address(f"in{number}", f"172.30.{number}.1/24", f"fd00:30:{number}::1/64")
            client.address("eth0", f"172.30.{number}.2/24", f"fd00:30:{number}::2/64")
            client.run("ip", "route", "add", "default", "via", f"172.30.{number}.1")
            client.run("ip", "-6", "route", "add", "default", "via", f"fd00:30:{number}::1")
        rule = f'oifname "out" meta l4proto tcp masquerade{self._range}'
        chain = f"chain post {{ type nat hook postrouting priority 100; {rule}; }}"
        self.router.nft(f"table ip lab {{ {chain}\n}}\ntable ip6 lab {{ {chain}\n}}")

    def _listen(self, stack: contextlib.ExitStack) -> None:
        """Nobody accepts: a listener's backlog completes the handshakes by itself."""
        with entered(self.server):
            for address, port in itertools.product((*SERVERS, SERVER_6), PORTS):
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                listener = stack.enter_context(socket.socket(family))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((address, port))
                listener.listen(BACKLOG)
                listener.setblocking(False)
                self._listeners.append(listener)

    def hold(self, ports: Sequence[int] | np.ndarray, remote: str = SERVERS[0], port: int = 80, **more: int) -> int:
        """Take these NAT ports towards a remote end by injected entries, ESTABLISHED unless `state` says otherwise."""
        v6 = ":" in remote
        entry = Entry(
            src=NOBODY_6 if v6 else NOBODY,
            dst=remote,
            dport=port,
            snat=OUTSIDE_6 if v6 else OUTSIDE,
            timeout_s=3600,
            **more,  # type: ignore[arg-type]  # Entry's own names
        )
        taken = np.asarray(ports, np.dtype(">u2")).view(np.uint8).reshape(-1, 2)
        return inject_messages(self.router, stamped(entry, {"sport": taken}, len(taken)))

    def connect(self, count: int, remote: str = SERVERS[0], port: int = 80, client: int = 0) -> Outcome:
        """So many connects from kernel-chosen ports, each with one SYN; afterwards the router has forgotten them."""
        before = self.counters()
        with self._opened(count, remote, port, client, before["insert_failed"]) as opened:
            outcome = self._outcome(count, len(opened), before)
            for each in opened:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for each in self._accepted():
            each.close()
        family, source = ("ipv6", CLIENTS_6[client]) if ":" in remote else ("ipv4", CLIENTS[client])
        self.router.run("conntrack", "-D", "-f", family, "-s", source, check=False)
        return outcome

    def close(self, count: int, first: str = "client", client: int = 0, port: int = 80) -> Outcome:
        """So many connects that one side, `client` or `server`, closes first; the router keeps their TIME_WAIT."""
        before = self.counters()
        with self._opened(count, SERVERS[0], port, client, before["insert_failed"]) as opened:
            outcome = self._outcome(count, len(opened), before)
            accepted = self._accepted()
            for each in (*opened, *accepted) if first == "client" else (*accepted, *opened):
                each.close()
        return outcome

    @contextlib.contextmanager
    def held_by_router(self, count: int) -> Iterator[None]:
        """So many connections of the router's own to the first server."""
        with traffic.Held(traffic.connect(self.router, SERVERS[0], 80) for _ in range(count)):
            yield

    def counters(self) -> dict[str, int]:
        """`conntrack -S` of the router."""
        return oracle.counters(self.router)

    def _outcome(self, asked: int, opened: int, before: dict[str, int]) -> Outcome:
        after = self.counters()
        risen = [after[name] - before[name] for name in ("found", "insert_failed", "drop")]
        return Outcome(asked, asked - opened, *risen)

    @contextlib.contextmanager
    def _opened(self, count: int, remote: str, port: int, client: int, failed: int) -> Iterator[list[socket.socket]]:
        """Those of so many connections that their first SYN brought about."""
        family = socket.AF_INET6 if ":" in remote else socket.AF_INET
        with entered(self.clients[client]):
            asked = [socket.socket(family) for _ in range(count)]
        try:
            for each in asked:
                each.setblocking(False)
                each.connect_ex((remote, port))
            yield self._answered(asked, failed)
        finally:
            for each in asked:
                each.close()

    def _answered(self, asked: list[socket.socket], failed: int) -> list[socket.socket]:
        """Those that connect within SYN_S, or until the kernel has counted all others as failed."""
        answered: list[socket.socket] = []
        waiting = {each.fileno(): each for each in asked}
        poll = select.poll()
        for number in waiting:
            poll.register(number, select.POLLOUT)
        deadline = time.monotonic() + SYN_S
        while waiting and time.monotonic() < deadline:
            for number, _ in poll.poll(GLANCE_MS):
                poll.unregister(number)
                each = waiting.pop(number)
                if each.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    answered.append(each)
            if waiting and self.counters()["insert_failed"] - failed >= len(waiting):
                break
        return answered

    def _accepted(self) -> list[socket.socket]:
        accepted = []
        for listener in self._listeners:
            with contextlib.suppress(BlockingIOError):
                while True:
                    accepted.append(listener.accept()[0])
        return accepted
