"""nginx and wrk in namespaces: many connections a second at a pace that the caller sets, cheap enough to keep it.

wrk has no pace of its own. Its script may name a delay before each request, and this one's follows the clock: what a
busy machine held up for less than CATCH_UP_S is made up for. A connection waits for its turn, which also keeps some
open.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.layers import lack
from tests.lab.netns import Namespace, wait_until

CATCH_UP_S = 0.5
AT_ONCE = 40
"""Connections of one wrk."""
PATIENCE_S = 20
"""So long wrk lets an answer be late before it counts as one that timed out."""
LONGEST_S = 600
NGINX = """
daemon off;
master_process off;
pid pid;
error_log error;
events { worker_connections 1000; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000;
    keepalive_timeout 300s;
    SERVICE
}
"""
ANSWERING = 'server { LISTEN location / { return 200 "answer"; } }'
PACE = f"""
local ffi = require("ffi")
ffi.cdef("typedef struct {{ long s, ns; }} stamp; int clock_gettime(int clock, stamp *now);")
local now, gap, due = ffi.new("stamp"), nil, nil

function init(args)
    gap = 1 / tonumber(args[1])
end

function delay()
    ffi.C.clock_gettime(1, now)
    local at = tonumber(now.s) + tonumber(now.ns) / 1e9
    due = math.max((due or at) + gap, at - {CATCH_UP_S})
    return math.max(0, math.floor(1000 * (due - at) + 0.5))
end
"""
"""Milliseconds before the next request, by CLOCK_MONOTONIC (linux/time.h: 1)."""
End = tuple[str, int]


@dataclass(frozen=True)
class Load:
    """Requests of one place to one end, each on a connection of its own unless it is kept."""

    place: Namespace
    end: End
    per_second: float
    kept: bool = False


def serve(place: Namespace, ends: Sequence[End], folder: Path, service: str = ANSWERING) -> None:
    """Have an nginx answer on these ends until the namespace is closed; `service` is what it does, in its words."""
    _needs("nginx")
    folder.mkdir()
    listens = " ".join(f"listen {address}:{port} backlog=4096;" for address, port in ends)
    (folder / "conf").write_text(NGINX.replace("SERVICE", service).replace("LISTEN", listens))
    place.start("nginx", "-p", str(folder), "-e", str(folder / "error"), "-c", str(folder / "conf"))
    wait_until(lambda: listening(place) >= set(ends), what="nginx to listen")


def _needs(command: str) -> None:
    if not shutil.which(command):
        lack(f"{command} is not installed")


def listening(place: Namespace) -> set[End]:
    """The ends at which somebody listens."""
    lines = place.run("ss", "-Hltn").stdout.splitlines()
    ends = (line.split()[3].rpartition(":") for line in lines)
    return {(address, int(port)) for address, _, port in ends}


@contextlib.contextmanager
def calling(loads: Sequence[Load], folder: Path) -> Iterator[None]:
    """Have these requests made until the block ends; each of them must have been answered."""
    _needs("wrk")
    folder.mkdir()
    pace = folder / "pace.lua"
    pace.write_text(PACE)
    running = [
        (load.place, load.place.start(*_command(load, pace), log=folder / f"{number}.log"))
        for number, load in enumerate(loads)
    ]
    yield
    assert all(place.running(pid) for place, pid in running)
    for _, pid in running:
        os.kill(pid, signal.SIGINT)
    wait_until(lambda: not any(place.running(pid) for place, pid in running), what="wrk to sum up")
    for log in folder.glob("*.log"):
        told = log.read_text()
        assert re.search(r"[1-9]\d* requests in ", told), told
        assert not re.search("Socket errors|Non-2xx", told), told


def _command(load: Load, pace: Path) -> list[str]:
    basics = ["wrk", "--threads", "1", "--connections", str(AT_ONCE), "--duration", f"{LONGEST_S}s"]
    closing = [] if load.kept else ["--header", "Connection: close"]
    address, port = load.end
    paced = ["--script", str(pace), f"http://{address}:{port}/", "--", str(load.per_second)]
    return [*basics, "--timeout", f"{PATIENCE_S}s", *closing, *paced]
