"""Containers' own network namespaces: where they are, and the fill of their own conntrack tables.

A sandbox's path is the engine's word for the namespace. A rootless engine mounts sandboxes where it alone sees them:
the same path is then an empty file here, and the namespace is found below the engine's root, /proc/PID/root, or by the
container's process. All this holds on the machine of the engine alone, so that nothing of another can be taken for it.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from natop.collect import conntrack, netns
from natop.collect.proc import PROC
from natop.decode.fields import Fields, first_process, inner, raw_text
from natop.decode.inventory import is_podman
from natop.model import EngineReading

T = TypeVar("T")

_TRACK_NOTHING = {"bridge", "host", "none"}
"""Networks whose containers have no NAT rules of their own; user-defined ones have them for the embedded DNS."""


def path_of(identity: str, reading: EngineReading | None) -> Path | None:
    """The namespace of the container with that id, where it runs here and the namespace is its own."""
    if reading is None:
        return None
    fields = (each for each in reading.containers if str(each.get("Id")) == identity)
    return next((path for each in fields if (path := _namespace(each, reading.pid))), None)


def own_tables(reading: EngineReading) -> dict[str, bytes]:
    """CT_GET_STATS from inside each container that tracks connections in its own namespace, by id.

    Podman makes no rules in its containers' namespaces; its name server listens in the host's.
    """
    if is_podman(reading.version):
        return {}
    return dict(_inside(reading, _tracks, conntrack.fill))


def namespaces(reading: EngineReading) -> tuple[str, ...]:
    """The paths of the namespaces that can be read here: containers' own, those beside them, the engine's, named ones.

    Beside containers' are swarm's, and that of a rootless Podman's networks.
    """
    mounted, by_process = set(), set(_engine_s_own(reading))
    for fields in reading.containers:
        path = _namespace(fields, reading.pid)
        if path and (path == _of_process(fields) or _key(fields).startswith(f"{PROC}/")):
            by_process.add(str(path))
        elif path:
            mounted.add(path.parent)
    return tuple(sorted({*netns.listed(mounted), *by_process}))


def files(fields: Fields, engine: int | None) -> Iterator[str]:
    """Where a container's namespace may be mounted; `engine` is the engine's process, where that is known."""
    key = _key(fields)
    if key:
        yield key
        if engine:
            yield f"{PROC}/{engine}/root{key}"


def _inside(reading: EngineReading, wanted: Callable[[Fields], bool], read: Callable[[], T]) -> Iterator[tuple[str, T]]:
    """What `read` returns inside the namespaces of the wanted containers; those that cannot be entered are left out."""
    for fields in reading.containers:
        path = _namespace(fields, reading.pid) if wanted(fields) else None
        if path:
            with suppress(netns.NoSuchNetns, OSError), netns.entered(path):
                yield str(fields.get("Id")), read()


def _namespace(fields: Fields, engine: int | None) -> Path | None:
    """The container's namespace, where it runs here and the namespace is its own.

    One that may not be looked at is taken at the engine's word: who enters it is told why not.
    """
    if _mode(fields) == "host" or _is_joined(fields) or _key(fields).endswith(f"/{netns.HOST_SANDBOX}"):
        return None
    for file in files(fields, engine):
        with suppress(FileNotFoundError, NotADirectoryError):
            try:
                if netns.is_namespace(Path(file)):
                    return Path(file)
            except PermissionError:
                return Path(file)
    path = _of_process(fields)
    return path if path and str(fields.get("Id")) in _cgroups(path) else None


def _engine_s_own(reading: EngineReading) -> Iterator[str]:
    """The namespace that the engine is in, where the caller is in another."""
    if reading.netns and netns.identity(Path(reading.netns)) not in ("", netns.identity()):
        yield reading.netns


def _of_process(fields: Fields) -> Path | None:
    """By the container's first process; its number may be another machine's."""
    pid = first_process(fields)
    return PROC / str(pid) / "ns" / "net" if pid else None


def _cgroups(namespace: Path) -> str:
    """Text of /proc/PID/cgroup beside a process's namespace; empty where it is gone."""
    with suppress(OSError):
        return (namespace.parent.parent / "cgroup").read_text(errors="replace")
    return ""


def _key(fields: Fields) -> str:
    """The sandbox's path, as the engine says; empty where it says none."""
    key = raw_text(inner(fields, "NetworkSettings"), "SandboxKey")
    return key if key.startswith("/") else ""


def _mode(fields: Fields) -> str:
    return raw_text(inner(fields, "HostConfig"), "NetworkMode")


def _is_joined(fields: Fields) -> bool:
    return _mode(fields).startswith("container:")


def _tracks(fields: Fields) -> bool:
    networks = inner(fields, "NetworkSettings", "Networks")
    return bool(networks.keys() - _TRACK_NOTHING) and not _is_joined(fields)
