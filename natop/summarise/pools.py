"""The NAT source ports in use: towards whom, whose they are, and how near to their end.

A port may be used more than once as long as the reply tuples differ, so ports run out per pool, never for the host as
a whole. What fills a pool is every entry with such a reply tuple, the host's own flows among them. All counting is
numpy's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from natop.join.flows import service
from natop.model import (
    NO_STATE,
    U8,
    U16,
    U32,
    U64,
    UNKNOWN32,
    Addresses,
    Attribution,
    Firewall,
    FlowTable,
    Kind,
    Mask,
    NatPools,
    PortChoice,
    Rows,
    kernel_version,
)
from natop.summarise.alike import Kinds, hashed, kinds, order_of
from natop.summarise.confined import Confined, confined
from natop.summarise.lately import Lately
from natop.summarise.portsearch import Taken, chance_of_loss
from natop.sysctls import EVICTING
from natop.uapi import AF_INET6, STATEFUL, IpProto, Ips, TcpState, proto_name

CLASSES = ((1, 511), (600, 1023), (1024, 65535), (0, 65535))
"""The ports that NAT picks from where no rule says otherwise, by the original port: below 512, below 1024, all others;
the last is of ICMP's ids (nf_nat_l4proto_unique_tuple, net/netfilter/nf_nat_core.c). A port of 512 to 599 that was
kept is in no range that NAT picks from."""
WHOLE_RANGE = CLASSES[2][1] - CLASSES[2][0] + 1
"""Ports that NAT picks from where neither a rule nor a privileged source port confines it: 64,512."""
_IDS = 3
_NO_CLASS = 0xFF
_CLASS_OF_PORT = np.full(1 << 16, _NO_CLASS, np.uint8)
for _number, (_first, _last) in enumerate(CLASSES[:_IDS]):
    _CLASS_OF_PORT[_first : _last + 1] = _number

_UNTOUCHED, _PORTS, _ID = range(3)
_GIVEN = np.full(1 << 8, _UNTOUCHED, np.uint8)
"""What NAT gives out by protocol: ports, or ICMP's ids. It leaves GRE's keys and all other protocols alone."""
_GIVEN[[IpProto.TCP, IpProto.UDP, IpProto.UDPLITE, IpProto.SCTP, IpProto.DCCP]] = _PORTS
_GIVEN[[IpProto.ICMP, IpProto.ICMPV6]] = _ID


def evicts(kernel: str | None) -> bool:
    """Whether a kernel of this release evicts; of an unknown one nothing is promised."""
    version = kernel_version(kernel)
    return version is not None and version >= EVICTING


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What is new since the dump before."""

    new: Mask
    """Rows of the flow table."""
    seconds: float


def translated(flows: FlowTable) -> Mask:
    """The flows whose source NAT changed, in a protocol whose ports or ids it gives out."""
    found: Mask = ((flows.status & Ips.SRC_NAT) != 0) & (_GIVEN[flows.proto] != _UNTOUCHED)
    return found


def rewritten(flows: FlowTable) -> Mask:
    """The translated flows that did not keep their source port."""
    now = np.where(_GIVEN[flows.proto] == _ID, flows.reply_sport, flows.reply_dport)
    found: Mask = translated(flows) & (flows.orig_sport != now)
    return found


def translated_by_rule(flows: FlowTable, attribution: Attribution) -> Mask:
    """The translated flows without the host's own that a null binding moved."""
    found: Mask = translated(flows) & (attribution.kind != Kind.REMAPPED)
    return found


def port_choice(flows: FlowTable, attribution: Attribution) -> PortChoice:
    """What rules made of source ports, in the whole table."""
    by_rule = translated_by_rule(flows, attribution)
    moved = int(np.count_nonzero(by_rule & rewritten(flows)))
    return PortChoice(int(np.count_nonzero(by_rule)) - moved, moved)


def nat_pools(
    flows: FlowTable,
    attribution: Attribution,
    evicting: bool,
    firewall: Firewall | None = None,
    arrivals: Arrivals | None = None,
    time_wait_s: int | None = None,
) -> NatPools:
    """The pools that NAT takes ports from.

    `evicting` is whether the kernel evicts what is closing; `firewall` has the rules that confine NAT to a range;
    `time_wait_s` is how long TIME_WAIT lasts. A port that a dump of a changing table shows twice counts once, for the
    first of the two entries.
    """
    held = _held(flows, confined(flows, translated(flows) & (_GIVEN[flows.proto] == _PORTS), firewall))
    row, taken = held.row, held.taken
    status, state = flows.status[row], _tcp_states(flows)[row]
    moved, by_rule = rewritten(flows)[row], translated_by_rule(flows, attribution)[row]
    soft = _soft(status, state) & evicting
    goes = _goes(flows.proto[row], state)
    rank = np.argsort(-(taken.used / taken.size), kind="stable")

    def count(selected: Mask) -> U32:
        before = np.concatenate(([0], np.cumsum(selected, dtype=np.uint32)))
        numbers: U32 = np.diff(before[taken.start]).astype(np.uint32)[rank]
        return numbers

    example = held.example[rank]
    is_icmp = _GIVEN[flows.proto[example]] == _ID
    holder, holds, start = _holders(attribution.client[row], taken, rank)
    return NatPools(
        proto=flows.proto[example],
        zone=flows.zone[example],
        nat=flows.reply_dst.take(example),
        remote=flows.reply_src.take(example),
        remote_port=np.where(is_icmp, flows.reply_dport[example], flows.reply_sport[example]),
        first_port=taken.first[rank],
        last_port=taken.last[rank],
        used=taken.used[rank].astype(np.uint32),
        soft=count(soft),
        time_wait=count(state == TcpState.TIME_WAIT),
        time_wait_hard=count((state == TcpState.TIME_WAIT) & ~soft),
        rewritten=count(moved),
        masqueraded=count((status & Ips.SRC_NAT) != 0),
        by_rule=count(by_rule),
        kept=count(by_rule & ~moved),
        draining=count(goes),
        drain_s=_drain(flows.timeout_s[row], goes, taken)[rank],
        new_per_s=count(arrivals.new[row]) / arrivals.seconds if arrivals else None,
        ends_per_s=_ends_per_s(count, state, flows.timeout_s[row], None if evicting else time_wait_s),
        loss=chance_of_loss(taken, soft)[rank],
        holder=holder,
        holds=holds,
        start=start,
    )


def _ends_per_s(
    count: Callable[[Mask], U32], state: U8, left_s: U32, time_wait_s: int | None
) -> npt.NDArray[np.float64] | None:
    """Of each pool, whose ports `count` counts, by the time that those in TIME_WAIT have left."""
    if not time_wait_s:
        return None
    lately = Lately.of(time_wait_s)
    part = np.where(state == TcpState.TIME_WAIT, lately.part(left_s), np.uint8(lately.width))
    return lately.rates(np.stack([count(part == each) for each in range(lately.width)], axis=1)).even


@dataclass(frozen=True, slots=True)
class _Held:
    """The ports that are taken, and the flow that holds each."""

    row: Rows
    taken: Taken
    example: Rows
    """A flow of each pool."""


@dataclass(frozen=True, slots=True)
class _Claims:
    """Rows of the flow table and the range that each takes a port of; a row may be in several ranges."""

    row: Rows
    range: U16
    """Index into the ranges."""
    port: U16
    is_nat: Mask
    """NAT took the port from this range; else it is in the way of NAT."""


def _held(flows: FlowTable, by_rule: Confined | None) -> _Held:
    claims = _claims(flows, by_rule)
    claim, pool = _of_nat(claims, kinds(_key(flows, claims)))
    ports = pool.astype(np.uint64) << np.uint64(16) | claims.port[claim]
    upwards = order_of(ports, 16 + len(ports).bit_length())
    distinct = np.ones(len(ports), np.bool_)
    distinct[1:] = ports[upwards][1:] != ports[upwards][:-1]
    claim, pool = claim[upwards][distinct], pool[upwards][distinct]
    start = np.append(np.flatnonzero(np.diff(pool, prepend=-1)), len(pool))
    ranges = np.array([*CLASSES, *(by_rule.ranges if by_rule else ())], np.uint16)
    first, last = ranges[claims.range[claim[start[:-1]]]].T
    row = claims.row[claim]
    return _Held(row, Taken(claims.port[claim], pool, start, first, last), row[start[:-1]])


def _of_nat(claims: _Claims, alike: Kinds) -> tuple[Rows, Rows]:
    """The claims of pools that NAT took a port from, those of one together, and the index of each one's pool."""
    begins = np.flatnonzero(alike.begins)
    is_nat = np.logical_or.reduceat(claims.is_nat[alike.order], begins) if len(begins) else np.zeros(0, np.bool_)
    pool = np.cumsum(alike.begins) - 1
    kept = is_nat[pool]
    return alike.order[kept], (np.cumsum(is_nat) - 1)[pool[kept]]


def _claims(flows: FlowTable, by_rule: Confined | None) -> _Claims:
    """Every flow that takes a port of a range that NAT may pick from; without most of those that NAT never meets."""
    given = _GIVEN[flows.proto]
    port = np.where(given == _ID, flows.reply_sport, flows.reply_dport)
    by_class = np.where(given == _ID, np.uint8(_IDS), _CLASS_OF_PORT[port])
    is_nat = translated(flows)
    near = np.flatnonzero((given != _UNTOUCHED) & _may_meet(flows, is_nat))
    row = near[by_class[near] != _NO_CLASS]
    rows, spans, nats = [row], [by_class[row].astype(np.uint16)], [is_nat[row]]
    if by_rule:
        nats[0] &= by_rule.of[row] < 0
        for index, (first, last) in enumerate(by_rule.ranges):
            inside = near[(given[near] == _PORTS) & (port[near] >= first) & (port[near] <= last)]
            rows.append(inside)
            spans.append(np.full(len(inside), len(CLASSES) + index, np.uint16))
            nats.append(by_rule.of[inside] == index)
    together = np.concatenate(rows)
    return _Claims(together, np.concatenate(spans), port[together], np.concatenate(nats))


def _may_meet(flows: FlowTable, is_nat: Mask) -> Mask:
    """The flows between addresses that NAT may have used a port between; a few others by chance of their hash."""
    slots = (hashed((flows.reply_dst.lo, flows.reply_src.lo)) >> np.uint64(48)).astype(np.uint16)
    used = np.zeros(1 << 16, np.bool_)
    used[slots[is_nat]] = True
    return used[slots]


def _key(flows: FlowTable, claims: _Claims) -> Sequence[U64]:
    """What tells pools apart: protocols of both layers, zone, both addresses, the remote port, and the range."""
    row = claims.row
    proto = flows.proto[row]
    remote_port = np.where(_GIVEN[proto] == _ID, flows.reply_dport[row], flows.reply_sport[row])
    small = proto.astype(np.uint64) << np.uint64(1) | (flows.family[row] == AF_INET6)
    for column in (flows.zone[row], remote_port, claims.range):
        small = small << np.uint64(16) | column
    halves = (flows.reply_dst.lo, flows.reply_src.lo, flows.reply_dst.hi, flows.reply_src.hi)
    return small, *(half[row] for half in halves if half.any())


def _tcp_states(flows: FlowTable) -> U8:
    """The state of each TCP flow; NO_STATE for the others."""
    return np.where(flows.proto == IpProto.TCP, flows.state, np.uint8(NO_STATE))


def _soft(status: U32, state: U8) -> Mask:
    """What may be evicted: TIME_WAIT, CLOSE or later, with SRC_NAT, neither dying nor offloaded (nf_nat_may_kill)."""
    closing = (state >= TcpState.TIME_WAIT) & (state <= TcpState.SYN_SENT2)
    refused = Ips.FIXED_TIMEOUT | Ips.DYING | Ips.OFFLOAD | Ips.HW_OFFLOAD
    found: Mask = closing & ((status & (Ips.SRC_NAT | refused)) == Ips.SRC_NAT)
    return found


_CONNECTED = np.array(sorted(STATEFUL), np.uint8)


def _goes(proto: U8, state: U8) -> Mask:
    """What goes by itself: TCP that has been closed, and whatever has no connections. `state` is TCP's."""
    found: Mask = (state == TcpState.TIME_WAIT) | (state == TcpState.CLOSE) | ~np.isin(proto, _CONNECTED)
    return found


def _drain(timeout_s: U32, goes: Mask, taken: Taken) -> U32:
    """Seconds until the last entry of each pool goes."""
    left = np.where(goes & (timeout_s != UNKNOWN32), timeout_s, np.uint32(0))
    longest: U32 = np.maximum.reduceat(left, taken.start[:-1]) if len(left) else left
    return longest


_HOLDS_BITS = 17


def _holders(client: npt.NDArray[np.int32], taken: Taken, rank: Rows) -> tuple[npt.NDArray[np.int32], U32, Rows]:
    """Whose the ports of each pool are and how many, most first, the pools in their rank.

    The ports of a pool stand together, and stay so: numpy's stable sort gains from that, its other one does not.
    """
    place = np.empty_like(rank)
    place[rank] = np.arange(len(rank))
    lowest = int(client.min(initial=0))
    width = int(client.max(initial=0)) - lowest + 1
    keys = np.sort(place[taken.pool] * width + (client - lowest), kind="stable")
    begins = np.flatnonzero(np.diff(keys, prepend=-1))
    holds = np.diff(begins, append=len(keys))
    pool, code = np.divmod(keys[begins], width)
    order = np.argsort(pool << _HOLDS_BITS | (1 << _HOLDS_BITS) - holds, kind="stable")
    start = np.append(np.flatnonzero(np.diff(pool, prepend=-1)), len(pool))
    return (code[order] + lowest).astype(np.int32), holds[order].astype(np.uint32), start


def busiest_pools(pools: NatPools, containers: int) -> list[int | None]:
    """For each of so many containers the row of the fullest pool that it holds ports of."""
    pool = np.repeat(np.arange(len(pools)), np.diff(pools.start))
    found: list[int | None] = [None] * containers
    code, first = np.unique(pools.holder, return_index=True)
    for container, row in zip(code.tolist(), pool[first].tolist(), strict=True):
        if container >= 0:
            found[container] = row
    return found


def sustainable_per_s(pools: NatPools, sysctls: Mapping[str, int | tuple[int, ...]]) -> npt.NDArray[np.float64]:
    """New flows per second that each pool can sustain, if nothing is evicted: the ports that come free, over the last
    timeout of an entry.

    Ports held by what does not go by itself are as good as gone: only the others are given out again and again. The
    timeout is nf_conntrack_tcp_timeout_time_wait for TCP, nf_conntrack_udp_timeout for UDP; NaN for other protocols.
    """
    names = {
        IpProto.TCP: "nf_conntrack_tcp_timeout_time_wait",
        IpProto.UDP: "nf_conntrack_udp_timeout",
    }
    lasts = np.full(1 << 8, np.nan)
    for proto, name in names.items():
        seconds = sysctls.get(name)
        if isinstance(seconds, int) and seconds:
            lasts[proto] = seconds
    found: npt.NDArray[np.float64] = (pools.capacity - (pools.used - pools.draining)) / lasts[pools.proto]
    return found


# A pool's fill and name, and its flows


def percent_of(pools: NatPools | None, row: int | None) -> float | None:
    """How much of a pool's range is taken; None where there is no such pool."""
    return None if pools is None or row is None or row >= len(pools) else pools.percent(row)


def pool_name(pools: NatPools, row: int) -> str:
    """As `203.0.113.10 → 198.51.100.7:443/tcp`."""
    remote = service(pools.remote.text(row), int(pools.remote_port[row]), int(pools.proto[row]))
    return f"{pools.nat.text(row)} → {remote}"


def filter_of(pools: NatPools, row: int) -> str:
    """The filter expression that selects the flows that hold ports of a pool, and no others."""
    proto = int(pools.proto[row])
    remote_port, port = ("rdport", "rsport") if _GIVEN[proto] == _ID else ("rsport", "rdport")
    terms = {
        "proto": proto_name(proto),
        "rsrc": pools.remote.text(row),
        remote_port: int(pools.remote_port[row]),
        "rdst": pools.nat.text(row),
        port: f"{int(pools.first_port[row])}-{int(pools.last_port[row])}",
        "zone": int(pools.zone[row]),
    }
    return " ".join(f"{name}:{value}" for name, value in terms.items())


def held_by(pools: NatPools, flows: FlowTable, wanted: Mask) -> Mask:
    """The pools of which one of the wanted flows holds a port."""
    row = np.flatnonzero(wanted)
    is_id = _GIVEN[flows.proto[row]] == _ID
    port = np.where(is_id, flows.reply_sport[row], flows.reply_dport[row])
    remote_port = np.where(is_id, flows.reply_dport[row], flows.reply_sport[row])
    of_pools = _ends(pools.proto, pools.zone, pools.remote_port, pools.nat, pools.remote)
    of_flows = _ends(
        flows.proto[row], flows.zone[row], remote_port, flows.reply_dst.take(row), flows.reply_src.take(row)
    )
    alike = kinds([np.concatenate(both) for both in zip(of_pools, of_flows, strict=True)])
    kind = np.empty(len(alike.order), np.uint64)
    kind[alike.order] = np.cumsum(alike.begins)
    base = kind[: len(pools)] << np.uint64(16)
    taken = np.sort(kind[len(pools) :] << np.uint64(16) | port)
    found: Mask = np.searchsorted(taken, base | pools.first_port) < np.searchsorted(
        taken, base | pools.last_port, "right"
    )
    return found


def _ends(proto: U8, zone: U16, remote_port: U16, nat: Addresses, remote: Addresses) -> Sequence[U64]:
    """What the pools between the same ends have in common; they differ in the range."""
    small = (proto.astype(np.uint64) << np.uint64(16) | zone) << np.uint64(16) | remote_port
    return small, nat.lo, remote.lo, nat.hi, remote.hi
