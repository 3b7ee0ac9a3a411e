"""Docker's side in these tests: guests that come and go, the watcher's inventory, and what `docker inspect` says."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from natop.collect.engine import EngineWatcher, Target
from natop.decode.inventory import decode_inventory
from natop.model import Container, Inventory
from tests.lab.dockerhost import DockerHost
from tests.lab.engine import IMAGE

UNCLOSED = "ignore:unclosed:ResourceWarning"
"""A filter for tests in which an engine does not answer: the SDK drops such a client's socket without closing it.
They end with `gc.collect()`, so that no later test has the warning."""
IDLE = ("sleep", "1000000")


@contextmanager
def guest(host: DockerHost, *options: str, name: str = "guest", command: Sequence[str] = IDLE) -> Iterator[str]:
    """A further container on the lab's host, removed at the end; its id."""
    try:
        yield host.docker("run", "--detach", "--stop-timeout", "1", "--name", name, *options, IMAGE, *command)
    finally:
        host.docker("rm", "--force", "--volumes", name)


@contextmanager
def watching(url: str, *, follow: bool = True) -> Iterator[EngineWatcher]:
    """A watcher that has had its first answer."""
    with closing(EngineWatcher(Target(url), follow=follow)) as watcher:
        assert watcher.wait(10)
        yield watcher


def known(watcher: EngineWatcher) -> Inventory:
    """The inventory that a watcher knows at this moment."""
    reading, _ = watcher.latest()
    assert reading is not None
    return decode_inventory(reading)


def named(watcher: EngineWatcher, name: str) -> Container | None:
    """A container by name, as the watcher knows it at this moment."""
    return next((container for container in known(watcher).containers if container.name == name), None)


def as_container(inspected: dict[str, Any], drivers: dict[str, str]) -> dict[str, Any]:
    """What natop's document must say of a container, from `docker inspect` and the drivers of `docker network ls`."""
    labels = inspected["Config"]["Labels"] or {}
    settings = inspected["NetworkSettings"]
    return {
        "id": inspected["Id"],
        "name": inspected["Name"][1:],
        "image": inspected["Config"]["Image"],
        "state": inspected["State"]["Status"],
        "project": labels.get("com.docker.compose.project"),
        "service": labels.get("com.docker.compose.service"),
        "network_mode": inspected["HostConfig"]["NetworkMode"],
        "pid": inspected["State"]["Pid"] or None,
        "networks": [
            {
                "name": name,
                "driver": drivers[name],
                "ipv4": place["IPAddress"] or None,
                "ipv6": str(ipaddress.ip_address(six)) if (six := place["GlobalIPv6Address"]) else None,
                "gateway": place["Gateway"] or None,
            }
            for name, place in sorted(settings["Networks"].items())
        ],
        "published": [
            {
                "proto": port.split("/")[1],
                "host_ip": binding["HostIp"],
                "host_port": int(binding["HostPort"]),
                "container_port": int(port.split("/")[0]),
            }
            for port, bindings in sorted((settings["Ports"] or {}).items())
            for binding in bindings or ()
        ],
    }


def network_drivers(host: DockerHost) -> dict[str, str]:
    """The driver of each network, by name."""
    lines = host.docker("network", "ls", "--format", "{{.Name}}\t{{.Driver}}").splitlines()
    return dict(line.split("\t") for line in lines)
