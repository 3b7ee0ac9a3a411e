"""The remedy against full NAT pools: another SNAT address of this host, by a network of Docker's that leaves by it."""

import shlex
from dataclasses import dataclass
from ipaddress import ip_address

from natop.diagnose import compose
from natop.diagnose.evidence import Evidence, listed
from natop.diagnose.places import called, container_of, elsewhere, engine_version, is_docker, unused_network
from natop.diagnose.repeatable import table_anew
from natop.model import Container, Pool, Remedy
from natop.summarise.portsearch import POOL_WARN

OPTION_SINCE = {4: (20, 10), 6: (27, 0)}
"""Docker's version that knows com.docker.network.host_ipv4 (libnetwork 2454), and the one that also finds an IPv6
subnet by itself (host_ipv6 is older, of 25.0)."""
PRIORITY_SINCE = (28, 0)
"""Docker's version that takes --gw-priority; before, the network whose name sorts first has the default route
(epHeap of libnetwork's sandbox.go)."""
DOCKERS = 100
"""The priority of the chains in which Docker's own source NAT is (srcnat)."""
TEXT = "every address has its own 64,512 ports towards each remote end"


@dataclass(frozen=True, slots=True)
class _Choice:
    """The addresses that could stand in for a full pool's."""

    nat: str
    interface: str | None
    """Of the full pool's address; None where no route tells it."""
    free: tuple[str, ...]
    """Least used towards that end first."""
    full: tuple[str, ...]

    @property
    def family(self) -> int:
        return ip_address(self.nat).version


def more_addresses(evidence: Evidence, pool: Pool | None) -> Remedy:
    """Some of the containers leave by another address of the host, where it has one and Docker knows how."""
    if pool is None:
        return _not_yet(None, "natop has not seen which pool it is")
    choice = _choice(evidence, pool)
    reason = _why_not(evidence, choice)
    return _not_yet(choice.interface, reason) if reason else _moved(evidence, pool, choice)


def _choice(evidence: Evidence, pool: Pool) -> _Choice:
    """The other addresses of the same interface: from those of another, providers drop what they do not know."""
    firewall = evidence.snapshot.firewall
    local = firewall.addresses if firewall else ()
    nat = ip_address(pool.nat)
    interface = next((each.interface for each in local if each.address == pool.nat), None)
    use = {each.nat: each.use for each in evidence.pools if (each.remote, each.proto) == (pool.remote, pool.proto)}
    others = []
    for each in local:
        other = ip_address(each.address)
        is_like = (other.version, other.is_private) == (nat.version, nat.is_private)
        is_there = each.interface == interface if interface else not other.is_private
        if is_like and is_there and other != nat:
            others.append(each.address)
    others.sort(key=lambda address: use.get(address, 0.0))
    free = tuple(each for each in others if use.get(each, 0.0) < POOL_WARN)
    return _Choice(pool.nat, interface, free, tuple(each for each in others if each not in free))


def _why_not(evidence: Evidence, choice: _Choice) -> str:
    """Why Docker cannot be told to use another address; empty where it can."""
    inventory, version = evidence.snapshot.inventory, engine_version(evidence)
    if inventory is None:
        return "Docker was not asked, so that natop knows none of its networks"
    if not is_docker(evidence):
        return f"{inventory.engine.product} has no option for it"
    if elsewhere(evidence):
        return "this engine is rootless: addresses are given to it from outside its network namespace"
    since = OPTION_SINCE[choice.family]
    if version is None or version < since:
        return f"an engine from Docker {since[0]}.{since[1]} on can be told to, and this is {inventory.engine.version}"
    if choice.free:
        return ""
    on = f" on {choice.interface}" if choice.interface else ""
    if choice.full:
        return f"its others{on}, {listed(choice.full)}, are as full towards that end"
    firewall = evidence.snapshot.firewall
    if not (firewall and firewall.addresses):
        return "natop could not read which addresses this host has"
    return f"{choice.nat} is the only one that it has{on}"


def _not_yet(interface: str | None, reason: str) -> Remedy:
    add = f"`ip address add ADDRESS/PREFIX dev {interface or 'INTERFACE'}`"
    return Remedy(
        f"Let containers leave by another address of this host: {TEXT}. Not yet: {reason}. Once that is mended"
        f" (a second address is added by {add}), natop names the address and the commands.",
        cost="an address that is routed to this host",
        check="natop says which address it would take",
        undo_text="take the address away again: `ip address del` with the same words",
    )


def _moved(evidence: Evidence, pool: Pool, choice: _Choice) -> Remedy:
    """A network that leaves by the first free address, there already or made, with the busiest container on it."""
    address, mover = choice.free[0], _mover(evidence, pool)
    takes_priority = (engine_version(evidence) or PRIORITY_SINCE) >= PRIORITY_SINCE
    there = _network_by(evidence, address)
    there = there if there and (takes_priority or there < _first_of(mover)) else None
    network = there or unused_network(evidence, "egress2" if takes_priority else _first_name(mover))
    before = _before(evidence, choice.family) if there is None else None
    bridge = f"-o com.docker.network.bridge.name={network} " if before is not None else ""
    made = (f"docker network create {_options(choice, address)} {bridge}{network}",) if there is None else ()
    table = (_table(choice.family, network, address, before),) if before is not None else ()
    table_away = (f"nft delete table {_family(choice.family)} {_table_name(network)}",) if table else ()
    priority = "--gw-priority 1 " if takes_priority else ""
    pair = f"{shlex.quote(network)} {called(evidence, mover.name)}" if mover else ""
    joined = (f"docker network connect {priority}{pair}",) if mover else ()
    left = (f"docker network disconnect {pair}",) if mover else ()
    return Remedy(
        f"Let {mover.name if mover else 'the busiest containers'} leave by {address}, which this host has too: {TEXT}."
        + ("" if mover else f" Run them on network {network}.")
        + (_EARLIER if table else ""),
        (*made, *table, *joined),
        (*left, *table_away, *(f"docker network rm {network}" for _ in made)),
        "connections that the container has open may break; compose takes it off the network when it creates it anew "
        "without the lines",
        f"the pool of {pool.nat} falls, one of {address} comes",
        compose.joining([mover], network, {"gw_priority": 1} if takes_priority else {}) if mover else (),
        "take the lines out again" if mover and mover.service else None,
    )


_EARLIER = (
    " A rule before Docker's takes its bridges, whatever their address: this one gets a name of its own, and a table"
    " before that rule. It is gone after a reboot; Docker's own rule does then, unless the other takes that name too."
)


def _before(evidence: Evidence, family: int) -> int | None:
    """The priority before the first rule that takes bridges as such ahead of Docker's; None where there is none."""
    firewall = evidence.snapshot.firewall
    rules = [each.rule for each in firewall.networks if (":" in each.subnet) == (family == 6)] if firewall else []
    early = [rule.priority for rule in rules if rule and not rule.sources and rule.priority < DOCKERS]
    return min(early) - 10 if early else None


def _table(family: int, network: str, address: str, priority: int) -> str:
    """What gives a bridge, called as its network is, that address."""
    hook = f"type nat hook postrouting priority {priority};"
    match = f'iifname "{network}" oifname != "{network}" meta l4proto {{ tcp, udp }}'
    rule = f"{match} counter snat to {address} fully-random;"
    return table_anew(_family(family), _table_name(network), f"chain postrouting {{ {hook} {rule} }};")


def _table_name(network: str) -> str:
    return f"natop_{network.replace('-', '_')}"


def _family(version: int) -> str:
    return "ip6" if version == 6 else "ip"


def _options(choice: _Choice, address: str) -> str:
    six = "--ipv6 " if choice.family == 6 else ""
    return f"{six}-o com.docker.network.host_ipv{choice.family}={address}"


def _mover(evidence: Evidence, pool: Pool) -> Container | None:
    """The container on a bridge network that holds most of the pool's ports."""
    for name, _ in pool.holders:
        container = container_of(evidence, name)
        if container and any(place.driver == "bridge" for place in container.networks):
            return container
    return None


def _network_by(evidence: Evidence, address: str) -> str | None:
    """A network that leaves by this address already."""
    firewall = evidence.snapshot.firewall
    places = firewall.networks if firewall else ()
    return next((each.network for each in places if each.rule and each.rule.to_address == address), None)


def _first_name(mover: Container | None) -> str:
    """One that sorts before the container's other networks."""
    return "egress2" if _first_of(mover) > "egress2" else "0-egress2"


def _first_of(mover: Container | None) -> str:
    """The container's network that sorts first; behind all names where it has none."""
    return min((place.network for place in mover.networks), default="~") if mover else "~"
