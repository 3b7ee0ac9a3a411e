"""Docker's side: the engine, its containers and networks."""

from collections.abc import Sequence
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
    product: str = "Docker"
    """Who answers: Docker, or Podman in Docker's language."""
    options: tuple[str, ...] = ()
    """What `docker` needs to speak to it, as EngineReading has them; none for the one that it speaks to by itself."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A container's place on one network."""

    network: str
    driver: str | None = None
    ipv4: str | None = None
    ipv6: str | None = None
    gateway: str | None = None
    ipvlan_mode: str | None = None
    """l2, l3 or l3s, where the network says it; without that Docker makes it l2."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Those that it has there, IPv4 first."""
        return tuple(text for text in (self.ipv4, self.ipv6) if text)

    @property
    def bypass(self) -> str | None:
        """What keeps traffic there out of the host's conntrack, in whole or in part; None where nothing does.

        Overlay networks are bridged in namespaces of their own. Of ipvlan, l3s passes the host's netfilter both ways,
        l3 with what the container sends alone, and l2 not at all (Documentation/networking/ipvlan.rst and the kernel's
        commit 4fbae7d83c98).
        """
        if self.driver == "ipvlan":
            return {"l3s": None, "l3": "ipvlan l3"}.get(self.ipvlan_mode or "", "ipvlan")
        return _BYPASSING.get(self.driver or "")


_BYPASSING = {"macvlan": "macvlan", "overlay": "overlay", "null": "no network"}
GATEWAYS = "docker_gwbridge"
"""Swarm's bridge, by which containers on overlay networks reach the world outside. Inspections of these do not tell of
it; that of the network does."""


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
    created_at: str | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Those of its own, on all its networks."""
        return tuple(text for place in self.networks for text in place.addresses)

    @property
    def is_alive(self) -> bool:
        """Whether it has processes, and with them a network namespace; the kernel answers SYNs for a paused one too."""
        return self.state in ("running", "paused")

    @property
    def uses_host_network(self) -> bool:
        """Whether its sockets are the host's (`--network host`)."""
        return self.network_mode == "host"

    @property
    def joined(self) -> str | None:
        """The container whose network namespace it uses (`--network container:ID`)."""
        kind, _, identity = self.network_mode.partition(":")
        return identity if kind == "container" and identity else None

    @property
    def untracked(self) -> str | None:
        """Why the host's conntrack table cannot have its flows, or not both ways of them; None where it can.

        One that is stopped has no addresses, but its networks; those of its flows that are left are where they were.
        """
        if self.uses_host_network or self.joined:
            return None
        mode = self.network_mode.partition(":")[0]
        if mode in BY_PROCESS:
            return mode
        reasons = [place.bypass for place in self.networks if place.driver]
        if reasons and None not in reasons:
            return "/".join(sorted({reason for reason in reasons if reason}))
        return "no network" if mode == "none" or (self.is_alive and not self.addresses) else None


BY_PROCESS = frozenset({"slirp4netns", "pasta"})
"""Podman's words for a container on no network, for which a process makes its calls from the host; options follow."""


def homes(containers: Sequence[Container]) -> dict[str, Container]:
    """Whose network namespace each container is in, by id: its own, or that of the one that it joined."""
    by_id = {each.id: each for each in containers}

    def home(container: Container) -> Container:
        seen = {container.id}
        while (host := by_id.get(container.joined or "")) and host.id not in seen:
            seen.add(host.id)
            container = host
        return container

    return {each.id: home(each) for each in containers}


@dataclass(frozen=True, slots=True)
class Network:
    id: str
    name: str
    driver: str
    subnets: tuple[str, ...] = ()
    internal: bool = False
    bridge: str | None = None
    """The interface on the engine's host, for networks of the driver bridge."""
    ipvlan_mode: str | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """Docker's side of the join."""

    engine: Engine
    containers: tuple[Container, ...] = ()
    networks: tuple[Network, ...] = ()
    ingress: tuple[str, ...] = ()
    """Addresses of swarm's ingress_sbox on the host's side: published services come in through it."""
