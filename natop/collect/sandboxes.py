"""Containers' own network namespaces: where they are, and the fill of their own conntrack tables.

A sandbox's path is the engine's word for the namespace; it exists only on the host that the engine runs on, so that
nothing of another host can be taken for it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from natop.collect import conntrack, netns
from natop.collect.proc import PROC
from natop.model import EngineReading

T = TypeVar("T")

_TRACK_NOTHING = {"bridge", "host", "none"}
"""Networks whose containers have no NAT rules of their own; user-defined ones have them for the embedded DNS."""


def path_of(identity: str, reading: EngineReading | None) -> Path | None:
    """The namespace of the container with that id, where it runs here and the namespace is its own."""
    fields = (each for each in reading.containers if str(each.get("Id")) == identity) if reading else ()
    return next((path for path in map(_sandbox, fields) if path), None)


def own_tables(reading: EngineReading) -> dict[str, bytes]:
    """CT_GET_STATS from inside each container that tracks connections in its own namespace, by id."""
    return dict(_inside(reading, lambda _, fields: _tracks(fields), conntrack.fill))


def namespaces(reading: EngineReading) -> tuple[str, ...]:
    """The paths of the namespaces that can be read here: the containers', those beside them (swarm's), named ones."""
    paths = [path for path in map(_sandbox, reading.containers) if path and not path.is_relative_to(PROC)]
    return netns.listed({path.parent for path in paths})


def _inside(
    reading: EngineReading, wanted: Callable[[str, Mapping[str, object]], bool], read: Callable[[], T]
) -> Iterator[tuple[str, T]]:
    """What `read` returns inside the namespaces of the wanted containers; those that cannot be entered are left out."""
    for fields in reading.containers:
        identity, path = str(fields.get("Id")), _sandbox(fields)
        if path and wanted(identity, fields):
            with suppress(netns.NoSuchNetns, OSError), netns.entered(path):
                yield identity, read()


def _sandbox(fields: Mapping[str, object]) -> Path | None:
    """The container's namespace, where it runs here and the namespace is its own."""
    settings = fields.get("NetworkSettings")
    key = settings.get("SandboxKey") if isinstance(settings, Mapping) else None
    return Path(key) if isinstance(key, str) and key.startswith("/") and not key.endswith("/default") else None


def _mode(fields: Mapping[str, object]) -> str:
    config = fields.get("HostConfig")
    mode = config.get("NetworkMode") if isinstance(config, Mapping) else None
    return mode if isinstance(mode, str) else ""


def _is_joined(fields: Mapping[str, object]) -> bool:
    return _mode(fields).startswith("container:")


def _tracks(fields: Mapping[str, object]) -> bool:
    settings = fields.get("NetworkSettings")
    networks = settings.get("Networks") if isinstance(settings, Mapping) else None
    return isinstance(networks, Mapping) and bool(networks.keys() - _TRACK_NOTHING) and not _is_joined(fields)
