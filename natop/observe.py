"""The line: one sample in, one snapshot out. Read this first.

`observe` is pure but for one thing: a sample's dump may be a stream from the kernel, decoded while it arrives, and
its sockets may be read from there when the dump has flows of theirs.
A live view is a fold of `observe` over samples.
"""

import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace

from natop import meanings
from natop.blindspots import blind_spots
from natop.decode import counters, rules
from natop.decode.flows import decode_dump
from natop.decode.inventory import decode_inventory
from natop.decode.neighbours import ARP_FILE, unanswered
from natop.decode.netlink import remedy_of
from natop.decode.routes import local_addresses, on_link, uplinks
from natop.decode.sockets import refused
from natop.diagnose import diagnose
from natop.formats import many
from natop.join.deadends import dead_ends
from natop.join.firewall import judge, placed
from natop.join.flows import Flows
from natop.join.owners import Place, attribute
from natop.join.past import Memory
from natop.model import (
    AskSockets,
    Conntrack,
    Firewall,
    FlowDump,
    FlowFacts,
    FlowReading,
    FlowSummary,
    FlowTable,
    Gap,
    HostFacts,
    Inventory,
    Namespace,
    NetnsTcp,
    Network,
    ProbeSeries,
    Sample,
    Snapshot,
    Sockets,
)
from natop.summarise.facts import flow_facts
from natop.summarise.history import remembered
from natop.summarise.localports import local_ports
from natop.summarise.probed import Own, not_permitted, with_results, without_own
from natop.summarise.summaries import Setting, Summary, summarise
from natop.summarise.testimony import testify
from natop.summarise.window import extended, mark_of
from natop.text import clean
from natop.uapi import proto_name

OF_DUMPS = frozenset(("flows", "sockets"))
"""Sources of the gaps that stand until the next dump."""

MAX_ERRNO = 4095
"""include/linux/err.h; bytes may hold any number, and `os.strerror` takes no large one."""

Rates = tuple[Mapping[str, float] | None, tuple[Mapping[str, float], ...]]


def observe(previous: Snapshot | None, sample: Sample) -> Snapshot:
    """What one sample says, beside the snapshot before it, which gives the rates and the trends.

    Where a name now stands for another namespace, the snapshot before counts for nothing.
    """
    if previous and previous.host.netns != clean(sample.netns):
        previous = None
    firewall, rule_gaps = _firewall(previous, sample)
    inventory = _inventory(previous, sample, firewall)
    former, own_tables = _former(previous, inventory), _own_tables(previous, sample)
    host = _host(sample)
    conntrack = counters.conntrack(sample.stats, sample.proc)
    containers = inventory.containers if inventory else ()
    reading, flow_gaps = _read_flows(previous, sample, inventory, former, conntrack.counters)
    summary = _summary(
        previous, reading, Setting(containers, host.kernel, host.sysctls, conntrack, firewall, sample.addresses)
    )
    seconds = sample.monotonic_s - previous.monotonic_s if previous else 0.0
    rates, cpu_rates = _rates(previous, conntrack, seconds)
    derived = meanings.derived(rates, host.version, _found_per_new(previous, reading, summary.whole, host))
    testimony = testify(previous, sample, containers, seconds, derived.lost_syns_per_s)
    probes, namespaces = _probes(previous, sample), _namespaces(previous, sample, inventory)
    taken = Snapshot(
        taken_at=sample.taken_at,
        monotonic_s=sample.monotonic_s,
        interval_s=seconds if seconds > 0 else None,
        host=host,
        inventory=inventory,
        conntrack=conntrack,
        counter_rates=rates,
        reading=reading,
        whole=summary.whole,
        containers=tuple(
            testimony.told(replace(each, own_table=own_tables.get(each.container.id))) for each in summary.containers
        ),
        unowned=None if _is_awaited(sample) else summary.unowned,
        pace=sample.pace,
        former=former,
        namespaces=namespaces,
        pools=summary.pools,
        port_choice=summary.port_choice,
        time_wait=summary.time_wait,
        unowned_time_wait=None if _is_awaited(sample) else summary.unowned_time_wait,
        gaps=(
            *sample.gaps,
            *flow_gaps,
            *rule_gaps,
            *blind_spots(sample, inventory, namespaces),
            *not_permitted(probes or ()),
        ),
        probes=probes,
        is_probing=sample.probes is not None,
        firewall=firewall,
        facts=_facts(previous, reading, inventory, host, testimony.containers),
        cpu_rates=cpu_rates,
        derived=derived,
        tcp=testimony.host,
        unclaimed=testimony.unclaimed,
    )
    return _judged(previous, remembered(previous, taken))


def _judged(previous: Snapshot | None, taken: Snapshot) -> Snapshot:
    """The snapshot with the marks of the last minute, and what its numbers say is wrong."""
    taken = replace(taken, marks=extended(previous.marks if previous else (), mark_of(taken)))
    return replace(taken, findings=diagnose(taken))


def _facts(
    previous: Snapshot | None,
    reading: FlowReading | None,
    inventory: Inventory | None,
    host: HostFacts,
    told: Mapping[str, NetnsTcp],
) -> FlowFacts | None:
    """Those of the last dump; as they were where it is the same and the containers are."""
    if reading is None:
        return None
    if previous and reading is previous.reading:
        return previous.facts
    containers = inventory.containers if inventory else ()
    flows = Flows(reading.flows, reading.attribution, containers)
    return flow_facts(flows, host.sysctls, local_ports(containers, told, host.sysctls))


def _host(sample: Sample) -> HostFacts:
    return HostFacts(
        hostname=clean(sample.hostname),
        kernel=clean(sample.proc.get("sys/kernel/osrelease", "").strip()) or None,
        netns=clean(sample.netns),
        sysctls=counters.sysctls(sample.proc),
        boot_id=clean(sample.proc.get(counters.BOOT_FILE, "").strip()) or None,
        entered=clean(sample.entered) if sample.entered else None,
        addresses=sample.addresses or None,
    )


def _rates(previous: Snapshot | None, conntrack: Conntrack, seconds: float) -> Rates:
    """Of all CPUs together, and of each."""
    return counters.per_second(conntrack, previous.conntrack, seconds) if previous and seconds > 0 else (None, ())


def _found_per_new(
    previous: Snapshot | None, reading: FlowReading | None, whole: FlowSummary | None, host: HostFacts
) -> float | None:
    """NAT's vain probes for each new flow between the last two dumps; as before where there is no new one."""
    before = previous.reading if previous else None
    if previous is None or before is None or reading is None:
        return None
    seconds = reading.monotonic_s - before.monotonic_s
    if seconds <= 0:
        return previous.derived.found_per_new
    if whole is None or whole.rates is None:
        return None
    risen = counters.risen(before.counters, reading.counters)
    return meanings.found_per_new(whole.rates.new * seconds, risen, host.version)


def _firewall(previous: Snapshot | None, sample: Sample) -> tuple[Firewall | None, tuple[Gap, ...]]:
    """The NAT rules, where the sample has them judged for its networks; else as they were, with their gaps."""
    if sample.rules is None:
        missed = any(gap.source == "rules" for gap in sample.gaps)
        return (previous.firewall, previous.gaps_of("rules")) if previous and not missed else (None, ())
    ruleset, gaps = rules.decode_rules(sample.rules)
    if ruleset is None:
        return None, gaps
    networks = _networks_here(sample)
    routes = sample.rules.routes
    judged = judge(ruleset, placed(networks, on_link(routes)), uplinks(routes))
    return replace(judged, addresses=local_addresses(routes, sample.addresses)), gaps


def _networks_here(sample: Sample) -> tuple[Network, ...]:
    """The networks that the rules read are about.

    None in a container's own namespace or that of swarm's ingress, whose rules are their own.
    """
    if sample.engine is None:
        return ()
    inventory = decode_inventory(sample.engine)
    own = {address for each in inventory.containers for address in each.addresses}
    return () if own.union(inventory.ingress).intersection(sample.addresses) else inventory.networks


def _inventory(previous: Snapshot | None, sample: Sample, firewall: Firewall | None) -> Inventory | None:
    """The engine's containers; the very object of the snapshot before where nothing has changed."""
    inventory = decode_inventory(sample.engine) if sample.engine else None
    if inventory and firewall:
        backend = firewall.backend or inventory.engine.firewall_backend
        engine = replace(inventory.engine, firewall_backend=backend, userland_proxy=firewall.userland_proxy)
        bridges = {each.subnet: each.bridge for each in firewall.networks if each.bridge}
        inventory = replace(inventory, engine=engine, networks=placed(inventory.networks, bridges))
    return previous.inventory if previous and previous.inventory == inventory else inventory


def _read_flows(
    previous: Snapshot | None,
    sample: Sample,
    inventory: Inventory | None,
    former: Mapping[str, str],
    told: Mapping[str, int],
) -> tuple[FlowReading | None, tuple[Gap, ...]]:
    """The sample's dump or, without one, the last that succeeded; attributed to the containers of now."""
    missing = {gap.source for gap in sample.gaps}
    kept = (gap for gap in previous.gaps if gap.source in OF_DUMPS - missing) if previous else ()
    gaps = tuple(kept)
    sockets = _ToldSockets(sample.sockets)
    ends = dead_ends(inventory.networks, unanswered(sample.proc.get(ARP_FILE, ""))) if inventory else ()
    containers, ingress = (inventory.containers, inventory.ingress) if inventory else ((), ())
    place = Place(containers, sample.addresses, former, ends, sample.members, sockets, ingress)
    if sample.dump is not None:
        dump = decode_dump(sample.dump)
        gaps = tuple(_dump_gaps(dump))
        if not dump.errno and dump.complete:
            flows, own = _without_own(previous, sample, dump.flows)
            attribution = attribute(flows, place, _memory(previous))
            reading = FlowReading(
                flows,
                attribution,
                sample.taken_at,
                sample.monotonic_s,
                dump.skipped,
                told,
                own.found if own else frozenset(),
                own.waiting if own else frozenset(),
            )
            return reading, (*gaps, *sockets.gaps)
    last = previous.reading if previous else None
    if last and previous and previous.inventory is not inventory:
        attribution = attribute(last.flows, place, _memory(previous))
        last = replace(last, attribution=attribution)
    return last, gaps


class _ToldSockets:
    """A sample's sockets as the join asks for them, and why some were not told."""

    def __init__(self, ask: AskSockets) -> None:
        self._ask = ask
        self._gaps: list[Gap] = []

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Each once, however many namespaces it holds for."""
        return tuple(dict.fromkeys(self._gaps))

    def __call__(self, key: str) -> Sockets | None:
        found = self._ask(key)
        if isinstance(found, Gap):
            self._gaps.append(found)
            return None
        self._gaps += [_no_sockets(proto) for proto in refused(found.answers)] if found else []
        return found


def _no_sockets(proto: int) -> Gap:
    name = proto_name(proto)
    return Gap(
        "sockets",
        f"the kernel does not tell {name.upper()} sockets, so their flows' holders are unknown",
        f"load the kernel's module: sudo modprobe {name}_diag",
    )


def _without_own(previous: Snapshot | None, sample: Sample, flows: FlowTable) -> tuple[FlowTable, Own | None]:
    """The flows without those that natop opened itself, and which these were; those of before are known again."""
    if sample.own is None:
        return flows, None
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
    now = {(address, each.id) for each in inventory.containers for address in each.addresses}
    for container in previous.inventory.containers:
        for address in container.addresses:
            if (address, container.id) not in now:
                former.pop(address, None)
                former[address] = container.name
    return dict(list(former.items())[-FORMER_KEPT:])


FORMER_KEPT = 1_000


def _own_tables(previous: Snapshot | None, sample: Sample) -> Mapping[str, int | None]:
    """The fill of containers' own tables, by id: of now, or as it was at the dump before."""
    if sample.dump is not None:
        return {identity: counters.conntrack(stats, {}).count for identity, stats in sample.tables.items()}
    return {each.container.id: each.own_table for each in previous.containers} if previous else {}


def _namespaces(previous: Snapshot | None, sample: Sample, inventory: Inventory | None) -> tuple[Namespace, ...]:
    """What can be read instead of this host's namespace, by the names that people know."""
    if sample.dump is None:
        return previous.namespaces if previous else ()
    names = dict(_names(inventory, sample.engine.netns if sample.engine else None)) if inventory else {}
    found = (
        Namespace(names.get(path) or names.get(_file(path)) or clean(_file(path)), path) for path in sample.namespaces
    )
    return tuple(sorted(found, key=lambda each: each.name))


def _names(inventory: Inventory, engine: str | None) -> Iterator[tuple[str, str]]:
    """Names of namespaces by their file's last part, or by the process that is in one."""
    for each in inventory.containers:
        yield _file(each.sandbox or ""), each.name
        yield f"/proc/{each.pid}/ns/net", each.name
    yield engine or "", f"{inventory.engine.product}'s own"


def _file(path: str) -> str:
    """A path's last part: a sandbox's is unique, and /var/run is /run."""
    return path.rpartition("/")[2]


def _dump_gaps(dump: FlowDump) -> list[Gap]:
    """What a dump could not tell, and what would help."""
    if dump.errno == errno.EPERM:
        return [Gap("flows", "reading conntrack needs CAP_NET_ADMIN", "run: sudo natop")]
    if dump.errno:
        reason = f"ctnetlink refused the dump: {os.strerror(min(dump.errno, MAX_ERRNO))}"
        return [Gap("flows", reason, remedy_of(dump.errno))]
    if not dump.complete:
        return [Gap("flows", f"the kernel's dump ended early, after {many(len(dump.flows), 'flow')}")]
    if dump.skipped.messages:
        skipped = many(dump.skipped.messages, "message of the dump was", "messages of the dump were")
        return [Gap("flows", f"{skipped} skipped, making no sense")]
    return []


def _summary(previous: Snapshot | None, reading: FlowReading | None, setting: Setting) -> Summary:
    """The numbers of the last dump; the very objects of the snapshot before where the dump and its owners are."""
    if reading is None:
        return Summary.unread(setting.containers)
    if previous and reading is previous.reading:
        return Summary.of(previous)
    return summarise(reading, setting, previous)


def _is_awaited(sample: Sample) -> bool:
    """Whether Docker is asked but has not told of its containers, so that nobody knows which flows are unowned."""
    return sample.engine is None and any(gap.source == "docker" for gap in sample.gaps)
