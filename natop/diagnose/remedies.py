"""What would help, in commands that fit this host. Nothing here is ever run by natop."""

import ipaddress
import itertools
import shlex
from collections.abc import Iterator, Sequence

from natop.diagnose.evidence import Evidence, listed
from natop.model import Container, Network, NetworkNat, Pile, Remedy

TABLE = "natop_random"
"""Of nftables, that the remedy against the race makes."""
_PRIORITY = 90
"""Before Docker's own chain at srcnat (100): the first NAT rule that takes a connection wins (nf_nat_core.c)."""
_BRIDGES = ("docker0", "br-*")
"""The names that Docker gives its bridges."""


def fully_random(evidence: Evidence) -> Remedy:
    """Ports chosen at random for all of Docker's bridges, by a table of its own that Docker leaves alone."""
    families = tuple(_families(evidence))
    commands = tuple(f"nft -f - <<'END'\n{_random_table(family, evidence)}\nEND" for family in families)
    return Remedy(
        "Let NAT choose source ports at random, in a table of its own before Docker's; Docker has no option for it. "
        "It survives restarts of dockerd and new networks; to keep it over a reboot, put the table into a file that "
        "nftables.service reads.",
        commands,
        tuple(f"nft delete table {family} {TABLE}" for family in families),
        cost="source ports are no longer kept, which some UDP, STUN, IPsec and NFS peers rely on",
        check=f"nft list table {families[0]} {TABLE}: its counter rises; insert_failed stands still",
    )


def _families(evidence: Evidence) -> Iterator[str]:
    """ip, and ip6 where IPv6 addresses are changed too."""
    yield "ip"
    firewall = evidence.snapshot.firewall
    if firewall and any(place.rule and ":" in place.subnet for place in firewall.networks):
        yield "ip6"


def _random_table(family: str, evidence: Evidence) -> str:
    bridges = ", ".join(f'"{name}"' for name in _bridge_names(evidence))
    fixed = "".join(f"    {line}\n" for line in _fixed_sources(family, evidence))
    return (
        f"table {family} {TABLE} {{\n"
        "  chain postrouting {\n"
        f"    type nat hook postrouting priority {_PRIORITY}; policy accept;\n"
        f"{fixed}"
        f"    iifname {{ {bridges} }} oifname != {{ {bridges} }} counter masquerade fully-random\n"
        "  }\n"
        "}"
    )


def _fixed_sources(family: str, evidence: Evidence) -> Iterator[str]:
    """A rule for each network whose source address is a chosen one (`com.docker.network.host_ipv4`)."""
    for place in _translated(evidence):
        if place.rule and place.rule.to_address and (":" in place.subnet) == (family == "ip6"):
            bridge = _bridge_of(evidence, place.network)
            outside = f'oifname != "{bridge}" ' if bridge else ""
            yield f"{family} saddr {place.subnet} {outside}counter snat to {place.rule.to_address} fully-random"


def _translated(evidence: Evidence) -> Sequence[NetworkNat]:
    firewall = evidence.snapshot.firewall
    return firewall.networks if firewall else ()


def _bridge_names(evidence: Evidence) -> tuple[str, ...]:
    """Docker's patterns, and the names that people gave."""
    named = (network.bridge for network in _networks(evidence) if network.bridge)
    own = [name for name in named if name != "docker0" and not name.startswith("br-")]
    return (*_BRIDGES, *sorted(name for name in own if _is_plain(name)))


def _bridge_of(evidence: Evidence, name: str) -> str | None:
    found = next((network.bridge for network in _networks(evidence) if network.name == name), None)
    return found if found and _is_plain(found) else None


def _networks(evidence: Evidence) -> Sequence[Network]:
    inventory = evidence.snapshot.inventory
    return [each for each in inventory.networks if each.driver == "bridge"] if inventory else ()


def _is_plain(name: str) -> bool:
    """Whether an interface's name can stand in a command as it is."""
    return name.replace("-", "").replace("_", "").replace(".", "").isalnum() and name.isascii()


def sysctl(text: str, evidence: Evidence, values: Sequence[tuple[str, int]], **more: str) -> Remedy:
    """Kernel parameters of the host; what they were undoes it."""
    before = [(name, evidence.sysctl(name.rpartition(".")[2])) for name, _ in values]
    return Remedy(
        text,
        tuple(f"sysctl -w {name}={value}" for name, value in values),
        tuple(f"sysctl -w {name}={value}" for name, value in before if value is not None),
        **more,
    )


def keep_alive(names: Sequence[str]) -> Remedy:
    """Connections used again instead of opened anew."""
    who = listed(names[:3]) or "the containers that call it"
    return Remedy(
        f"Keep connections open and use them again in {who}: a pool in the application, or for NGINX as a proxy "
        '`keepalive 32;` in the upstream block with `proxy_http_version 1.1;` and `proxy_set_header Connection "";`.',
        check="NEW/s and TIME_WAIT of the container fall",
    )


def more_addresses(evidence: Evidence) -> Remedy:
    """Another SNAT address for some of the containers, each with 64,512 ports of its own."""
    network = _unused(evidence, "egress2")
    return Remedy(
        "Give the busiest containers a network that leaves by another address of this host: every address has its own "
        "64,512 ports towards each remote end.",
        (f"docker network create -o com.docker.network.host_ipv4=ADDRESS {network}",),
        (f"docker network rm {network}",),
        cost="the containers must be moved to that network; ADDRESS must be one of this host's",
        check="the pool of the old address falls",
    )


def by_name(evidence: Evidence, pile: Pile, kind: str) -> Remedy:
    """The container that serves a pile called by its name instead of the host's address: then no flow is of that kind.

    A network for it is `--internal`, which leaves the default routes of those that join it as they are.
    """
    callers, check = listed(pile.owners), f"kind:{kind} finds nothing"
    if not pile.servers:
        return Remedy(
            f"Let {callers} call the other container by its name, on a network that both are on.", check=check
        )
    server = pile.servers[0]
    port = _own_port(evidence, server, pile.what)
    if pile.owners == (server,):
        return Remedy(f"Let {server} call itself at 127.0.0.1{port}, the port inside the container.", check=check)
    members = tuple(dict.fromkeys((server, *pile.owners)))
    common = _common_networks(evidence, members)
    if common:
        return Remedy(f"Let {callers} call {server}{port} by that name: they are on network {common[0]}.", check=check)
    network = _unused(evidence, "backend")
    join = [f"{network} {shlex.quote(name)}" for name in members]
    return Remedy(
        f"Let {callers} call {server}{port} by that name, on a network that they are all on.",
        (f"docker network create --internal {network}", *(f"docker network connect {each}" for each in join)),
        (*(f"docker network disconnect {each}" for each in reversed(join)), f"docker network rm {network}"),
        check=check,
    )


def _own_port(evidence: Evidence, name: str, called: str) -> str:
    """As `:80`: the container's port that is published where `called`, as `203.0.113.10:8080/tcp`, says."""
    end, _, proto = called.rpartition("/")
    for each in _containers(evidence):
        for port in each.published if each.name == name else ():
            if (port.proto, str(port.host_port)) == (proto, end.rpartition(":")[2]):
                return f":{port.container_port}"
    return ""


def _common_networks(evidence: Evidence, names: Sequence[str]) -> list[str]:
    """Those on which all of these containers find each other by name: Docker's default network has no DNS."""
    places = [{place.network for place in each.networks} for each in _containers(evidence) if each.name in names]
    return sorted(set.intersection(*places) - {"bridge"}) if places else []


def _unused(evidence: Evidence, name: str) -> str:
    """A name for a network that there is not yet."""
    taken = {network.name for network in evidence.snapshot.inventory.networks} if evidence.snapshot.inventory else set()
    candidates = itertools.chain((name,), (f"{name}-{n}" for n in itertools.count(2)))
    return next(each for each in candidates if each not in taken)


def _containers(evidence: Evidence) -> Sequence[Container]:
    return evidence.snapshot.inventory.containers if evidence.snapshot.inventory else ()


def host_network(name: str) -> Remedy:
    """The way out of NAT altogether."""
    return Remedy(
        f"Run {name} with `network_mode: host` (compose) or `--network host`: no NAT then.",
        cost="it binds the host's ports on all addresses and can reach whatever listens on 127.0.0.1; "
        "published ports are ignored, and container names no longer resolve",
    )


def own_sysctl(container: str, values: Sequence[tuple[str, str]], text: str) -> Remedy:
    """Parameters of a container's own network namespace, which the host's do not reach."""
    flags = " ".join(f"--sysctl {shlex.quote(f'{name}={value}')}" for name, value in values)
    return Remedy(
        f"{text}: run {container} with {flags}, or `sysctls:` in compose; the host's own values do not apply inside.",
        cost="the container is created anew",
    )


def delete_flows(text: str, command: str) -> Remedy:
    """Entries taken out by hand."""
    return Remedy(text, (command,), cost="connections that use these entries break", check="conntrack -L shows none")


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
