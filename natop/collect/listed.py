"""What the engine's list of containers says of one, as its inspection would: for one that it cannot be asked about."""

from collections.abc import Iterable

from natop.decode.fields import Fields, inner, mapping


def as_inspected(listed: Fields) -> Fields:
    """Name, image, state, labels, networks and ports; the list has no process, sandbox or time of the start."""
    names = listed.get("Names")
    return {
        "Id": listed.get("Id"),
        "Name": names[0] if isinstance(names, list) and names else None,
        "State": {"Status": listed.get("State")},
        "Config": {"Image": listed.get("Image"), "Labels": listed.get("Labels")},
        "HostConfig": listed.get("HostConfig"),
        "NetworkSettings": {**inner(listed, "NetworkSettings"), "Ports": _ports(listed.get("Ports"))},
    }


def _ports(listed: object) -> Fields:
    """By port and protocol of the container, where the host publishes it."""
    found: dict[str, list[Fields]] = {}
    for each in map(mapping, listed if isinstance(listed, Iterable) else ()):
        if each.get("PublicPort"):
            place = {"HostIp": each.get("IP"), "HostPort": str(each["PublicPort"])}
            found.setdefault(f"{each.get('PrivatePort')}/{each.get('Type')}", []).append(place)
    return found
