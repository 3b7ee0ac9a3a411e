"""What the demo's machines do all day: serve, call each other and query names, over real TCP and UDP.

Every habit is bounded three ways: in rate, in calls under way, and in time (`LIFETIME_S`).
"""

import asyncio
import math
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count, cycle
from typing import Literal, cast

LIFETIME_S = 3600.0
"""After this long the machines still answer, but call nobody any more."""

CALLS_AT_ONCE = 32
"""Upper bound of short calls that one machine has under way."""

CALL_TIMEOUT_S = 5.0
SLOW_ANSWER_S = 4.0

WAVE_PERIOD_S = 60.0
WAVE_SHARE = 0.5
"""Rates swing by this share around their mean, so that a trend has something to show."""

BODY = b"natop demo\n"
QUERY = bytes.fromhex("6e61010000010000000000000364656d6f076578616d706c650000010001")
"""A DNS query for `demo.example`, type A (RFC 1035 section 4.1)."""

FAILURES = (OSError, EOFError, TimeoutError, ValueError)


@dataclass(frozen=True, slots=True)
class Habit:
    """Something a machine does again and again.

    `short` opens a connection for each request, `slow` half-closes it and waits for a late answer, `kept` holds
    `at_once` connections open with `per_s` requests on each, `query` sends UDP queries. Of all but `kept`,
    `at_once` happen at the very start, then `per_s` a second.

    `race` connects `at_once` times in a row, `per_s` times a second, at instants and from source ports that follow from
    the clock alone, so that two machines with the same habit, each on a CPU of its own, call from the same port in the
    same microseconds.
    """

    kind: Literal["short", "slow", "kept", "query", "race"]
    host: str
    port: int
    per_s: float
    at_once: int = 0
    cpu: int = 0
    """Where a race is run: the how-manieth of those that the process may use."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a machine serves and calls; with `upstreams` it asks one of them before it answers a request."""

    serves: tuple[int, ...] = ()
    answers_queries: int | None = None
    upstreams: tuple[tuple[str, int], ...] = ()
    habits: tuple[Habit, ...] = ()


async def perform(role: Role, control: socket.socket) -> None:
    """Play a role until the other side of `control` closes it.

    One byte goes out when the machine listens, and one byte coming in starts its habits.
    """
    loop = asyncio.get_running_loop()
    async with listening(role), asyncio.TaskGroup() as group:
        await loop.sock_sendall(control, b"l")
        tasks = []
        if await loop.sock_recv(control, 1):
            ends = loop.time() + LIFETIME_S
            tasks = [group.create_task(practise(habit, ends)) for habit in role.habits]
            while await loop.sock_recv(control, 1):
                pass
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def listening(role: Role) -> AsyncIterator[None]:
    """Have the role's TCP and UDP ports open on all addresses."""
    loop = asyncio.get_running_loop()
    upstreams = cycle(role.upstreams)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ask = (lambda: call_once(*next(upstreams))) if role.upstreams else None
        with suppress(*FAILURES):
            await answer(reader, writer, ask)
        writer.close()

    with ExitStack() as listeners:
        for port in role.serves:
            server = await asyncio.start_server(serve, "0.0.0.0", port, backlog=256)
            listeners.callback(server.close)
        if role.answers_queries is not None:
            place = ("0.0.0.0", role.answers_queries)
            transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=place)
            listeners.callback(transport.close)
        yield


class Echo(asyncio.DatagramProtocol):
    """Answers a UDP query with the query itself, marked as a response."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Send the query back with its QR bit (RFC 1035 section 4.1.1) set."""
        self.transport.sendto(data[:2] + b"\x80" + data[3:], addr)


async def answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ask: Callable[[], Awaitable[None]] | None
) -> None:
    """Answer the HTTP requests of one connection until it ends or asks to be closed."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /slow"):
            await asyncio.sleep(SLOW_ANSWER_S)
        elif ask is not None and head.startswith(b"GET /ask"):
            with suppress(*FAILURES):
                await asyncio.wait_for(ask(), CALL_TIMEOUT_S)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY))
        await writer.drain()
        if b"Connection: close" in head:
            return


async def request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, last: bool) -> None:
    """Send one request and read its answer."""
    ending = "Connection: close\r\n\r\n" if last else "\r\n"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: demo\r\n{ending}".encode())
    if path == "/slow":
        writer.write_eof()
    await writer.drain()
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(len(BODY))


async def call_once(host: str, port: int, path: str = "/") -> None:
    """One connection for one request."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        await request(reader, writer, path, last=True)
    finally:
        writer.close()


async def query_once(host: str, port: int) -> None:
    """One UDP query from a port of its own, and its answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        asking.connect((host, port))
        asking.send(QUERY)
        await asyncio.get_running_loop().sock_recv(asking, 512)


async def practise(habit: Habit, ends: float) -> None:
    """Follow one habit until `ends`, a time of the event loop's clock."""
    if habit.kind == "race":
        await keep_racing(habit, ends)
        return
    if habit.kind == "kept":
        await asyncio.gather(*(hold(habit, ends) for _ in range(habit.at_once)))
        return
    path = "/slow" if habit.kind == "slow" else "/ask"
    calls = {"query": lambda: query_once(habit.host, habit.port)}
    call = calls.get(habit.kind, lambda: call_once(habit.host, habit.port, path))
    room = asyncio.Semaphore(CALLS_AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for _ in range(habit.at_once):
            group.create_task(attempt(call, room, patient=True))
        await keep_calling(habit, ends, lambda: group.create_task(attempt(call, room)))


async def keep_calling(habit: Habit, ends: float, begin: Callable[[], object]) -> None:
    """Begin a call `per_s` times a second, in a slow wave, until `ends`."""
    loop = asyncio.get_running_loop()
    while loop.time() < ends:
        wave = 1 + WAVE_SHARE * math.sin(2 * math.pi * loop.time() / WAVE_PERIOD_S)
        await asyncio.sleep(1 / (habit.per_s * wave))
        begin()


RACE_PORTS = range(20_000, 30_000)
RACE_LEAD_S = 0.003
"""So long before the first instant a race stops sleeping and watches the clock."""
RACE_GAP_NS = 1_000_000
"""Nanoseconds from one instant to the next in a row: whom a busy machine holds up at one is in time for another."""
RACE_ENDS_S = 4.0
"""A connection that lost its SYN has come through by then: after 1 s, or 3 s where two were lost."""


async def keep_racing(habit: Habit, ends: float) -> None:
    """Connect some times in a row at each multiple of the period of the machine's clock, until `ends`."""
    loop = asyncio.get_running_loop()
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[habit.cpu % len(cpus)]})
    period_ns = int(1e9 / habit.per_s)
    async with asyncio.TaskGroup() as group:
        while loop.time() < ends:
            number = time.monotonic_ns() // period_ns + 1
            row = [_at_the_start(number * habit.at_once + place) for place in range(habit.at_once)]
            await asyncio.sleep((number * period_ns - time.monotonic_ns()) / 1e9 - RACE_LEAD_S)
            for instant_ns, racing in zip(count(number * period_ns, RACE_GAP_NS), row, strict=False):
                while time.monotonic_ns() < instant_ns:
                    pass
                racing.connect_ex((habit.host, habit.port))
            for racing in row:
                group.create_task(_finish_race(racing))


def _at_the_start(number: int) -> socket.socket:
    """A socket bound to the source port of race `number`."""
    racing = socket.socket()
    racing.setblocking(False)
    racing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    racing.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
    with suppress(OSError):
        racing.bind(("", RACE_PORTS[number % len(RACE_PORTS)]))
    return racing


async def _finish_race(racing: socket.socket) -> None:
    """Ask for something once connected, then be gone without a TIME_WAIT: the port is needed again."""
    loop = asyncio.get_running_loop()
    with racing, suppress(*FAILURES):
        async with asyncio.timeout(RACE_ENDS_S):
            await loop.sock_sendall(racing, b"GET / HTTP/1.1\r\nHost: demo\r\n\r\n")
            await loop.sock_recv(racing, 512)


async def attempt(call: Callable[[], Awaitable[None]], room: asyncio.Semaphore, *, patient: bool = False) -> None:
    """One call that may fail; where there is no room for it, it waits, or, impatient, does not happen."""
    if room.locked() and not patient:
        return
    async with room:
        with suppress(*FAILURES):
            await asyncio.wait_for(call(), 2 * CALL_TIMEOUT_S)


async def hold(habit: Habit, ends: float) -> None:
    """Keep one connection in use until `ends`, opening it again a second after it broke."""
    loop = asyncio.get_running_loop()
    while loop.time() < ends:
        with suppress(*FAILURES):
            reader, writer = await asyncio.open_connection(habit.host, habit.port)
            try:
                while loop.time() < ends:
                    await asyncio.wait_for(request(reader, writer, "/", last=False), CALL_TIMEOUT_S)
                    await asyncio.sleep(1 / habit.per_s)
            finally:
                writer.close()
        await asyncio.sleep(1)
