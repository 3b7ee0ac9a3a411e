"""One side of a comparison: the last state that a file has of a host, and its rates over all that the file has of it.

Any kind of file will do that tells snapshots one after the other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from natop.diff.reread import ContainerPart, CutShort, Document, ProbePart
from natop.model import ProbeResult, ProbeSeries
from natop.summarise.probed import with_results

Rates = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Side:
    """What is compared with another such."""

    name: str
    """Of the file."""
    state: Document
    """The last snapshot of the file."""
    rates: Rates
    """Per second, by `_host_rates`' names: the mean over the file. What no snapshot knows is missing."""
    container_rates: Mapping[str, Rates]
    """By container id."""
    readings: int
    """Snapshots of the file, back to the first that is of the same host, boot and network namespace as the last."""
    rated_s: float
    """The time that `rates` are of; 0 where the file has one reading alone."""
    is_cut: bool = False
    """The file ends within a snapshot, which was left out."""

    @property
    def is_judged(self) -> bool:
        """Whether the rules had both numbers and rates to judge by."""
        return self.state.findings is not None and self.state.interval_s is not None


def side_of(name: str, documents: Iterable[Document]) -> Side:
    """`documents` are at least one. Raises what they raise."""
    fold, is_cut = _Fold(), False
    try:
        for document in documents:
            fold.add(document)
    except CutShort:
        if fold.last is None:
            raise
        is_cut = True
    assert fold.last is not None  # `documents` tells of one at least, or raises
    containers = {identity: mean.rates for identity, mean in fold.containers.items()}
    return Side(name, fold.last, fold.host.rates, containers, fold.readings, fold.seconds, is_cut)


@dataclass(slots=True)
class _Mean:
    """Rates of several intervals, each weighted by its length."""

    sums: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, rates: Mapping[str, float | None], interval_s: float) -> None:
        for name, rate in rates.items():
            if rate is not None:
                self.sums[name] = self.sums.get(name, 0.0) + rate * interval_s
                self.seconds[name] = self.seconds.get(name, 0.0) + interval_s

    @property
    def rates(self) -> Rates:
        return {name: total / self.seconds[name] for name, total in self.sums.items()}


@dataclass(slots=True)
class _Fold:
    """Snapshots of one file, until the next is of another host, boot or namespace: then all begins anew."""

    last: Document | None = None
    readings: int = 0
    seconds: float = 0.0
    host: _Mean = field(default_factory=_Mean)
    containers: dict[str, _Mean] = field(default_factory=dict)

    def add(self, document: Document) -> None:
        if self.last is None or _place(self.last) != _place(document):
            self.readings, self.seconds, self.host, self.containers = 0, 0.0, _Mean(), {}
        self.last = document
        self.readings += 1
        if not document.interval_s:
            return
        self.seconds += document.interval_s
        self.host.add(_host_rates(document), document.interval_s)
        for each in document.containers or ():
            mean = self.containers.setdefault(each.id, _Mean())
            mean.add(_container_rates(each), document.interval_s)


def _place(document: Document) -> tuple[str | None, ...]:
    return document.host.hostname, document.host.boot_id, document.host.netns


def _host_rates(document: Document) -> dict[str, float | None]:
    """Conntrack's counters, flows and what follows from them by their names, TCP's with `tcp.` before them."""
    tcp = document.host.tcp
    told = {f"tcp.{name}": rate for name, rate in tcp.rates.items()} if tcp else {}
    return {**document.conntrack.rates, **document.conntrack.derived, **told, ALL_SYN_RETRANS: _all_syns(document)}


ALL_SYN_RETRANS = "all.syn_retrans"
"""SYNs sent again in all network namespaces together, as `window.Since.tcp_total` has them."""


def _all_syns(document: Document) -> float | None:
    """Containers that share a namespace have its counters once."""
    spaces = [document.host.tcp.rates] if document.host.tcp else []
    spaces += [each.rates for each in document.containers or () if each.tcp]
    known = [rate for rates in spaces if (rate := rates.get("syn_retrans")) is not None]
    return sum(known) if known else None


def _container_rates(container: ContainerPart) -> dict[str, float | None]:
    return {**container.rates, "lost_syns_per_s": container.lost_syns_per_s}


def probe_series(probes: Iterable[ProbePart], container: str | None = None) -> tuple[ProbeSeries, ...]:
    """What the probes of a document come to, way by way; `container` is the id of the one whose they are."""
    results = [
        ProbeResult(
            each.target,
            each.path,
            each.at.timestamp(),
            container=container or each.container,
            container_name=each.container,
            connect_ms=each.connect_ms,
            syns_lost=each.syns_lost,
            error=each.error,
            subject=each.subject,
        )
        for each in probes
    ]
    return with_results((), results, history=len(results), most=max(1, len(results)))
