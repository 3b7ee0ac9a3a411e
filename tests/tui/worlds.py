"""Synthetic hosts: snapshots as `observe` would give them, without a kernel. The same seed is the same host."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from natop.diagnose import diagnose
from natop.join.owners import Place, attribute
from natop.model import (
    NO_STATE,
    V4_MAPPED,
    Addresses,
    Attachment,
    Attribution,
    Conntrack,
    Container,
    Engine,
    FlowReading,
    FlowTable,
    Gap,
    HostFacts,
    Inventory,
    Kind,
    Pace,
    PublishedPort,
    Skipped,
    Snapshot,
    address_value,
)
from natop.probing import ProbeWish
from natop.summarise.history import remembered
from natop.summarise.summaries import Setting, Summary, summarise
from natop.summarise.window import extended, mark_of
from natop.uapi import AF_INET, AF_INET6, IpProto, Ips, TcpState

TAKEN_AT = 1_795_373_100.0
HOST_ADDRESSES = ("127.0.0.1", "203.0.113.5", "172.18.0.1", "172.19.0.1")

_NAMES = (
    "shop-web-1", "shop-app-1", "shop-app-2", "shop-db-1", "shop-cache-1", "billing-worker-1", "billing-api-1",
    "metrics", "traefik", "registry", "mailer", "search-es-1", "search-es-2", "queue", "auth", "auth-db",
)  # fmt: skip


def container(index: int, name: str | None = None) -> Container:
    """A container on one network, two for every fourth, with a port published by every second."""
    name = name or (_NAMES[index] if index < len(_NAMES) else f"job-{index:03}")
    project = name.split("-")[0] if name.count("-") > 1 else None
    networks = [
        Attachment(f"{project or 'bridge'}_default", "bridge", ipv4=f"172.18.0.{index + 2}", gateway="172.18.0.1")
    ]
    if index % 4 == 0:
        networks.append(Attachment("front", "bridge", f"172.19.0.{index + 2}", f"fd00:19::{index + 2:x}"))
    ports = (PublishedPort("tcp", "0.0.0.0", 8000 + index, 8080),) if index % 2 == 0 else ()
    return Container(
        f"{index + 1:064x}", name, f"example/{name.split('-')[0]}:1.{index}", "running", project, None,
        networks[0].network, 4000 + index, None, tuple(networks), ports,
    )  # fmt: skip


def inventory(containers: Sequence[Container]) -> Inventory:
    engine = Engine("29.0.1", "1.52", rootless=False, userland_proxy=True, firewall_backend="iptables")
    return Inventory(engine, tuple(containers))


def flow_table(rows: int, containers: Sequence[Container], seed: int = 1, accounting: bool = True) -> FlowTable:
    """Flows of the containers that can have some here, and a few of the host's own, mostly TCP in TIME_WAIT."""
    random = np.random.default_rng(seed)
    places = [place for each in containers if not each.untracked for place in each.networks[:1]]
    inside = np.array([address_value(place.ipv4) for place in places if place.ipv4] or [1], np.uint64)
    weights = 1 / np.arange(1, len(inside) + 1) ** 1.2
    mine = random.choice(inside, rows, p=weights / weights.sum())
    outside = (random.integers(0x0B000000, 0xDF000000, rows).astype(np.uint64)) | np.uint64(V4_MAPPED)
    host = np.full(rows, address_value("203.0.113.5"), np.uint64)
    way = random.choice(4, rows, p=(0.6, 0.2, 0.15, 0.05))  # published, masqueraded, internal, the host's own
    high = random.integers(32768, 60999, rows).astype(np.uint16)
    service = random.choice(np.array([443, 5432, 6379, 8080], np.uint16), rows)
    other = random.choice(inside, rows)
    src = np.choose(way, [outside, mine, other, host])
    dst = np.choose(way, [host, outside, mine, outside])
    reply_src = np.choose(way, [mine, outside, mine, outside])
    reply_dst = np.choose(way, [outside, host, other, host])
    status = np.choose(way, [Ips.DST_NAT | Ips.DST_NAT_DONE, Ips.SRC_NAT | Ips.SRC_NAT_DONE, 0, 0]).astype(np.uint32)
    udp = random.random(rows) < 0.02
    state = random.choice(
        np.array([1, 2, 3, 4, 5, 6, 7, 8], np.uint8), rows, p=(0.004, 0.002, 0.09, 0.02, 0.01, 0.01, 0.86, 0.004)
    )
    zeros = np.zeros(rows, np.uint64)
    packets = random.integers(4, 4000, rows).astype(np.uint64)
    return FlowTable(
        family=np.full(rows, AF_INET, np.uint8),
        proto=np.where(udp, np.uint8(IpProto.UDP), np.uint8(IpProto.TCP)),
        state=np.where(udp, np.uint8(NO_STATE), state),
        status=status | np.uint32(Ips.CONFIRMED | Ips.SEEN_REPLY | Ips.ASSURED),
        timeout_s=random.integers(1, 120, rows).astype(np.uint32),
        zone=np.zeros(rows, np.uint16),
        mark=np.zeros(rows, np.uint32),
        id=random.permutation(rows).astype(np.uint32) + np.uint32(1000),
        orig_src=Addresses(zeros, src),
        orig_dst=Addresses(zeros.copy(), dst),
        reply_src=Addresses(zeros.copy(), reply_src),
        reply_dst=Addresses(zeros.copy(), reply_dst),
        orig_sport=high,
        orig_dport=service,
        reply_sport=service.copy(),
        reply_dport=high.copy(),
        packets=packets if accounting else None,
        bytes=packets * np.uint64(900) if accounting else None,
        started_ns=(np.uint64(TAKEN_AT * 1e9) - packets * np.uint64(10**9)) if accounting else None,
    )


def v6_flow() -> FlowTable:
    """One IPv6 flow in SYN_SENT, from a container's own address."""
    one = np.ones(1, np.uint8)
    src, dst = address_value("fd00:19::2"), address_value("2001:db8::42")
    low, high = np.uint64(2**64 - 1), np.uint64(64)

    def address(value: int) -> Addresses:
        return Addresses(np.array([value >> int(high)], np.uint64), np.array([value & int(low)], np.uint64))

    ports = np.array([40000], np.uint16), np.array([443], np.uint16)
    return FlowTable(
        one * AF_INET6, one * IpProto.TCP, one * TcpState.SYN_SENT, one.astype(np.uint32) * Ips.CONFIRMED,
        one.astype(np.uint32) * 119, one.astype(np.uint16) * 3, one.astype(np.uint32) * 7, one.astype(np.uint32) * 77,
        address(src), address(dst), address(dst), address(src), ports[0], ports[1], ports[1].copy(), ports[0].copy(),
    )  # fmt: skip


HOST = HostFacts("web-prod-3", "6.18.5-amd64", "net:[4026531840]", {"nf_conntrack_tcp_timeout_time_wait": 120})
RATES = {
    "insert_failed": 0.5,
    "drop": 0.5,
    "early_drop": 0.0,
    "clash_resolve": 2.4,
    "invalid": 0.1,
    "search_restart": 0.0,
}


@dataclass(frozen=True)
class World:
    """A host whose snapshots follow each other."""

    containers: tuple[Container, ...]
    gaps: tuple[Gap, ...] = ()
    readable: bool = True
    """Whether flows can be read."""
    maximum: int = 262_144
    dump_every_s: float = 2.0

    def snapshot(self, flows: FlowTable | None, tick: int = 0, previous: Snapshot | None = None) -> Snapshot:
        """What is known at that tick, two seconds after the one before."""
        found = inventory(self.containers)
        now = 1000.0 + 2 * tick
        count = len(flows) if flows is not None else 6615
        base = Snapshot(
            TAKEN_AT + 2 * tick, now, 2.0 if previous else None, HOST, found,
            Conntrack(count, self.maximum, 65536, {name: 40 + round(rate * 2 * tick) for name, rate in RATES.items()}),
            RATES if previous else None,
            None, None, Summary.unread(self.containers).containers, None, Pace(2.0, self.dump_every_s), self.gaps,
        )  # fmt: skip
        if flows is None:
            return judged(base, previous)
        attribution: Attribution = attribute(flows, Place(self.containers, HOST_ADDRESSES))
        reading = FlowReading(flows, attribution, base.taken_at, now, Skipped())
        setting = Setting(self.containers, HOST.kernel, HOST.sysctls, base.conntrack, addresses=HOST_ADDRESSES)
        summary = summarise(reading, setting, previous)
        known = replace(base, reading=reading, **{each.name: getattr(summary, each.name) for each in fields(summary)})
        return judged(known, previous)

    def history(self, rows: int, ticks: int = 3, seed: int = 1) -> list[Snapshot]:
        """Snapshots of a table that grows and of which a part changes from tick to tick."""
        flows = flow_table(rows, self.containers, seed)
        taken: list[Snapshot] = []
        for tick in range(ticks):
            part = flows.take(np.arange(rows * (ticks + tick + 1) // (2 * ticks)))
            taken.append(self.snapshot(part, tick, taken[-1] if taken else None))
        return taken


def judged(taken: Snapshot, previous: Snapshot | None) -> Snapshot:
    """With the past, the marks of the last minute, and what the verdict says of it."""
    marked = replace(remembered(previous, taken), marks=extended(previous.marks if previous else (), mark_of(taken)))
    return replace(marked, findings=diagnose(marked))


def world(containers: int = 6, **rest: object) -> World:
    return World(tuple(sorted((container(i) for i in range(containers)), key=lambda c: c.name)), **rest)  # type: ignore[arg-type]  # World's own


NO_RIGHT = Gap("flows", "reading conntrack needs CAP_NET_ADMIN", "run: sudo natop")
NO_DOCKER = Gap("docker", "no permission on /var/run/docker.sock", "join the group docker, or run: sudo natop")


def untracked_world() -> World:
    """A container of each sort: on its own network, on macvlan, without a network, and one that joined another."""
    web = container(0, "web")
    lan = replace(container(1, "lan"), networks=(Attachment("lan", "macvlan", "192.0.2.7"),), network_mode="lan")
    none = replace(container(2, "none"), networks=(Attachment("none", "null"),), network_mode="none")
    side = replace(container(3, "side"), networks=(), published=(), network_mode=f"container:{web.id}")
    return World(tuple(sorted((web, lan, none, side), key=lambda each: each.name)))


def stale_flows(flows: FlowTable, kind: Kind = Kind.STALE) -> Snapshot:
    """A snapshot of these flows, all of that kind, their clients gone."""
    taken = world(6).snapshot(flows)
    assert taken.reading is not None
    rows = len(flows)
    nobody, gone = np.full(rows, -1, np.int32), np.full(rows, -2, np.int32)
    others = Attribution(gone, nobody, np.full(rows, kind, np.uint8), ("gone: web",))
    return replace(taken, reading=replace(taken.reading, attribution=others))


class ListFeed:
    """Gives the snapshots one after the other, each when `step` (or `read_now`) lets it out."""

    def __init__(self, snapshots: Iterable[Snapshot], at_once: int = 1, endless: bool = True) -> None:
        self.interval_s = 2.0
        self.reads = 0
        self.wishes: list[ProbeWish | None] = []
        self.closed = False
        self._snapshots = list(snapshots)
        self._let_out = threading.Semaphore(at_once)
        self._endless = endless

    def __iter__(self) -> Iterator[Snapshot]:
        given = 0
        while self._endless or given < len(self._snapshots):
            self._let_out.acquire()
            if self.closed:
                return
            if given < len(self._snapshots):
                yield self._snapshots[given]
                given += 1

    def add(self, snapshot: Snapshot) -> None:
        self._snapshots.append(snapshot)

    def step(self) -> None:
        self._let_out.release()

    def read_now(self) -> None:
        self.reads += 1
        self.step()

    def probe(self, wish: ProbeWish | None) -> None:
        self.wishes.append(wish)

    def close(self) -> None:
        self.closed = True
        self._let_out.release()


def save_nowhere(snapshot: Snapshot, directory: Path) -> tuple[Path, ...]:
    """Stands in for saving: names the files, writes none."""
    return (directory / f"natop-{snapshot.host.hostname}.md", directory / f"natop-{snapshot.host.hostname}.json")
