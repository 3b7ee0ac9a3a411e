"""What to probe, and by which ways. Pure."""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from natop.formats import host_port
from natop.model import (
    Aim,
    Container,
    Inventory,
    ProbePath,
    ProbeTarget,
    ProbeWay,
    PublishedPort,
)

_MOST_CHARACTERS = 2_000
_HTTP = "http"
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}
_ANY = ("", "0.0.0.0", "::")
_Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network
_BESIDE_THE_HOST = ("macvlan", "ipvlan", "null")
"""Drivers of networks whose containers the host itself cannot call."""


class BadTarget(ValueError):
    """What was given cannot be probed. The message is one line."""


@dataclass(frozen=True, slots=True)
class ProbeWish:
    """What a user wants to be probed, and how natop's own flows are dealt with."""

    published: bool = True
    """The published ports of all running containers."""
    targets: tuple[ProbeTarget, ...] = ()
    """What the user named, each with the containers that call it too."""
    counts_own: bool = False
    """Whether natop's own connections count among the flows."""


def parse_target(text: str) -> ProbeTarget:
    """HOST:PORT, [IPv6]:PORT or http://HOST[:PORT][/PATH]. Raises BadTarget."""
    if len(text) > _MOST_CHARACTERS or not text.isprintable() or " " in text:
        raise BadTarget("a target has no spaces or unprintable characters")
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() != _HTTP:
        raise BadTarget(f"{text!r}: only http:// is asked; give HOST:PORT for the connect alone")
    try:
        parts = urlsplit(f"//{rest if separator else text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadTarget(f"{text!r}: give HOST:PORT, [IPv6]:PORT or http://HOST/PATH ({error})") from error
    if separator:
        port = 80 if port is None else port
    elif parts.path or parts.query or parts.fragment:
        raise BadTarget(f"{text!r}: a path goes with http://")
    if parts.username is not None or not host:
        raise BadTarget(f"{text!r}: give HOST:PORT, [IPv6]:PORT or http://HOST/PATH")
    if not port:
        raise BadTarget(f"{text!r} has no port: give HOST:PORT")
    return ProbeTarget(text, host, port, _request(parts.path, parts.query) if separator else None)


def _request(path: str, query: str) -> str:
    if not (path + query).isascii():
        raise BadTarget("a path is given in ASCII, other characters as %XX")
    return (path or "/") + (f"?{query}" if query else "")


def aims(wish: ProbeWish, inventory: Inventory | None, addresses: Sequence[str]) -> tuple[Aim, ...]:
    """All that is to be probed on a host with these containers and these addresses of its own.

    Published ports are the host's own only where it is on the container's network: the engine may be another machine's.
    In a container's own network namespace, what is published answers at no loopback address.
    """
    containers = inventory.containers if inventory else ()
    found = [named(target, _sources(target, containers), containers) for target in wish.targets]
    if wish.published and inventory:
        joined = tuple(_joined(addresses, inventory))
        is_host = not _is_of_a_container(addresses, containers)
        host = _Host(own_addresses(addresses, inventory), inventory.engine.userland_proxy, joined, is_host)
        found += [aim for each in containers for aim in _published_aims(each, host)]
    return tuple(found)


def _is_of_a_container(addresses: Sequence[str], containers: Sequence[Container]) -> bool:
    """Whether these are a container's, and so those of its network namespace and not of the engine's host."""
    theirs = {text for each in containers for place in each.networks for text in (place.ipv4, place.ipv6) if text}
    return not theirs.isdisjoint(addresses)


def out_of_reach(inventory: Inventory, addresses: Sequence[str] | None) -> dict[str, str]:
    """By id, why a running container has no address that the host itself can call.

    `addresses` are the host's own; where they are not known, only what kind of network a container is on tells.
    """
    joined = None if addresses is None else tuple(_joined(addresses, inventory))
    reasons = ((each.id, _why_out_of_reach(each, joined)) for each in inventory.containers)
    return {identity: reason for identity, reason in reasons if reason}


def _why_out_of_reach(container: Container, joined: Sequence[_Subnet] | None) -> str:
    if not container.is_alive or container.joined or container.uses_host_network:
        return ""
    places = [place for place in container.networks if place.driver not in _BESIDE_THE_HOST]
    if not places:
        drivers = {place.driver or "" for place in container.networks} - {"null"}
        return "/".join(sorted(drivers)) or container.untracked or ""
    texts = [text for place in places for text in place.addresses]
    if joined is None or not texts or any(_is_in(joined, text) for text in texts):
        return ""
    return f"this host is not on {', '.join(place.network for place in places)}"


def called(name: str, containers: Sequence[Container]) -> list[Container]:
    """The containers that a user may mean by this: the one with that name, else those whose ids begin so."""
    by_name = [each for each in containers if each.name == name]
    return by_name or [each for each in containers if name and each.id.startswith(name)]


def _sources(target: ProbeTarget, containers: Sequence[Container]) -> list[Container]:
    """The containers that call the target, each once; those that cannot be told are for `asked` to name."""
    found = (called(name, containers) for name in target.sources)
    return list({each[0].id: each[0] for each in found if len(each) == 1}.values())


@dataclass(frozen=True, slots=True)
class Asked:
    """A way to a target of the user's own."""

    target: str
    path: ProbePath
    container: str = ""
    """The id of the container that calls it; empty where there is none."""
    name: str = ""
    """Its name, or what the user called it; empty is the host."""
    obstacle: str = ""
    """Why it is not called now; empty where it can be."""

    @property
    def key(self) -> tuple[str, str, str]:
        """As that of its results, where there can be any."""
        return self.target, self.path, self.container or (f"?{self.name}" if self.name else "")

    @property
    def text(self) -> str:
        """`host` or `from app1`."""
        return f"from {self.name}" if self.name else str(self.path)


def asked(targets: Iterable[ProbeTarget], containers: Sequence[Container]) -> Iterator[Asked]:
    """All ways that a user asked for, also those that there are not now."""
    for target in targets:
        yield Asked(target.text, ProbePath.HOST)
        ways = (_asked_from(target.text, name, containers) for name in target.sources)
        yield from {each.key: each for each in ways}.values()


def _asked_from(target: str, name: str, containers: Sequence[Container]) -> Asked:
    found = called(name, containers)
    if len(found) != 1:
        return Asked(target, ProbePath.NETNS, "", name, "several containers" if found else "no such container")
    [one] = found
    why = "namespace not known" if one.is_alive else one.state
    obstacle = "" if netns_of(one, containers) is not None else why
    return Asked(target, ProbePath.NETNS, one.id, one.name, obstacle)


def named(target: ProbeTarget, sources: Sequence[Container], containers: Sequence[Container]) -> Aim:
    """A target from the host and, in the same second, from inside these containers: what differs is NAT's doing."""
    host = ProbeWay(ProbePath.HOST, target.text, target.host, target.port, request=target.request, subject=target.text)
    inside = (
        replace(host, path=ProbePath.NETNS, container=each.id, container_name=each.name, netns=netns or None)
        for each in sources
        if (netns := netns_of(each, containers)) is not None
    )
    return Aim(target.text, (host, *inside))


def netns_of(container: Container, containers: Sequence[Container]) -> str | None:
    """The file of the network namespace that a container runs in, empty for the host's; None where nobody knows."""
    if container.joined:
        return next((netns_of(each, ()) for each in containers if each.id == container.joined), None)
    if not container.is_alive:
        return None
    if container.uses_host_network:
        return ""
    return container.sandbox if (container.sandbox or "").startswith("/") else None


def own_addresses(addresses: Sequence[str], inventory: Inventory) -> dict[int, str]:
    """For IPv4 and IPv6 the host's first address that is neither loopback, nor link-local, nor of a Docker network."""
    subnets = tuple(_subnets(inventory))
    found: dict[int, str] = {}
    for address in (known for text in addresses if (known := _address(text))):
        if not (address.is_loopback or address.is_link_local or any(address in subnet for subnet in subnets)):
            found.setdefault(address.version, str(address))
    return found


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _joined(addresses: Sequence[str], inventory: Inventory) -> Iterator[_Subnet]:
    """Docker's subnets in which the host has an address."""
    own = [address for text in addresses if (address := _address(text))]
    return (subnet for subnet in _subnets(inventory) if any(address in subnet for address in own))


def _subnets(inventory: Inventory) -> Iterator[_Subnet]:
    for text in (subnet for network in inventory.networks for subnet in network.subnets):
        with suppress(ValueError):
            yield ipaddress.ip_network(text, strict=False)


@dataclass(frozen=True, slots=True)
class _Host:
    """How the host calls what it publishes."""

    addresses: Mapping[int, str]
    """One of its own for IPv4 and IPv6, as `own_addresses`."""
    userland_proxy: bool | None
    """As `Engine.userland_proxy`."""
    joined: Sequence[_Subnet] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    """The subnets of containers that it is on."""
    has_loopback: bool = True
    """Whether what is published answers at its loopback addresses."""


def _published_aims(container: Container, host: _Host) -> Iterator[Aim]:
    """An aim for each port of a running container that is published over TCP, and each IP version."""
    for subject, places in _ports(container, host):
        ways = tuple(
            ProbeWay(path, host_port(address, port), address, port, container.id, container.name, subject=subject)
            for path, address, port in places
        )
        yield Aim(f"{container.id} {ways[0].target}", ways)


def published_ways(container: Container, userland_proxy: bool | None) -> Iterator[tuple[str, tuple[ProbePath, ...]]]:
    """What probes of a container's ports are about, as `web 8080→80`, and the ways that a host may have to each."""
    for subject, places in _ports(container, _Host({4: "", 6: ""}, userland_proxy)):
        yield subject, tuple(dict.fromkeys(path for path, _, _ in places))


_Place = tuple[ProbePath, str, int]


def _ports(container: Container, host: _Host) -> Iterator[tuple[str, tuple[_Place, ...]]]:
    """The ports of a running container that are published over TCP, and where to call each; its own address first.

    One that is published several times is called there once.
    """
    if not container.is_alive:
        return
    bindings: dict[tuple[int, int], list[PublishedPort]] = {}
    for port in container.published:
        if port.proto == "tcp":
            bindings.setdefault((port.container_port, 6 if ":" in port.host_ip else 4), []).append(port)
    for (number, version), ports in bindings.items():
        if inside := _inside(container, version, host):
            numbers = ",".join(dict.fromkeys(str(port.host_port) for port in ports))
            subject = f"{container.name} {numbers}→{number}{' IPv6' if version == 6 else ''}"
            outside = (place for port in ports for place in _outside(port, version, host))
            yield subject, tuple(dict.fromkeys(((ProbePath.CONTAINER, inside, number), *outside)))


def _inside(container: Container, version: int, host: _Host) -> str | None:
    """The container's first address of this IP version that the host reaches over a bridge."""
    places = [place for place in container.networks if place.driver not in _BESIDE_THE_HOST]
    texts = (place.ipv4 if version == 4 else place.ipv6 for place in places)
    return next((text for text in texts if text and _is_in(host.joined, text)), None)


def _is_in(subnets: Sequence[_Subnet], text: str) -> bool:
    address = _address(text)
    return address is not None and any(address in subnet for subnet in subnets)


def _outside(port: PublishedPort, version: int, host: _Host) -> Iterator[_Place]:
    """The addresses of the host at which a port is published."""
    address = _address(_LOOPBACK[version] if port.host_ip in _ANY else port.host_ip)
    if port.host_ip in _ANY and version in host.addresses:
        yield ProbePath.PUBLISHED, host.addresses[version], port.host_port
    if address and not address.is_loopback:
        yield ProbePath.PUBLISHED, str(address), port.host_port
    elif address and host.has_loopback and (path := _by_loopback(version, host.userland_proxy)):
        yield path, str(address), port.host_port


def _by_loopback(version: int, userland_proxy: bool | None) -> ProbePath | None:
    """Who answers at the loopback address; None where nobody can.

    Without docker-proxy NAT leads calls to 127.0.0.1 on, since Docker sets route_localnet; IPv6 has no such thing, and
    an answer to ::1 is dropped.
    """
    if userland_proxy:
        return ProbePath.PROXY
    return None if userland_proxy is False and version == 6 else ProbePath.LOOPBACK
