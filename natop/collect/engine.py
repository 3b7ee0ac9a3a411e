"""The Docker Engine's inventory: the fields natop needs, and no others, kept up to date by the engine's events.

Everything is asked on a thread of its own, so that an engine that hangs delays nobody. An inspection's other fields
(environment, mounts, commands) are dropped where the answer is read.
"""

import shlex
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from natop import defects
from natop.collect import context
from natop.collect.answers import TIMEOUT_S, Asked, Nonsense, Unusable, asking, gap_of, listed_in, silence, told_in
from natop.collect.context import NoContext
from natop.collect.events import Change, Changes
from natop.collect.listed import as_inspected
from natop.collect.listener import listener, namespace_of
from natop.collect.pulse import Pulse
from natop.decode.fields import Fields, mapping
from natop.decode.inventory import is_podman
from natop.model import GATEWAYS, EngineReading, Gap
from natop.text import clean

if TYPE_CHECKING:
    from docker import APIClient

RETRY_S = 2.0
"""Pause before asking an engine again that did not answer or hung up."""

SETTLE_S = 0.25
"""Pause after what events have changed has been read anew; what changes meanwhile is read once after it."""
REST = 4.0
"""The pause is so many times as long as the reading took, at least."""

MOST_UNTOLD = 3
"""Containers that the engine may fail to tell of; where it is more, the engine itself is at fault. Each may cost
TIMEOUT_S."""

BETWEEN_S = (MOST_UNTOLD + 1) * TIMEOUT_S
"""The longest silence between two answers of an engine that has begun to answer."""
LONGEST_S = 30.0
"""For so long at most, and one such silence, is an inventory waited for."""

_ANY = "*"
_Shape = Mapping[str, object] | None
_CONTAINER: _Shape = {
    "Id": None,
    "Name": None,
    "Created": None,
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

        return docker.APIClient(**self._checked(), version="auto", timeout=TIMEOUT_S)

    def place(self) -> str:
        """The engine's URL, as far as it is known."""
        with suppress(Exception):  # who connects is told why
            return str(self._client_options().get("base_url") or "")
        return self.url or ""

    def _checked(self) -> dict[str, Any]:
        """The SDK's options, of which it says only where it uses them that they are useless. Raises Unusable."""
        from docker.errors import DockerException
        from docker.utils import parse_host

        try:
            options = self._client_options()
            parse_host(options.get("base_url"), tls=bool(options.get("tls")))
        except NoContext:
            raise
        except (DockerException, ValueError) as error:
            raise Unusable from error
        return options

    def _client_options(self) -> dict[str, Any]:
        from docker.utils import kwargs_from_env

        options: dict[str, Any] = {**kwargs_from_env()}
        if self.url:
            options["base_url"] = self.url
        elif self.context or "base_url" not in options:
            options = context.client_options(self.context)
        return options


class EngineWatcher:
    """Reads one engine on a thread; `latest` is what it knows at any moment."""

    def __init__(self, target: Target, *, follow: bool, is_needed: bool = False) -> None:
        """With `follow` the inventory is kept up to date until `close`; without, it is read once.

        `is_needed` where nothing is to be had without an engine, so that nobody is advised to leave it out.
        """
        self._target, self._follow_events, self._is_needed = target, follow, is_needed
        self._latest: tuple[EngineReading | None, Gap | None] = (None, None)
        self._answered = threading.Event()
        self._closed = threading.Event()
        self._woken = threading.Event()
        self._heard = 0
        """How often the engine has answered."""
        self._changes: Changes | None = None
        self._pulse = Pulse(target.connect, self._read_anew) if follow else None
        self._thread = threading.Thread(target=self._run, name="natop-engine", daemon=True)
        self._thread.start()

    def latest(self) -> tuple[EngineReading | None, Gap | None]:
        """The inventory, and what is wrong with it; (None, None) while the engine has not answered yet."""
        reading, gap = self._latest
        silent_s = self._pulse.silent_s if self._pulse else None
        if reading and gap is None and silent_s is not None:
            return reading, silence(silent_s)
        return reading, gap

    def wait(self, timeout_s: float) -> bool:
        """Wait for the inventory or an error; longer while the engine answers, as it has to for each container."""
        until, heard = time.monotonic() + LONGEST_S, 0
        is_told = self._answered.wait(timeout_s)
        while not is_told and heard < self._heard and time.monotonic() < until:
            heard = self._heard
            is_told = self._answered.wait(BETWEEN_S)
        return is_told

    def _hear(self, *_response: object, **_options: object) -> None:
        self._heard += 1

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
        if self._changes:
            self._changes.close()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._read()
            except Exception as error:  # the thread's edge: what the SDK makes of an odd answer is a gap, too
                self._publish(self._latest[0], self._why(error))
            if not self._follow_events:
                return
            if not self._woken.is_set():
                self._closed.wait(RETRY_S)

    def _why(self, error: Exception) -> Gap:
        asked = Asked(self._target.place(), self._target.options, self._is_needed)
        try:
            return gap_of(error, asked, self._latest[0])
        except Exception as defect:  # else the thread would end, and nobody be told
            return Gap("docker", defects.told(defect), defects.place(defect))

    def _read(self) -> None:
        """One connection: the inventory and, where asked for, every change to it until the engine hangs up."""
        self._woken.clear()
        client = self._target.connect()
        client.hooks["response"].append(self._hear)
        try:
            with asking("its version") as asked:
                version = told_in(client.version(), asked)
            with asking("its state") as asked:
                info = told_in(client.info(), asked)
            # Subscribed before listing, so that no change falls between the two.
            with asking("its events"):
                self._changes = Changes(client) if self._follow_events else None
            state = _State(client, mapping(pick(version, _VERSION)), mapping(pick(info, _INFO)))
            self._tell(state)
            if self._changes and not self._closed.is_set():  # `close` may have come before there was what to close
                self._keep_up(state, self._changes)
        finally:
            self._hang_up()
            client.close()

    def _keep_up(self, state: "_State", changes: Changes) -> None:
        """Read anew what changes, until nobody wants to know, at a pace that a storm of events does not quicken."""
        while changed := changes.take():
            started = time.monotonic()
            state.apply(changed)
            self._tell(state)
            self._closed.wait(max(SETTLE_S, REST * (time.monotonic() - started)))

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
        with asking("its containers") as asked:
            for listed in listed_in(client.containers(all=True), asked, "Id"):
                self._inspect(listed["Id"], listed)
        self._list_networks()

    def _list_networks(self) -> None:
        with asking("its networks") as asked:
            networks = listed_in(self._client.networks(), asked, "Name")
            self._networks = tuple(map(self._network, networks))

    def _network(self, listed: Fields) -> Fields:
        """As it is listed; swarm's bridge with the containers on it, of which no container's inspection tells."""
        network = mapping(pick(listed, _NETWORK))
        return {**network, **self._members(GATEWAYS)} if network.get("Name") == GATEWAYS else network

    def _members(self, name: str) -> Fields:
        from docker.errors import NotFound

        try:
            return mapping(pick(self._client.inspect_network(name), _MEMBERS))
        except NotFound:
            return {}

    @asking("a container")
    def _inspect(self, identity: str, listed: Fields | None = None) -> None:
        """Read one container anew; one that is gone leaves the inventory.

        One that the engine cannot tell of, as where its runtime hangs or the answer makes no sense, hides no other: it
        is as the list has it.
        """
        from docker.errors import APIError, NotFound
        from requests.exceptions import ChunkedEncodingError, InvalidJSONError, Timeout

        self._untold.discard(identity)
        try:
            inspected = told_in(self._client.inspect_container(identity), "a container", "Id")
            self._containers[identity] = mapping(pick(inspected, _CONTAINER))
        except NotFound:
            self._containers.pop(identity, None)
        except (APIError, Timeout, ChunkedEncodingError, InvalidJSONError, Nonsense):
            if len(self._untold) >= MOST_UNTOLD:
                raise
            self._untold.add(identity)
            for each in (listed,) if listed else self._client.containers(all=True, filters={"id": identity}):
                self._containers[identity] = mapping(pick(as_inspected(each), _CONTAINER))

    def gap(self) -> Gap | None:
        """Whom the engine does not tell of."""
        untold = (self._containers[each].get("Name") for each in self._untold & self._containers.keys())
        names = sorted(clean(name).removeprefix("/") for name in untold)
        if not names:
            return None
        reason = f"the Docker Engine cannot inspect {', '.join(names)}: shown as it is listed"
        return Gap("docker", reason, f"look at it: {shlex.join(('docker', 'inspect', *names))}")

    def apply(self, changes: Iterable[Change]) -> None:
        """Podman has no event of a network that comes or goes, and calls a network's event by the container's id."""
        changes = tuple(changes)
        if self._is_podman or any(each.of_network for each in changes) or self._has_gateways:
            self._list_networks()
        for identity in dict.fromkeys(map(self._container_of, changes)):
            if identity:
                self._inspect(identity)

    @property
    def _has_gateways(self) -> bool:
        return any(each.get("Name") == GATEWAYS for each in self._networks)

    def _container_of(self, change: Change) -> str:
        """The id of the container that is to be read anew, or nothing."""
        named = "" if change.of_network and not self._is_podman else change.subject
        return change.container or named

    def reading(self) -> EngineReading:
        return EngineReading(
            self._version, self._info, tuple(self._containers.values()), self._networks, self._pid, self._netns
        )
