"""Hosts with a past: minutes of snapshots, whose numbers follow rules that a test can compute anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from natop.model import Container, FlowRates, FlowSummary, History, Snapshot
from natop.summarise.history import remembered
from tests.tui.worlds import World, flow_table, world

INTERVAL_S = 2.0


def wave(tick: int, least: int, most: int, ticks: int = 60) -> int:
    """Up and down between the two, there and back in so many ticks."""
    half = ticks // 2
    place = tick % ticks
    return least + (most - least) * (place if place < half else ticks - place) // half


def time_wait(tick: int) -> int:
    """Of the whole table."""
    return wave(tick, 3200, 7520)


def insert_failed(tick: int) -> float:
    """Per second: now and then a burst."""
    return 12.5 if tick % 40 == 30 else 0.0


def ports_used(tick: int) -> int:
    """Of the 64,512 of the fullest NAT pool."""
    return wave(tick, 38_700, 58_000, 200)


def past(
    ticks: int,
    *,
    unread: range = range(0),
    without_dump: range = range(0),
    containers: World | None = None,
    present: tuple[Container, ...] | None = None,
) -> list[Snapshot]:
    """One snapshot every INTERVAL_S.

    At the ticks `unread` counters and flows are unknown; at those `without_dump` flows are. Only the last of them have
    only the containers `present`.
    """
    host = containers or world(6)
    flows = flow_table(800, host.containers)
    base = host.snapshot(flows, 1, host.snapshot(flows))
    assert base.whole
    assert base.unowned
    assert base.reading
    assert base.pools
    taken: list[Snapshot] = []
    for tick in range(ticks):
        now = base.monotonic_s + INTERVAL_S * tick
        known = tick not in unread
        read = known and tick not in without_dump
        snapshot = replace(
            base,
            monotonic_s=now,
            taken_at=base.taken_at + INTERVAL_S * tick,
            reading=replace(base.reading, monotonic_s=now) if read else base.reading,
            whole=_at(base.whole, tick, time_wait(tick)),
            unowned=_at(base.unowned, tick, 5),
            containers=tuple(
                replace(each, flows=_at(each.flows, tick, time_wait(tick) // (number + 2)) if each.flows else None)
                for number, each in enumerate(base.containers)
            ),
            pools=replace(base.pools, used=np.full(len(base.pools), ports_used(tick), np.uint32)),
            counter_rates={"insert_failed": insert_failed(tick)} if known else None,
            history=History(),
        )
        if present is not None and tick > ticks // 2:
            snapshot = replace(
                snapshot, containers=tuple(each for each in snapshot.containers if each.container in present)
            )
        taken.append(remembered(taken[-1] if taken else None, snapshot))
    return taken


def _at(flows: FlowSummary, tick: int, waiting: int) -> FlowSummary:
    states = {**flows.counts.states, "TIME_WAIT": waiting}
    rates = FlowRates(wave(tick, 20, 65, 24), 44.0, 0.0) if tick else None
    return FlowSummary(replace(flows.counts, states=states, total=sum(states.values())), rates)
