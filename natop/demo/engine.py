"""A small Docker Engine: the read-only part of the Engine API over HTTP on a unix socket.

It answers `_ping`, `version`, `info`, `containers/json`, `containers/{id}/json`, `networks`, `networks/{id}`
and `events`, with or without the `/v1.44` in front, so that the real docker SDK talks to it. On the demo's host nothing
comes or goes, so the stream of events stays open and has nothing to tell.
"""

import json
import re
import socket
import socketserver
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from natop.demo.inventory import Inventory
from natop.demo.shapes import Json, inspect_body, list_body, network_body

VERSION = "29.0.0"
API_VERSION = "1.52"
MIN_API_VERSION = "1.24"

EVENT_POLL_S = 0.2
"""How often an idle event stream looks whether its client has gone."""

PATH = re.compile(r"^(?:/v\d+\.\d+)?(?P<path>/.*)$")


class EngineServer:
    """Serves an `Inventory` on a unix socket; it can be stopped and started again at the same path."""

    def __init__(self, path: Path, inventory: Inventory, name: str = "natop-demo") -> None:
        self.path = path
        self.inventory = inventory
        self.info: Json = info_body(name)
        """The answer to `GET /info`, less the counts of containers."""
        self._server: UnixServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address for `DOCKER_HOST`."""
        return f"unix://{self.path}"

    def start(self) -> None:
        """Listen and serve from a thread; replaces a socket file left at the path."""
        self.path.unlink(missing_ok=True)
        server = UnixServer(str(self.path), self.handler())
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
        server.drop()
        server.server_close()
        thread.join()
        self.path.unlink(missing_ok=True)

    def handler(self) -> "type[Handler]":
        """What answers the requests of a connection."""
        return Handler

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


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
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


class Handler(BaseHTTPRequestHandler):
    """One connection of a client; HTTP/1.1, so that the SDK can keep it open."""

    protocol_version = "HTTP/1.1"
    server_version = f"Docker/{VERSION} (linux)"
    sys_version = ""
    server: UnixServer

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: stderr belongs to the screen."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        match = PATH.match(url.path)
        path = unquote(match["path"]) if match else url.path
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        if path == "/events":
            self.stream_events(query)
        elif path == "/_ping":
            self.send(200, b"OK", "text/plain; charset=utf-8")
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
        self.send(status, text.encode() + b"\n", "application/json")

    def send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Api-Version", API_VERSION)
        self.send_header("Ostype", "linux")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def stream_events(self, query: dict[str, str]) -> None:  # noqa: ARG002  # whatever was asked for, there is none
        """A stream that is open until the client goes or the server stops."""
        self.begin_stream()
        while not (self.server.stopping.wait(EVENT_POLL_S) or self.is_client_gone()):
            pass
        self.send_chunk(b"")

    def begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True

    def send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def is_client_gone(self) -> bool:
        """Whether the other side, or `UnixServer.drop`, has closed the connection."""
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
