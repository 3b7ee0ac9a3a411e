"""Tables of thousands of entries, at rest and while they change."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from natop.collect import conntrack, netns
from natop.collect.conntrack import BLOCK, BLOCKS
from natop.decode.columns import ROOM
from natop.decode.flows import decode_dump
from tests.kernel import product
from tests.kernel.judge import assert_same, identity
from tests.lab import oracle
from tests.lab.fill import fill
from tests.lab.inject import Entry, inject, table_room
from tests.lab.netns import Namespace

LASTING = 12_000
MORE_THAN_ROOM = ROOM * 6 // 5
BYTES_PER_FLOW = 200  # at least
CHURN_BATCH = 2_000
CHURN_ROUNDS = 60
READINGS = 5


def test_a_table_of_thousands_in_every_field(namespace: Namespace) -> None:
    with table_room(LASTING):
        fill(namespace, LASTING)
        taken = product.read(namespace)
        table = oracle.flows(namespace)
        states = oracle.state_counts(namespace)
    assert_same(product.rows(taken), table, tolerance_s=5)
    assert taken.whole is not None
    counts = taken.whole.counts
    assert counts.total == LASTING == taken.conntrack.count
    assert {state: number for state, number in counts.states.items() if number} == states
    assert counts.protocols == Counter(flow["proto"] for flow in table)
    assert counts.dnat == sum("dnat" in oracle.nat(flow) for flow in table) > LASTING / 4
    assert counts.snat == sum("snat" in oracle.nat(flow) for flow in table) > LASTING / 4


def test_a_table_of_more_rows_than_there_was_room_for(namespace: Namespace) -> None:
    with table_room(MORE_THAN_ROOM):
        fill(namespace, MORE_THAN_ROOM)
        taken = product.read(namespace)
        listing = namespace.run("conntrack", "-L", timeout_s=120).stdout
    listed = Counter(re.findall(r"^(\w+) .*? src=(\S+) dst=(\S+)(?: sport=(\d+) dport=(\d+))?", listing, re.MULTILINE))
    told: Counter[tuple[str, ...]] = Counter()
    for row in product.rows(taken):
        told[(row["proto"], *(str(row["orig"][name] or "") for name in ("src", "dst", "sport", "dport")))] += 1
    assert told == listed
    assert told.total() == MORE_THAN_ROOM == taken.conntrack.count


def test_a_slow_reader_loses_nothing(namespace: Namespace) -> None:
    """More blocks than are in use at once: one must not be filled again while its reader still looks at it."""
    rows = 3 * BLOCKS * BLOCK // 2 // BYTES_PER_FLOW
    with table_room(rows):
        fill(namespace, rows)
        copies = []
        for block in dumped(namespace):
            time.sleep(0.05)
            copies.append(bytes(block))
        assert len(copies) > BLOCKS + 1
        slow, quick = decode_dump(copies).flows, decode_dump(dumped(namespace)).flows
    assert len(slow) == rows
    assert np.array_equal(np.sort(slow.id), np.sort(quick.id))


def dumped(namespace: Namespace) -> Iterator[memoryview]:
    """The table's dump."""
    with netns.entered(namespace.path):
        return conntrack.dump()


def test_a_table_that_changes_while_it_is_read(namespace: Namespace) -> None:
    """No reading fails or repeats a flow, and each has every flow that was there all the time."""
    with table_room(LASTING + CHURN_BATCH * CHURN_ROUNDS):
        fill(namespace, LASTING)
        lasting = {identity(row) for row in product.rows(product.read(namespace))}
        with churning(namespace) as churn:
            readings = [product.read(namespace) for _ in range(READINGS)]
        assert churn.rounds > 2
    passing = 0
    for taken in readings:
        assert taken.gaps == ()
        rows = product.rows(taken)
        seen = {identity(row) for row in rows}
        assert len(seen) == len(rows)
        assert lasting <= seen
        passing += len(rows) - LASTING
    assert passing > 0


class Churn:
    """How much came and went."""

    rounds = 0


@contextmanager
def churning(namespace: Namespace) -> Iterator[Churn]:
    """Entries come, and go again by deletion and by their timeout of one second, at most CHURN_ROUNDS times."""
    churn, enough = Churn(), threading.Event()

    def change() -> None:
        while churn.rounds < CHURN_ROUNDS and not enough.is_set():
            source = f"100.127.{churn.rounds}.1"
            ports = range(1000, 1000 + CHURN_BATCH)
            inject(namespace, [Entry(src=source, dst="100.127.255.1", sport=port, timeout_s=1) for port in ports])
            if churn.rounds % 2:
                namespace.run("conntrack", "-D", "-s", source, check=False)
            churn.rounds += 1

    changer = threading.Thread(target=change)
    changer.start()
    try:
        yield churn
    finally:
        enough.set()
        changer.join()


def test_the_time_left_is_that_of_the_moment(namespace: Namespace) -> None:
    inject(namespace, [Entry(src="10.0.0.1", dst="10.0.0.2", timeout_s=100)])
    first, begun = product.read(namespace), time.monotonic()
    time.sleep(1.2)
    second = product.read(namespace, before=first)
    (before,), (after,) = product.rows(first), product.rows(second)
    assert before["id"] == after["id"]
    assert abs(before["timeout_s"] - after["timeout_s"] - (time.monotonic() - begun)) <= 1.2
    assert second.whole is not None
    assert second.whole.rates is not None
    assert (second.whole.rates.new, second.whole.rates.gone) == (0, 0)
