"""One host, read: each source by itself, so that one that fails leaves a gap and the others go on."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from natop.collect import conntrack, netns, proc
from natop.collect.engine import EngineWatcher
from natop.model import EngineReading, Gap, Pace, Sample

T = TypeVar("T")


class HostReader:
    """Samples of one network namespace and one Docker Engine."""

    def __init__(self, proc_files: Iterable[str], namespace: Path | None, engine: EngineWatcher | None) -> None:
        """`namespace` None is the caller's own; `engine` None leaves Docker out."""
        self._proc_files = tuple(proc_files)
        self._namespace = namespace
        self._engine = engine

    def sample(self, *, dump: bool, pace: Pace | None = None) -> Sample:
        """Read everything now, the flows only with `dump`. Raises `netns.NoSuchNetns` where it is gone."""
        gaps: list[Gap] = []
        with netns.entered(self._namespace):
            return Sample(
                taken_at=time.time(),
                monotonic_s=time.monotonic(),
                hostname=proc.hostname(),
                netns=netns.identity(),
                proc=proc.read(self._proc_files),
                addresses=proc.addresses(),
                stats=_tried("counters", conntrack.statistics, gaps) or b"",
                dump=_tried("flows", conntrack.dump, gaps) if dump else None,
                engine=self._inventory(gaps),
                pace=pace,
                gaps=tuple(gaps),
            )

    def wait_for_engine(self, timeout_s: float) -> None:
        """Give an engine that has not answered yet the time to do so."""
        if self._engine:
            self._engine.wait(timeout_s)

    def _inventory(self, gaps: list[Gap]) -> EngineReading | None:
        if self._engine is None:
            return None
        reading, gap = self._engine.latest()
        if gap:
            gaps.append(gap)
        elif reading is None:
            gaps.append(Gap("docker", "the Docker Engine has not answered yet"))
        return reading

    def close(self) -> None:
        if self._engine:
            self._engine.close()


def _tried(source: str, read: Callable[[], T], gaps: list[Gap]) -> T | None:
    """What `read` returns; None and a gap where the kernel refuses the socket."""
    try:
        return read()
    except OSError as error:
        reason = f"the kernel refuses ctnetlink: {error.strerror or error}"
        gaps.append(Gap(source, reason, "load the kernel's module: sudo modprobe nf_conntrack_netlink"))
        return None
