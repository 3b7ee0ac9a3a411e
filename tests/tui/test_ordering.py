"""The screen's order is that of the text table, of CSV, Markdown and JSON."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from natop.columns.containers import CONTAINER_COLUMNS
from natop.columns.filters import parse
from natop.columns.flows import FLOW_COLUMNS
from natop.export.snapshots import View
from natop.model import UNKNOWN32, Snapshot
from natop.tui.arrange import ContainerLines, FlowLines, arrange_containers, arrange_flows
from natop.tui.glyphs import UNICODE
from natop.tui.wish import Wish

FILTER = "proto:tcp"


@pytest.fixture(scope="session")
def partly_known(busy: list[Snapshot]) -> Snapshot:
    """Every third flow without a timeout, one container without numbers."""
    taken = busy[-1]
    assert taken.reading is not None
    flows = taken.reading.flows
    timeouts = np.where(np.arange(len(flows)) % 3 == 0, np.uint32(UNKNOWN32), flows.timeout_s)
    first, *others = taken.containers
    unread = replace(first, flows=None, inbound=None, outbound=None)
    reading = replace(taken.reading, flows=replace(flows, timeout_s=timeouts))
    return replace(taken, reading=reading, containers=(unread, *others))


def keys(columns: Sequence[object]) -> list[str]:
    return [sign + column.key for column in columns for sign in ("", "-")]  # type: ignore[attr-defined]  # columns


@pytest.mark.parametrize("sort", [None, *keys(CONTAINER_COLUMNS), "-dst"])
def test_containers(partly_known: Snapshot, sort: str | None) -> None:
    arranged = arrange_containers(partly_known, Wish(FILTER, sort=sort), UNICODE)
    assert isinstance(arranged.content, ContainerLines)
    written = View(parse(FILTER), sort).rows(partly_known)
    assert [row.name for row in arranged.content.rows] == [row.name for row in written]


@pytest.mark.parametrize("sort", keys(FLOW_COLUMNS))
def test_flows(partly_known: Snapshot, sort: str) -> None:
    arranged = arrange_flows(partly_known, Wish(FILTER, sort=sort), UNICODE)
    assert isinstance(arranged.content, FlowLines)
    written = View(parse(FILTER), sort, flows=True).flow_rows(partly_known)
    assert written is not None
    assert arranged.content.rows.tolist() == written.tolist()
