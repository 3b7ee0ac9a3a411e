"""Docker's side: the engine, its containers and networks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Engine:
    """The Docker Engine (or a compatible one). None is what the engine does not tell."""

    version: str | None
    api_version: str | None
    rootless: bool | None = None
    userland_proxy: bool | None = None
    """No API tells it; it is what the NAT rules imply."""
    firewall_backend: str | None = None
    """What holds its rules, where they were found: nftables, iptables-nft, iptables-legacy; else the engine's word."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A container's place on one network."""

    network: str
    driver: str | None = None
    ipv4: str | None = None
    ipv6: str | None = None
    gateway: str | None = None


@dataclass(frozen=True, slots=True)
class PublishedPort:
    proto: str
    host_ip: str
    host_port: int
    container_port: int


@dataclass(frozen=True, slots=True)
class Container:
    id: str
    """The full 64 digits."""
    name: str
    image: str
    state: str
    """Docker's word: running, paused, exited, created …"""
    project: str | None = None
    """Compose project."""
    service: str | None = None
    """Compose service."""
    network_mode: str = ""
    """Docker's word: a network's name, host, none, container:ID."""
    pid: int | None = None
    started_at: str | None = None
    networks: tuple[Attachment, ...] = ()
    published: tuple[PublishedPort, ...] = ()
    sandbox: str | None = None
    """Path of its network namespace on the engine's host."""

    @property
    def joined(self) -> str | None:
        """The container whose network namespace it uses (`--network container:ID`)."""
        kind, _, identity = self.network_mode.partition(":")
        return identity if kind == "container" and identity else None

    @property
    def untracked(self) -> str | None:
        """Why none of its flows can be in the host's conntrack table; None where they can.

        Traffic of macvlan and ipvlan (L2, L3) networks bypasses the host's netfilter
        (Documentation/networking/ipvlan.rst).
        """
        if self.state not in ("running", "paused") or self.network_mode == "host" or self.joined:
            return None
        drivers = {place.driver for place in self.networks if place.driver}
        if drivers and drivers <= BYPASSING:
            return "/".join(sorted(drivers)).replace("null", "no network")
        return None if any(place.ipv4 or place.ipv6 for place in self.networks) else "no network"


BYPASSING = frozenset({"macvlan", "ipvlan", "null"})
"""Network drivers whose traffic the host's conntrack does not see."""


@dataclass(frozen=True, slots=True)
class Network:
    id: str
    name: str
    driver: str
    subnets: tuple[str, ...] = ()
    internal: bool = False
    bridge: str | None = None
    """The interface on the engine's host, for networks of the driver bridge."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """Docker's side of the join."""

    engine: Engine
    containers: tuple[Container, ...] = ()
    networks: tuple[Network, ...] = ()
