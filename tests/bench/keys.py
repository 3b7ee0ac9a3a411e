"""`python -m tests.bench.keys [FLOWS]`: how soon the live view answers a key while it reads a large table.

natop runs on a pseudo-terminal in a private namespace with 250,000 flows. A key is answered when the program writes
the cursor's line anew. Measured twice: at natop's own pace, and with `r` pressed all the time, so that it never stops
reading. Printed: milliseconds, median and 95th percentile, and natop's CPU time. Needs root.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from tests.bench.__main__ import engine
from tests.lab.fill import fill
from tests.lab.inject import table_room
from tests.lab.netns import Namespace
from tests.tui.emulator import NATOP, Terminal, terminal

CURSOR = b"48;2;36;64;95"
"""The cursor line's ground in natop's dark theme."""
SIZE = (140, 40)
KEYS = {"down": "\x1b[B", "page down": "\x1b[6~", "end": "G", "home": "\x1b[H", "sort": ">", "reverse": "I"}
PRESSES = 60
PATIENCE_S = 5.0


def answered_ms(screen: Terminal, key: str) -> float:
    """From the key to the first piece of output with the cursor's line in it."""
    screen.drain()
    before = len(screen.raw)
    pressed = time.perf_counter()
    screen.type(key)
    while CURSOR not in screen.raw[before:]:
        screen.drain(0.001)
        if time.perf_counter() - pressed > PATIENCE_S:
            raise SystemExit(f"no answer to {key!r} in {PATIENCE_S} s")
    return 1000 * (time.perf_counter() - pressed)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(screen: Terminal, chance: Random, between: Callable[[], None]) -> dict[str, list[float]]:
    """Each key some times, in turn, at odd moments."""
    taken: dict[str, list[float]] = {name: [] for name in KEYS}
    for _ in range(PRESSES):
        for name, key in KEYS.items():
            between()
            screen.drain(chance.uniform(0.03, 0.12))
            taken[name].append(answered_ms(screen, key))
    return taken


def show(title: str, taken: dict[str, list[float]], share: float) -> None:
    everything = [each for some in taken.values() for each in some]
    print(f"{title}: natop used {100 * share:.0f} % of a core")
    for name, some in (*taken.items(), ("all", everything)):
        print(f"  {name:10}{_percentile(some, 50):8.1f}{_percentile(some, 95):8.1f} ms (p50, p95 of {len(some)})")


def _percentile(numbers: Sequence[float], percent: int) -> float:
    return statistics.quantiles(numbers, n=100)[percent - 1]


def run(screen: Terminal) -> None:
    screen.until(lambda shown: "app-" in shown.text, 60).type("2")
    screen.until(lambda shown: " flows" in shown.lines[9] + shown.lines[11] + shown.lines[13] + shown.lines[5], 60)
    chance = Random(1)
    for title, between in (("at its own pace", lambda: None), ("reading all the time", lambda: screen.type("r"))):
        before, started = cpu_s(screen.pid), time.monotonic()
        taken = measure(screen, chance, between)
        show(title, taken, (cpu_s(screen.pid) - before) / (time.monotonic() - started))
    screen.type("q")
    screen.wait()


def main() -> None:
    flows = int(sys.argv[1]) if len(sys.argv) > 1 else 250_000
    with tempfile.TemporaryDirectory() as name, table_room(flows), Namespace("keys") as namespace:
        server = engine(Path(name))
        server.start()
        made = fill(namespace, flows)
        print(f"{made:,} flows, terminal of {SIZE[0]}x{SIZE[1]}")
        command = namespace.enter(*NATOP)
        with terminal(command, *SIZE, environment={"DOCKER_HOST": server.url}) as screen:
            run(screen)
        server.stop()


if __name__ == "__main__":
    main()
