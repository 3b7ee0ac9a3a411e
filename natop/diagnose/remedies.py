"""What would help, in commands that fit this host. Nothing here is ever run by natop."""

import itertools
import shlex
from collections.abc import Sequence

from natop.diagnose.evidence import Evidence, address_of, few, listed
from natop.model import Container, Pile, Remedy


def sysctl(text: str, evidence: Evidence, values: Sequence[tuple[str, int | str]], **more: str) -> Remedy:
    """Kernel parameters of the host; what they were undoes it."""
    told = evidence.snapshot.host.sysctls
    before = [(name, told.get(name.rpartition(".")[2])) for name, _ in values]
    return Remedy(
        text,
        tuple(_setting(name, value) for name, value in values),
        tuple(_setting(name, value) for name, value in before if value is not None),
        **more,
    )


def _setting(name: str, value: int | str | tuple[int, ...]) -> str:
    text = " ".join(map(str, value)) if isinstance(value, tuple) else value
    return f"sysctl -w {shlex.quote(f'{name}={text}')}"


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
    callers, check = few(pile.owners), f"kind:{kind} finds nothing"
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


def deleted_flows(pile: Pile) -> Remedy:
    """The entries that lead to one address, taken out by hand."""
    end, _, proto = pile.what.rpartition("/")
    address, port = address_of(pile.what), end.rpartition(":")[2]
    family = " -f ipv6" if ":" in address else ""
    called = f"--orig-dst {address}" + (f" --orig-port-dst {port}" if end != address and port.isdigit() else "")
    command = f"conntrack -D{family} -p {proto} {called} --reply-src {pile.answering}"
    return Remedy(
        "Delete these entries.",
        (command,),
        cost="connections that use these entries break, those to a container that has the address by now among them",
        check=f"{command.replace(' -D', ' -L', 1)} shows none",
    )


def drop_invalid(evidence: Evidence) -> Remedy:
    """INVALID packets kept back, where Docker leaves room for a rule: DOCKER-USER, or by nft a table beside its own."""
    text, check = "Or drop them before they leave with a wrong address.", "invalid rises on, resets stop"
    cost = "answers that take another way than questions are INVALID too"
    firewall = evidence.snapshot.firewall
    if firewall and firewall.backend == "nftables":
        chain = "{ type filter hook forward priority filter; ct state invalid counter drop; }"
        add = f"nft 'table inet natop_invalid {{ chain forward {chain}; }}'"
        return Remedy(text, (add,), ("nft delete table inet natop_invalid",), cost, check)
    match = "DOCKER-USER -m conntrack --ctstate INVALID -j DROP"
    return Remedy(text, (f"iptables -I {match}",), (f"iptables -D {match}",), cost, check)
