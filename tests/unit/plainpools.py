"""NAT pools by plain loops over one flow after the other."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

from natop.model import Kind, NatPools
from tests.unit.plain import DCCP, ICMP, ICMPV6, SCTP, SRC_NAT, TCP, UDP, Flow

UDPLITE = 136
PORTED = (TCP, UDP, UDPLITE, SCTP, DCCP)
REFUSED = 0x200 | 0x400 | 0x4000 | 0x8000
"""IPS_DYING, IPS_FIXED_TIMEOUT, IPS_OFFLOAD, IPS_HW_OFFLOAD: nf_nat_may_kill, nf_nat_used_tuple_harder."""
TIME_WAIT, CLOSE, SYN_SENT2 = 7, 8, 9

Key = tuple[int, int, str, str, int, int, int]
"""Protocol, zone, SNAT address, remote address, remote port, first and last port of the range."""
Span = tuple[int, int]


@dataclass
class Pool:
    """The flow that holds each port, first come first."""

    holders: dict[int, int] = field(default_factory=dict)
    """Row of the flow by port."""
    is_nat: bool = False


@dataclass(frozen=True)
class Told:
    used: int
    soft: int
    time_wait: int
    time_wait_hard: int
    rewritten: int
    masqueraded: int
    by_rule: int
    kept: int
    draining: int
    drain_s: int
    holders: tuple[tuple[int, int], ...]
    """Code and ports, by most and then by code."""


def port_of(flow: Flow) -> tuple[int, int] | None:
    """The port or id that NAT would give out, and the other end's; None where it gives none."""
    if flow.proto in PORTED:
        return flow.reply.dport, flow.reply.sport
    return (flow.reply.sport, flow.reply.dport) if flow.proto in (ICMP, ICMPV6) else None


def span_of(flow: Flow) -> Span | None:
    """The range of ports that NAT picks from without a rule's range, where the flow's port is within."""
    port = port_of(flow)
    if port is None:
        return None
    if flow.proto in (ICMP, ICMPV6):
        return 0, 65535
    for first, last in ((1, 511), (600, 1023), (1024, 65535)):
        if first <= port[0] <= last:
            return first, last
    return None


def moved(flow: Flow) -> bool:
    port = port_of(flow)
    return port is not None and bool(flow.status & SRC_NAT) and port[0] != flow.orig.sport


def ruled(flow: Flow, kind: Kind) -> bool:
    """Whether a rule translated it: NAT gave it its port, and it is no flow of the host's own that had to give way."""
    return bool(flow.status & SRC_NAT) and port_of(flow) is not None and kind is not Kind.REMAPPED


def pools(flows: Sequence[Flow], ruled: Callable[[Flow], Span | None]) -> dict[Key, Pool]:
    """All pools that NAT took a port from; `ruled` gives the range that a rule confines a flow to."""
    found: dict[Key, Pool] = {}
    ranges = {span for flow in flows if (span := ruled(flow))}
    for row, flow in enumerate(flows):
        port, by_class = port_of(flow), span_of(flow)
        if port is None:
            continue
        within = [span for span in ranges if flow.proto in PORTED and span[0] <= port[0] <= span[1]]
        for span in (*([by_class] if by_class else []), *within):
            pool = found.setdefault(_key(flow, port[1], span), Pool())
            pool.holders.setdefault(port[0], row)
            pool.is_nat |= bool(flow.status & SRC_NAT) and (ruled(flow) or by_class) == span
    return {key: pool for key, pool in found.items() if pool.is_nat}


def _key(flow: Flow, remote_port: int, span: Span) -> Key:
    return (flow.proto, flow.zone, flow.reply.dst, flow.reply.src, remote_port, *span)


def told(pool: Pool, flows: Sequence[Flow], codes: Sequence[int], kinds: Sequence[Kind], evicting: bool) -> Told:
    held = [flows[row] for row in pool.holders.values()]
    by_rule = [flows[row] for row in pool.holders.values() if ruled(flows[row], kinds[row])]
    soft = [
        each
        for each in held
        if evicting
        and each.proto == TCP
        and each.state in (TIME_WAIT, CLOSE, SYN_SENT2)
        and each.status & SRC_NAT
        and not each.status & REFUSED
    ]
    going = [each.timeout_s or 0 for each in held if _goes(each)]
    by_code = Counter(codes[row] for row in pool.holders.values())
    return Told(
        used=len(held),
        soft=len(soft),
        time_wait=sum(each.proto == TCP and each.state == TIME_WAIT for each in held),
        time_wait_hard=sum(each.proto == TCP and each.state == TIME_WAIT and each not in soft for each in held),
        rewritten=sum(moved(each) for each in held),
        masqueraded=sum(bool(each.status & SRC_NAT) for each in held),
        by_rule=len(by_rule),
        kept=sum(not moved(each) for each in by_rule),
        draining=len(going),
        drain_s=max(going, default=0),
        holders=tuple(sorted(by_code.items(), key=lambda pair: (-pair[1], pair[0]))),
    )


def _goes(each: Flow) -> bool:
    return each.state in (TIME_WAIT, CLOSE) if each.proto == TCP else each.proto not in (SCTP, DCCP)


def rows(found: NatPools) -> dict[Key, Told]:
    """natop's pools in the same words."""
    result: dict[Key, Told] = {}
    for i in range(len(found)):
        part = slice(int(found.start[i]), int(found.start[i + 1]))
        key = (
            *(int(found.proto[i]), int(found.zone[i]), found.nat.text(i), found.remote.text(i)),
            *(int(found.remote_port[i]), int(found.first_port[i]), int(found.last_port[i])),
        )
        assert key not in result, "a pool is told twice"
        holders = tuple(zip(found.holder[part].tolist(), found.holds[part].tolist(), strict=True))
        numbers = [int(getattr(found, each.name)[i]) for each in fields(Told) if each.name != "holders"]
        result[key] = Told(*numbers, holders=holders)  # type: ignore[misc,arg-type]  # in the order of the fields
    return result
