"""What would help, in commands that fit this host. Nothing here is ever run by natop."""

import shlex
from collections.abc import Sequence

from natop.diagnose.evidence import Evidence, address_of, listed
from natop.model import Pile, Remedy


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
