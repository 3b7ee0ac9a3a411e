"""Containers and networks as plain data, and the JSON that Docker's Engine API makes of them.

The field names and shapes are those of the Engine API (moby `api/swagger.yaml`). Nothing here touches the
system, so the same data describes the demo's real processes and a unit test's made-up ones.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

STARTED = "2026-01-05T08:00:00.000000000Z"
"""Default creation and start time, as RFC 3339 with nanoseconds."""

CREATED_S = 1767600000
"""`STARTED` in seconds since the epoch, as the container list gives it."""


def make_id(name: str) -> str:
    """A 64-digit hexadecimal id that is always the same for the same name."""
    return hashlib.sha256(name.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class DemoPort:
    """A container's port; `host_port` None means exposed but not published."""

    container_port: int
    host_port: int | None = None
    host_ip: str = "0.0.0.0"
    proto: str = "tcp"


@dataclass(frozen=True, slots=True)
class DemoEndpoint:
    """A container's attachment to one network; addresses without prefix, "" where it has none."""

    network: str
    ipv4: str = ""
    ipv6: str = ""


@dataclass(frozen=True, slots=True)
class DemoNetwork:
    """A network; subnets as CIDR text, "" where it has none."""

    name: str
    subnet: str = ""
    gateway: str = ""
    subnet6: str = ""
    gateway6: str = ""
    driver: str = "bridge"
    internal: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    id: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", make_id("network " + self.name))


@dataclass(frozen=True, slots=True)
class DemoContainer:
    """A container; `pid` is a process of this machine, 0 where it does not run.

    `status` is the list's human text; where it is empty, one that fits the state is served.
    """

    name: str
    pid: int = 0
    image: str = "demo/service:1.0"
    endpoints: tuple[DemoEndpoint, ...] = ()
    ports: tuple[DemoPort, ...] = ()
    network_mode: str = ""
    sandbox_key: str = ""
    state: str = "running"
    started_at: str = STARTED
    status: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    env: tuple[str, ...] = ()
    id: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", make_id("container " + self.name))
        if not self.network_mode:
            object.__setattr__(self, "network_mode", self.endpoints[0].network if self.endpoints else "none")

    @property
    def running(self) -> bool:
        """Whether the container has a process and a network; a paused one has both."""
        return self.state in {"running", "paused", "restarting"}


Networks = Mapping[str, DemoNetwork]
"""Networks by name."""


def _prefix_len(subnet: str) -> int:
    return int(subnet.partition("/")[2] or 0)


def _endpoint_body(container: DemoContainer, endpoint: DemoEndpoint, networks: Networks) -> Json:
    """One entry of `NetworkSettings.Networks`; a stopped container keeps it, without addresses."""
    network = networks.get(endpoint.network, DemoNetwork(endpoint.network))
    live = container.running
    ipv4, ipv6 = (endpoint.ipv4, endpoint.ipv6) if live else ("", "")
    return {
        "IPAMConfig": None,
        "Links": None,
        "Aliases": None,
        "DriverOpts": None,
        "GwPriority": 0,
        "NetworkID": network.id,
        "EndpointID": make_id(f"endpoint {container.id} {network.id}") if live else "",
        "Gateway": network.gateway if ipv4 else "",
        "IPAddress": ipv4,
        "MacAddress": mac_of(ipv4),
        "IPPrefixLen": _prefix_len(network.subnet) if ipv4 else 0,
        "IPv6Gateway": network.gateway6 if ipv6 else "",
        "GlobalIPv6Address": ipv6,
        "GlobalIPv6PrefixLen": _prefix_len(network.subnet6) if ipv6 else 0,
        "DNSNames": [container.name, container.id[:12]],
    }


def mac_of(ipv4: str) -> str:
    """The MAC address that Docker long derived from a container's IPv4 address; "" for none."""
    return "02:42:" + ":".join(f"{int(part):02x}" for part in ipv4.split(".")) if ipv4 else ""


def _endpoints_body(container: DemoContainer, networks: Networks) -> Json:
    if container.network_mode == "host":
        host = DemoEndpoint("host")
        return {"host": _endpoint_body(container, host, networks)}
    return {each.network: _endpoint_body(container, each, networks) for each in container.endpoints}


def _list_port(port: DemoPort) -> Json:
    body: Json = {"PrivatePort": port.container_port, "Type": port.proto}
    if port.host_port is not None:
        body |= {"IP": port.host_ip, "PublicPort": port.host_port}
    return body


def _port_map(ports: tuple[DemoPort, ...]) -> Json:
    """`NetworkSettings.Ports`: `80/tcp` to its bindings, or to null where it is only exposed."""
    body: Json = {}
    for port in ports:
        bindings = body.setdefault(f"{port.container_port}/{port.proto}", None)
        if port.host_port is not None:
            binding = {"HostIp": port.host_ip, "HostPort": str(port.host_port)}
            body[f"{port.container_port}/{port.proto}"] = [*(bindings or []), binding]
    return body


def list_body(container: DemoContainer, networks: Networks) -> Json:
    """One element of `GET /containers/json`."""
    return {
        "Id": container.id,
        "Names": ["/" + container.name],
        "Image": container.image,
        "ImageID": "sha256:" + make_id(container.image),
        "Command": "/bin/service",
        "Created": CREATED_S,
        "Ports": [_list_port(port) for port in container.ports] if container.running else [],
        "Labels": dict(container.labels),
        "State": container.state,
        "Status": container.status or ("Up 2 hours" if container.running else "Exited (0) 2 minutes ago"),
        "HostConfig": {"NetworkMode": container.network_mode},
        "NetworkSettings": {"Networks": _endpoints_body(container, networks)},
        "Mounts": [],
    }


def _state_body(container: DemoContainer) -> Json:
    return {
        "Status": container.state,
        "Running": container.running,
        "Paused": container.state == "paused",
        "Restarting": container.state == "restarting",
        "OOMKilled": False,
        "Dead": container.state == "dead",
        "Pid": container.pid if container.running else 0,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": container.started_at,
        "FinishedAt": "0001-01-01T00:00:00Z",
    }


def _sandbox_key(container: DemoContainer) -> str:
    """The path that Docker would name, unless the container's own is given."""
    borrowed = container.network_mode.startswith("container:")
    if container.sandbox_key or borrowed or not container.running:
        return container.sandbox_key
    name = "default" if container.network_mode == "host" else make_id("sandbox " + container.id)[:12]
    return "/var/run/docker/netns/" + name


def inspect_body(container: DemoContainer, networks: Networks) -> Json:
    """`GET /containers/{id}/json`."""
    return {
        "Id": container.id,
        "Created": STARTED,
        "Path": "/bin/service",
        "Args": [],
        "State": _state_body(container),
        "Image": "sha256:" + make_id(container.image),
        "Name": "/" + container.name,
        "RestartCount": 0,
        "Driver": "overlay2",
        "Platform": "linux",
        "HostConfig": {"NetworkMode": container.network_mode, "PortBindings": _port_map(container.ports)},
        "Mounts": [],
        "Config": {
            "Hostname": container.id[:12],
            "Env": list(container.env),
            "Cmd": ["/bin/service"],
            "Image": container.image,
            "Labels": dict(container.labels),
        },
        "NetworkSettings": {
            "SandboxID": make_id("sandbox " + container.id) if container.running else "",
            "SandboxKey": _sandbox_key(container),
            "Ports": _port_map(container.ports) if container.running else {},
            "Networks": _endpoints_body(container, networks),
        },
    }


def network_body(network: DemoNetwork, members: tuple[DemoContainer, ...] | None = None) -> Json:
    """One element of `GET /networks`; with `members`, `GET /networks/{id}`, which tells its containers."""
    pairs = ((network.subnet, network.gateway), (network.subnet6, network.gateway6))
    body: Json = {
        "Name": network.name,
        "Id": network.id,
        "Created": STARTED,
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": bool(network.subnet),
        "EnableIPv6": bool(network.subnet6),
        "IPAM": {
            "Driver": "default",
            "Options": None,
            "Config": [{"Subnet": subnet, "Gateway": gateway} for subnet, gateway in pairs if subnet],
        },
        "Internal": network.internal,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Options": dict(network.options),
        "Labels": dict(network.labels),
    }
    if members is not None:
        body["Containers"] = {each.id: _member_body(each, network) for each in members}
    return body


def _member_body(container: DemoContainer, network: DemoNetwork) -> Json:
    endpoint = next(each for each in container.endpoints if each.network == network.name)
    return {
        "Name": container.name,
        "EndpointID": make_id(f"endpoint {container.id} {network.id}"),
        "MacAddress": mac_of(endpoint.ipv4),
        "IPv4Address": f"{endpoint.ipv4}/{_prefix_len(network.subnet)}" if endpoint.ipv4 else "",
        "IPv6Address": f"{endpoint.ipv6}/{_prefix_len(network.subnet6)}" if endpoint.ipv6 else "",
    }
