"""The line: one sample in, one snapshot out. Read this first.

`observe` is pure but for one thing: a sample's dump may be a stream from the kernel, decoded while it arrives.
A live view is a fold of `observe` over samples; so is a replay.
"""

import errno
import os

from natop.decode import counters
from natop.decode.flows import decode_dump
from natop.decode.inventory import decode_inventory
from natop.join import attribute
from natop.model import (
    ContainerSummary,
    FlowDump,
    FlowReading,
    FlowSummary,
    Gap,
    HostFacts,
    Inventory,
    Sample,
    Snapshot,
)
from natop.summarise import summarise, unread
from natop.text import clean

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
    reading, flow_gaps = _read_flows(previous, sample, inventory)
    whole, containers, unowned = _summaries(previous, reading, inventory)
    conntrack = counters.conntrack(sample.stats, sample.proc)
    seconds = sample.monotonic_s - previous.monotonic_s if previous else 0.0
    rates = None
    if previous and seconds > 0:
        rates = counters.rates(conntrack.counters, previous.conntrack.counters, seconds)
    return Snapshot(
        taken_at=sample.taken_at,
        monotonic_s=sample.monotonic_s,
        interval_s=seconds if seconds > 0 else None,
        host=_host(sample),
        inventory=inventory,
        conntrack=conntrack,
        counter_rates=rates,
        reading=reading,
        whole=whole,
        containers=containers,
        unowned=None if _is_awaited(sample) else unowned,
        pace=sample.pace,
        gaps=(*sample.gaps, *flow_gaps),
    )


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
    previous: Snapshot | None, sample: Sample, inventory: Inventory | None
) -> tuple[FlowReading | None, tuple[Gap, ...]]:
    """The sample's dump or, without one, the last that succeeded; attributed to the containers of now."""
    told = any(gap.source == FLOWS for gap in sample.gaps)
    gaps = () if told or previous is None else tuple(gap for gap in previous.gaps if gap.source == FLOWS)
    containers = inventory.containers if inventory else ()
    if sample.dump is not None:
        dump = decode_dump(sample.dump)
        gaps = tuple(_dump_gaps(dump))
        if not dump.errno and dump.complete:
            attribution = attribute(dump.flows, containers, sample.addresses)
            reading = FlowReading(dump.flows, attribution, sample.taken_at, sample.monotonic_s, dump.skipped)
            return reading, gaps
    last = previous.reading if previous else None
    if last and previous and previous.inventory is not inventory:
        attribution = attribute(last.flows, containers, sample.addresses)
        last = FlowReading(last.flows, attribution, last.taken_at, last.monotonic_s, last.skipped)
    return last, gaps


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
