"""The Docker Engine's fields to an Inventory. Fields of another type than expected count as absent."""

import ipaddress
import re
from collections.abc import Iterable, Mapping

from natop.decode.fields import Fields, first_process, inner, raw_text
from natop.model import GATEWAYS, Attachment, Container, Engine, EngineReading, Inventory, Network, PublishedPort
from natop.text import clean

_PROJECT = "com.docker.compose.project"
_SERVICE = "com.docker.compose.service"
MAX_OPTION = 4096
"""Longest URL of an engine that is kept whole: as a path may be."""
BRIDGE_OPTION = "com.docker.network.bridge.name"
INGRESS = "ingress-sbox"
"""What stands for a container's id where swarm's ingress sandbox is a network's member (moby, libnetwork)."""
DOCKER, PODMAN = "Docker", "Podman"
PODMAN_DEFAULT = "podman"
"""Podman's default network; where it lists its networks, it calls that `bridge` for Docker's sake."""


def is_podman(version: Fields) -> bool:
    """Whether it is Podman that answers in Docker's language, by the engine's `GET /version`."""
    return any((_text(part, "Name") or "").startswith(PODMAN) for part in _list(version, "Components"))


def decode_inventory(reading: EngineReading) -> Inventory:
    """Containers by name, networks by name."""
    of_podman = is_podman(reading.version)
    listed = (_network(fields, of_podman) for fields in reading.networks)
    networks = tuple(sorted(listed, key=lambda n: (n.name, n.id)))
    by_name = {network.name: network for network in networks}
    if of_podman and PODMAN_DEFAULT in by_name:
        by_name["bridge"] = by_name[PODMAN_DEFAULT]
    gateways = _gateways(reading.networks)
    containers = [_container(fields, by_name, gateways) for fields in reading.containers]
    return Inventory(
        _engine(reading),
        tuple(sorted(containers, key=lambda c: (c.name, c.id))),
        networks,
        gateways.get(INGRESS, Attachment(GATEWAYS)).addresses,
    )


def _engine(reading: EngineReading) -> Engine:
    return Engine(
        version=_text(reading.version, "Version"),
        api_version=_text(reading.version, "ApiVersion"),
        rootless=is_rootless(reading.info),
        firewall_backend=_text(inner(reading.info, "FirewallBackend"), "Driver"),
        product=PODMAN if is_podman(reading.version) else DOCKER,
        options=tuple(clean(option, MAX_OPTION) for option in reading.options),
    )


def is_rootless(info: Fields) -> bool | None:
    """Docker counts it among the security options; Podman has a field of its own for it, whatever it lists there."""
    told = info.get("Rootless")
    if isinstance(told, bool):
        return told
    security = info.get("SecurityOptions")
    if not isinstance(security, list):
        return None
    return any(isinstance(option, str) and "rootless" in option for option in security)


def _is_subnet(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _network(fields: Fields, of_podman: bool) -> Network:
    name = _text(fields, "Name") or ""
    subnets = (_text(config, "Subnet") for config in _list(inner(fields, "IPAM"), "Config"))
    return Network(
        id=_text(fields, "Id") or "",
        name=PODMAN_DEFAULT if of_podman and name == "bridge" else name,
        driver=_text(fields, "Driver") or "",
        subnets=tuple(subnet for subnet in subnets if subnet and _is_subnet(subnet)),
        internal=fields.get("Internal") is True,
        bridge=_bridge(fields, of_podman),
        ipvlan_mode=_ipvlan_mode(fields),
    )


def _bridge(fields: Fields, of_podman: bool) -> str | None:
    """The interface of a bridge network: as its option says, else named for its id (moby, the driver bridge).

    Podman counts them, and does not tell the number.
    """
    identity = _text(fields, "Id")
    if _text(fields, "Driver") != "bridge" or identity is None:
        return None
    named = _text(inner(fields, "Options"), BRIDGE_OPTION)
    return named or (None if of_podman else f"br-{identity[:12]}")


def _ipvlan_mode(fields: Fields) -> str | None:
    """Docker's option, or Podman's."""
    options = inner(fields, "Options")
    mode = _text(options, "ipvlan_mode") or _text(options, "mode")
    return mode if _text(fields, "Driver") == "ipvlan" else None


def _gateways(networks: Iterable[Fields]) -> Mapping[str, Attachment]:
    """The place of each container, by id, on swarm's bridge; addresses are told with a prefix, as 172.20.0.3/16."""
    places = {}
    for network in networks:
        members = inner(network, "Containers") if network.get("Name") == GATEWAYS else {}
        for identity in members:
            fields = inner(members, identity)
            texts = {key: (_text(fields, key) or "").partition("/")[0] for key in ("IPv4Address", "IPv6Address")}
            places[identity] = Attachment(
                GATEWAYS,
                _text(network, "Driver"),
                ipv4=_address(texts, "IPv4Address"),
                ipv6=_address(texts, "IPv6Address"),
            )
    return places


def _container(fields: Fields, known: Mapping[str, Network], gateways: Mapping[str, Attachment]) -> Container:
    """From the engine's inspection of one container.

    What one that uses another's network namespace has there is the other's: Podman tells it of each container of a pod.
    """
    state, config, settings = (inner(fields, key) for key in ("State", "Config", "NetworkSettings"))
    labels = inner(config, "Labels")
    identity = _text(fields, "Id") or ""
    mode = _text(inner(fields, "HostConfig"), "NetworkMode") or ""
    own = {} if mode.startswith("container:") else settings
    gateway = [gateways[identity]] if identity in gateways else []
    return Container(
        id=identity,
        name=(_text(fields, "Name") or "").removeprefix("/") or identity[:12],
        image=_text(config, "Image") or "",
        state=_text(state, "Status") or "",
        created_at=_text(fields, "Created"),
        project=_text(labels, _PROJECT),
        service=_text(labels, _SERVICE),
        network_mode=mode,
        pid=first_process(fields),
        sandbox=_text(own, "SandboxKey"),
        started_at=_text(state, "StartedAt"),
        networks=(*_attachments(inner(own, "Networks"), known), *gateway),
        published=tuple(_published(inner(own, "Ports"))),
    )


def _attachments(networks: Fields, known: Mapping[str, Network]) -> Iterable[Attachment]:
    for name in sorted(networks):
        fields, network = inner(networks, name), known.get(clean(name))
        yield Attachment(
            network=network.name if network else clean(name),
            driver=network.driver if network else None,
            ipv4=_address(fields, "IPAddress"),
            ipv6=_address(fields, "GlobalIPv6Address"),
            gateway=_address(fields, "Gateway"),
            ipvlan_mode=network.ipvlan_mode if network else None,
        )


def _published(ports: Fields) -> Iterable[PublishedPort]:
    """From NetworkSettings.Ports: {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": null}."""
    for target in sorted(ports):
        port, _, proto = target.partition("/")
        for binding in _list(ports, target):
            inside, outside = _port(port), _port(_text(binding, "HostPort") or "")
            if inside and outside:
                yield PublishedPort(clean(proto), _text(binding, "HostIp") or "", outside, inside)


def _port(text: str) -> int | None:
    number = int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
    return number if 0 < number <= 0xFFFF else None


def _list(fields: Fields, key: str) -> list[Fields]:
    value = fields.get(key)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def _text(fields: Fields, key: str) -> str | None:
    return clean(raw_text(fields, key)) or None


def _address(fields: Fields, key: str) -> str | None:
    try:
        return str(ipaddress.ip_address(_text(fields, key) or ""))
    except ValueError:
        return None
