"""The Docker Engine's inventory: the fields natop needs, and no others, kept up to date by the engine's events.

Everything is asked on a thread of its own, so that an engine that hangs delays nobody. An inspection's other fields
(environment, mounts, commands) are dropped where the answer is read.
"""

import shlex
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from natop.collect import context
from natop.collect.listed import as_inspected
from natop.collect.listener import listener, namespace_of
from natop.collect.pulse import Pulse
from natop.decode.inventory import is_podman
from natop.model import GATEWAYS, EngineReading, Gap
from natop.text import clean

if TYPE_CHECKING:
    from docker import APIClient
    from docker.types.daemon import CancellableStream

Fields = Mapping[str, object]

TIMEOUT_S = 3
"""The longest that one request may take."""
RETRY_S = 2.0
"""Pause before asking an engine again that did not answer or hung up."""

EVENTS = {
    "type": ["container", "network"],
    "event": [
        *("create", "start", "die", "stop", "kill", "pause", "unpause", "rename", "update", "destroy"),
        *("connect", "disconnect", "remove"),
        *("died", "cleanup"),
    ],
}
"""The events that change what natop shows, as the engine's filter for them. The last line has Podman's words.

Podman says `die` where it was asked for `died`, and takes a container's addresses away after that, at `cleanup`.
"""

MOST_UNTOLD = 3
"""Containers that the engine may fail to tell of; where it is more, the engine itself is at fault. Each may cost
TIMEOUT_S."""

_ANY = "*"
_Shape = Mapping[str, object] | None
_CONTAINER: _Shape = {
    "Id": None,
    "Name": None,
    "State": {"Status": None, "Pid": None, "StartedAt": None},
    "Config": {
        "Image": None,
        "Labels": {"com.docker.compose.project": None, "com.docker.compose.service": None},
    },
    "HostConfig": {"NetworkMode": None},
    "NetworkSettings": {
        "SandboxKey": None,
        "Networks": {_ANY: {"IPAddress": None, "GlobalIPv6Address": None, "Gateway": None}},
        "Ports": None,
    },
}
_NETWORK: _Shape = {
    "Id": None,
    "Name": None,
    "Driver": None,
    "Internal": None,
    "IPAM": {"Config": None},
    "Options": {"com.docker.network.bridge.name": None, "ipvlan_mode": None, "mode": None},
}
_MEMBERS: _Shape = {"Containers": {_ANY: {"IPv4Address": None, "IPv6Address": None}}}
_VERSION: _Shape = {"Version": None, "ApiVersion": None, "Components": None}
_INFO: _Shape = {"SecurityOptions": None, "Rootless": None, "FirewallBackend": None}


def pick(value: object, shape: _Shape) -> object:
    """The part of `value` that `shape` names: a mapping's keys, `*` for all of them, None for the whole."""
    if shape is None or not isinstance(value, Mapping):
        return value
    if _ANY in shape:
        return {key: pick(item, shape[_ANY]) for key, item in value.items()}  # type: ignore[arg-type]
    return {key: pick(value[key], shape[key]) for key in shape if key in value}  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Target:
    """Which engine: a URL, or a Docker context; without either DOCKER_HOST, else the current context."""

    url: str | None = None
    context: str | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """How the command line `docker` is told of the same engine; by the environment it is told already."""
        if self.url:
            return "--host", self.url
        return ("--context", self.context) if self.context else ()

    def connect(self) -> "APIClient":
        """A client that has agreed on an API version. Raises whatever the SDK and the HTTP client below it raise."""
        import docker
        from docker.utils import kwargs_from_env

        options: dict[str, Any] = {**kwargs_from_env()}
        if self.url:
            options["base_url"] = self.url
        elif self.context or "base_url" not in options:
            options = context.client_options(self.context)
        return docker.APIClient(**options, version="auto", timeout=TIMEOUT_S)


class EngineWatcher:
    """Reads one engine on a thread; `latest` is what it knows at any moment."""

    def __init__(self, target: Target, *, follow: bool) -> None:
        """With `follow` the inventory is kept up to date until `close`; without, it is read once."""
        self._target, self._follow_events = target, follow
        self._latest: tuple[EngineReading | None, Gap | None] = (None, None)
        self._answered = threading.Event()
        self._closed = threading.Event()
        self._woken = threading.Event()
        self._stream: CancellableStream[dict[str, object]] | None = None
        self._pulse = Pulse(target.connect, self._read_anew) if follow else None
        self._thread = threading.Thread(target=self._run, name="natop-engine", daemon=True)
        self._thread.start()

    def latest(self) -> tuple[EngineReading | None, Gap | None]:
        """The inventory, and what is wrong with it; (None, None) while the engine has not answered yet."""
        reading, gap = self._latest
        silent_s = self._pulse.silent_s if self._pulse else None
        if reading and gap is None and silent_s is not None:
            return reading, _silence(silent_s)
        return reading, gap

    def wait(self, timeout_s: float) -> bool:
        """Wait for the first answer, be it an inventory or an error."""
        return self._answered.wait(timeout_s)

    def close(self) -> None:
        self._closed.set()
        if self._pulse:
            self._pulse.close()
        self._hang_up()

    def _read_anew(self) -> None:
        """Leave this connection for another: nobody knows what became of the events while the engine was silent."""
        self._woken.set()
        self._hang_up()

    def _hang_up(self) -> None:
        if self._stream is not None:
            with suppress(Exception):  # the stream may be ending by itself
                self._stream.close()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._read()
            except Exception as error:  # the thread's edge: what the SDK makes of an odd answer is a gap, too
                self._publish(self._latest[0], _gap(error, self._latest[0]))
            if not self._follow_events:
                return
            if not self._woken.is_set():
                self._closed.wait(RETRY_S)

    def _read(self) -> None:
        """One connection: the inventory and, where asked for, every change to it until the engine hangs up."""
        self._woken.clear()
        client = self._target.connect()
        try:
            version, info = client.version(), client.info()
            # Subscribed before listing, so that no change falls between the two.
            self._stream = client.events(decode=True, filters=EVENTS) if self._follow_events else None
            state = _State(client, _mapping(pick(version, _VERSION)), _mapping(pick(info, _INFO)))
            self._tell(state)
            if self._closed.is_set():  # `close` came before there was a stream to close
                return
            for event in self._stream or ():
                if self._closed.is_set():
                    return
                state.apply(event)
                self._tell(state)
            if self._follow_events and not self._closed.is_set() and not self._woken.is_set():
                raise ConnectionError("the engine closed the connection")
        finally:
            self._let_go()
            client.close()

    def _let_go(self) -> None:
        """Close the stream's response, on the thread that reads it; `_hang_up` and the client leave its socket open."""
        if self._stream is not None:
            with suppress(Exception):  # whatever a connection that has ended makes of it
                self._stream._response.close()  # type: ignore[attr-defined]  # the SDK has no public way

    def _tell(self, state: "_State") -> None:
        self._publish(state.reading(), state.gap())
        if self._pulse:
            self._pulse.heard()

    def _publish(self, reading: EngineReading | None, gap: Gap | None) -> None:
        self._latest = (reading and replace(reading, options=self._target.options), gap)
        self._answered.set()


class _State:
    """The inventory of one connection, changed by events."""

    def __init__(self, client: "APIClient", version: Fields, info: Fields) -> None:
        self._client, self._version, self._info = client, version, info
        self._pid = listener(getattr(client.get_adapter(client.base_url), "socket_path", None))
        self._netns = namespace_of(self._pid) if self._pid else None
        self._is_podman = is_podman(version)
        self._containers: dict[str, Fields] = {}
        self._untold: set[str] = set()
        """Those that the engine cannot be asked about."""
        for listed in client.containers(all=True):
            self._inspect(listed["Id"], listed)
        self._list_networks()

    def _list_networks(self) -> None:
        self._networks = tuple(self._network(listed) for listed in self._client.networks())

    def _network(self, listed: Fields) -> Fields:
        """As it is listed; swarm's bridge with the containers on it, of which no container's inspection tells."""
        network = _mapping(pick(listed, _NETWORK))
        return {**network, **self._members(GATEWAYS)} if network.get("Name") == GATEWAYS else network

    def _members(self, name: str) -> Fields:
        from docker.errors import NotFound

        try:
            return _mapping(pick(self._client.inspect_network(name), _MEMBERS))
        except NotFound:
            return {}

    def _inspect(self, identity: str, listed: Fields | None = None) -> None:
        """Read one container anew; one that is gone leaves the inventory.

        One that the engine cannot tell of, as where its runtime hangs, hides no other: it is as the list has it.
        """
        from docker.errors import APIError, NotFound
        from requests.exceptions import Timeout

        self._untold.discard(identity)
        try:
            self._containers[identity] = _mapping(pick(self._client.inspect_container(identity), _CONTAINER))
        except NotFound:
            self._containers.pop(identity, None)
        except (APIError, Timeout):
            if len(self._untold) >= MOST_UNTOLD:
                raise
            self._untold.add(identity)
            for each in (listed,) if listed else self._client.containers(all=True, filters={"id": identity}):
                self._containers[identity] = _mapping(pick(as_inspected(each), _CONTAINER))

    def gap(self) -> Gap | None:
        """Whom the engine does not tell of."""
        untold = (self._containers[each].get("Name") for each in self._untold & self._containers.keys())
        names = sorted(clean(name).removeprefix("/") for name in untold)
        if not names:
            return None
        reason = f"the Docker Engine cannot inspect {', '.join(names)}: shown as it is listed"
        return Gap("docker", reason, f"look at it: {shlex.join(('docker', 'inspect', *names))}")

    def apply(self, event: Fields) -> None:
        """Podman has no event of a network that comes or goes, and calls a network's event by the container's id."""
        actor = _mapping(event.get("Actor"))
        of_network = event.get("Type") == "network"
        if of_network or self._is_podman or any(each.get("Name") == GATEWAYS for each in self._networks):
            self._list_networks()
        named = None if of_network and not self._is_podman else actor.get("ID")
        identity = _mapping(actor.get("Attributes")).get("container") or named
        if isinstance(identity, str) and identity:
            self._inspect(identity)

    def reading(self) -> EngineReading:
        return EngineReading(
            self._version, self._info, tuple(self._containers.values()), self._networks, self._pid, self._netns
        )


def _mapping(value: object) -> Fields:
    return value if isinstance(value, Mapping) else {}


_LOOK = "look at it: systemctl status docker"
_AS_SEEN = "its containers are shown as last seen"
_REASONS = (
    ("Permission denied", "no permission to use the Docker socket", "run: sudo natop, or join the group docker"),
    ("No such file", "no Docker Engine is listening there", "name one by --docker-host URL, or --no-docker"),
    ("Connection refused", "no Docker Engine is listening there", "name one by --docker-host URL, or --no-docker"),
    ("timed out", f"the Docker Engine gave no answer in {TIMEOUT_S} s", _LOOK),
    ("paramiko", "ssh:// needs the SDK's ssh extra", "install it: pip install 'docker[ssh]'"),
)


def _gap(error: Exception, reading: EngineReading | None) -> Gap:
    """Why the engine could not be read, and what would help; the inventory shown may be an old one."""
    text = " ".join(str(error).split())
    reason, remedy = next(
        ((reason, remedy) for mark, reason, remedy in _REASONS if mark.lower() in text.lower()),
        (clean(text) or type(error).__name__, None),
    )
    return Gap("docker", f"{reason}; {_AS_SEEN}" if reading else reason, remedy)


def _silence(seconds: float) -> Gap:
    return Gap("docker", f"the Docker Engine has not answered for {seconds:.0f} s; {_AS_SEEN}", _LOOK)
