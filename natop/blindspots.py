"""What a host's set-up keeps out of the conntrack table that is read, and how to see it."""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from natop.decode import counters
from natop.decode.inventory import PODMAN
from natop.join.deadends import bridged_subnets
from natop.model import EngineReading, Gap, Inventory, Namespace, Sample
from natop.text import clean


def blind_spots(sample: Sample, inventory: Inventory | None, namespaces: Iterable[Namespace]) -> Iterator[Gap]:
    """What is elsewhere; nothing where no engine tells of containers. `namespaces` can be read instead."""
    if inventory is None:
        return
    if inventory.engine.rootless and not _is_inside(sample, inventory):
        yield Gap(
            "docker",
            "this engine is rootless: its containers' NAT is in a network namespace of its own",
            _way_in(inventory.engine.product, sample.engine, namespaces),
        )
    if counters.sysctls(sample.proc).get("bridge-nf-call-iptables") != 1 and _neighbours(inventory):
        yield Gap(
            "bridge",
            "flows between containers of one network are not in this table: bridge-nf-call-iptables is not 1",
            "let their packets pass iptables: modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1",
        )


def _way_in(product: str, engine: EngineReading | None, namespaces: Iterable[Namespace]) -> str:
    """How to read a rootless engine's namespace; Podman's service stays outside of that of its networks."""
    pid, place = (engine.pid, engine.netns) if engine else (None, None)
    if product == PODMAN:
        as_user, place = "podman unshare --rootless-netns", _file_of_podman_s(namespaces)
    elif place == f"/proc/{pid}/ns/net":
        as_user, place = f"{_ENTER} -n -t {pid}", str(pid)
    elif place:
        as_user = f"{_ENTER} -t {pid} --net={clean(place)}"
    else:
        as_user = f"{_ENTER} -n -t $(cat $XDG_RUNTIME_DIR/docker.pid)"
    remedy = f"as its user: {as_user} natop"
    return f"{remedy}; as root: natop --netns {clean(place)}" if place else remedy


_ENTER = "nsenter -U --preserve-credentials"


def _file_of_podman_s(namespaces: Iterable[Namespace]) -> str | None:
    """The namespace of a rootless Podman's networks is beside its containers' (containers/common, libnetwork)."""
    return next((clean(each.path) for each in namespaces if each.name.startswith("rootless-netns")), None)


def _is_inside(sample: Sample, inventory: Inventory) -> bool:
    """Whether the namespace read is a rootless engine's: its bridges are there, and it is no user's first one.

    A second engine of the machine's own may well have bridges with the same addresses.
    """
    users = sample.proc.get(counters.USERS_FILE, counters.ALL_USERS)
    is_apart = sample.entered is not None or users.split() != counters.ALL_USERS.split()
    addresses = [ip_address(each) for each in sample.addresses]
    return is_apart and any(each in subnet for each in addresses for subnet in bridged_subnets(inventory.networks))


def _neighbours(inventory: Inventory) -> bool:
    """Whether two running containers share a bridge network."""
    places = [
        place.network
        for each in inventory.containers
        for place in each.networks
        if each.state == "running" and place.driver == "bridge"
    ]
    return len(places) > len(set(places))
