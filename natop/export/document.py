"""A Snapshot as the JSON document of schema 1: every key always present, null for what is unknown, never 0."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

import msgspec

from natop import __version__
from natop.columns.containers import ContainerRow
from natop.export import Json
from natop.export.flowdocument import flow_objects
from natop.export.natdocument import PoolObjects, nat_rules_object, port_choice_object, time_wait_object
from natop.export.sysctldocument import host_judged, own_sysctls
from natop.formats import timestamp
from natop.join.flows import Flows
from natop.model import (
    COUNTER_NAMES,
    TCP_NAMES,
    Container,
    Finding,
    FlowCounts,
    FlowSummary,
    Gap,
    Inventory,
    NetnsTcp,
    ProbeResult,
    ProbeSeries,
    Rows,
    Snapshot,
)
from natop.summarise.probed import waited_ms

SCHEMA = 1
FLOWS_AT_ONCE = 5_000
"""Rows made into Python objects at a time, so that a large table costs little memory."""


def encode(snapshot: Snapshot, rows: Sequence[ContainerRow], flows: Rows | None = None) -> Iterator[bytes]:
    """The document on one line, in pieces: with these containers and, where given, these rows of the flow table."""
    encoder = msgspec.json.Encoder()
    head = encoder.encode(document(snapshot, rows))
    table = Flows.of(snapshot)
    if flows is None or table is None:
        yield head
        return
    yield head[:-1] + b',"flows":['
    for start in range(0, len(flows), FLOWS_AT_ONCE):
        piece = b",".join(encoder.encode(flow) for flow in flow_objects(table, flows[start : start + FLOWS_AT_ONCE]))
        yield b"," + piece if start else piece
    yield b"]}"


def document(snapshot: Snapshot, rows: Sequence[ContainerRow]) -> Json:
    """The document without `flows`."""
    pools = PoolObjects(snapshot)
    return {
        "natop": __version__,
        "schema": SCHEMA,
        "taken_at": timestamp(snapshot.taken_at),
        "monotonic_s": snapshot.monotonic_s,
        "interval_s": snapshot.interval_s,
        "host": {
            "hostname": snapshot.host.hostname,
            "kernel": snapshot.host.kernel,
            "netns": snapshot.host.netns,
            "boot_id": snapshot.host.boot_id,
            "docker": _engine(snapshot.inventory),
            "sysctls": snapshot.host.sysctls,
            "sysctls_judged": host_judged(snapshot),
            "tcp": _host_tcp(snapshot.tcp),
        },
        "conntrack": _conntrack(snapshot),
        "containers": _containers(rows, snapshot, pools),
        "unowned": _unowned(snapshot.unowned) | {"time_wait": time_wait_object(snapshot.unowned_time_wait)},
        "nat_pools": pools.listed(),
        "nat_pools_omitted": pools.omitted(),
        "nat_rules": nat_rules_object(snapshot.firewall),
        "probes": series_objects(snapshot.probes),
        "findings": finding_objects(snapshot.findings),
        "gaps": gap_objects(snapshot.gaps),
    }


def gap_objects(gaps: Sequence[Gap]) -> list[Json]:
    return [{"source": gap.source, "reason": gap.reason, "remedy": gap.remedy} for gap in gaps]


def finding_objects(findings: Sequence[Finding] | None) -> list[Json] | None:
    """Gravest first; None where they were not judged."""
    if findings is None:
        return None
    return [
        {
            "rule": each.rule,
            "severity": each.severity,
            "subject": each.subject,
            "summary": each.summary,
            "evidence": each.evidence,
            "remedies": [
                {
                    "text": remedy.text,
                    "commands": remedy.commands,
                    "undo": remedy.undo,
                    "cost": remedy.cost,
                    "check": remedy.check,
                    "snippets": [{"place": each.place, "text": each.text} for each in remedy.snippets],
                    "undo_text": remedy.undo_text,
                }
                for remedy in each.remedies
            ],
        }
        for each in findings
    ]


def series_objects(series: Sequence[ProbeSeries] | None, container: str | None = None) -> list[Json] | None:
    """Every result kept, or those of one container, way by way; None where nobody asked for probes."""
    if series is None:
        return None
    chosen = (each for each in series if container in (None, each.last.container))
    return [probe_object(result) for each in chosen for result in each.results]


def encode_probes(series: Sequence[ProbeSeries]) -> bytes:
    """The document of `natop probe`: every result, and what they come to by way."""
    return msgspec.json.encode({"probes": series_objects(series), "ways": [_way_object(each) for each in series]})


def _way_object(series: ProbeSeries) -> Json:
    last, told = series.last, series.statistics
    return {
        "subject": last.subject,
        "target": last.target,
        "path": last.path,
        "container": last.container_name,
        "count": told.count,
        "failed": told.failed,
        "p50_ms": _milliseconds(told.p50_ms),
        "p95_ms": _milliseconds(told.p95_ms),
        "p99_ms": _milliseconds(told.p99_ms),
        "max_ms": _milliseconds(told.max_ms),
        "first_byte_p50_ms": _milliseconds(told.first_byte_p50_ms),
        "later_byte_p50_ms": _milliseconds(told.later_byte_p50_ms),
        "syns_lost": told.syns_lost,
        "by_syns_lost": {str(lost): number for lost, number in told.by_syns_lost.items()},
        "failed_by_syns_lost": {str(lost): number for lost, number in told.failed_by_syns_lost.items()},
        "errors": told.errors,
    }


def probe_object(result: ProbeResult) -> Json:
    return {
        "subject": result.subject,
        "target": result.target,
        "path": result.path,
        "container": result.container_name,
        "at": timestamp(result.at),
        "connect_ms": _milliseconds(result.connect_ms),
        "syns_lost": result.syns_lost,
        "waited_ms": waited_ms(result),
        "rtt_ms": result.rtt_ms,
        "first_byte_ms": _milliseconds(result.first_byte_ms),
        "later_byte_ms": _milliseconds(result.later_byte_ms),
        "http_status": result.http_status,
        "error": result.error,
    }


def _milliseconds(value: float | None) -> float | None:
    """To the microsecond."""
    return None if value is None else round(value, 3)


def _engine(inventory: Inventory | None) -> Json | None:
    if inventory is None:
        return None
    engine = inventory.engine
    return {
        "product": engine.product,
        "version": engine.version,
        "api_version": engine.api_version,
        "rootless": engine.rootless,
        "userland_proxy": engine.userland_proxy,
        "firewall_backend": engine.firewall_backend,
    }


def _conntrack(snapshot: Snapshot) -> Json:
    conntrack, reading, whole, derived = snapshot.conntrack, snapshot.reading, snapshot.whole, snapshot.derived
    return {
        "count": conntrack.count,
        "max": conntrack.max,
        "buckets": conntrack.buckets,
        "flows": whole.counts.total if whole else None,
        "states": whole.counts.states if whole else None,
        "protocols": whole.counts.protocols if whole else None,
        "counters": _numbers(conntrack.counters, COUNTER_NAMES),
        "rates": _numbers(snapshot.counter_rates, COUNTER_NAMES) | _flow_rates(whole, "new", "gone"),
        "cpus": [
            {"counters": _numbers(counters, COUNTER_NAMES), "rates": _numbers(rates, COUNTER_NAMES)}
            for counters, rates in zip_longest(conntrack.cpus, snapshot.cpu_rates)
        ],
        "derived": {
            "table_full_per_s": derived.table_full_per_s,
            "clash_lost_per_s": derived.clash_lost_per_s,
            "lost_syns_per_s": derived.lost_syns_per_s,
            "found_per_new": derived.found_per_new,
        },
        "own_flows": len(reading.own) if reading else None,
        "skipped": (
            {"messages": reading.skipped.messages, "attributes": reading.skipped.attributes} if reading else None
        ),
        "port_choice": port_choice_object(snapshot.port_choice),
        "time_wait": time_wait_object(snapshot.time_wait),
    }


def _numbers(found: Mapping[str, int] | Mapping[str, float] | None, names: Sequence[str]) -> Json:
    """All of these names, those that are unknown with null."""
    return {name: found.get(name) if found else None for name in names}


def _tcp(tcp: NetnsTcp | None) -> Json | None:
    if tcp is None:
        return None
    sockets = {"sockets_in_use": tcp.sockets_in_use, "time_wait_sockets": tcp.time_wait_sockets}
    return _numbers(tcp.counters, TCP_NAMES) | sockets


def _tcp_rates(tcp: NetnsTcp | None) -> Json:
    return _numbers(tcp.rates if tcp else None, TCP_NAMES)


def _host_tcp(tcp: NetnsTcp | None) -> Json | None:
    """As a container's `tcp`, with what stands beside it there."""
    told = _tcp(tcp)
    return told and told | {"rates": _tcp_rates(tcp), "lost_syns_per_s": tcp.lost_syns_per_s if tcp else None}


def _flow_rates(summary: FlowSummary | None, *names: str) -> Json:
    rates = summary.rates if summary else None
    return {name: getattr(rates, name) if rates else None for name in names}


def _containers(rows: Sequence[ContainerRow], snapshot: Snapshot, pools: PoolObjects) -> list[Json] | None:
    """None where Docker did not tell of any."""
    if snapshot.inventory is None:
        return None
    return [_container(row, row.container, pools, snapshot) for row in rows if row.container]


def _container(row: ContainerRow, container: Container, pools: PoolObjects, snapshot: Snapshot) -> Json:
    counts: FlowCounts | None = row.flows.counts if row.flows else None
    summary = row.summary
    own, judged = own_sysctls(row, snapshot)
    return {
        "id": container.id,
        "name": container.name,
        "image": container.image,
        "state": container.state,
        "project": container.project,
        "service": container.service,
        "network_mode": container.network_mode,
        "pid": container.pid,
        "networks": [
            {
                "name": place.network,
                "driver": place.driver,
                "ipv4": place.ipv4,
                "ipv6": place.ipv6,
                "gateway": place.gateway,
            }
            for place in container.networks
        ],
        "published": [
            {
                "proto": port.proto,
                "host_ip": port.host_ip,
                "host_port": port.host_port,
                "container_port": port.container_port,
            }
            for port in container.published
        ],
        "flows": {"total": counts.total, "inbound": row.inbound, "outbound": row.outbound} if counts else None,
        "states": counts.states if counts else None,
        "kinds": counts.kinds if counts else None,
        "nat": (
            {
                "dnat": counts.dnat,
                "snat": counts.snat,
                "rewritten_ports": summary.rewritten_ports if summary else None,
                "port_choice": port_choice_object(summary.port_choice) if summary else None,
                "busiest_pool": pools.at(summary.busiest_pool) if summary else None,
            }
            if counts
            else None
        ),
        "time_wait": time_wait_object(summary.time_wait) if summary else None,
        "untracked": row.untracked,
        "own_table": row.own_table,
        "tcp": _tcp(row.tcp),
        "tcp_of": row.tcp_of,
        "lost_syns_per_s": row.tcp.lost_syns_per_s if row.tcp else None,
        "sysctls": own,
        "sysctls_judged": judged,
        "rates": _flow_rates(row.flows, "new", "gone", "time_wait") | _tcp_rates(row.tcp),
        "probes": series_objects(snapshot.probes, container.id),
    }


def _unowned(summary: FlowSummary | None) -> Json:
    return {
        "flows": summary.counts.total if summary else None,
        "states": summary.counts.states if summary else None,
        "kinds": summary.counts.kinds if summary else None,
    }
