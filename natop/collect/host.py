"""One host, read: each source by itself, so that one that fails leaves a gap and the others go on."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

from natop.collect import conntrack, netns, proc, sandboxes
from natop.collect.engine import EngineWatcher
from natop.collect.holders import SocketReader
from natop.collect.rules import RulesReader
from natop.collect.testimony import NamespaceReader
from natop.decode.netlink import remedy_of
from natop.model import EngineReading, FirewallText, Gap, GapSource, Pace, Sample, no_sockets

T = TypeVar("T")

PROCESS_BUDGET_S = 0.25
"""How long one reading by itself looks for the processes that hold sockets."""


class HostReader:
    """Samples of one network namespace and one Docker Engine."""

    def __init__(
        self,
        proc_files: Iterable[str],
        namespace: Path | None,
        engine: EngineWatcher | None,
        process_budget_s: float = PROCESS_BUDGET_S,
        rules: RulesReader | None = None,
    ) -> None:
        """`namespace` None is the caller's own; `engine` None leaves Docker out, `rules` None the NAT rules.

        `process_budget_s` bounds how long a dump's sample looks for the processes that hold sockets.
        """
        self._proc_files = tuple(proc_files)
        self._namespace = namespace
        is_own = namespace is None or netns.identity(namespace) == netns.identity()
        self._entered = None if is_own else str(namespace)
        self._engine = engine
        self._sockets = SocketReader(namespace, process_budget_s)
        self._testimony = NamespaceReader()
        self._rules = rules
        self._rules_told: FirewallText | None = None
        self._networks: tuple[object, ...] = ()

    def sample(self, *, dump: bool, pace: Pace | None = None) -> Sample:
        """Read everything now, the flows only with `dump`, and their sockets when those are asked for.

        Raises `netns.NoSuchNetns`.
        """
        gaps: list[Gap] = []
        inventory = self._inventory(gaps)
        with netns.entered(self._namespace):
            tcp, members = self._testimony.read(inventory, gaps)
            return Sample(
                taken_at=time.time(),
                monotonic_s=time.monotonic(),
                hostname=proc.hostname(),
                netns=netns.identity(),
                entered=self._entered,
                proc=proc.read(self._proc_files),
                addresses=proc.addresses(),
                stats=_tried("counters", conntrack.statistics, gaps) or b"",
                sockets=partial(self._sockets.read, inventory=inventory) if dump else no_sockets,
                dump=_tried("flows", conntrack.dump, gaps) if dump else None,
                engine=inventory,
                namespaces=sandboxes.namespaces(inventory) if dump and inventory else netns.listed() if dump else (),
                tables=sandboxes.own_tables(inventory) if dump and inventory else {},
                pace=pace,
                tcp=tcp,
                members=members,
                rules=self._new_rules(inventory, gaps),
                gaps=tuple(gaps),
            )

    def _new_rules(self, inventory: EngineReading | None, gaps: list[Gap]) -> FirewallText | None:
        """The NAT rules where they have been read since the sample before; changed networks have them read anew."""
        if self._rules is None:
            return None
        latest = self._rules.latest()
        if self._rules.is_late:
            gaps.append(Gap("rules", "the firewall's tools have not answered yet"))
        stale = latest is not None and latest.netns != netns.identity()
        if stale or (inventory and inventory.networks != self._networks):
            self._rules.ask()
        self._networks = inventory.networks if inventory else self._networks
        if stale or latest is self._rules_told:
            return None
        self._rules_told = latest
        return latest

    def wait_for_answers(self, timeout_s: float) -> None:
        """Give the engine and the firewall's tools the time to answer for the first time."""
        until = time.monotonic() + timeout_s
        for source in (self._engine, self._rules):
            if source:
                source.wait(max(0.0, until - time.monotonic()))

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
        for source in (self._engine, self._rules):
            if source:
                source.close()


def _tried(source: GapSource, read: Callable[[], T], gaps: list[Gap]) -> T | None:
    """What `read` returns; None and a gap where the kernel refuses the socket."""
    try:
        return read()
    except OSError as error:
        reason = f"the kernel refuses to tell the {source}: {error.strerror or error}"
        gaps.append(Gap(source, reason, remedy_of(error.errno)))
        return None
