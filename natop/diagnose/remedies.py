"""What would help, in commands that fit this host. Nothing here is ever run by natop."""

import ipaddress
import shlex
from collections.abc import Iterator, Sequence

from natop.diagnose.evidence import Evidence, listed
from natop.model import Network, NetworkNat, Remedy

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


def more_addresses() -> Remedy:
    """Another SNAT address for some of the containers, each with 64,512 ports of its own."""
    return Remedy(
        "Give the busiest containers a network that leaves by another address of this host: every address has its own "
        "64,512 ports towards each remote end.",
        ("docker network create -o com.docker.network.host_ipv4=ADDRESS egress2",),
        ("docker network rm egress2",),
        cost="the containers must be moved to that network; ADDRESS must be one of this host's",
        check="the pool of the old address falls",
    )


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
