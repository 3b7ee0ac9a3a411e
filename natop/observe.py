"""The line: one sample in, one snapshot out. Read this first.

`observe` is pure but for one thing: a sample's dump may be a stream from the kernel, decoded while it arrives.
A live view is a fold of `observe` over samples; so is a replay.
"""

import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace

from natop.columns import Flows
from natop.decode import counters
from natop.decode.flows import decode_dump
from natop.decode.inventory import decode_inventory
from natop.diagnose import diagnose
from natop.facts import flow_facts
from natop.join import Memory, Place, attribute
from natop.model import (
    Container,
    ContainerSummary,
    FlowDump,
    FlowFacts,
    FlowReading,
    FlowSummary,
    FlowTable,
    Gap,
    HostFacts,
    Inventory,
    Namespace,
    OwnFlow,
    ProbeSeries,
    Sample,
    Snapshot,
)
from natop.probed import not_permitted, with_results, without_own
from natop.summarise import summarise, unread
from natop.text import clean
from natop.window import extended, mark_of

DOCKER = "docker"
FLOWS = "flows"
"""Source of the gaps that stand until the next dump."""

MAX_ERRNO = 4095
"""include/linux/err.h; bytes may hold any number, and `os.strerror` takes no large one."""

Summaries = tuple[FlowSummary | None, tuple[ContainerSummary, ...], FlowSummary | None]


def observe(previous: Snapshot | None, sample: Sample) -> Snapshot:
    """What one sample says, beside the snapshot before it, which gives the rates and the trends.

    Where a name now stands for another namespace, the snapshot before counts for nothing.
    """
    if previous and previous.host.netns != clean(sample.netns):
        previous = None
    inventory = _inventory(previous, sample)
    former, own_tables = _former(previous, inventory), _own_tables(previous, sample)
    reading, flow_gaps = _read_flows(previous, sample, inventory, former)
    whole, containers, unowned = _summaries(previous, reading, inventory)
    conntrack = counters.conntrack(sample.stats, sample.proc)
    seconds = sample.monotonic_s - previous.monotonic_s if previous else 0.0
    rates = None
    if previous and seconds > 0:
        rates = counters.rates(conntrack.counters, previous.conntrack.counters, seconds)
    host = _host(sample)
    probes = _probes(previous, sample)
    taken = Snapshot(
        taken_at=sample.taken_at,
        monotonic_s=sample.monotonic_s,
        interval_s=seconds if seconds > 0 else None,
        host=host,
        inventory=inventory,
        conntrack=conntrack,
        counter_rates=rates,
        reading=reading,
        whole=whole,
        containers=tuple(replace(each, own_table=own_tables.get(each.container.id)) for each in containers),
        unowned=None if _is_awaited(sample) else unowned,
        pace=sample.pace,
        former=former,
        namespaces=_namespaces(previous, sample, inventory),
        gaps=(*sample.gaps, *flow_gaps, *_blind_spots(sample, inventory), *not_permitted(probes or ())),
        probes=probes,
        is_probing=sample.probes is not None,
        facts=_facts(previous, reading, inventory, host),
    )
    return _judged(previous, taken)


def _judged(previous: Snapshot | None, taken: Snapshot) -> Snapshot:
    """The snapshot with the marks of the last minute, and what its numbers say is wrong."""
    taken = replace(taken, marks=extended(previous.marks if previous else (), mark_of(taken)))
    return replace(taken, findings=diagnose(taken))


def _facts(
    previous: Snapshot | None, reading: FlowReading | None, inventory: Inventory | None, host: HostFacts
) -> FlowFacts | None:
    """Those of the last dump; as they were where it is the same and the containers are."""
    if reading is None:
        return None
    if previous and reading is previous.reading:
        return previous.facts
    containers = inventory.containers if inventory else ()
    return flow_facts(Flows(reading.flows, reading.attribution, containers), host.sysctls)


def _host(sample: Sample) -> HostFacts:
    return HostFacts(
        hostname=clean(sample.hostname),
        kernel=clean(sample.proc.get("sys/kernel/osrelease", "").strip()) or None,
        netns=clean(sample.netns),
        sysctls=counters.sysctls(sample.proc),
    )


def _inventory(previous: Snapshot | None, sample: Sample) -> Inventory | None:
    """The engine's containers; the very object of the snapshot before where nothing has changed."""
    inventory = decode_inventory(sample.engine) if sample.engine else None
    return previous.inventory if previous and previous.inventory == inventory else inventory


def _read_flows(
    previous: Snapshot | None, sample: Sample, inventory: Inventory | None, former: Mapping[str, str]
) -> tuple[FlowReading | None, tuple[Gap, ...]]:
    """The sample's dump or, without one, the last that succeeded; attributed to the containers of now."""
    told = any(gap.source == FLOWS for gap in sample.gaps)
    gaps = () if told or previous is None else tuple(gap for gap in previous.gaps if gap.source == FLOWS)
    containers = inventory.containers if inventory else ()
    place = Place(containers, sample.addresses, former, sample.sockets, sample.shared)
    if sample.dump is not None:
        dump = decode_dump(sample.dump)
        gaps = tuple(_dump_gaps(dump))
        if not dump.errno and dump.complete:
            flows, own = _without_own(previous, sample, dump.flows)
            attribution = attribute(flows, place, _memory(previous))
            reading = FlowReading(flows, attribution, sample.taken_at, sample.monotonic_s, dump.skipped, own)
            return reading, gaps
    last = previous.reading if previous else None
    if last and previous and previous.inventory is not inventory:
        attribution = attribute(last.flows, place, _memory(previous))
        last = replace(last, attribution=attribution)
    return last, gaps


def _without_own(previous: Snapshot | None, sample: Sample, flows: FlowTable) -> tuple[FlowTable, frozenset[OwnFlow]]:
    """The flows without those that natop opened itself, and which these were; those of before are known again."""
    if sample.own is None:
        return flows, frozenset()
    before = previous.reading.own if previous and previous.reading else frozenset()
    return without_own(flows, before.union(sample.own))


def _probes(previous: Snapshot | None, sample: Sample) -> tuple[ProbeSeries, ...] | None:
    """All results until now; None where nobody has ever asked for any."""
    past = previous.probes if previous else None
    return past if sample.probes is None else with_results(past or (), sample.probes)


def _memory(previous: Snapshot | None) -> Memory | None:
    if previous is None or previous.reading is None:
        return None
    containers = previous.inventory.containers if previous.inventory else ()
    reading = previous.reading
    return Memory(reading.flows, reading.attribution, containers, reading.taken_at)


def _former(previous: Snapshot | None, inventory: Inventory | None) -> Mapping[str, str]:
    """Who had an address before, now that nobody or another has it; the last FORMER_KEPT of them."""
    if previous is None or previous.inventory is inventory or previous.inventory is None or inventory is None:
        return previous.former if previous else {}
    former = dict(previous.former)
    now = {(address, each.id) for each in inventory.containers for address in _addresses(each)}
    for container in previous.inventory.containers:
        for address in _addresses(container):
            if (address, container.id) not in now:
                former.pop(address, None)
                former[address] = container.name
    return dict(list(former.items())[-FORMER_KEPT:])


FORMER_KEPT = 1_000


def _addresses(container: Container) -> list[str]:
    return [address for place in container.networks for address in (place.ipv4, place.ipv6) if address]


def _own_tables(previous: Snapshot | None, sample: Sample) -> Mapping[str, int | None]:
    """The fill of containers' own tables, by id: of now, or as it was at the dump before."""
    if sample.dump is not None:
        return {identity: counters.conntrack(stats, {}).count for identity, stats in sample.tables.items()}
    return {each.container.id: each.own_table for each in previous.containers} if previous else {}


def _namespaces(previous: Snapshot | None, sample: Sample, inventory: Inventory | None) -> tuple[Namespace, ...]:
    """What can be read instead of this host's namespace, by the names that people know."""
    if sample.dump is None:
        return previous.namespaces if previous else ()
    names = {_file(each.sandbox or ""): each.name for each in inventory.containers} if inventory else {}
    found = (Namespace(names.get(_file(path)) or clean(_file(path)), path) for path in sample.namespaces)
    return tuple(sorted(found, key=lambda each: each.name))


def _file(path: str) -> str:
    """A path's last part: a sandbox's is unique, and /var/run is /run."""
    return path.rpartition("/")[2]


def _blind_spots(sample: Sample, inventory: Inventory | None) -> Iterator[Gap]:
    """What this host's set-up keeps out of its conntrack table."""
    if inventory is None:
        return
    if inventory.engine.rootless:
        yield Gap(
            "docker",
            "this engine is rootless: its containers' NAT is in a network namespace of its own",
            "as its user: nsenter -U -n --preserve-credentials -t $(cat $XDG_RUNTIME_DIR/docker.pid) natop",
        )
    if counters.sysctls(sample.proc).get("bridge-nf-call-iptables") != 1 and _neighbours(inventory):
        yield Gap(
            "bridge",
            "flows between containers of one network are not in this table: bridge-nf-call-iptables is not 1",
            "modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1 (their packets then pass iptables)",
        )


def _neighbours(inventory: Inventory) -> bool:
    """Whether two running containers share a bridge network."""
    places = [
        place.network
        for each in inventory.containers
        for place in each.networks
        if each.state == "running" and place.driver == "bridge"
    ]
    return len(places) > len(set(places))


def _dump_gaps(dump: FlowDump) -> list[Gap]:
    """What a dump could not tell, and what would help."""
    if dump.errno == errno.EPERM:
        return [Gap(FLOWS, "reading conntrack needs CAP_NET_ADMIN", "run: sudo natop")]
    if dump.errno:
        return [Gap(FLOWS, f"ctnetlink refused the dump: {os.strerror(min(dump.errno, MAX_ERRNO))}", _NO_CTNETLINK)]
    if not dump.complete:
        return [Gap(FLOWS, f"the kernel's dump ended early, after {len(dump.flows):,} flows")]
    if dump.skipped.messages:
        return [Gap(FLOWS, f"{dump.skipped.messages:,} messages of the dump made no sense and were skipped")]
    return []


_NO_CTNETLINK = "load the kernel's module: sudo modprobe nf_conntrack_netlink"


def _summaries(previous: Snapshot | None, reading: FlowReading | None, inventory: Inventory | None) -> Summaries:
    """The whole table's numbers, each container's, and those of what is unowned."""
    containers = inventory.containers if inventory else ()
    if reading is None:
        return None, unread(containers), None
    if previous and reading is previous.reading:
        return previous.whole, previous.containers, previous.unowned
    summary = summarise(reading.flows, reading.attribution, reading.monotonic_s, containers, previous)
    return summary.whole, summary.containers, summary.unowned


def _is_awaited(sample: Sample) -> bool:
    """Whether Docker is asked but has not told of its containers, so that nobody knows which flows are unowned."""
    return sample.engine is None and any(gap.source == DOCKER for gap in sample.gaps)
