"""UDP twins: two datagrams from one source port at one instant, each from a CPU of its own.

Of two containers they race for NAT's port, and one datagram is lost; of one socket (as glibc's A and AAAA) the kernel
resolves the clash. As a resolver does, each asks again from the same port where no answer comes.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.lab.netns import entered

LEAD_S = 0.5
"""From the start of the processes to the first instant."""
PATIENCE_S = 0.05
"""How long an answer is waited for before the question is sent again."""
GAP_S = 0.12
"""Between two instants: longer than a question asked twice."""
Asker = tuple[str, str]
"""A namespace's path and an address in it."""
End = tuple[str, int]


def race(askers: list[tuple[Path, str]], end: End, ports: range) -> int:
    """Let the askers ask once from each of these ports, all at one instant; how many questions were sent again.

    One asker alone asks from each of its sockets twice.
    """
    begin = time.time() + LEAD_S
    told = [
        json.dumps([str(place), address, end, [ports.start, ports.stop], begin, cpu, len(askers) == 1])
        for cpu, (place, address) in enumerate(askers)
    ]
    running = [
        subprocess.Popen([sys.executable, "-m", "tests.kernel.twins", each], stdout=subprocess.PIPE, text=True)
        for each in told
    ]
    return sum(int(each.communicate(timeout=60)[0]) for each in running)


def ask(asker: Asker, end: End, ports: range, begin: float, cpu: int, doubled: bool) -> int:
    """One asker's part; `doubled` has a second process ask from the same sockets on the other CPU."""
    with entered(asker[0]):
        sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in ports]
    for port, each in zip(ports, sockets, strict=True):
        each.bind((asker[1], port))
        each.connect(end)
        each.settimeout(PATIENCE_S)
    child = os.fork() if doubled else None
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[(cpu + (child == 0)) % len(allowed)]})
    twice = sum(_asked_twice(each, begin + number * GAP_S) for number, each in enumerate(sockets))
    if child == 0:
        os._exit(0)
    if child:
        os.waitpid(child, 0)
    return twice


def _asked_twice(own: socket.socket, at: float) -> bool:
    while time.time() < at:
        pass
    own.send(b"question")
    try:
        own.recv(64)
    except TimeoutError:
        own.send(b"question")
        return True
    return False


if __name__ == "__main__":
    place, address, (host, port), (first, last), begin, cpu, doubled = json.loads(sys.argv[1])
    print(ask((place, address), (host, port), range(first, last), begin, cpu, doubled))
