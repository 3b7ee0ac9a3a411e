"""`python -m tests.bench.namespaces [NAMESPACES]`: what a tick's reading of TCP in every container's namespace costs.

As many namespaces as containers, each with one process, read in turn in every round. Printed: milliseconds, medians of
ROUNDS, and the median of the ratios round by round to reading the same bytes with nothing else. Needs root.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from natop.collect.testimony import FILES, NamespaceReader
from natop.decode.tcp import decode_tcp
from natop.model import EngineReading, NetnsText
from tests.lab.netns import wait_until

ROUNDS = 15
NAMESPACES = 100


def raw(pids: Sequence[int]) -> None:
    """Open, read and close the files: the kernel's own cost."""
    for pid in pids:
        for name in FILES:
            file = os.open(f"/proc/{pid}/net/{name}", os.O_RDONLY)
            os.read(file, 1 << 16)
            os.close(file)


def decoded(told: dict[str, NetnsText]) -> None:
    for netns, text in told.items():
        decode_tcp(netns, text)


def engine(pids: Sequence[int]) -> EngineReading:
    """An engine's reading of a container for each process, whose sandbox is the process's namespace."""
    containers = tuple(
        {
            "Id": f"{pid:064x}",
            "State": {"Status": "running", "Pid": pid},
            "HostConfig": {"NetworkMode": "bridge"},
            "NetworkSettings": {"SandboxKey": f"/proc/{pid}/ns/net"},
        }
        for pid in pids
    )
    return EngineReading({}, {}, containers, ())


def took_ms(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


def measure(pids: Sequence[int]) -> None:
    reader, reading = NamespaceReader(), engine(pids)
    first = took_ms(lambda: reader.read(reading, []))
    told, _ = reader.read(reading, [])
    ways: dict[str, Callable[[], object]] = {
        "read the files and drop them": lambda: raw(pids),
        "a tick's reading, whose each is": lambda: reader.read(reading, []),
        "decode it": lambda: decoded(told),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for name, work in [each for _ in range(ROUNDS) for each in ways.items()]:
        taken[name].append(took_ms(work))
    base = next(iter(taken.values()))
    print(f"{len(told):,} network namespaces, {ROUNDS} rounds; the first reading, sysctls and all: {first:.1f} ms")
    for name, times in taken.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(times, base, strict=True))
        print(f"{name:46}{statistics.median(times):8.1f} ms, {ratio:5.2f} x the files")


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else NAMESPACES
    here = os.stat("/proc/self/ns/net").st_ino
    processes = [subprocess.Popen(["unshare", "--net", "sleep", "600"]) for _ in range(number)]
    try:
        for process in processes:
            inside = f"/proc/{process.pid}/ns/net"
            wait_until(lambda path=inside: os.stat(path).st_ino != here, what="the process's own namespace")  # type: ignore[misc]  # the default is the loop's
        measure([process.pid for process in processes])
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
