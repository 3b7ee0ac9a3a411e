"""A small Docker Engine: the read-only part of the Engine API over HTTP on a unix socket.

It answers `_ping`, `version`, `info`, `containers/json`, `containers/{id}/json`, `networks`, `networks/{id}`
and `events`, with or without the `/v1.44` in front, so that the real docker SDK talks to it.
"""

import json
import re
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from natop.demo.inventory import Event, Inventory
from natop.demo.shapes import Json, inspect_body, list_body, network_body

VERSION = "29.0.0"
API_VERSION = "1.52"
MIN_API_VERSION = "1.24"

EVENT_POLL_S = 0.2
"""How often an idle event stream looks whether its client has gone."""

PATH = re.compile(r"^(?:/v(?P<api>\d+\.\d+))?(?P<path>/.*)$")


class EngineServer:
    """Serves an `Inventory` on a unix socket; it can be stopped and started again at the same path."""

    def __init__(self, path: Path, inventory: Inventory, name: str = "natop-demo") -> None:
        self.path = path
        self.inventory = inventory
        self.delay_s = 0.0
        """Seconds that every answer is held back; a large one is an Engine that hangs."""
        self.info: Json = info_body(name)
        """The answer to `GET /info`, less the counts of containers."""
        self._server: _UnixServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address for `DOCKER_HOST`."""
        return f"unix://{self.path}"

    def start(self) -> None:
        """Listen and serve from a thread; replaces a socket file left at the path."""
        self.path.unlink(missing_ok=True)
        server = _UnixServer(str(self.path), _Handler)
        server.engine = self
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="engine", daemon=True)
        thread.start()
        self._server, self._thread = server, thread

    def stop(self) -> None:
        """Stop listening, end every connection and remove the socket; harmless where nothing runs."""
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is None or thread is None:
            return
        server.shutdown()
        server.stopping.set()
        self._drop(server)
        server.server_close()
        thread.join()
        self.path.unlink(missing_ok=True)

    def drop_connections(self) -> None:
        """End every open connection, event streams too, as a restarting Engine does; keep listening."""
        if self._server is not None:
            self._drop(self._server)

    def _drop(self, server: "_UnixServer") -> None:
        server.drop()
        with self.inventory.changed:
            self.inventory.changed.notify_all()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def info_body(name: str) -> Json:
    """`GET /info` without the counts; the firewall backend is the one whose rules the demo resembles."""
    return {
        "ID": "demo",
        "Name": name,
        "ServerVersion": VERSION,
        "OperatingSystem": "natop demo",
        "OSType": "linux",
        "Architecture": "x86_64",
        "Driver": "overlay2",
        "LiveRestoreEnabled": False,
        "SecurityOptions": ["name=seccomp,profile=builtin"],
        "FirewallBackend": {"Driver": "nftables"},
        "Swarm": {"LocalNodeState": "inactive"},
        "Labels": [],
    }


def version_body() -> Json:
    """`GET /version`, from which the SDK takes the API version to speak."""
    return {
        "Version": VERSION,
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
        "Arch": "x86_64",
        "Components": [{"Name": "Engine", "Version": VERSION, "Details": {"ApiVersion": API_VERSION}}],
    }


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Accepts connections, a thread each, and remembers them so that they can be dropped."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    engine: EngineServer

    def __init__(self, path: str, handler: type[BaseHTTPRequestHandler]) -> None:
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(path, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def drop(self) -> None:
        """Shut every open connection down; their threads then end by themselves."""
        with self._open_lock:
            for request in self._open:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle of an answer is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client; HTTP/1.1, so that the SDK can keep it open."""

    protocol_version = "HTTP/1.1"
    server_version = f"Docker/{VERSION} (linux)"
    sys_version = ""
    server: _UnixServer

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: stderr belongs to the screen."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        engine = self.server.engine
        if engine.delay_s and self.server.stopping.wait(engine.delay_s):
            self.close_connection = True
            return
        url = urlsplit(self.path)
        match = PATH.match(url.path)
        path = unquote(match["path"]) if match else url.path
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        if path == "/events":
            self._stream_events(query, legacy=_is_before(match["api"] if match else None, "1.52"))
        elif path == "/_ping":
            self._send(200, b"OK", "text/plain; charset=utf-8")
        else:
            self._answer(self._body(path, query), path)

    def _body(self, path: str, query: dict[str, str]) -> Json | list[Json] | None:
        """The JSON for a path, or None where there is nothing."""
        inventory = self.server.engine.inventory
        parts = path.strip("/").split("/")
        match parts:
            case ["version"]:
                return version_body()
            case ["info"]:
                return self._info()
            case ["containers", "json"]:
                return self._list(query)
            case ["containers", reference, "json"]:
                container = inventory.container(reference)
                return inspect_body(container, inventory.networks) if container else None
            case ["networks"]:
                return [network_body(each) for each in inventory.networks.values()]
            case ["networks", reference]:
                return self._network(reference)
        return None

    def _info(self) -> Json:
        containers = self.server.engine.inventory.containers
        running = sum(each.running for each in containers)
        counts = {"Containers": len(containers), "ContainersRunning": running}
        return self.server.engine.info | counts | {"ContainersStopped": len(containers) - running}

    def _list(self, query: dict[str, str]) -> list[Json]:
        inventory = self.server.engine.inventory
        everything = query.get("all", "0").lower() in {"1", "true"}
        shown = [each for each in inventory.containers if everything or each.running]
        return [list_body(each, inventory.networks) for each in shown]

    def _network(self, reference: str) -> Json | None:
        inventory = self.server.engine.inventory
        network = inventory.network(reference)
        if network is None:
            return None
        live = (each for each in inventory.containers if each.running)
        members = tuple(c for c in live if any(e.network == network.name for e in c.endpoints))
        return network_body(network, members)

    def _answer(self, body: Json | list[Json] | None, path: str) -> None:
        status = 404 if body is None else 200
        text = json.dumps(_not_found(path) if body is None else body)
        self._send(status, text.encode() + b"\n", "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Api-Version", API_VERSION)
        self.send_header("Ostype", "linux")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _stream_events(self, query: dict[str, str], legacy: bool) -> None:
        """Send the events since `since` and then each as it comes, until `until` or until the client goes.

        The place in the stream is taken before the headers go out, so that a client that has the headers
        misses nothing.
        """
        with self.server.engine.inventory.changed:
            seen, past = self.server.engine.inventory.events_after(0)
        since_ns, until_ns = _time_ns(query.get("since")), _time_ns(query.get("until"))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        wanted = _wanted(query.get("filters", ""))
        past = tuple(e for e in past if since_ns is not None and e.time_ns >= since_ns)
        for event in self._follow(seen, past, until_ns):
            if _matches(event, wanted):
                self._send_chunk(json.dumps(event.body(legacy)).encode() + b"\n")
        self._send_chunk(b"")

    def _follow(self, seen: int, fresh: tuple[Event, ...], until_ns: int | None) -> Iterator[Event]:
        """`fresh`, then each event after number `seen`; ends at `until_ns` or when the client has gone."""
        inventory = self.server.engine.inventory
        while True:
            yield from (e for e in fresh if until_ns is None or e.time_ns <= until_ns)
            over = until_ns is not None and time.time_ns() >= until_ns
            if over or self.server.stopping.is_set() or self._client_gone():
                return
            with inventory.changed:
                if inventory.events_after(seen)[0] == seen:
                    inventory.changed.wait(EVENT_POLL_S)
                seen, fresh = inventory.events_after(seen)

    def _send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _client_gone(self) -> bool:
        """Whether the other side, or `drop_connections`, has closed the connection."""
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True


def _not_found(path: str) -> Json:
    """The Engine's words for an object it does not have, by the kind of object in the path."""
    match path.strip("/").split("/"):
        case ["containers", reference, "json"]:
            return {"message": f"No such container: {reference}"}
        case ["networks", reference]:
            return {"message": f"network {reference} not found"}
    return {"message": "page not found"}


def _is_before(asked: str | None, version: str) -> bool:
    """Whether API version `asked` (None: the newest) is older than `version`."""
    return asked is not None and _numbers(asked) < _numbers(version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _time_ns(text: str | None) -> int | None:
    """Seconds since the epoch, with or without decimals, in nanoseconds; None where it is no such number."""
    seconds, _, decimals = (text or "").partition(".")
    if not seconds.isdigit() or not (decimals or "0").isdigit():
        return None
    return int(seconds) * 1_000_000_000 + int(decimals.ljust(9, "0")[:9])


def _wanted(filters: str) -> dict[str, set[str]]:
    """The `filters` of a query: JSON, each value a list or, as older clients send it, a map to true."""
    try:
        decoded = json.loads(filters or "{}")
    except ValueError:
        decoded = None
    return {key: set(values) for key, values in decoded.items()} if isinstance(decoded, dict) else {}


def _matches(event: Event, wanted: dict[str, set[str]]) -> bool:
    """Whether an event passes the filters `type`, `event` and `container`; others let everything pass."""
    about = {event.subject, event.attributes.get("name", ""), event.attributes.get("container", "")}
    return (
        ("type" not in wanted or event.kind in wanted["type"])
        and ("event" not in wanted or event.action in wanted["event"])
        and ("container" not in wanted or bool(about & wanted["container"]))
    )
