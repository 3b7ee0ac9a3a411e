"""A Snapshot, filtered and sorted as the user wants it, as JSON, CSV, Markdown or text. Pure: nothing is written."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from natop import tables
from natop.columns.containers import (
    CONTAINER_COLUMNS,
    DEFAULT_SORT,
    Connects,
    ContainerColumn,
    ContainerRow,
    container_rows,
    sorted_rows,
)
from natop.columns.flows import FLOW_COLUMNS, sorted_flows
from natop.columns.ordering import Value, sort_column, sort_column_or
from natop.columns.probes import PROBE_COLUMNS, ProbeColumn, all_losses
from natop.export.document import FLOWS_AT_ONCE, encode, encode_probes
from natop.export.flowdocument import flow_objects
from natop.export.report import findings_markdown, verdict_line
from natop.formats import UNKNOWN, count, decimal, rate, share, timestamp
from natop.join.flows import Flows
from natop.markdown import escaped
from natop.model import ProbeSeries, Rows, Snapshot

if TYPE_CHECKING:
    from natop.columns.filters import Filter


@dataclass(frozen=True, slots=True)
class View:
    """What of a snapshot is wanted, in which order."""

    filter: "Filter | None" = None
    sort: str | None = None
    """Key of a column, with `-` before it the other way round; flows that it does not sort stay as they were read."""
    flows: bool = False

    def rows(self, snapshot: Snapshot) -> list[ContainerRow]:
        """The containers that match, sorted; the host's row with them."""
        rows = container_rows(snapshot)
        if self.filter:
            matching = self.filter.containers(snapshot)
            rows = tuple(row for row, matches in zip(rows, matching, strict=True) if matches)
        column, descending = sort_column_or(CONTAINER_COLUMNS, self.sort, DEFAULT_SORT)
        return sorted_rows(rows, column, descending)

    def flow_rows(self, snapshot: Snapshot) -> Rows | None:
        """Rows of the flow table that match, sorted; None where flows are not wanted or could not be read."""
        flows = Flows.of(snapshot)
        if not self.flows or flows is None:
            return None
        rows = np.flatnonzero(self.filter.flows(snapshot)) if self.filter else np.arange(len(flows.table))
        wanted = sort_column(FLOW_COLUMNS, self.sort)
        return sorted_flows(flows, rows, *wanted) if wanted else rows


def file_stem(snapshot: Snapshot) -> str:
    """A file name for this snapshot, without ending: natop-HOST-20261122T184500Z."""
    host = re.sub(r"[^A-Za-z0-9._-]", "_", snapshot.host.hostname)
    return f"natop-{host}-{datetime.fromtimestamp(snapshot.taken_at, UTC):%Y%m%dT%H%M%SZ}"


def sort_keys(flows: bool) -> tuple[str, ...]:
    """What `View.sort` may name; a key that sorts both, as the state does, once."""
    columns = (*CONTAINER_COLUMNS, *(FLOW_COLUMNS if flows else ()))
    return tuple(dict.fromkeys(column.key for column in columns))


def as_json(snapshot: Snapshot, view: View) -> Iterator[str]:
    for piece in encode(snapshot, view.rows(snapshot), view.flow_rows(snapshot)):
        yield piece.decode()
    yield "\n"


def as_csv(snapshot: Snapshot, view: View, *, header: bool) -> Iterator[str]:
    """A line a container or, where flows are wanted, a line a flow."""
    lines = _flow_lines(snapshot, view) if view.flows else _container_lines(snapshot, view)
    for number, line in enumerate(lines):
        if number or header:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerow(line)
            yield text.getvalue()


_CSV_COLUMNS = tuple(column for column in CONTAINER_COLUMNS if not column.drawn)


def _container_lines(snapshot: Snapshot, view: View) -> Iterator[Sequence[object]]:
    yield ["taken_at", "id", *(column.key for column in _CSV_COLUMNS)]
    for row in view.rows(snapshot):
        yield [timestamp(snapshot.taken_at), row.key, *(_csv_value(column.value(row)) for column in _CSV_COLUMNS)]


def _csv_value(value: Value) -> Value:
    return value.p95_ms if isinstance(value, Connects) else value


_FLOW_FIELDS = ("proto", "state", "timeout_s", "zone", "mark", "id", "packets", "bytes", "started_at")
_OWNER_FIELDS = ("client_other", "server_other", "network")
_PROXY_COLUMNS = {"proxy_pid": "pid", "half": "half", "other_half": "other_half"}
_END_FIELDS = ("src", "sport", "dst", "dport")


def _flow_lines(snapshot: Snapshot, view: View) -> Iterator[Sequence[object]]:
    ends = [f"{side}_{field}" for side in ("orig", "reply") for field in _END_FIELDS]
    yield ["taken_at", *_FLOW_FIELDS, *ends, "status", "client", "server", "kind", *_OWNER_FIELDS, *_PROXY_COLUMNS]
    flows, rows = Flows.of(snapshot), view.flow_rows(snapshot)
    if flows is None or rows is None:
        return
    taken_at = timestamp(snapshot.taken_at)
    for start in range(0, len(rows), FLOWS_AT_ONCE):
        for flow in flow_objects(flows, rows[start : start + FLOWS_AT_ONCE]):
            plain = [getattr(flow, field) for field in _FLOW_FIELDS]
            owners = [getattr(flow, field) for field in _OWNER_FIELDS]
            sides = [getattr(side, field) for side in (flow.orig, flow.reply) for field in _END_FIELDS]
            proxy = [flow.proxy and getattr(flow.proxy, field) for field in _PROXY_COLUMNS.values()]
            yield [
                taken_at,
                *plain,
                *sides,
                " ".join(flow.status),
                flow.client,
                flow.server,
                flow.kind,
                *owners,
                *proxy,
            ]


def as_text(snapshot: Snapshot, view: View, width: int | None = None) -> Iterator[str]:
    """A head of a few lines, the table of containers, the flows where they are wanted, and what is missing.

    Where a `width` in cells is given, tables leave out the columns that matter least until they fit.
    """
    for label, text in _head(snapshot):
        yield f"{label:<12}{text}\n"
    yield "\n"
    columns = _text_columns()
    yield from tables.as_text(
        columns, [[cell_text(column.value(row)) for column in columns] for row in view.rows(snapshot)], width
    )
    if view.flows:
        yield "\n"
        yield from _flow_table(snapshot, view, width)
    if snapshot.probes:
        yield "\n"
        yield from probes_as_text(snapshot.probes, width)
    for gap in snapshot.gaps:
        yield f"\nnot read: {gap.source}: {gap.told()}\n"


TEXT_RANK = 3
"""Columns up to this rank stand in tables of text and Markdown."""


def _text_columns() -> list[ContainerColumn]:
    return [column for column in CONTAINER_COLUMNS if column.rank <= TEXT_RANK and not column.drawn]


def _head(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    host, conntrack, whole = snapshot.host, snapshot.conntrack, snapshot.whole
    asked = snapshot.inventory.engine if snapshot.inventory else None
    engine = f"{asked.product} {asked.version or UNKNOWN}" if asked else f"Docker {UNKNOWN}"
    yield "host", f"{host.hostname}  Linux {host.kernel or UNKNOWN}  {engine}  {timestamp(snapshot.taken_at)}"
    yield "verdict", verdict_line(snapshot)
    fill = f"{count(conntrack.count)} of {count(conntrack.max)} ({share(conntrack.count, conntrack.max)})"
    rates = whole.rates if whole else None
    yield "conntrack", f"{fill}  new {rate(rates.new if rates else None)}  gone {rate(rates.gone if rates else None)}"
    states = {name: number for name, number in whole.counts.states.items() if number} if whole else {}
    listed = "  ".join(f"{name} {number:,}" for name, number in sorted(states.items(), key=lambda item: -item[1]))
    yield "TCP", listed or ("none" if whole else UNKNOWN)
    yield "counters", "  ".join(_counter(snapshot, name) for name in HEAD_COUNTERS)


HEAD_COUNTERS = ("insert_failed", "drop", "early_drop", "invalid", "found")


def _counter(snapshot: Snapshot, name: str) -> str:
    rates = snapshot.counter_rates
    per_second = f" ({rate(rates.get(name))})" if rates else ""
    return f"{name} {count(snapshot.conntrack.counters.get(name))}{per_second}"


def _flow_table(snapshot: Snapshot, view: View, width: int | None) -> Iterator[str]:
    flows, rows = Flows.of(snapshot), view.flow_rows(snapshot)
    if flows is None or rows is None:
        return
    cells = [[column.text(flows, int(row)) for column in FLOW_COLUMNS] for row in rows]
    yield from tables.as_text(FLOW_COLUMNS, cells, width)


def probes_as_text(series: Sequence[ProbeSeries], width: int | None = None) -> Iterator[str]:
    """A table of the ways probed, and what lost SYNs meant; nothing of none."""
    if not series:
        return
    columns = _probe_columns(series)
    yield from tables.as_text(columns, [[column.text(each) for column in columns] for each in series], width)
    if told := list(all_losses(series)):
        yield "\n" + "".join(f"{sentence}\n" for sentence in told)


def _probe_columns(series: Sequence[ProbeSeries]) -> list[ProbeColumn]:
    """Without those that have nothing to tell of any way."""
    wanted = (column for column in PROBE_COLUMNS if column.rank <= TEXT_RANK)
    return [column for column in wanted if any(column.order(each) not in (None, "") for each in series)]


def probes_as_json(series: Sequence[ProbeSeries]) -> Iterator[str]:
    yield encode_probes(series).decode() + "\n"


def cell_text(value: Value) -> str:
    """A value as a cell of text or Markdown, under a title that tells its unit."""
    if isinstance(value, Connects):
        return value.told() + (f" ({value.syns_lost} lost)" if value.syns_lost else "")
    if isinstance(value, float):
        return decimal(value)
    return count(value) if isinstance(value, int) or value is None else str(value)


def as_markdown(snapshot: Snapshot, view: View) -> Iterator[str]:
    """A block for a ticket: the head as a list, the containers as a table, what is missing."""
    yield f"### natop: {escaped(snapshot.host.hostname)}\n\n"
    for label, text in _head(snapshot):
        yield f"- **{label}** {escaped(text)}\n"
    for gap in snapshot.gaps:
        yield f"- **not read** {escaped(gap.source)}: {escaped(gap.told())}\n"
    columns = _text_columns()
    yield "\n"
    rows = view.rows(snapshot)
    yield from tables.as_markdown(columns, ([cell_text(column.value(row)) for column in columns] for row in rows))
    if snapshot.probes:
        yield from _probes_markdown(snapshot.probes)
    yield from findings_markdown(snapshot.findings or ())
    flows, wanted = Flows.of(snapshot), view.flow_rows(snapshot)
    if flows is not None and wanted is not None:
        yield "\n"
        cells = ([column.text(flows, int(row)) for column in FLOW_COLUMNS] for row in wanted)
        yield from tables.as_markdown(FLOW_COLUMNS, cells)


def _probes_markdown(series: Sequence[ProbeSeries]) -> Iterator[str]:
    columns = _probe_columns(series)
    yield "\n"
    yield from tables.as_markdown(columns, ([column.text(each) for column in columns] for each in series))
    for sentence in all_losses(series):
        yield f"\n{escaped(sentence)}\n"
