"""Real but bounded traffic between namespaces: short HTTP requests, connections that stay open, UDP exchanges.

Sockets are made inside a namespace by the calling thread and used from anywhere. Everything has a count, a rate and a
timeout; nothing leaves the namespaces it is given.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.netns import Namespace, entered

Place = Namespace | Path | str | int
PAGE = b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
PATIENCE_S = 10


class Held:
    """Open connections, kept until `release` or the end of the `with` block."""

    def __init__(self, sockets: Iterable[socket.socket]) -> None:
        """Take over the sockets."""
        self._sockets = list(sockets)

    def __len__(self) -> int:
        """How many are open."""
        return len(self._sockets)

    def __enter__(self) -> Self:
        """Nothing to do: the connections are open already."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the connections."""
        self.release()

    def add(self, sockets: Iterable[socket.socket]) -> None:
        """Keep these too, one after the other as they are made."""
        for each in sockets:
            self._sockets.append(each)

    def release(self) -> None:
        """Close the connections in the ordinary way (FIN)."""
        while self._sockets:
            self._sockets.pop().close()


def connect(place: Place, host: str, port: int) -> socket.socket:
    """A TCP connection that begins in the given namespace."""
    with entered(place):
        connection = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    connection.settimeout(PATIENCE_S)
    try:
        connection.connect((host, port))
    except BaseException:
        connection.close()
        raise
    return connection


def hold(place: Place, host: str, port: int, count: int) -> Held:
    """Open `count` connections to an echo service, say a word on each, and keep them."""
    held: list[socket.socket] = []
    try:
        for _ in range(count):
            held.append(connect(place, host, port))
            held[-1].sendall(b"hello\n")
            if not held[-1].recv(64):
                raise ConnectionError(f"{host}:{port} hung up")
    except BaseException:
        Held(held).release()
        raise
    return Held(held)


def get(place: Place, host: str, port: int, count: int = 1, per_second: float = 150) -> int:
    """`count` short HTTP requests one after another, at most `per_second`; the number answered with 200."""
    answered = 0
    for _ in paced(count, per_second):
        with contextlib.closing(connect(place, host, port)) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while piece := connection.recv(4096):
                answer += piece
        answered += b" 200 " in answer.split(b"\r\n")[0]
    return answered


def reset(place: Place, host: str, port: int) -> None:
    """A connection that its client aborts: RST, which conntrack calls CLOSE."""
    with contextlib.closing(connect(place, host, port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def knock(place: Place, host: str, port: int) -> None:
    """One SYN, not waited for: conntrack keeps SYN_SENT when nobody answers."""
    with entered(place), socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as connection:
        connection.setblocking(False)
        connection.connect_ex((host, port))


def linger(place: Place, host: str, port: int) -> socket.socket:
    """A request whose client reads the whole answer and does not hang up: CLOSE_WAIT until the socket is closed."""
    connection = connect(place, host, port)
    connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
    while connection.recv(4096):
        pass
    return connection


def exchange(place: Place, host: str, port: int, count: int = 1, per_second: float = 150) -> int:
    """`count` UDP datagrams, each from a socket of its own, to an echo service; the number that came back."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    back = 0
    for _ in paced(count, per_second):
        with entered(place), socket.socket(family, socket.SOCK_DGRAM) as datagrams:
            datagrams.settimeout(PATIENCE_S)
            datagrams.connect((host, port))
            datagrams.send(b"hello")
            back += datagrams.recv(64) == b"hello"
    return back


def datagrams(place: Place) -> socket.socket:
    """A UDP socket that begins in the given namespace, connected to nobody."""
    with entered(place):
        made = socket.socket(type=socket.SOCK_DGRAM)
    made.settimeout(PATIENCE_S)
    return made


def paced(count: int, per_second: float) -> Iterator[int]:
    """Count up to `count`, never faster than `per_second` on the whole."""
    begun = time.monotonic()
    for number in range(count):
        yield number
        time.sleep(max(0.0, begun + (number + 1) / per_second - time.monotonic()))


class Responder:
    """A small server in a namespace, on one thread: answers HTTP and closes, echoes all else, and echoes UDP."""

    def __init__(self, place: Place, addresses: Iterable[str], ports: Iterable[int]) -> None:
        """Listen on every address and port for TCP and UDP."""
        self._selector = selectors.DefaultSelector()
        self._stopping, self._wake = socket.socketpair()
        self._selector.register(self._stopping, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._serve, name="responder", daemon=True)
        where = [(address, port) for address in addresses for port in ports]
        with entered(place):
            for address, port in where:
                self._watch(_listener(address, port, socket.SOCK_STREAM), self._accept)
                self._watch(_listener(address, port, socket.SOCK_DGRAM), _echo_datagram)

    def __enter__(self) -> Self:
        """Start serving."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop serving and close everything."""
        self._wake.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def _serve(self) -> None:
        """Answer until the other end of the wake-up pair is closed."""
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                assert isinstance(key.fileobj, socket.socket)
                with contextlib.suppress(OSError):
                    key.data(key.fileobj)

    def _watch(self, watched: socket.socket, answer: Callable[[socket.socket], None]) -> None:
        watched.setblocking(False)
        self._selector.register(watched, selectors.EVENT_READ, answer)

    def _accept(self, listener: socket.socket) -> None:
        self._watch(listener.accept()[0], self._answer)

    def _answer(self, connection: socket.socket) -> None:
        """One piece of a conversation: HTTP gets its page and the end, an empty read is the client's goodbye."""
        try:
            said = connection.recv(4096)
        except OSError:
            said = b""
        if said and not said.startswith(b"GET "):
            connection.send(said)
            return
        self._selector.unregister(connection)
        with connection, contextlib.suppress(OSError):
            if said:
                connection.send(PAGE)


def _listener(address: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """A bound socket, listening where that applies, in the namespace of the calling thread."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, kind)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((address, port))
    if kind == socket.SOCK_STREAM:
        bound.listen(1024)
    return bound


def _echo_datagram(datagrams: socket.socket) -> None:
    said, sender = datagrams.recvfrom(2048)
    datagrams.sendto(said, sender)
