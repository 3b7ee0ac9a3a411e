"""What would help, in commands that fit this host. Nothing here is ever run by natop."""

import shlex
from collections.abc import Mapping, Sequence

from natop.diagnose import compose
from natop.diagnose.evidence import Evidence, address_of, few, listed
from natop.diagnose.namespace import inside
from natop.diagnose.places import (
    called,
    container_of,
    containers,
    is_docker,
    unused_network,
    uses_nftables,
    wanting_nft,
)
from natop.diagnose.repeatable import inserted_once, table_anew
from natop.join.local import GONE
from natop.model import Container, ContainerSummary, Pile, Remedy, Snippet

ONLY_LOOKS = "nothing: it only looks"
IN_THE_APPLICATION = "work on the application"
BACK_TO_THE_OLD = "go back to the application as it was"
CREATED_ANEW = "the container is created anew"


def look(text: str, *commands: str, check: str) -> Remedy:
    """What changes nothing; `check` says how to read what it tells."""
    return Remedy(text, commands, cost=ONLY_LOOKS, check=check)


def probe(evidence: Evidence, end: str, caller: str) -> str:
    """The command that calls an end as `198.51.100.7:443/tcp`, from inside a container where `caller` is one."""
    start = f"--from {shlex.quote(caller)} " if container_of(evidence, caller) else ""
    return f"natop probe {start}--count 5 {shlex.quote(end.removesuffix('/tcp'))}"


Parameter = tuple[str, int | str]
"""Its name and what it should be."""
_LARGER = frozenset(("nf_conntrack_buckets", "nf_conntrack_max", "somaxconn", "tcp_max_tw_buckets"))
"""Parameters of which more is as good."""


def unmet(told: Mapping[str, int | tuple[int, ...]], values: Sequence[Parameter]) -> list[Parameter]:
    """Those that are not so yet; `told` is what they are, by last name component, where it is known."""
    return [(name, goal) for name, goal in values if not _is_met(name, told.get(name.rpartition(".")[2]), goal)]


def _is_met(name: str, now: int | tuple[int, ...] | None, goal: int | str) -> bool:
    """Beyond the goal is good too: a shorter timeout, a larger table, a wider range."""
    if now is None:
        return False
    has = now if isinstance(now, tuple) else (now,)
    wanted = tuple(int(word) for word in str(goal).split())
    if name.endswith(".ip_local_port_range"):
        return has[0] <= wanted[0] and has[-1] >= wanted[-1]
    if "_timeout_" in name:
        return has <= wanted
    return has >= wanted if name.rpartition(".")[2] in _LARGER else has == wanted


def sysctl(
    text: str,
    evidence: Evidence,
    values: Sequence[Parameter],
    *,
    cost: str,
    check: str,
    undo_text: str | None = None,
    lasting: bool = True,
) -> tuple[Remedy, ...]:
    """Kernel parameters of the host, set in this order; what they were, in the reverse order, undoes it.

    Those that are so already are left out; nothing where all are. What is not `lasting` is told without the files that
    set it again at every boot.
    """
    told = evidence.snapshot.host.sysctls
    values = unmet(told, values)
    if not values:
        return ()
    before = [(name, told.get(name.rpartition(".")[2])) for name, _ in reversed(values)]
    unknown = [name for name, value in before if value is None]
    commands = tuple(_setting(name, value) for name, value in values)
    own = all(inside(evidence.snapshot.host.entered, each) == each for each in commands)
    kept = _kept(values) if lasting and own else ()
    words = [
        *([f"set {listed(unknown)} back to what `sysctl -n` tells before"] if unknown else []),
        *([f"take the lines out of {kept[0].place}"] if kept else []),
        *([undo_text] if undo_text else []),
    ]
    undo = tuple(_setting(name, value) for name, value in before if value is not None)
    text += "" if own else " It lasts as long as the network namespace."
    return (Remedy(text, commands, undo, cost, check, kept, "; ".join(words) or None),)


def _setting(name: str, value: int | str | tuple[int, ...]) -> str:
    return f"sysctl -w {shlex.quote(f'{name}={_value(value)}')}"


def _value(value: int | str | tuple[int, ...]) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


KEPT = "/etc/sysctl.d/zz-natop.conf"
"""Read at boot after all others there, /etc/sysctl.conf's link 99-sysctl.conf among them (sysctl.d(5))."""
LOADED = "/etc/modules-load.d/natop.conf"
"""Read at boot before sysctl.d: a parameter of a module that is not loaded yet is passed over without a word."""
_MODULES = {"net.netfilter.": "nf_conntrack", "net.bridge.": "br_netfilter"}


def _kept(values: Sequence[Parameter]) -> tuple[Snippet, ...]:
    """Files that set the same at every boot."""
    modules = {module for name, _ in values for start, module in _MODULES.items() if name.startswith(start)}
    return (
        Snippet(KEPT, "\n".join(f"{name} = {value}" for name, value in values)),
        *(Snippet(LOADED, module) for module in sorted(modules)),
    )


def loaded(text: str, module: str, *, cost: str, check: str) -> Remedy:
    """A module of the kernel, now and at every boot."""
    kept = Snippet(LOADED, module)
    return Remedy(
        text,
        (f"modprobe {module}",),
        (f"modprobe -r {module}",),
        cost,
        check,
        (kept,),
        f"take the line out of {LOADED}",
    )


def keep_alive(evidence: Evidence, names: Sequence[str], towards: str | None = None) -> Remedy:
    """Connections used again instead of opened anew; `towards` is an end as `198.51.100.7:443/tcp`."""
    who = listed(names[:3]) or "the containers that call it"
    end = (towards or "").removesuffix("/tcp")
    is_nginx = any(_runs_nginx(container_of(evidence, name)) for name in names)
    lines = (Snippet("nginx.conf, within http", _NGINX.replace("END", end)),) if is_nginx and end else ()
    how = "by these lines for NGINX, and `proxy_pass` to `kept_open`" if lines else "a pool in the application"
    if is_nginx and not lines:
        how += f", or for NGINX as a proxy {_IN_WORDS}"
    return Remedy(
        f"Keep connections open and use them again in {who}: {how}.",
        cost=IN_THE_APPLICATION,
        check="NEW/s and TIME_WAIT of the container fall",
        snippets=lines,
        undo_text="take the lines out again" if lines else BACK_TO_THE_OLD,
    )


_IN_WORDS = '`keepalive 32;` in the upstream block with `proxy_http_version 1.1;` and `proxy_set_header Connection "";`'
_NGINX = """upstream kept_open {
    server END;
    keepalive 32;
}
proxy_http_version 1.1;
proxy_set_header Connection "";"""
"""ngx_http_upstream_module: without the last two lines NGINX closes each connection after one answer."""


def _runs_nginx(container: Container | None) -> bool:
    name = container.image.rpartition("/")[2] if container else ""
    return "nginx" in name or "openresty" in name


def by_name(evidence: Evidence, pile: Pile, kind: str) -> Remedy:
    """The container that serves a pile called by its name instead of the host's address: then no flow is of that kind.

    A network for it is `--internal`, which leaves the default routes of those that join it as they are.
    """
    callers, check = few(pile.owners), f"kind:{kind} finds nothing"
    if not pile.servers:
        return _called_otherwise(f"Let {callers} call the other container by its name, on a network of both.", check)
    server = pile.servers[0]
    port = _own_port(evidence, server, pile.what)
    if pile.owners == (server,):
        return _called_otherwise(f"Let {server} call itself at 127.0.0.1{port}, the port inside the container.", check)
    members = tuple(dict.fromkeys((server, *pile.owners)))
    common = _common_networks(evidence, members)
    if common:
        text = f"Let {callers} call {server}{port} by that name: they are on network {common[0]}."
        return _called_otherwise(text, check)
    network = unused_network(evidence, "backend")
    join = [f"{network} {called(evidence, name)}" for name in members]
    known = [each for each in containers(evidence) if each.name in members]
    return Remedy(
        f"Let {callers} call {server}{port} by that name, on a network that they are all on.",
        (f"docker network create --internal {network}", *(f"docker network connect {each}" for each in join)),
        (*(f"docker network disconnect {each}" for each in reversed(join)), f"docker network rm {network}"),
        "the address in the callers' configuration; compose takes off the network what it creates anew without the "
        "lines",
        check,
        compose.joining(known, network, {}),
        "call the old address again, before that",
    )


def _called_otherwise(text: str, check: str) -> Remedy:
    cost = "the address in the callers' configuration"
    return Remedy(text, cost=cost, check=check, undo_text="call the old address again")


def _own_port(evidence: Evidence, name: str, called: str) -> str:
    """As `:80`: the container's port that is published where `called`, as `203.0.113.10:8080/tcp`, says."""
    end, _, proto = called.rpartition("/")
    for each in containers(evidence):
        for port in each.published if each.name == name else ():
            if (port.proto, str(port.host_port)) == (proto, end.rpartition(":")[2]):
                return f":{port.container_port}"
    return ""


def _common_networks(evidence: Evidence, names: Sequence[str]) -> list[str]:
    """Those on which all of these containers find each other by name: Docker's default network has no DNS."""
    places = [{place.network for place in each.networks} for each in containers(evidence) if each.name in names]
    return sorted(set.intersection(*places) - {"bridge"}) if places else []


def host_network(container: Container) -> Remedy:
    """The way out of NAT altogether."""
    ports = listed([f"{each.container_port} (published as {each.host_port})" for each in container.published[:3]])
    instead = ", this line in place of its `networks:` and `ports:`" if compose.is_service(container) else ""
    return Remedy(
        f"Run {container.name} on the host's network{instead}: no NAT then.",
        cost=f"it binds the host's own ports{f', as {ports}' if ports else ''}, on all addresses, and can reach "
        "whatever listens on 127.0.0.1; published ports are ignored, and container names no longer resolve",
        check=f"its flows are of kind HOST, no longer MASQUERADED; {CREATED_ANEW}",
        snippets=compose.lines_for([container], {"network_mode": "host"}, "--network host", compose.OWN_FILE),
        undo_text="take it out again, and create the container anew",
    )


def within(container: Container, command: str) -> str:
    """The command for the network namespace of a container that has a process."""
    return f"nsenter --net=/proc/{container.pid}/ns/net {command}"


def own_sysctl(
    summary: ContainerSummary,
    values: Sequence[Parameter],
    text: str,
    *,
    at_once: bool,
    check: str,
) -> tuple[Remedy, ...]:
    """Parameters of a container's own network namespace, which the host's do not reach.

    `at_once` are those that sockets heed which are there already: they can be set where the container runs. Those
    that are so already are left out; nothing where all are.
    """
    container = summary.container
    told = summary.tcp.sysctls if summary.tcp else {}
    values = unmet(told, values)
    if not values:
        return ()
    before = [(name, told.get(name.rpartition(".")[2])) for name, _ in reversed(values)]
    undo = tuple(_setting(name, value) for name, value in before if value is not None)
    is_within_reach = at_once and container.pid is not None and len(undo) == len(values)
    options = " ".join(f"--sysctl {shlex.quote(f'{name}={value}')}" for name, value in values)
    remedy = Remedy(
        f"{text}; the host's own values do not apply inside."
        + (" The commands last until the container stops, the lines for good." if is_within_reach else ""),
        tuple(within(container, _setting(name, value)) for name, value in values) if is_within_reach else (),
        tuple(within(container, each) for each in undo) if is_within_reach else (),
        f"{CREATED_ANEW} for the lines to hold",
        check,
        compose.lines_for([container], {"sysctls": {name: str(value) for name, value in values}}, options),
        "take the lines out again, and create the container anew",
    )
    return (remedy,)


def dns_one_by_one(evidence: Evidence, names: Sequence[str]) -> Remedy:
    """A socket of its own for each question that glibc's resolver asks (resolv.conf(5))."""
    known = [each for name in names[:3] if (each := container_of(evidence, name))]
    return Remedy(
        f"For DNS, let {few(names)} ask for A and AAAA from two sockets, by resolv.conf's option; or a cache there.",
        cost=f"{CREATED_ANEW}; a question for both takes a little longer, and musl's resolver ignores it",
        check="lookups no longer take 5 s",
        snippets=compose.lines_for(known, {"dns_opt": ["single-request-reopen"]}, "--dns-opt single-request-reopen"),
        undo_text="take it out again, and create the container anew",
    )


def newer_kernel() -> Remedy:
    """One that resolves clashes of one socket's datagrams."""
    return Remedy(
        "Run a kernel of 5.0 or later: it lets both datagrams pass, and counts that as clash_resolve from 5.10 on.",
        cost="a reboot",
        check="insert_failed stands still",
        undo_text="boot the old one again",
    )


def no_proxy() -> Remedy:
    """The kernel's hairpin NAT in docker-proxy's place."""
    return Remedy(
        "Or let the kernel do it: by this line among those of the file that are there, then restart dockerd.",
        cost="containers stop while dockerd restarts, unless live-restore is on; calls that come from a network which "
        "the other container is not on are dropped then",
        check="kind:proxied finds nothing, kind:hairpin does",
        snippets=(Snippet("/etc/docker/daemon.json", '{\n  "userland-proxy": false\n}'),),
        undo_text="take the line out again, and restart dockerd",
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
        undo_text="nothing: the next packet makes a new entry",
    )


def deleted_of_gone(pile: Pile) -> tuple[Remedy, ...]:
    """The entries of what one container had opened that is gone, taken out by hand; none where no address tells them.

    A shorter timeout does not touch them: the kernel gives it to entries with their next packet.
    """
    if pile.calling is None:
        return ()
    family = " -f ipv6" if ":" in pile.calling else ""
    which = f"{family} -p tcp --state ESTABLISHED --orig-src {pile.calling}"
    remedy = Remedy(
        f"Delete the entries of {pile.what.removeprefix(GONE)}, which is gone: they keep the timeout that they have.",
        (f"conntrack -D{which}",),
        cost="connections of a container that has the address by now break too",
        check=f"conntrack -L{which} shows none",
        undo_text="nothing: only a new connection makes a new entry",
    )
    return (remedy,)


def drop_invalid(evidence: Evidence) -> Remedy:
    """INVALID packets kept back where Docker leaves room for a rule: DOCKER-USER, or by nft a table beside its own.

    That chain is not everywhere: without Docker, with its nftables, and, before Docker 27, in ip6tables.
    """
    text = "Or drop them before they leave with a wrong address. It lasts until a reboot."
    check, cost = "invalid rises on, resets stop", "answers that take another way than questions are INVALID too"
    if uses_nftables(evidence) or not is_docker(evidence) or _has_nat6(evidence):
        chain = "chain forward { type filter hook forward priority filter; ct state invalid counter drop; };"
        add = table_anew("inet", "natop_invalid", chain)
        text += wanting_nft(evidence)
        return Remedy(text, (add,), ("nft delete table inet natop_invalid",), cost, check)
    chain, match = "DOCKER-USER", "-m conntrack --ctstate INVALID -j DROP"
    add = inserted_once("iptables", chain, match)
    return Remedy(text, (add,), (f"iptables -D {chain} {match}",), cost, check)


def _has_nat6(evidence: Evidence) -> bool:
    firewall = evidence.snapshot.firewall
    return any(place.rule and ":" in place.subnet for place in firewall.networks) if firewall else False
