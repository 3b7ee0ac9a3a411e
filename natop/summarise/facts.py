"""What the flows of a dump tell beside their numbers: piles of flows that are alike in a way that means something.

Each fact is looked for only among the rows that its mask lets through, which as a rule are few.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from natop.join.flows import UNKNOWN, Flows, service
from natop.join.local import GONE
from natop.model import UNKNOWN32, Addresses, Closer, FlowFacts, Kind, Mask, Pile, Rows, address_value
from natop.summarise.alike import hashed, kinds
from natop.sysctls import number_of
from natop.uapi import IpProto, Ips, TcpState

TOP = 5
"""Piles kept of each fact."""
MOST_OWNERS = 20
"""Names kept of each pile."""
IDLE_S = 86_400
"""An ESTABLISHED flow idle for longer is taken for a zombie: its timeout starts anew with each packet
(nf_conntrack_proto_tcp.c), so what is missing from it is the time since the last one."""
SHORTENED = ("nf_conntrack_tcp_timeout_unacknowledged", "nf_conntrack_tcp_timeout_max_retrans")
"""What the kernel gives an ESTABLISHED flow instead, however fresh: while data is not acknowledged, and where segments
are sent again and again or the window is closed."""
SOCKET_TIME_WAIT_S = 60
"""TCP_TIMEWAIT_LEN of include/net/tcp.h: how long a socket holds its local port after it closed first."""
LOCAL_PORTS_FLOOR = 0.5
"""Of a container's range of local ports: where it has fewer outbound flows, it is not short of them."""

WAITED_S = 2
"""A SYN without an answer for longer waits; one that is younger may be on its way. The timeout left tells: it has begun
with the first SYN (nf_conntrack_proto_tcp.c); before Linux 5.15 with the last one, so that a flow whose SYN has just
come again counts once it has waited anew."""
LATELY_S = 10
"""A flow in TIME_WAIT for longer does not show that its end answers now."""

DNS, NATED = 53, Ips.SRC_NAT | Ips.DST_NAT

Called = tuple[Addresses, npt.NDArray[np.uint16]]
Codes = npt.NDArray[np.int32]


def flow_facts(
    flows: Flows, sysctls: Mapping[str, int | tuple[int, ...]], local_ports: Sequence[tuple[int, int]]
) -> FlowFacts:
    """The facts of a dump.

    `sysctls` are those of the namespace read, by last name component; `local_ports` each container's first and last.
    """
    table, kind = flows.table, flows.attribution.kind
    from_container = flows.attribution.client >= 0
    tcp = table.proto == IpProto.TCP
    orphaned = np.isin(flows.attribution.client, _gone(flows))
    zombies = _rows(tcp & (table.state == TcpState.ESTABLISHED) & (_idle(flows, sysctls) | orphaned))
    return FlowFacts(
        zombies=len(zombies),
        zombies_gone=int(np.count_nonzero(orphaned[zombies])),
        zombies_of=_by_client(flows, zombies),
        unreplied=_piles(flows, _silent(flows, sysctls), _answering(flows)),
        stale=_stale(flows),
        proxied=_piles(flows, _to_proxies(flows, _rows((kind == Kind.PROXIED) & from_container)), _called(flows)),
        hairpin=_piles(flows, _rows((kind == Kind.HAIRPIN) & from_container), _called(flows)),
        remapped=int(np.count_nonzero(kind == Kind.REMAPPED)),
        local_ports=_local_ports(flows, sysctls, np.array(local_ports, np.intp).reshape(-1, 2)),
        udp_shared=_udp_shared(flows),
        dns=_piles(flows, _rows(_asks_by_nat(flows) & from_container), _called(flows)),
    )


def _rows(mask: Mask) -> Rows:
    return np.flatnonzero(mask)


def _called(flows: Flows) -> Called:
    return flows.table.orig_dst, flows.table.orig_dport


def _answering(flows: Flows) -> Called:
    return flows.table.reply_src, flows.table.reply_sport


def _idle(flows: Flows, sysctls: Mapping[str, int | tuple[int, ...]]) -> Mask:
    """Flows whose timeout lacks more than IDLE_S of the whole, and was not cut by the kernel for another reason."""
    whole = sysctls.get("nf_conntrack_tcp_timeout_established")
    left = flows.table.timeout_s
    if not isinstance(whole, int) or whole <= IDLE_S:
        return np.zeros(len(left), np.bool_)
    cut = max(number_of(sysctls, name) for name in SHORTENED)
    idle: Mask = (left > cut) & (left < whole - IDLE_S) & (left != UNKNOWN32)
    return idle


def _silent(flows: Flows, sysctls: Mapping[str, int | tuple[int, ...]]) -> Rows:
    """TCP flows that wait in vain for an answer, to ends that leave more of them waiting than they answer.

    An end that answers most has lost some; it is neither down nor filtered.
    """
    table = flows.table
    tcp, answered = table.proto == IpProto.TCP, (table.status & Ips.SEEN_REPLY) != 0
    waits = tcp & (table.state == TcpState.SYN_SENT) & ~answered
    waits &= table.timeout_s < number_of(sysctls, "nf_conntrack_tcp_timeout_syn_sent") - WAITED_S
    called = np.zeros(1 << 16, np.bool_)
    called[table.reply_sport[waits]] = True
    old = (table.state == TcpState.TIME_WAIT) & (
        table.timeout_s < number_of(sysctls, "nf_conntrack_tcp_timeout_time_wait") - LATELY_S
    )
    waiting, answers = _rows(waits), _rows(tcp & answered & ~old & called[table.reply_sport])
    if len(waiting) == 0:
        return waiting
    group = _grouped(*_ends_of(flows, waiting))
    _, first = np.unique(group, return_index=True)
    is_silent: Mask = np.bincount(group) >= _with_ends_of(flows, waiting[first], answers)
    return waiting[is_silent[group]]


def _ends_of(flows: Flows, rows: Rows) -> list[npt.NDArray[np.uint64]]:
    """Who answers these, by columns."""
    addresses, ports = _answering(flows)
    return [addresses.hi[rows], addresses.lo[rows], ports[rows].astype(np.uint64)]


def _with_ends_of(flows: Flows, few: Rows, rows: Rows) -> npt.NDArray[np.intp]:
    """How many of the rows are answered by the same end as each of a few that differ: without sorting them all."""
    ends, others = _ends_of(flows, few), _ends_of(flows, rows)
    keys = hashed(ends)
    order = np.argsort(keys)
    at = order[np.searchsorted(keys, hashed(others), sorter=order).clip(max=len(few) - 1)]
    same = np.ones(len(rows), np.bool_)
    for end, other in zip(ends, others, strict=True):
        same &= end[at] == other
    return np.bincount(at[same], minlength=len(few))


def _to_proxies(flows: Flows, rows: Rows) -> Rows:
    """Those of these flows that call a docker-proxy; those by which it calls the other container are the same again."""
    addresses = flows.table.orig_dst.take(rows)
    own = {address_value(text) for each in flows.containers for text in each.addresses}
    group = _grouped(addresses.hi, addresses.lo)
    _, first = np.unique(group, return_index=True)
    calls_proxy: Mask = np.array([addresses.value(row) not in own for row in first.tolist()], np.bool_)
    return rows[calls_proxy[group]]


def _by_client(flows: Flows, rows: Rows) -> tuple[Pile, ...]:
    client = flows.attribution.client[rows]
    codes, counts = np.unique(client, return_counts=True)
    largest = np.argsort(-counts, kind="stable")[:TOP]
    return tuple(
        replace(
            _pile(flows, _name(flows, int(codes[i])), int(counts[i]), codes[i : i + 1]),
            calling=_source(flows, rows[client == codes[i]]),
        )
        for i in largest
    )


def _source(flows: Flows, rows: Rows) -> str | None:
    """The address that all of these flows come from; None where there are several."""
    addresses = flows.table.orig_src
    high, low = addresses.hi[rows], addresses.lo[rows]
    is_one = bool(np.all((high == high[0]) & (low == low[0])))
    return addresses.text(int(rows[0])) if is_one else None


def _piles(flows: Flows, rows: Rows, end: Called) -> tuple[Pile, ...]:
    """The rows by protocol and one of their ends, the largest first."""
    addresses, ports = end
    group = _grouped(addresses.hi[rows], addresses.lo[rows], ports[rows], flows.table.proto[rows])
    client, server = flows.attribution.client, flows.attribution.server
    return tuple(
        replace(
            _pile(flows, _end(flows, end, members[0]), len(members), client[members]),
            servers=_containers(flows, server[members]),
        )
        for members in _largest(rows, group)
    )


def _largest(rows: Rows, group: npt.NDArray[np.intp], of: Rows | None = None) -> list[Rows]:
    """The rows of each of the TOP largest groups, the largest first: by number, or by their part of what `of` has."""
    counts = np.bincount(group, minlength=1)
    _, first = np.unique(group, return_index=True)
    whole = np.ones(len(counts)) if of is None or len(rows) == 0 else of[first]
    most_first = np.argsort(-(counts / whole), kind="stable")[:TOP]
    return [rows[group == i] for i in most_first.tolist() if counts[i]]


def _end(flows: Flows, end: Called, row: np.intp) -> str:
    addresses, ports = end
    return service(addresses.text(int(row)), int(ports[row]), int(flows.table.proto[row]))


def _pile(flows: Flows, what: str, count: int, owners: Codes) -> Pile:
    """A pile of the flows that these have, one for each."""
    common = _common(owners)
    names = tuple(_name(flows, code) for code in common[:MOST_OWNERS])
    key = next((flows.containers[code].id for code in common if code >= 0), None)
    return Pile(what, count, names, key)


def _common(codes: Codes) -> list[int]:
    """The distinct ones, that of most flows first."""
    distinct, counts = np.unique(codes, return_counts=True)
    common: list[int] = distinct[np.argsort(-counts, kind="stable")].tolist()
    return common


def _containers(flows: Flows, codes: Codes) -> tuple[str, ...]:
    """The names of those that are containers, that of most flows first."""
    return tuple(flows.containers[code].name for code in _common(codes) if code >= 0)[:MOST_OWNERS]


def _stale(flows: Flows) -> tuple[Pile, ...]:
    """Flows whose server is a container that is gone; what such a one had opened itself leads nobody astray."""
    table, server = flows.table, flows.attribution.server
    rows = _rows((flows.attribution.kind == Kind.STALE) & np.isin(server, _gone(flows)))
    called, answering = _called(flows), table.reply_src
    service = table.orig_dport[rows].astype(np.uint64) << np.uint64(8) | table.proto[rows]
    halves = (called[0].hi, called[0].lo, answering.hi, answering.lo)
    group = _grouped(service, *(half[rows] for half in halves))
    return tuple(
        replace(
            _pile(flows, _end(flows, called, members[0]), len(members), server[members]),
            answering=answering.text(int(members[0])),
        )
        for members in _largest(rows, group)
    )


def _gone(flows: Flows) -> list[int]:
    """The codes of containers that are gone."""
    return [-2 - i for i, name in enumerate(flows.attribution.others) if name.startswith(GONE)]


def _name(flows: Flows, code: int) -> str:
    return flows.container(code) or flows.other(code) or UNKNOWN


def _grouped(*columns: np.ndarray) -> npt.NDArray[np.intp]:
    """A number for each row, the same for rows equal in all columns."""
    found = kinds([column.astype(np.uint64) for column in columns])
    group = np.empty(len(found.order), np.intp)
    group[found.order] = np.cumsum(found.begins) - 1
    return group


def _local_ports(flows: Flows, sysctls: Mapping[str, int | tuple[int, ...]], ranges: Rows) -> tuple[Pile, ...]:
    """By client container and remote end: how many ports of its range its sockets hold there.

    A port beside the range, which a socket chose itself or has from before the range was changed, takes none of it.
    Conntrack keeps TIME_WAIT longer than the socket does, and only the side that closed first keeps a socket at all.
    """
    table, client = flows.table, flows.attribution.client
    first, last = ranges.T
    sizes = np.maximum(1, last - first + 1)
    busy = np.flatnonzero(np.bincount(client[client >= 0], minlength=len(sizes)) >= LOCAL_PORTS_FLOOR * sizes)
    if len(busy) == 0:
        return ()
    held = (table.proto == IpProto.TCP) & np.isin(client, busy) & (table.state != TcpState.CLOSE)
    held[held] = (table.orig_sport[held] >= first[client[held]]) & (table.orig_sport[held] <= last[client[held]])
    waiting = table.state == TcpState.TIME_WAIT
    whole = sysctls.get("nf_conntrack_tcp_timeout_time_wait")
    if isinstance(whole, int) and whole > SOCKET_TIME_WAIT_S:
        held &= ~(waiting & (table.timeout_s < whole - SOCKET_TIME_WAIT_S))
    if table.closed_by is not None:
        held &= ~(waiting & (table.closed_by == Closer.SERVER))
    rows = _rows(held)
    dst, port = table.orig_dst, table.orig_dport[rows]
    group = _grouped(dst.hi[rows], dst.lo[rows], port, client[rows])
    return tuple(
        _pile(flows, _end(flows, (dst, table.orig_dport), members[0]), len(members), client[members])
        for members in _largest(rows, group, sizes[client[rows]])
    )


def _asks_by_nat(flows: Flows) -> Mask:
    """UDP to port 53 that NAT changes."""
    table = flows.table
    asks: Mask = (table.proto == IpProto.UDP) & (table.orig_dport == DNS) & ((table.status & NATED) != 0)
    return asks


def _udp_shared(flows: Flows) -> tuple[Pile, ...]:
    """Masqueraded UDP flows that have their source port in common with another container's to the same remote end."""
    table, client = flows.table, flows.attribution.client
    udp = (table.proto == IpProto.UDP) & (flows.attribution.kind == Kind.MASQUERADED) & (client >= 0)
    rows = _rows(udp)
    if len(rows) == 0:
        return ()
    dst = table.orig_dst
    same = _grouped(dst.hi[rows], dst.lo[rows], table.orig_dport[rows], table.orig_sport[rows])
    pairs = np.unique(np.stack([same, client[rows].astype(np.intp)]), axis=1)
    several: Mask = np.bincount(pairs[0], minlength=1) > 1
    return _piles(flows, rows[several[same]], _called(flows))
