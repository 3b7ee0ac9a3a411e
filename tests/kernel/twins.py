"""Two containers that send UDP from one source port at one instant, each on a CPU of its own: they race for NAT's port.

As a resolver does, each sends its question again where no answer comes, from the same port.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.lab.netns import entered

LEAD_S = 0.4
"""From the start of the processes to the first instant."""
PATIENCE_S = 0.05
"""How long an answer is waited for before the question is sent again."""
GAP_S = 0.12
"""Between two instants: longer than a question asked twice."""


def race(places: Sequence[Path], sources: Sequence[str], end: tuple[str, int], ports: range) -> list[int]:
    """Let two namespaces race once for each of these ports; how many questions each had to send again."""
    begin = time.time() + LEAD_S
    told = [
        json.dumps([str(place), source, end, [ports.start, ports.stop], begin, cpu])
        for cpu, (place, source) in enumerate(zip(places, sources, strict=True))
    ]
    running = [
        subprocess.Popen([sys.executable, "-m", "tests.kernel.twins", each], stdout=subprocess.PIPE, text=True)
        for each in told
    ]
    return [int(each.communicate(timeout=60)[0]) for each in running]


def ask(place: str, source: str, end: tuple[str, int], ports: range, begin: float, cpu: int) -> int:
    """One twin: a question from each port at its instant; how many were asked twice."""
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[cpu % len(allowed)]})
    twice = 0
    with entered(place):
        sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in ports]
    for number, (port, each) in enumerate(zip(ports, sockets, strict=True)):
        each.bind((source, port))
        each.connect(end)
        each.settimeout(PATIENCE_S)
        while time.time() < begin + number * GAP_S:
            pass
        each.send(b"question")
        try:
            each.recv(64)
        except TimeoutError:
            twice += 1
            each.send(b"question")
    return twice


if __name__ == "__main__":
    place, source, end, (first, last), begin, cpu = json.loads(sys.argv[1])
    print(ask(place, source, tuple(end), range(first, last), begin, cpu))
