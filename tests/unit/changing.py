"""The demo's Engine as tests want it: containers come and go, events tell of that, and it hangs or hangs up."""

import json
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from natop.demo import engine, inventory
from natop.demo.engine import EVENT_POLL_S, UnixServer
from natop.demo.inventory import DEFAULT_NETWORKS
from natop.demo.shapes import DemoContainer, DemoEndpoint, DemoNetwork, Json

EVENTS_KEPT = 256


@dataclass(frozen=True, slots=True)
class Event:
    """One message of `GET /events`; `subject` is the id of the container or network it is about."""

    kind: str
    action: str
    subject: str
    attributes: dict[str, str]
    time_ns: int

    def body(self) -> Json:
        return {
            "Type": self.kind,
            "Action": self.action,
            "Actor": {"ID": self.subject, "Attributes": self.attributes},
            "scope": "local",
            "time": self.time_ns // 1_000_000_000,
            "timeNano": self.time_ns,
        }


class Inventory(inventory.Inventory):
    """Containers and networks, safe to change from one thread while others serve them."""

    def __init__(
        self, containers: Iterable[DemoContainer] = (), networks: Iterable[DemoNetwork] = DEFAULT_NETWORKS
    ) -> None:
        super().__init__(containers, networks)
        self.changed = threading.Condition()
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._emitted = 0

    @property
    def containers(self) -> tuple[DemoContainer, ...]:
        with self.changed:
            return super().containers

    @property
    def networks(self) -> dict[str, DemoNetwork]:
        with self.changed:
            return super().networks

    def add(self, container: DemoContainer) -> None:
        """Create a container, and start it where its state says that it runs."""
        self._put(container)
        self._tell(container, "create")
        if container.running:
            self._tell_networks(container, "connect")
            self._tell(container, "start")

    def start(self, reference: str, pid: int) -> None:
        """Start a stopped container as process `pid`."""
        container = replace(self._known(reference), state="running", status="", pid=pid)
        self._put(container)
        self._tell_networks(container, "connect")
        self._tell(container, "start")

    def stop(self, reference: str) -> None:
        """Stop a container; it stays in the list of all containers."""
        container = replace(self._known(reference), state="exited", status="", pid=0)
        self._put(container)
        self._tell(container, "kill", signal="15")
        self._tell(container, "die", exitCode="0")
        self._tell_networks(container, "disconnect")
        self._tell(container, "stop")

    def remove(self, reference: str) -> None:
        """Remove a container for good; one that runs dies first."""
        container = self._known(reference)
        with self.changed:
            del self._containers[container.id]
        if container.running:
            self._tell(container, "die", exitCode="137")
        self._tell(container, "destroy")

    def rename(self, reference: str, name: str) -> None:
        """Give a container a new name; its id stays."""
        old = self._known(reference)
        renamed = replace(old, name=name)
        self._put(renamed)
        self._tell(renamed, "rename", oldName="/" + old.name)

    def connect(self, reference: str, endpoint: DemoEndpoint) -> None:
        """Attach a container to one more network."""
        container = self._known(reference)
        self._put(replace(container, endpoints=(*container.endpoints, endpoint)))
        self._tell_network(container, endpoint.network, "connect")

    def disconnect(self, reference: str, network: str) -> None:
        """Detach a container from a network."""
        container = self._known(reference)
        kept = tuple(each for each in container.endpoints if each.network != network)
        self._put(replace(container, endpoints=kept))
        self._tell_network(container, network, "disconnect")

    def events_after(self, number: int) -> tuple[int, tuple[Event, ...]]:
        """The number of the latest event and those later than `number`, as far as they are kept.

        Call it with `changed` held, and wait on `changed` for more.
        """
        fresh = max(0, min(self._emitted - number, len(self._events)))
        return self._emitted, tuple(self._events)[len(self._events) - fresh :]

    def emit(self, kind: str, action: str, subject: str, attributes: dict[str, str]) -> None:
        """Tell every listener of one event, also of one that changes nothing here, such as `exec_start`."""
        with self.changed:
            self._events.append(Event(kind, action, subject, attributes, time.time_ns()))
            self._emitted += 1
            self.changed.notify_all()

    def _known(self, reference: str) -> DemoContainer:
        container = self.container(reference)
        assert container is not None, reference
        return container

    def _put(self, container: DemoContainer) -> None:
        with self.changed:
            self._containers[container.id] = container

    def _tell(self, container: DemoContainer, action: str, **more: str) -> None:
        about = {**container.labels, "image": container.image, "name": container.name, **more}
        self.emit("container", action, container.id, about)

    def _tell_networks(self, container: DemoContainer, action: str) -> None:
        for each in container.endpoints:
            self._tell_network(container, each.network, action)

    def _tell_network(self, container: DemoContainer, name: str, action: str) -> None:
        network = self.networks.get(name, DemoNetwork(name))
        about = {"container": container.id, "name": network.name, "type": network.driver}
        self.emit("network", action, network.id, about)


class EngineServer(engine.EngineServer):
    """Serves an inventory that changes."""

    inventory: Inventory

    def __init__(self, path: Path, inventory: Inventory) -> None:
        super().__init__(path, inventory)
        self.delay_s = 0.0
        """Seconds that every answer is held back; a large one is an Engine that hangs."""

    def handler(self) -> "type[Handler]":
        return Handler

    def drop_connections(self) -> None:
        """End every open connection, event streams too, as a restarting Engine does; keep listening."""
        assert self._server is not None
        self._server.drop()
        with self.inventory.changed:
            self.inventory.changed.notify_all()


class Server(UnixServer):
    engine: EngineServer


class Handler(engine.Handler):
    server: Server

    def do_GET(self) -> None:  # noqa: N802  # the base names it
        if self.server.engine.delay_s and self.server.stopping.wait(self.server.engine.delay_s):
            self.close_connection = True
            return
        super().do_GET()

    def stream_events(self, query: dict[str, str]) -> None:
        """Each event as it comes, until the client goes.

        The place in the stream is taken before the headers go out, so that a client that has the headers misses
        nothing.
        """
        with self.server.engine.inventory.changed:
            seen, _ = self.server.engine.inventory.events_after(0)
        self.begin_stream()
        wanted = {key: set(values) for key, values in json.loads(query.get("filters", "{}")).items()}
        for event in self._follow(seen):
            if matches(event, wanted):
                self.send_chunk(json.dumps(event.body()).encode() + b"\n")
        self.send_chunk(b"")

    def _follow(self, seen: int) -> Iterator[Event]:
        """Each event after number `seen`."""
        changing = self.server.engine.inventory
        while not (self.server.stopping.is_set() or self.is_client_gone()):
            with changing.changed:
                if changing.events_after(seen)[0] == seen:
                    changing.changed.wait(EVENT_POLL_S)
                seen, fresh = changing.events_after(seen)
            yield from fresh


def matches(event: Event, wanted: dict[str, set[str]]) -> bool:
    """Whether an event passes the filters `type` and `event`."""
    return event.kind in wanted.get("type", {event.kind}) and event.action in wanted.get("event", {event.action})
