"""The demo's traffic, played on the loopback device."""

import asyncio
import random
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from natop.demo.plan import SCENES, SILENT
from natop.demo.traffic import Habit, Role, call_once, perform, query_once

pytestmark = pytest.mark.slow

HERE = "127.0.0.1"
PATIENCE_S = 60.0
"""For what must happen, on a machine however slow."""


def free_port(kind: socket.SocketKind) -> int:
    """One outside the range from which the kernel gives ports to whoever calls meanwhile."""
    ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(1024, ephemeral), k=100):
        with socket.socket(socket.AF_INET, kind) as probe, suppress(OSError):
            probe.bind(("", port))
            return port
    raise AssertionError("a hundred ports are all in use")


class Machine:
    """A role being performed, and our end of its control socket."""

    def __init__(self, role: Role) -> None:
        self.control, theirs = socket.socketpair()
        self.theirs = theirs
        for each in (self.control, theirs):
            each.setblocking(False)
        self.task = asyncio.create_task(perform(role, theirs))

    async def listens(self) -> None:
        assert await asyncio.get_running_loop().sock_recv(self.control, 1) == b"l"

    async def end(self) -> None:
        self.control.close()
        await asyncio.wait_for(self.task, PATIENCE_S)
        self.theirs.close()


async def test_a_machine_serves_and_answers_queries_until_its_control_closes() -> None:
    tcp, udp = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_DGRAM)
    machine = Machine(Role(serves=(tcp,), answers_queries=udp))
    await machine.listens()
    await asyncio.wait_for(call_once(HERE, tcp), PATIENCE_S)
    await asyncio.wait_for(query_once(HERE, udp), PATIENCE_S)
    await machine.end()


async def test_habits_begin_when_told_and_stay_within_their_rate() -> None:
    came: list[bytes] = []

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.readline())
        writer.close()

    port = free_port(socket.SOCK_STREAM)
    server = await asyncio.start_server(count, HERE, port)
    machine = Machine(Role(habits=(Habit("short", HERE, port, per_s=10, at_once=3),)))
    await machine.listens()
    await asyncio.sleep(0.2)
    assert came == []
    start = time.monotonic()
    await asyncio.get_running_loop().sock_sendall(machine.control, b"g")
    while len(came) < 3 + 7:
        await asyncio.sleep(0.02)
        assert time.monotonic() - start < PATIENCE_S
    await machine.end()
    server.close()
    assert len(came) <= 3 + 10 * 1.7 * (time.monotonic() - start)


async def test_a_call_to_nobody_fails_and_does_not_stop_the_habit() -> None:
    with socket.socket() as nobody:  # it has the port and does not listen
        nobody.bind((HERE, 0))
        port = int(nobody.getsockname()[1])
        with pytest.raises(OSError, match=str(port)):
            await call_once(HERE, port)
        machine = Machine(Role(habits=(Habit("short", HERE, port, 50), Habit("kept", HERE, port, 1, at_once=1))))
        await machine.listens()
        await asyncio.get_running_loop().sock_sendall(machine.control, b"g")
        await asyncio.sleep(0.2)
        assert not machine.task.done()
        await machine.end()


def test_beside_harmless_time_wait_nothing_else_is_wrong() -> None:
    """A SYN that is never answered would be a finding of its own, and the verdict."""
    called = {habit.host for machine in SCENES["timewait"].machines for habit in machine.role.habits}
    assert SILENT not in called
