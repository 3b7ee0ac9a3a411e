"""What the demo's Engine knows: containers and networks that can change, and the events the changes emit."""

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from natop.demo.shapes import DemoContainer, DemoEndpoint, DemoNetwork, Json

EVENTS_KEPT = 256
"""As many past events as a client can ask for with `since`; the real Engine keeps as many."""

DEFAULT_NETWORKS = (
    DemoNetwork("bridge", subnet="172.17.0.0/16", gateway="172.17.0.1"),
    DemoNetwork("host", driver="host"),
    DemoNetwork("none", driver="null"),
)


@dataclass(frozen=True, slots=True)
class Event:
    """One message of `GET /events`; `subject` is the id of the container or network it is about."""

    kind: str
    action: str
    subject: str
    attributes: dict[str, str]
    time_ns: int

    def body(self, legacy: bool) -> Json:
        """The message; `legacy` adds the fields that API versions before 1.52 still carried."""
        body: Json = {
            "Type": self.kind,
            "Action": self.action,
            "Actor": {"ID": self.subject, "Attributes": self.attributes},
            "scope": "local",
            "time": self.time_ns // 1_000_000_000,
            "timeNano": self.time_ns,
        }
        if legacy and self.kind == "container":
            body |= {"status": self.action, "id": self.subject, "from": self.attributes.get("image", "")}
        return body


class Inventory:
    """Containers and networks, safe to change from one thread while others serve them."""

    def __init__(
        self, containers: Iterable[DemoContainer] = (), networks: Iterable[DemoNetwork] = DEFAULT_NETWORKS
    ) -> None:
        self.changed = threading.Condition()
        self._containers = {each.id: each for each in containers}
        self._networks = {each.name: each for each in networks}
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._emitted = 0

    @property
    def containers(self) -> tuple[DemoContainer, ...]:
        """All containers, the newest first, as the Engine lists them."""
        with self.changed:
            return tuple(reversed(self._containers.values()))

    @property
    def networks(self) -> dict[str, DemoNetwork]:
        """All networks by name."""
        with self.changed:
            return dict(self._networks)

    def container(self, reference: str) -> DemoContainer | None:
        """The container with that id, name or unambiguous beginning of an id."""
        containers = self.containers
        for each in containers:
            if reference in (each.id, each.name):
                return each
        matches = [each for each in containers if reference and each.id.startswith(reference)]
        return matches[0] if len(matches) == 1 else None

    def network(self, reference: str) -> DemoNetwork | None:
        """The network with that id or name."""
        return next((n for n in self.networks.values() if reference in (n.id, n.name)), None)

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
        if container is None:
            raise KeyError(reference)
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
