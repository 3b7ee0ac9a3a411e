"""What probes come to: what lost SYNs cost, statistics and history by way, and which flows are natop's own. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from natop.formats import many
from natop.model import (
    FlowTable,
    Gap,
    Mask,
    OwnFlow,
    ProbeError,
    ProbePath,
    ProbeResult,
    ProbeSeries,
    ProbeStatistics,
    address_value,
)
from natop.uapi import IpProto, TcpState

HISTORY = 120
"""Results kept of each way: four minutes at one every two seconds."""
MOST_SERIES = 1_000
"""Ways whose results are kept; those not probed for the longest go first."""
_PLACES: Mapping[str, int] = {path: place for place, path in enumerate(ProbePath)}
FIRST_RTO_S = 1
"""TCP_TIMEOUT_INIT, include/net/tcp.h: how long the first SYN waits for its answer."""
RTO_MAX_S = 120
"""TCP_RTO_MAX, include/net/tcp.h."""


def sent_again_s(syns_lost: int, linear_timeouts: int) -> tuple[int, ...]:
    """When the kernel sends the SYN again, in seconds after the first, once for each that was lost.

    It waits one second each for the first SYN and the next `tcp_syn_linear_timeouts` ones, then twice as long each time
    (tcp_retransmit_timer, net/ipv4/tcp_timer.c). Before Linux 6.5 there are no such linear ones.
    """
    moments: list[int] = []
    at, wait = 0, FIRST_RTO_S
    for number in range(syns_lost):
        if number > linear_timeouts:
            wait = min(2 * wait, RTO_MAX_S)
        at += wait
        moments.append(at)
    return tuple(moments)


def sent_again_since(result: ProbeResult, at_s: float) -> int:
    """How many SYNs one probe has sent again since that moment."""
    if not result.syns_lost:
        return 0
    if result.linear_timeouts is None:
        return result.syns_lost if result.at >= at_s else 0
    return sum(result.at + moment >= at_s for moment in sent_again_s(result.syns_lost, result.linear_timeouts))


def waited_ms(result: ProbeResult) -> float | None:
    """The part of a connect that went by in waiting to send lost SYNs again; None where that is not known."""
    if result.syns_lost is None or result.linear_timeouts is None:
        return None
    return 1000.0 * max(sent_again_s(result.syns_lost, result.linear_timeouts), default=0)


def explanation(result: ProbeResult) -> str:
    """What lost SYNs did to one probe: `2 SYNs lost, sent again after 1 and 2 s`; empty where none was lost."""
    if not result.syns_lost:
        return ""
    said = f"{many(result.syns_lost, 'SYN')} lost"
    if result.linear_timeouts is None:
        return said
    *first, last = (str(moment) for moment in sent_again_s(result.syns_lost, result.linear_timeouts))
    return f"{said}, sent again after {', '.join(first)}{' and ' if first else ''}{last} s"


def statistics(results: Sequence[ProbeResult]) -> ProbeStatistics:
    times = _known(each.connect_ms for each in results)
    told = [(each.connect_ms is not None, each.syns_lost) for each in results if each.syns_lost is not None]
    errors = Counter(each.error for each in results if each.error is not None)
    return ProbeStatistics(
        count=len(results),
        failed=errors.total(),
        p50_ms=percentile(times, 50),
        p95_ms=percentile(times, 95),
        p99_ms=percentile(times, 99),
        max_ms=times[-1] if times else None,
        first_byte_p50_ms=percentile(_known(each.first_byte_ms for each in results), 50),
        later_byte_p50_ms=percentile(_known(each.later_byte_ms for each in results), 50),
        by_syns_lost=_counted(lost for connected, lost in told if connected),
        failed_by_syns_lost=_counted(lost for connected, lost in told if not connected),
        errors=dict(errors.most_common()),
    )


def _counted(values: Iterable[int]) -> dict[int, int]:
    """How often there is each, the least first."""
    return dict(sorted(Counter(values).items()))


def _known(values: Iterable[float | None]) -> list[float]:
    """Those that are known, in ascending order."""
    return sorted(value for value in values if value is not None)


def percentile(ascending: Sequence[float], percent: int) -> float | None:
    """The smallest value that at least so many per cent do not exceed (nearest rank); None of nothing."""
    if not ascending:
        return None
    return ascending[max(0, math.ceil(len(ascending) * percent / 100) - 1)]


def with_results(
    past: Sequence[ProbeSeries], results: Iterable[ProbeResult], history: int = HISTORY, most: int = MOST_SERIES
) -> tuple[ProbeSeries, ...]:
    """At most so many series with further results, the last `history` of each; ways to one thing stand together."""
    fresh: dict[tuple[str, str, str], list[ProbeResult]] = {}
    for result in results:
        fresh.setdefault(result.key, []).append(result)
    if not fresh:
        return tuple(past)
    series = {each.last.key: each for each in past}
    for key, found in fresh.items():
        before = series[key].results if key in series else ()
        kept = (*before, *found)[-history:]
        series[key] = ProbeSeries(kept, statistics(kept))
    latest = sorted(series.values(), key=lambda each: each.last.at)[-most:]
    return tuple(sorted(latest, key=place))


def place(series: ProbeSeries) -> tuple[str, int, str]:
    """By which the ways to one thing stand together, the one without NAT first."""
    last = series.last
    return last.subject, _PLACES.get(last.path, len(_PLACES)), last.container_name or ""


def not_permitted(series: Iterable[ProbeSeries]) -> Iterator[Gap]:
    """The gap to tell where containers' namespaces may not be entered."""
    last = [each.last for each in series]
    if any(each.path == ProbePath.NETNS and each.error == ProbeError.NOT_PERMITTED for each in last):
        reason = "calls from inside containers' network namespaces need CAP_SYS_ADMIN; only the host's ways are probed"
        yield Gap("probes", reason, "run: sudo natop")


@dataclass(frozen=True, slots=True)
class Own:
    """natop's own connections in a table of flows."""

    rows: Mask
    found: frozenset[OwnFlow]
    waiting: frozenset[OwnFlow]
    """Those that have no answer yet."""


def without_own(flows: FlowTable, own: Iterable[OwnFlow]) -> tuple[FlowTable, Own]:
    """The flows without those that natop opened itself; and which these were."""
    mine = own_rows(flows, own)
    return (flows.take(~mine.rows) if mine.found else flows), mine


def own_rows(flows: FlowTable, own: Iterable[OwnFlow]) -> Own:
    """Which rows are connections that natop opened, by their original tuple, and which of these were found."""
    wanted = dict(_by_ends(own))
    rows: Mask = np.zeros(len(flows), np.bool_)
    ports = np.zeros(1 << 16, np.bool_)
    ports[[sport for _, sport, _, _ in wanted]] = True
    found, waiting = set(), set()
    for row in np.flatnonzero(ports[flows.orig_sport] & (flows.proto == IpProto.TCP)).tolist():
        ends = (
            flows.orig_src.value(row),
            int(flows.orig_sport[row]),
            flows.orig_dst.value(row),
            int(flows.orig_dport[row]),
        )
        if ends in wanted:
            rows[row] = True
            found.add(wanted[ends])
            if flows.state[row] == TcpState.SYN_SENT:
                waiting.add(wanted[ends])
    return Own(rows, frozenset(found), frozenset(waiting))


def _by_ends(own: Iterable[OwnFlow]) -> Iterator[tuple[tuple[int, int, int, int], OwnFlow]]:
    for each in own:
        with suppress(ValueError):  # what a file holds in place of an address is nobody's
            yield (address_value(each.src), each.sport, address_value(each.dst), each.dport), each
