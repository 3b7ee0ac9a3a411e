"""The columns of the table of probes, each declared once, and what lost SYNs meant, in words. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from natop.formats import UNKNOWN, count, many, milliseconds
from natop.model import ProbePath, ProbeResult, ProbeSeries
from natop.summarise.probed import explanation, place


@dataclass(frozen=True, slots=True)
class ProbeColumn:
    key: str
    title: str
    width: int
    """Least width in cells."""
    numeric: bool
    text: Callable[[ProbeSeries], str]
    order: Callable[[ProbeSeries], float | str | None]
    """By which the column sorts; None is unknown."""
    help: str
    rank: int = 1
    """1 is always shown; the higher, the more room a screen must have."""


def way_text(result: ProbeResult) -> str:
    """`host`, `from app1`, or the way to a container's published port: `proxy web`."""
    if result.path == ProbePath.HOST:
        return str(result.path)
    return f"{'from' if result.path == ProbePath.NETNS else result.path} {result.container_name or '?'}"


def syns_text(series: ProbeSeries, unknown: str = UNKNOWN) -> str:
    """How many SYNs were lost and by how many probes, connected or not: `3 in 2`."""
    told = series.statistics
    return unknown if told.syns_lost is None else f"{told.syns_lost:,} in {told.losers}" if told.losers else "0"


def errors_text(series: ProbeSeries) -> str:
    """Each reason, the most frequent first: `timed out ×3, refused ×1`."""
    return ", ".join(f"{reason} ×{number}" for reason, number in series.statistics.errors.items())


def statuses_text(series: ProbeSeries) -> str:
    """What HTTP servers answered, the most frequent first: `200`, or where it differs `200 ×4, 503 ×1`."""
    found = Counter(each.http_status for each in series.results if each.http_status is not None)
    if len(found) < 2:
        return "".join(map(str, found))
    return ", ".join(f"{status} ×{number}" for status, number in found.most_common())


def losses(series: ProbeSeries) -> Iterator[str]:
    """A sentence for each number of SYNs that probes lost, whether they connected in the end or not."""
    alike: dict[tuple[int, str], list[ProbeResult]] = {}
    for each in series.results:
        if each.syns_lost:
            alike.setdefault((each.syns_lost, each.error or ""), []).append(each)
    for (_, error), found in sorted(alike.items()):
        said = explanation(found[-1]) + (f", then {error}" if error else "")
        yield f"{len(found)} of {many(len(series.results), 'probe')}: {said}"


def all_losses(ways: Iterable[ProbeSeries]) -> Iterator[str]:
    """The sentences of all ways, each with the way."""
    return (f"{each.last.target} {way_text(each.last)}: {sentence}" for each in ways for sentence in losses(each))


def _time(key: str, title: str, name: str, help: str, rank: int = 1) -> ProbeColumn:
    def value(series: ProbeSeries) -> float | None:
        found: float | None = getattr(series.statistics, name)
        return found

    return ProbeColumn(key, title, 7, True, lambda series: milliseconds(value(series)), value, help, rank)


PROBE_COLUMNS = (
    ProbeColumn(
        "target",
        "TARGET",
        20,
        False,
        lambda s: s.last.target,
        lambda s: "{} {} {}".format(*place(s)),
        "what is called; sorted by what it leads to, so that the ways to one thing stand together",
    ),
    ProbeColumn(
        "path", "PATH", 14, False, lambda s: way_text(s.last), lambda s: way_text(s.last), "the way that the call takes"
    ),
    ProbeColumn(
        "count",
        "N",
        4,
        True,
        lambda s: count(s.statistics.count),
        lambda s: s.statistics.count,
        "probes, of the last 120",
    ),
    ProbeColumn(
        "failed",
        "FAILED",
        6,
        True,
        lambda s: count(s.statistics.failed),
        lambda s: s.statistics.failed,
        "probes failed",
    ),
    ProbeColumn(
        "last",
        "LAST ms",
        7,
        True,
        lambda s: milliseconds(s.last.connect_ms),
        lambda s: s.last.connect_ms,
        "connect time of the last probe",
        2,
    ),
    _time("p50", "P50 ms", "p50_ms", "connect time that half of the probes did not exceed"),
    _time("p95", "P95 ms", "p95_ms", "connect time that 95 % did not exceed"),
    _time("p99", "P99 ms", "p99_ms", "connect time that 99 % did not exceed", 3),
    _time("max", "MAX ms", "max_ms", "longest connect time"),
    _time("first_byte", "FIRST ms", "first_byte_p50_ms", "median time to the first byte of the first answer (HTTP)", 2),
    _time("later_byte", "LATER ms", "later_byte_p50_ms", "the same of a second request on the same connection", 2),
    ProbeColumn(
        "syns_lost",
        "SYNS LOST",
        9,
        True,
        syns_text,
        lambda s: s.statistics.syns_lost,
        "SYNs lost, and in how many probes",
    ),
    ProbeColumn("http_status", "HTTP", 4, False, statuses_text, statuses_text, "status of the first answer (HTTP)", 2),
    ProbeColumn("error", "ERROR", 16, False, errors_text, errors_text, "why probes failed"),
)
"""The table of probes, in the order shown."""
