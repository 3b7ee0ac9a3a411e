"""One timed connect, over the loopback interface: what it measures, how it ends, what it leaves behind."""

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import pytest

from natop import __version__
from natop.collect import names, netns, probe, request
from natop.model import OwnFlow, ProbeError, ProbePath, ProbeResult, ProbeWay

pytestmark = pytest.mark.slow

Serve = Callable[[socket.socket], None]
PATIENCE_S = 60.0
"""For what must happen, on a machine however slow."""


@contextmanager
def listening(serve: Serve, family: int = socket.AF_INET) -> Iterator[int]:
    """A server on the loopback address that deals with one connection at a time; its port."""
    server = socket.create_server(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), family=family)
    server.settimeout(0.1)
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            with suppress(OSError):
                accepted, _ = server.accept()
                accepted.settimeout(PATIENCE_S)
                with accepted:
                    serve(accepted)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield int(server.getsockname()[1])
    finally:
        over.set()
        thread.join()
        server.close()


def silent(connection: socket.socket) -> None:
    """Read until the other end goes."""
    while connection.recv(4096):
        pass


def called(port: int, request: str | None = None, host: str = "127.0.0.1", **manners: object) -> ProbeResult:
    way = ProbeWay(ProbePath.HOST, f"{host}:{port}", host, port, request=request)
    given = {"timeout_s": PATIENCE_S, "polite": False} | manners
    return probe.timed(way, names.resolve(host, port, 1.0), **given)  # type: ignore[arg-type]  # as `timed` names them


@contextmanager
def refusing() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else can have meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_connect_is_timed_and_its_ends_are_told(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_795_000_000.5)
    opened: list[OwnFlow] = []
    with listening(silent, socket.AF_INET6 if ":" in host else socket.AF_INET) as port:
        started = time.perf_counter()
        result = called(port, host=host, opened=opened.append)
        took_ms = 1000 * (time.perf_counter() - started)
    assert result.error is None
    assert result.connect_ms is not None
    assert 0 < result.connect_ms < took_ms
    assert result.rtt_ms is not None
    assert 0 < result.rtt_ms < took_ms + 1
    assert (result.syns_lost, result.linear_timeouts is None) == (0, False)
    assert result.at == 1_795_000_000.5
    assert opened == [result.own]
    assert result.own is not None
    assert (result.own.src, result.own.dst, result.own.dport) == (host, host, port)
    assert 0 < result.own.sport < 65536


def test_a_closed_port_refuses() -> None:
    with refusing() as port:
        result = called(port)
    assert (result.error, result.connect_ms, result.syns_lost) == (ProbeError.REFUSED, None, 0)
    assert result.own is not None


@pytest.mark.parametrize("polite", [False, True])
def test_it_ends_with_a_reset_or_politely(polite: bool) -> None:
    ends: queue.SimpleQueue[bytes | str] = queue.SimpleQueue()

    def note(connection: socket.socket) -> None:
        try:
            ends.put(connection.recv(1))
        except ConnectionResetError:
            ends.put("reset")

    with listening(note) as port:
        assert called(port, polite=polite).error is None
        assert ends.get(timeout=PATIENCE_S) == (b"" if polite else "reset")


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (111, "refused"), (101, "unreachable"), (113, "unreachable"), (110, "timed out"), (99, "no free local port"),
        (13, "not permitted"), (1, "not permitted"), (104, "reset"), (24, "too many open files"), (0, "success"),
    ],
)  # fmt: skip
def test_errors_have_names(number: int, name: str) -> None:
    assert probe.error_name(number) == name


def test_a_namespace_that_is_gone_or_forbidden_is_an_error_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = ProbeWay(ProbePath.NETNS, "192.0.2.1:80", "192.0.2.1", 80, "id", "app", str(tmp_path / "gone"))
    address = names.resolve("192.0.2.1", 80, 1.0)
    gone = probe.timed(way, address, timeout_s=1.0, polite=False)
    assert (gone.error, gone.own, gone.syns_lost) == (ProbeError.NAMESPACE_GONE, None, None)
    assert (gone.path, gone.container, gone.container_name) == ("netns", "id", "app")

    def forbidden(_: Path | None) -> None:
        raise netns.NoSuchNetns("cannot enter") from PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(netns, "entered", forbidden)
    assert probe.timed(way, address, timeout_s=1.0, polite=False).error == ProbeError.NOT_PERMITTED


def test_a_namespace_that_goes_while_a_connect_hangs_is_what_the_failure_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connect that went well before is none the worse for it."""
    place = tmp_path / "netns"
    monkeypatch.setattr(netns, "entered", lambda _: nullcontext())

    def called_from(port: int) -> ProbeResult:
        place.touch()
        way = ProbeWay(ProbePath.NETNS, "x", "127.0.0.1", port, "id", "app", str(place))
        address = names.resolve("127.0.0.1", port, 1.0)
        return probe.timed(way, address, timeout_s=1.0, polite=False, opened=lambda _: place.unlink())

    with refusing() as port:
        assert called_from(port).error == ProbeError.NAMESPACE_GONE
    with listening(silent) as port:
        assert called_from(port).error is None


def test_without_descriptors_a_probe_fails_by_the_system_s_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", none_left)
    assert called(80).error == "too many open files"


# HTTP


def heard(connection: socket.socket) -> bytes:
    """One request; empty where the other end has gone."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        piece = connection.recv(4096)
        if not piece:
            return b""
        request += piece
    return request


def answering(*answers: bytes) -> Serve:
    """A server that gives these answers to one request after the other, then hangs up."""

    def serve(connection: socket.socket) -> None:
        for answer in answers:
            if not heard(connection):
                return
            connection.sendall(answer)

    return serve


def stalling(connection: socket.socket) -> None:
    """A server that answers the first request and not the second."""
    answering(PAGE)(connection)
    silent(connection)


PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"


def test_the_first_answer_is_told_from_a_later_one() -> None:
    asked: list[bytes] = []
    answered: list[float] = []

    def serve(connection: socket.socket) -> None:
        for wait_s in (0.3, 0.05):
            asked.append(heard(connection))
            time.sleep(wait_s)
            answered.append(time.perf_counter())
            connection.sendall(PAGE)

    with listening(serve) as port:
        result = called(port, "/a?b=c")
        ended = time.perf_counter()
    assert (result.error, result.http_status) == (None, 200)
    assert result.connect_ms is not None
    assert result.first_byte_ms is not None
    assert result.later_byte_ms is not None
    assert result.first_byte_ms > 299
    assert 49 < result.later_byte_ms < 1000 * (ended - answered[0]), "without the first wait"
    assert asked[0] == asked[1]
    assert asked[0].split(b"\r\n") == [
        b"GET /a?b=c HTTP/1.1",
        b"Host: 127.0.0.1:%d" % port,
        f"User-Agent: natop/{__version__}".encode(),
        b"Accept: */*",
        b"",
        b"",
    ]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\n\r\nok\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 900\r\n\r\ntoo short",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * request.MOST_BODY) + b"x" * 2 * request.MOST_BODY,
    ],
)
def test_a_connection_that_is_not_kept_has_no_later_answer(answer: bytes) -> None:
    with listening(answering(answer)) as port:
        result = called(port, "/")
    assert result.error is None
    assert result.http_status in (200, 404)
    assert result.first_byte_ms is not None
    assert result.later_byte_ms is None


def test_a_server_that_hangs_up_between_two_requests_has_answered() -> None:
    with listening(answering(PAGE)) as port:
        result = called(port, "/")
    assert (result.error, result.http_status, result.later_byte_ms) == (None, 200, None)


@pytest.mark.parametrize(
    ("serve", "error", "timeout_s"),
    [
        (silent, ProbeError.NO_ANSWER, 2.0),
        (answering(b"HTTP/1.1 two hundred\r\n\r\n"), ProbeError.NOT_HTTP, PATIENCE_S),
        (answering(b"SSH-2.0-OpenSSH\r\n"), ProbeError.NOT_HTTP, PATIENCE_S),
        (answering(b"\xff\x00\x1b[31m\r\n\r\n"), ProbeError.NOT_HTTP, PATIENCE_S),
        (answering(b"HTTP/1.1 200 OK\r\n" + b"x" * 100_000), ProbeError.NOT_HTTP, PATIENCE_S),
        (answering(b""), ProbeError.RESET, PATIENCE_S),
        (stalling, ProbeError.NO_ANSWER, 5.0),
    ],
)
def test_a_request_that_fails_says_how(serve: Serve, error: ProbeError, timeout_s: float) -> None:
    with listening(serve) as port:
        result = called(port, "/", timeout_s=timeout_s)
    assert result.error == error
    assert result.connect_ms is not None, "the connect itself went well"
    assert result.later_byte_ms is None


def test_a_page_whose_pieces_are_no_numbers_was_answered_all_the_same() -> None:
    with listening(answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nx\r\n")) as port:
        result = called(port, "/")
    assert (result.error, result.http_status, result.later_byte_ms) == (None, 200, None)
    assert result.connect_ms is not None


def test_a_server_that_answers_byte_by_byte_is_waited_for_only_so_long() -> None:
    """It would go on for as long as it is listened to."""

    def trickle(connection: socket.socket) -> None:
        heard(connection)
        while True:
            connection.sendall(b"H")
            time.sleep(0.05)

    with listening(trickle) as port:
        result = called(port, "/", timeout_s=5.0)
    assert result.error == ProbeError.NO_ANSWER
    assert result.first_byte_ms is not None


def test_a_host_is_named_as_it_was_asked_for() -> None:
    six = ProbeWay(ProbePath.HOST, "x", "2001:db8::1", 81, request="/")
    far = ProbeWay(ProbePath.HOST, "x", "bücher.example", 80, request="/")
    assert b"\r\nHost: [2001:db8::1]:81\r\n" in request._request(six)
    assert b"\r\nHost: xn--bcher-kva.example:80\r\n" in request._request(far)
