"""Many short connections a second, from processes of their own, and servers for them: bounded in rate, count and time.

`python -m tests.kernel.rush '["serve", ADDRESSES, PORTS]'` until it is stopped, or
`'["call", ADDRESSES, PORTS, PER_SECOND, SECONDS]'`, which ends by itself and prints what it did as JSON.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import selectors
import socket
import struct
import sys
import time
from collections.abc import Iterator, Sequence

BATCH = 25
"""Connections of one caller under way at a time."""
KEPT = 20
"""Connections that each caller keeps and asks on again and again."""
BACKLOG = 4096
PATIENCE_S = 20.0
QUESTION, ANSWER = b"question\n", b"answer\n"
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that closes by RST."""
Ends = Sequence[tuple[str, int]]


def serve(ends: Ends) -> None:
    """Answer each question, and close once the caller has."""
    with selectors.EpollSelector() as watched:
        for end in ends:
            listener = socket.create_server(end, backlog=BACKLOG)
            listener.setblocking(False)
            watched.register(listener, selectors.EVENT_READ, True)
        while True:
            for key, _ in watched.select():
                assert isinstance(key.fileobj, socket.socket)
                if key.data:
                    _welcome(key.fileobj, watched)
                else:
                    _answer(key.fileobj, watched)


def _welcome(listener: socket.socket, watched: selectors.EpollSelector) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            caller = listener.accept()[0]
            caller.setblocking(False)
            watched.register(caller, selectors.EVENT_READ, False)


def _answer(caller: socket.socket, watched: selectors.EpollSelector) -> None:
    with contextlib.suppress(OSError):
        if caller.recv(64):
            caller.send(ANSWER)
            return
    watched.unregister(caller)
    caller.close()


def call(ends: Ends, per_second: float, seconds: float) -> dict[str, float]:
    """Connect to the ends in turn, half of the connections closed by FIN and half by RST; ask on kept ones beside."""
    places = itertools.cycle(ends)
    kept = [socket.create_connection(next(places), PATIENCE_S) for _ in range(KEPT)]
    opened = failed = asked = 0
    begun = time.monotonic()
    while (gone := time.monotonic() - begun) < seconds:
        answered = sum(_answered([next(places) for _ in range(BATCH)]))
        opened, failed = opened + answered, failed + BATCH - answered
        asked += _ask(kept[(opened // BATCH) % KEPT])
        time.sleep(max(0.0, opened / per_second - (time.monotonic() - begun)))
    for each in kept:
        each.close()
    return {"opened": opened, "failed": failed, "asked": asked, "seconds": gone}


def _answered(ends: Ends) -> Iterator[bool]:
    """Whether each of some connections, begun together, brings its answer."""
    callers = [socket.socket() for _ in ends]
    for end, each in zip(ends, callers, strict=True):
        each.setblocking(False)
        each.connect_ex(end)
    for number, each in enumerate(callers):
        with each:
            yield _connected(each) and _ask(each)
            if number % 2:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def _connected(caller: socket.socket) -> bool:
    waiting = select.poll()
    waiting.register(caller, select.POLLOUT)
    if not waiting.poll(1000 * PATIENCE_S):
        return False
    caller.settimeout(PATIENCE_S)
    return caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def _ask(caller: socket.socket) -> bool:
    try:
        caller.sendall(QUESTION)
        return caller.recv(64) == ANSWER
    except OSError:
        return False


if __name__ == "__main__":
    what, addresses, ports, *more = json.loads(sys.argv[1])
    asked_for = list(itertools.product(addresses, ports))
    if what == "serve":
        serve(asked_for)
    else:
        print(json.dumps(call(asked_for, *more)), flush=True)
