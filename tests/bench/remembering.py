"""`python -m tests.bench.remembering`: what 15 minutes of 300 containers cost, two readings a second.

Prints milliseconds, medians, of one more moment and of what the screen asks of the past; and the megabytes that the
whole past takes.
"""

import tracemalloc
from dataclasses import replace

from natop.model import TCP_NAMES, History, NetnsTcp, Snapshot
from natop.summarise.history import SPAN_S, remembered
from tests.bench.joining import median_ms
from tests.tui.worlds import World, container, flow_table

CONTAINERS = 300
INTERVAL_S = 0.5
FLOWS = 20_000


def busy_host() -> Snapshot:
    """Its second reading: rates are known, of flows and of TCP."""
    containers = tuple(container(i, f"job-{i:03}") for i in range(CONTAINERS))
    some = World(containers[:250])
    flows = flow_table(FLOWS, some.containers)
    first = some.snapshot(flows)
    taken = some.snapshot(flows, 1, first)
    tcp = NetnsTcp("net:[1]", {}, dict.fromkeys(TCP_NAMES, 1.5), time_wait_sockets=3)
    whole = taken.containers[0].flows
    return replace(
        taken,
        tcp=tcp,
        containers=tuple(replace(taken.containers[0], container=each, flows=whole, tcp=tcp) for each in containers),
    )


def main() -> None:
    host = busy_host()
    assert host.reading
    taken: Snapshot | None = None
    tracemalloc.start()
    for number in range(int(SPAN_S / INTERVAL_S)):
        at_s = 1000 + INTERVAL_S * number
        now = replace(host, monotonic_s=at_s, reading=replace(host.reading, monotonic_s=at_s), history=History())
        taken = remembered(taken, now)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken
    past, busiest = taken.history, host.containers[0].container.id
    print(f"{len(past.moments):,} moments of {CONTAINERS} containers: {held / 1e6:.0f} MB")
    for name, work in (
        ("one more moment", lambda: remembered(taken, host)),
        ("one number of one container, for a plot", lambda: past.series("time_wait", busiest, of_dumps=True)),
        ("the trend of TIME_WAIT of all containers", lambda: past.trends("time_wait")),
    ):
        print(f"{name:46}{median_ms(work):8.2f} ms")


if __name__ == "__main__":
    main()
