"""Two HTTP requests on one connection, so that the first answer can be told from a later one."""

import http.client
import io
import socket
import time
from dataclasses import dataclass, replace

from natop import __version__
from natop.model import ProbeError, ProbeResult, ProbeWay

MOST_BODY = 1 << 20
"""Bytes of an answer that are read to come to its end; after a longer one no second request is sent."""


@dataclass(frozen=True, slots=True)
class _Answer:
    first_byte_ms: float | None = None
    status: int | None = None
    error: str | None = None
    reusable: bool = False
    """Whether it was read to its end and the server keeps the connection."""


def answered(connection: socket.socket, way: ProbeWay, connected: ProbeResult, timeout_s: float) -> ProbeResult:
    """The result of a connect with what the two requests brought; each has `timeout_s`."""
    first = _exchange(connection, way, timeout_s)
    result = replace(connected, first_byte_ms=first.first_byte_ms, http_status=first.status, error=first.error)
    if not first.reusable:
        return result
    later = _exchange(connection, way, timeout_s)
    if later.error == ProbeError.RESET:  # it may hang up between two requests
        return result
    return replace(result, later_byte_ms=later.first_byte_ms, error=later.error)


class _Wire(io.RawIOBase):
    """What arrives on a connection until a deadline, and when the first of it did."""

    def __init__(self, connection: socket.socket, until_s: float) -> None:
        super().__init__()
        self._connection, self._until_s = connection, until_s
        self.first_s: float | None = None

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What http.client asks of a socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # BufferedReader gives no other
        left = self._until_s - time.perf_counter()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        size = self._connection.recv_into(buffer)
        if self.first_s is None and size:
            self.first_s = time.perf_counter()
        return size


def _exchange(connection: socket.socket, way: ProbeWay, timeout_s: float) -> _Answer:
    """One request and its answer."""
    started = time.perf_counter()
    wire = _Wire(connection, started + timeout_s)
    response = http.client.HTTPResponse(wire, method="GET")  # type: ignore[arg-type]  # all that it uses is makefile
    try:
        connection.settimeout(timeout_s)
        connection.sendall(_request(way))
        response.begin()
        error = None
    except TimeoutError:
        error = ProbeError.NO_ANSWER
    except OSError:
        error = ProbeError.RESET
    except (http.client.HTTPException, ValueError):
        error = ProbeError.NOT_HTTP
    first_ms = None if wire.first_s is None else 1000 * (wire.first_s - started)
    if error:
        return _Answer(first_ms, error=error)
    return _Answer(first_ms, response.status, reusable=_read_to_the_end(response))


def _read_to_the_end(response: http.client.HTTPResponse) -> bool:
    will_close = response.will_close
    try:
        body = response.read(MOST_BODY)
    except (OSError, http.client.HTTPException, ValueError):  # a chunk of a negative size is a ValueError
        return False
    return not will_close and len(body) < MOST_BODY


def _request(way: ProbeWay) -> bytes:
    """For a page as it is, of a host by the name that was resolved."""
    host = f"[{way.host}]".encode() if ":" in way.host else way.host.encode("idna")
    lines = (
        f"GET {way.request} HTTP/1.1".encode("ascii"),
        b"Host: %b:%d" % (host, way.port),
        f"User-Agent: natop/{__version__}".encode(),
        b"Accept: */*",
    )
    return b"\r\n".join(lines) + b"\r\n\r\n"
