"""Scenarios in TOML: a host in the numbers that matter, and what the verdict must and must not say about it.

A key that a scenario leaves out stands for a healthy host. `counters` and the containers' `tcp` are what happened in
`seconds`, half of it in the first half, or as much of a counter as `halfway` says; everything else is how things stand.
A container's `sockets` are those in use and those in TIME_WAIT.
How a pool was at the beginning and half-way, at the first two of three readings, is in its `before` and `halfway`.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from natop.model import (
    COUNTER_NAMES,
    TCP_NAMES,
    Addresses,
    Attribution,
    Conntrack,
    ContainerSummary,
    Engine,
    Firewall,
    FlowCounts,
    FlowFacts,
    FlowReading,
    FlowSummary,
    Gap,
    HostFacts,
    Inventory,
    Kind,
    LocalAddress,
    Mark,
    Namespace,
    NatPools,
    NatRule,
    NetnsTcp,
    Network,
    NetworkNat,
    Pile,
    PortChoice,
    PublishedPort,
    Skipped,
    Snapshot,
    TimeWait,
    kernel_version,
)
from natop.summarise.pools import evicts, sustainable_per_s
from natop.summarise.scarce import remembered_pools
from natop.summarise.timewait import Room
from natop.uapi import TCP_STATES, IpProto
from tests.unit import plain
from tests.unit.hosts import container

FOLDER = Path(__file__).parents[1] / "scenarios"
START_S = 1_000.0
BEFORE = 4_294_967_290
"""What the counters stood at before: close to where they wrap."""
Toml = Mapping[str, Any]


def read(path: Path) -> Toml:
    with path.open("rb") as file:
        return tomllib.load(file)


def snapshot(scenario: Toml) -> Snapshot:
    """The host that a scenario describes."""
    containers = tuple(_container(each) for each in scenario.get("container", ()))
    conntrack = {"count": 500, "max": 262_144, "buckets": 65_536} | scenario.get("conntrack", {})
    conntrack |= dict.fromkeys(conntrack.get("unread", ()))
    seconds = scenario.get("seconds", 60.0)
    summaries = tuple(
        _summary(container_, each) for container_, each in zip(containers, scenario.get("container", ()), strict=True)
    )
    times = (0.0, seconds / 2, seconds) if seconds else (0.0,)
    marks = [_mark(scenario, summaries, conntrack, at, seconds) for at in times]
    networks = scenario.get("network", ())
    taken = Snapshot(
        taken_at=0.0,
        monotonic_s=START_S + seconds,
        interval_s=2.0,
        host=HostFacts("natter", scenario.get("kernel", "6.18.44"), "net:[1]", _sysctls(scenario)),
        inventory=Inventory(
            Engine(
                scenario.get("docker", "29.0.0"),
                "1.52",
                rootless=scenario.get("rootless", False),
                product=scenario.get("product", "Docker"),
            ),
            containers,
            tuple(
                Network(
                    f"{n:064x}",
                    each["name"],
                    "bridge",
                    (each["subnet"],),
                    internal=each.get("internal", False),
                    bridge=each.get("bridge"),
                )
                for n, each in enumerate(networks)
            ),
        ),
        conntrack=marks[-1].conntrack,
        counter_rates=None,
        reading=_no_flows(START_S + seconds),
        whole=_flows(scenario.get("states", {})),
        containers=summaries,
        unowned=None,
        gaps=tuple(Gap(**each) for each in scenario.get("gap", ())),
        namespaces=tuple(Namespace(**each) for each in scenario.get("namespace", ())),
        pools=_pools(scenario, 1.0),
        port_choice=PortChoice(**scenario["port_choice"]) if "port_choice" in scenario else None,
        time_wait=_time_wait(scenario["time_wait"]) if "time_wait" in scenario else None,
        firewall=_firewall(scenario) if networks or "address" in scenario else None,
        facts=_facts(scenario.get("facts", {})),
    )
    taken = replace(taken, time_wait=_judged(taken))
    return replace(taken, marks=tuple(_with_pools(mark, taken, scenario, seconds) for mark in marks))


def _judged(taken: Snapshot) -> TimeWait | None:
    """TIME_WAIT of the whole table with its concern, by the pools and the table of the scenario."""
    waiting, pools = taken.time_wait, taken.pools
    if waiting is None or pools is None:
        return waiting
    sustainable = sustainable_per_s(pools, taken.host.sysctls)
    room = Room(pools, sustainable, evicts(taken.host.kernel), taken.conntrack, waiting)
    crowded, filling = (next(iter(rows.tolist()), None) for rows in (room.crowded(), room.filling()))
    return replace(waiting, concern=room.concern(waiting, crowded, filling))


def _with_pools(mark: Mark, taken: Snapshot, scenario: Toml, seconds: float) -> Mark:
    """The pools as they were at a mark; each has a dump of its own."""
    part = mark.taken_at / seconds if seconds else 1.0
    then = replace(
        taken, monotonic_s=mark.monotonic_s, reading=_no_flows(mark.monotonic_s), pools=_pools(scenario, part)
    )
    return replace(mark, pools=remembered_pools(then), dumped_s=mark.monotonic_s)


def _container(told: Toml) -> Any:
    names = ("id", "image", "network_mode", "pid", "project", "service", "state")
    fields = {name: told[name] for name in names if name in told}
    return container(
        told["name"],
        *told.get("addresses", ["172.18.0.2"]),
        networks=told.get("networks", ()),
        published=tuple(_published(each) for each in told.get("published", ())),
        **fields,
    )


def _published(told: str) -> PublishedPort:
    """As `8080:80`, the host's port first."""
    host_port, _, port = told.partition(":")
    return PublishedPort("tcp", "0.0.0.0", int(host_port), int(port))


def _summary(described: Any, told: Toml) -> ContainerSummary:
    return ContainerSummary(
        described,
        _flows(told.get("states", {})),
        own_table=told.get("own_table"),
        time_wait=_time_wait(told["time_wait"]) if "time_wait" in told else None,
        tcp=_tcp(told, 1.0),
    )


def _tcp(told: Toml, part: float) -> NetnsTcp | None:
    """The counters of a namespace once that part of what happened has; None where the scenario cannot read them."""
    if told.get("tcp") == "unread":
        return None
    risen = told.get("tcp", {})
    assert risen.keys() <= set(TCP_NAMES), risen
    counters = {name: 100 + _so_far(risen, told.get("halfway", {}), name, part) for name in TCP_NAMES}
    in_use, waiting = told.get("sockets", (None, None))
    return NetnsTcp(f"net:[{told.get('name', 'host')}]", counters, None, in_use, waiting, _sysctls(told))


def _sysctls(told: Toml) -> dict[str, int | tuple[int, ...]]:
    given = told.get("sysctls", {})
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def _mark(scenario: Toml, summaries: Sequence[ContainerSummary], conntrack: Toml, at: float, end: float) -> Mark:
    """Counters at a time; in the middle of it all, the table has the entries of `peak`."""
    part = at / end if end else 0.0
    count = conntrack.get("peak", conntrack["count"]) if 0 < at < end else conntrack["count"]
    risen = scenario.get("counters", {})
    assert risen.keys() <= set(COUNTER_NAMES), risen
    # clash_resolve and chaintoolong, the last two, came with Linux 5.10 and 5.15.
    is_old = (kernel_version(scenario.get("kernel")) or (6, 18)) < (5, 10)
    names = COUNTER_NAMES[: -2 if is_old else None]
    all_risen = {name: risen.get(name, 0) for name in names}
    now = {name: _so_far(all_risen, scenario.get("halfway", {}), name, part) for name in all_risen}
    on_cpus = [_on_cpu(now, scenario.get("cpus", 2), cpu) for cpu in (0, 1)]
    summed = {name: sum(cpu[name] for cpu in on_cpus) % 2**32 for name in on_cpus[0]}
    tcp = {
        each.container.id: found
        for each, told in zip(summaries, scenario.get("container", ()), strict=True)
        if (found := _tcp(told, part))
    }
    host = _tcp(scenario.get("host", {}), part)
    if host:
        tcp[""] = host
    counters = Conntrack(count, conntrack["max"], conntrack["buckets"], summed, tuple(on_cpus))
    return Mark(at, START_S + at, counters, tcp, scenario.get("new_per_s"))


def _so_far(risen: Toml, halfway: Toml, name: str, part: float) -> int:
    """How far a counter had come once that part of the time was over."""
    if 0 < part < 1 and name in halfway:
        return int(halfway[name])
    all_of_it: int = risen.get(name, 0)
    return round(part * all_of_it)


def _on_cpu(risen: Toml, cpus: int, cpu: int) -> dict[str, int]:
    """One of two CPUs: what rose is split between them, or all on the first."""

    def own(count: int) -> int:
        half = count // 2
        return (count - half, half)[cpu] if cpus > 1 else (count, 0)[cpu]

    return {name: (BEFORE + own(count)) % 2**32 for name, count in risen.items()}


def _no_flows(at_s: float) -> FlowReading:
    none = np.zeros(0, np.int32)
    attribution = Attribution(none, none, np.zeros(0, np.uint8), ())
    return FlowReading(plain.table([]), attribution, 0.0, at_s, Skipped())


def _flows(states: Toml) -> FlowSummary:
    counts = {**dict.fromkeys(TCP_STATES, 0), **states}
    total = sum(counts.values())
    return FlowSummary(FlowCounts(total, counts, {kind.name: 0 for kind in Kind}, {"tcp": total}, 0, 0))


def _time_wait(told: Toml) -> TimeWait:
    given: dict[str, Any] = {"closed_by_client": 0, "closed_by_server": 0, "remotes": (), "services": (), **told}
    for name in ("remotes", "services"):
        given[name] = tuple((what, count) for what, count in given[name])
    return TimeWait(**given)


def _pools(scenario: Toml, part: float) -> NatPools | None:
    """As they were once that part of the time was over."""
    if scenario.get("pool") == "unread":
        return None
    when = "before" if part == 0 else "halfway" if part < 1 else "now"
    names = [each["name"] for each in scenario.get("container", ())]
    told = [each | each.get(when, {}) for each in scenario.get("pool", ())]

    def column(name: str, default: int | float, dtype: str) -> np.ndarray:
        return np.array([each.get(name, default) for each in told], dtype)

    def addresses(name: str) -> Addresses:
        values = [plain.value(each[name]) for each in told]
        return Addresses(
            np.array([v >> 64 for v in values], "u8"), np.array([v & 0xFFFF_FFFF_FFFF_FFFF for v in values], "u8")
        )

    holders = [(names.index(name), ports) for each in told for name, ports in each.get("holders", {}).items()]
    ends = np.cumsum([0, *(len(each.get("holders", {})) for each in told)])
    return NatPools(
        proto=np.array([IpProto[each.get("proto", "tcp").upper()] for each in told], "u1"),
        zone=column("zone", 0, "u2"),
        nat=addresses("nat"),
        remote=addresses("remote"),
        remote_port=column("port", 443, "u2"),
        first_port=column("first_port", 1024, "u2"),
        last_port=column("last_port", 65_535, "u2"),
        used=column("used", 0, "u4"),
        soft=column("soft", 0, "u4"),
        time_wait=column("time_wait", 0, "u4"),
        time_wait_hard=np.maximum(column("time_wait", 0, "i8") - column("soft", 0, "i8"), 0).astype("u4"),
        rewritten=column("rewritten", 0, "u4"),
        masqueraded=column("used", 0, "u4"),
        by_rule=column("used", 0, "u4"),
        kept=column("used", 0, "u4") - column("rewritten", 0, "u4"),
        draining=np.maximum(column("soft", 0, "u4"), column("time_wait", 0, "u4")),
        drain_s=column("drain_s", 0, "u4"),
        new_per_s=column("new_per_s", 0.0, "f8"),
        ends_per_s=column("ends_per_s", 0.0, "f8"),
        loss=column("loss", 0.0, "f8"),
        holder=np.array([code for code, _ in holders], "i4"),
        holds=np.array([ports for _, ports in holders], "u4"),
        start=ends,
    )


def _firewall(scenario: Toml) -> Firewall:
    """`address` is the host's own: each with the interface that its subnet is on."""
    networks, backend = scenario.get("network", ()), scenario.get("backend", "iptables-nft")
    local = tuple(LocalAddress(each["is"], each.get("on")) for each in scenario.get("address", ()))
    places = tuple(
        NetworkNat(
            each["name"],
            each["subnet"],
            _rule(each),
            {"udp": None} if each.get("nat") == "tcp" else {},
            bridge=each.get("bridge"),
            internal=each.get("internal", False),
            beneath=_beneath(each),
        )
        for each in networks
    )
    return Firewall(tuple(place.rule for place in places if place.rule), places, backend, addresses=local)


def _beneath(told: Toml) -> NetworkNat | None:
    """What would take it without natop's own table."""
    if "beneath" not in told:
        return None
    below = told["beneath"] | {name: told[name] for name in ("name", "subnet", "bridge")}
    return NetworkNat(below["name"], below["subnet"], _rule(below), bridge=below["bridge"])


def _rule(told: Toml) -> NatRule | None:
    if told.get("nat", True) is False:
        return None
    to, ports = told.get("to_address"), told.get("ports")
    return NatRule(
        "iptables-nft",
        told.get("chain", "nat POSTROUTING"),
        told.get("priority", 100),
        "SNAT" if to else "MASQUERADE",
        tuple(told.get("sources", [told["subnet"]])),
        to,
        (ports[0], ports[1]) if ports else None,
        fully_random=told.get("fully_random", False),
    )


def _facts(told: Toml) -> FlowFacts:
    found: dict[str, Any] = {
        name: tuple(_pile(each) for each in told.get(name, ()))
        for name in ("zombies_of", "unreplied", "stale", "proxied", "hairpin", "local_ports", "udp_shared", "dns")
    }
    found |= {name: told.get(name, 0) for name in ("zombies", "zombies_gone", "remapped")}
    return FlowFacts(**found)


def _pile(told: Toml) -> Pile:
    return Pile(
        told["what"],
        told["count"],
        tuple(told["owners"]),
        _key(told),
        told.get("answering"),
        tuple(told.get("servers", ())),
        told.get("calling"),
    )


def _key(told: Toml) -> str | None:
    """The id of the container that a pile is of, as `hosts.container` makes it from a name."""
    return container(told["owners"][0]).id if told["owners"] else None
