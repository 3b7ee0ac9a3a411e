"""`python -m tests.bench.joining ADDRESSES`: what the join of the flows of this netns costs, its sockets included.

Prints milliseconds, medians of ROUNDS: of the join by address, of the whole join beside the dump before, and of
numpy's sort of the flows' ids, which stands for the machine's speed.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from natop.collect import conntrack, sockets
from natop.collect.owners import ProcessReader, cgroups
from natop.decode.flows import decode_dump
from natop.join.owners import Place, attribute
from natop.join.past import Memory
from natop.model import HOST_SOCKETS, Attachment, Container, Sockets

ROUNDS = 7
CONTAINERS = 300


def containers(addresses: list[str]) -> tuple[Container, ...]:
    """The addresses shared out over CONTAINERS containers, each on as many networks as it has addresses."""
    return tuple(
        Container(
            f"{number:064x}",
            f"app-{number:03}",
            "app:1",
            "running",
            networks=tuple(Attachment(f"net-{i}", ipv4=each) for i, each in enumerate(addresses[number::CONTAINERS])),
        )
        for number in range(CONTAINERS)
    )


def median_ms(work: Callable[[], object]) -> float:
    took = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return 1000 * statistics.median(took)


def main() -> None:
    flows = decode_dump(conntrack.dump()).flows
    members = containers(json.loads(Path(sys.argv[1]).read_text()))
    host = ("203.0.113.10", "172.18.0.1")
    read = Sockets(sockets.dump(), cgroups(), ProcessReader().read(1.0))
    by_address, whole = Place(members, host), Place(members, host, sockets={HOST_SOCKETS: read}.get)
    memory = Memory(flows, attribute(flows, whole), members, time.time())
    sort = median_ms(lambda: np.sort(flows.id))
    for name, work in (
        ("join by address", lambda: attribute(flows, by_address)),
        ("join with sockets, beside the dump before", lambda: attribute(flows, whole, memory)),
    ):
        took = median_ms(work)
        print(f"{name:46}{took:8.1f} ms, {took / sort:5.1f} x sorting the ids")


if __name__ == "__main__":
    main()
