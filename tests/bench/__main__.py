"""`python -m tests.bench [ROUNDS] [FLOWS]`: what natop costs beside what the kernel and conntrack(8) cost.

One table of 250,000 flows in a private namespace; in every round each way reads it once, in turn, so that a noisy
machine is noisy to all of them. Printed: the median seconds, the median of the ratios round by round, peak memory.
Needs root and conntrack(8).
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from natop.demo.engine import EngineServer
from natop.demo.inventory import Inventory
from natop.demo.shapes import DemoContainer, DemoEndpoint
from tests.bench import pooling, remembering
from tests.lab.fill import CONTAINERS, fill
from tests.lab.inject import table_room
from tests.lab.netns import Namespace

PIPELINE = "conntrack -L 2>/dev/null | awk '{print $4}' | sort | uniq -c >/dev/null"
RAW = "receive the raw dump and drop it"
AWK = "conntrack -L | awk '{print $4}' | sort | uniq -c"


@dataclass(slots=True)
class Way:
    """One way to read the table, and what its rounds took."""

    name: str
    command: Sequence[str]
    inside: bool
    """It prints its own seconds (its imports not counted); else the whole process is timed."""
    seconds: list[float] = field(default_factory=list)
    peak_mb: float = 0.0

    def run(self, namespace: Namespace, environment: dict[str, str]) -> None:
        started = time.perf_counter()
        child = subprocess.Popen(namespace.enter(*self.command), stdout=subprocess.PIPE, env=environment)
        assert child.stdout
        printed = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        took = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{self.name}: exit status {child.returncode}")
        self.seconds.append(float(printed) if self.inside else took)
        self.peak_mb = max(self.peak_mb, usage.ru_maxrss / 1024)


def ways(addresses: Path) -> list[Way]:
    reading = (sys.executable, "-m", "tests.bench.reading")
    return [
        Way(RAW, (*reading, "raw"), True),
        Way("FlowTable", (*reading, "flows"), True),
        Way("Snapshot, 40 containers", (*reading, "snapshot", str(addresses)), True),
        Way("natop snapshot --format json (whole process)", (sys.executable, "-m", "natop", "snapshot"), False),
        Way("conntrack -L >/dev/null", ("sh", "-c", "conntrack -L >/dev/null 2>&1"), False),
        Way(AWK, ("sh", "-c", PIPELINE), False),
    ]


def engine(folder: Path) -> EngineServer:
    """An Engine that tells of a container at each address that the table's flows know."""
    containers = (
        DemoContainer(f"app-{number}", endpoints=(DemoEndpoint("bridge", address),))
        for number, address in enumerate(CONTAINERS)
    )
    return EngineServer(folder / "docker.sock", Inventory(containers))


def show(measured: Sequence[Way]) -> None:
    by_name = {way.name: way for way in measured}
    print(f"{'':46}{'seconds':>8}{'x raw':>7}{'x awk':>7}{'peak MB':>9}")
    for way in measured:
        ratios = [_ratio(way, by_name[name]) for name in (RAW, AWK)]
        print(f"{way.name:46}{statistics.median(way.seconds):8.3f}{ratios[0]:7.2f}{ratios[1]:7.2f}{way.peak_mb:9.0f}")


def _ratio(way: Way, other: Way) -> float:
    """The median of the ratios round by round."""
    return statistics.median(mine / theirs for mine, theirs in zip(way.seconds, other.seconds, strict=True))


def main() -> None:
    rounds, flows = (int(word) for word in (sys.argv[1:] + ["5", "250000"][len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as name, table_room(flows), Namespace("bench") as namespace:
        folder = Path(name)
        addresses = folder / "addresses.json"
        addresses.write_text(json.dumps(CONTAINERS))
        server = engine(folder)
        server.start()
        made = fill(namespace, flows)
        environment = os.environ | {"DOCKER_HOST": server.url}
        measured = ways(addresses)
        for way in [way for _ in range(rounds) for way in measured]:
            way.run(namespace, environment)
        print(f"{made:,} flows, {rounds} rounds")
        show(measured)
        server.stop()
    join(flows)
    print()
    sys.stdout.flush()
    subprocess.run([sys.executable, "-m", "tests.bench.namespaces"], check=True)
    remembering.main()
    pooling.main(flows)


def join(flows: int) -> None:
    """The join of as many flows with 300 containers that have 1,000 addresses."""
    members = [f"172.{18 + number // 250}.0.{number % 250 + 2}" for number in range(1000)]
    with tempfile.NamedTemporaryFile("w") as addresses, table_room(flows), Namespace("bench") as namespace:
        json.dump(members, addresses)
        addresses.flush()
        print(f"\n{fill(namespace, flows, containers=members):,} flows, 300 containers, {len(members):,} addresses")
        sys.stdout.flush()
        subprocess.run(namespace.enter(sys.executable, "-m", "tests.bench.joining", addresses.name), check=True)


if __name__ == "__main__":
    main()
