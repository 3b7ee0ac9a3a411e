"""One host, read: each source by itself, so that one that fails leaves a gap and the others go on."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from natop.collect import conntrack, netns, proc, sandboxes, sockets
from natop.collect.engine import EngineWatcher
from natop.collect.owners import ProcessReader, cgroups
from natop.collect.rules import RulesReader
from natop.model import EngineReading, FirewallText, Gap, Pace, Sample, Sockets

T = TypeVar("T")

PROCESS_BUDGET_S = 0.25
"""How long one reading by itself looks for the processes that hold sockets."""

_MODULES = dict.fromkeys(("flows", "counters"), "load the kernel's module: sudo modprobe nf_conntrack_netlink") | {
    "sockets": "load the kernel's modules: sudo modprobe -a tcp_diag udp_diag"
}


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
        self._engine = engine
        self._processes = ProcessReader()
        self._process_budget_s = process_budget_s
        self._rules = rules
        self._rules_told: FirewallText | None = None
        self._networks: tuple[object, ...] = ()

    def sample(self, *, dump: bool, pace: Pace | None = None) -> Sample:
        """Read everything now, the flows and their sockets only with `dump`. Raises `netns.NoSuchNetns`."""
        gaps: list[Gap] = []
        inventory = self._inventory(gaps)
        shared, tables = self._sandboxes(inventory) if dump and inventory else ({}, {})
        with netns.entered(self._namespace):
            return Sample(
                taken_at=time.time(),
                monotonic_s=time.monotonic(),
                hostname=proc.hostname(),
                netns=netns.identity(),
                proc=proc.read(self._proc_files),
                addresses=proc.addresses(),
                stats=_tried("counters", conntrack.statistics, gaps) or b"",
                sockets=self._sockets(gaps) if dump else None,
                dump=_tried("flows", conntrack.dump, gaps) if dump else None,
                engine=inventory,
                shared=shared,
                namespaces=sandboxes.namespaces(inventory) if dump and inventory else netns.listed() if dump else (),
                tables=tables,
                pace=pace,
                rules=self._new_rules(inventory, gaps),
                gaps=tuple(gaps),
            )

    def _sockets(self, gaps: list[Gap]) -> Sockets | None:
        """The sockets of the namespace that the calling thread is in, and who holds them."""
        answers = _tried("sockets", sockets.dump, gaps)
        if answers is None:
            return None
        return Sockets(answers, cgroups(), self._processes.read(self._process_budget_s))

    def _sandboxes(self, inventory: EngineReading) -> tuple[dict[str, Sockets], dict[str, bytes]]:
        """Sockets of shared namespaces, and the fill of containers' own tables."""
        answers = sandboxes.shared_sockets(inventory)
        paths = cgroups() if answers else {}
        return {key: Sockets(each, paths, {}) for key, each in answers.items()}, sandboxes.own_tables(inventory)

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


def _tried(source: str, read: Callable[[], T], gaps: list[Gap]) -> T | None:
    """What `read` returns; None and a gap where the kernel refuses the socket."""
    try:
        return read()
    except OSError as error:
        reason = f"the kernel refuses to tell the {source}: {error.strerror or error}"
        gaps.append(Gap(source, reason, _MODULES.get(source)))
        return None
