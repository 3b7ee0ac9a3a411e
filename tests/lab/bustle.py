"""Lively background traffic on the lab's Docker host, for looking at it: bounded in rate and in time."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from tests.lab import traffic
from tests.lab.dockerhost import ECHO_PORT, HOST, HOST_6, OUTSIDE, OUTSIDE_6, SILENT_PORT, DockerHost
from tests.lab.traffic import Held

HIGHEST_RATE = 150  # new connections a second, all streams together
FORGOTTEN = 30  # sockets a stream may leave open


@dataclass(frozen=True, slots=True)
class Stream:
    """One kind of traffic: what it does, its share of the rate, and the period of its ups and downs in seconds.

    A socket that `act` returns stays open until FORGOTTEN later ones have come.
    """

    name: str
    share: float
    period_s: float
    act: Callable[[], object]


class Bustle:
    """Short connections of every path and a changing set of kept ones, until the block ends or time is up."""

    def __init__(self, host: DockerHost, per_second: float = 90, for_s: float = 600, kept: int = 24) -> None:
        """`per_second` is the mean rate of new connections on the whole; `kept` connections stay open at a time."""
        self._rate = min(per_second, HIGHEST_RATE / 1.5)
        self._ends = time.monotonic() + for_s
        self._stop = threading.Event()
        self._kept = kept
        self._streams = _streams(host)
        self._holds = _holds(host)
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._flow, args=[stream]) for stream in self._streams]
        self._threads.append(threading.Thread(target=self._keep))

    def __enter__(self) -> Self:
        """Start all streams."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop all streams and close what is open."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _going_on(self, pause_s: float) -> bool:
        """Wait, then tell whether to go on."""
        return not self._stop.wait(pause_s) and time.monotonic() < self._ends

    def _flow(self, stream: Stream) -> None:
        """One connection after another, the rate swinging by half around its mean."""
        forgotten: deque[socket.socket] = deque()
        while self._going_on(1 / self._rate_now(stream)):
            try:
                left = stream.act()
                self.done[stream.name] += 1
            except OSError:
                self.failed[stream.name] += 1
                continue
            forgotten.extend([left] if isinstance(left, socket.socket) else [])
            while len(forgotten) > FORGOTTEN:
                forgotten.popleft().close()
        Held(forgotten).release()

    def _rate_now(self, stream: Stream) -> float:
        swing = 1 + 0.5 * math.sin(2 * math.pi * time.monotonic() / stream.period_s)
        return self._rate * stream.share * swing

    def _keep(self) -> None:
        """Hold connections on each path in turn; every second the oldest handful goes and a new one comes."""
        open_now: list[Held] = []
        turn = 0
        try:
            while self._going_on(1.0):
                place = self._holds[turn % len(self._holds)]
                turn += 1
                try:
                    open_now.append(place(4))
                except OSError:
                    self.failed["kept"] += 1
                while sum(map(len, open_now)) > self._kept:
                    open_now.pop(0).release()
        finally:
            for held in open_now:
                held.release()


def _streams(host: DockerHost) -> tuple[Stream, ...]:
    """Inbound, internal, outbound, UDP, and the host's own; shares add up to 1."""
    web, apps = host.inside("webserver"), [host.inside(f"app{number}") for number in (1, 2, 3)]
    at = [host.address(f"app{number}", "internal") for number in (1, 2, 3)]
    streams = (
        Stream("published", 0.34, 37, partial(traffic.get, host.outside, HOST, 8080)),
        Stream("web to app1", 0.12, 23, partial(traffic.get, web, at[0], 80)),
        Stream("web to app2", 0.08, 31, partial(traffic.get, web, at[1], 80)),
        Stream("web to app3", 0.03, 13, partial(traffic.get, web, at[2], 80)),
        Stream("app1 egress", 0.16, 29, partial(traffic.get, apps[0], OUTSIDE, 443)),
        Stream("app2 egress", 0.08, 19, partial(traffic.get, apps[1], OUTSIDE, 5432)),
        Stream("app3 questions", 0.06, 11, partial(traffic.exchange, apps[2], OUTSIDE, 5353)),
        Stream("aborted", 0.03, 7, partial(traffic.reset, host.outside, HOST, 8443)),
        Stream("not hung up", 0.02, 43, partial(traffic.linger, host.outside, HOST, 8080)),
        Stream("unanswered", 0.01, 5, partial(traffic.knock, apps[2], OUTSIDE, SILENT_PORT)),
        Stream("host network", 0.04, 17, partial(traffic.get, host.outside, HOST, 9000)),
    )
    six = Stream("published by IPv6", 0.03, 41, partial(traffic.get, host.outside, HOST_6, 8086))
    return (*streams, six) if host.ipv6 else streams


def _holds(host: DockerHost) -> tuple[Callable[[int], Held], ...]:
    """The paths on which connections are kept open."""
    app1, app2, app3 = (host.inside(f"app{number}") for number in (1, 2, 3))
    web = host.address("webserver", "internal")
    return (
        partial(traffic.hold, host.outside, HOST, 8443),
        partial(traffic.hold, app2, OUTSIDE, 5432),
        partial(traffic.hold, app1, web, ECHO_PORT),
        partial(traffic.hold, host.namespace, OUTSIDE, 5432),
        partial(traffic.hold, app3, OUTSIDE, 443),
        *((partial(traffic.hold, host.namespace, OUTSIDE_6, 443),) if host.ipv6 else ()),
    )
