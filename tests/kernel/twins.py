"""Twins: two first packets from one source port at one instant, each from a CPU of its own.

Of two containers they race for NAT's port, and one is lost; of one UDP socket (as glibc's A and AAAA) the kernel
resolves the clash. Whoever loses a packet sends it again from the same port: TCP by itself, UDP as a resolver does.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from tests.lab.netns import entered

LEAD_S = 0.5
"""From the start of the processes to the first instant."""
PATIENCE_S = 0.05
"""How long an answer to a datagram is waited for before the question is sent again."""
GAPS_S = {"udp": 0.12, "tcp": 0.02}
"""Between two instants: longer than a question asked twice; a connect is not waited for."""
WATCH_S = 0.002
SYN_S = 10
"""A lost SYN comes again after a second, and again where that is lost too."""
Asker = tuple[str, str]
"""A namespace's path and an address in it."""
End = tuple[str, int]


def race(askers: list[tuple[Path, str]], end: End, ports: range, proto: str = "udp") -> int:
    """Let the askers ask once from each of these ports, all at one instant; how many questions were sent again.

    By TCP it is how many connects came to nothing, SYNs sent again included. One asker alone, which is UDP's, asks from
    each of its sockets twice.
    """
    begin = time.time() + LEAD_S
    told = [
        json.dumps([proto, str(place), address, end, [ports.start, ports.stop], begin, cpu, len(askers) == 1])
        for cpu, (place, address) in enumerate(askers)
    ]
    running = [
        subprocess.Popen([sys.executable, "-m", "tests.kernel.twins", each], stdout=subprocess.PIPE, text=True)
        for each in told
    ]
    return sum(int(each.communicate(timeout=60)[0]) for each in running)


def ask(asker: Asker, end: End, ports: range, begin: float, cpu: int, doubled: bool) -> int:
    """One asker's part; `doubled` has a second process ask from the same sockets on the other CPU."""
    sockets = _sockets(asker, ports, socket.SOCK_DGRAM)
    for each in sockets:
        each.connect(end)
        each.settimeout(PATIENCE_S)
    child = os.fork() if doubled else None
    _take(cpu + (child == 0))
    twice = sum(_asked_twice(each, begin + number * GAPS_S["udp"]) for number, each in enumerate(sockets))
    if child == 0:
        os._exit(0)
    if child:
        os.waitpid(child, 0)
    return twice


def _asked_twice(own: socket.socket, at: float) -> bool:
    _wait_for(at)
    own.send(b"question")
    try:
        own.recv(64)
    except TimeoutError:
        own.send(b"question")
        return True
    return False


def call(caller: Asker, end: End, ports: range, begin: float, cpu: int) -> int:
    """One caller's connects, a port after the other; how many were not answered. They end by RST."""
    sockets = _sockets(caller, ports, socket.SOCK_STREAM)
    _take(cpu)
    for number, each in enumerate(sockets):
        each.setblocking(False)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        _wait_for(begin + number * GAPS_S["tcp"])
        each.connect_ex(end)
    waiting, ends = {each.fileno() for each in sockets}, time.monotonic() + SYN_S
    while waiting and time.monotonic() < ends:
        waiting -= set(select.select([], list(waiting), [], 0.2)[1])
    return len(waiting)


def _sockets(owner: Asker, ports: range, kind: socket.SocketKind) -> list[socket.socket]:
    with entered(owner[0]):
        sockets = [socket.socket(socket.AF_INET, kind) for _ in ports]
    for port, each in zip(ports, sockets, strict=True):
        each.bind((owner[1], port))
    return sockets


def _take(cpu: int) -> None:
    """Run on that one of the CPUs, before whoever else wants it, where the system allows that."""
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[cpu % len(allowed)]})
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def _wait_for(at: float) -> None:
    """Sleep until shortly before, then watch the clock."""
    time.sleep(max(0.0, at - time.time() - WATCH_S))
    while time.time() < at:
        pass


if __name__ == "__main__":
    proto, place, address, (host, port), (first, last), begin, cpu, doubled = json.loads(sys.argv[1])
    part = ((place, address), (host, port), range(first, last), begin, cpu)
    print(call(*part) if proto == "tcp" else ask(*part, doubled))
