"""Probes beside the readings of a host: what is probed follows the containers, and results go into samples."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from natop.collect import netns
from natop.collect.prober import Manners, Prober
from natop.model import Aim, Container, Inventory, OwnFlow, ProbeTarget, Sample, Snapshot
from natop.probing import ProbeWish, aims, called, named, netns_of


class CannotProbe(Exception):
    """What was asked for cannot be probed at all. The message is one to three lines for a person."""


class ProbeFeed:
    """Probes for a live view; off until they are wished for. All methods may be called from any thread."""

    def __init__(self, home: Path | None, manners: Manners | None = None) -> None:
        """`home` is the network namespace that natop reads, None being the process's own."""
        self._home, self._manners = home, manners or Manners()
        self._lock = threading.Lock()
        self._prober: Prober | None = None
        self._wish: ProbeWish | None = None

    def wish(self, wish: ProbeWish | None) -> None:
        """Probe so from the next reading on; None ends it."""
        with self._lock:
            self._wish = wish
            if wish and self._prober is None:
                self._prober = Prober(self._manners, self._home)
            elif wish is None and self._prober:
                self._prober.aim(())

    def into(self, sample: Sample) -> Sample:
        """The sample with what has been probed since the one before."""
        with self._lock:
            prober, wish = self._prober, self._wish
        if prober is None:
            return sample
        results = prober.take()
        own = None if wish and wish.counts_own else _Own(prober)
        gap = prober.gap()
        gaps = (*sample.gaps, gap) if gap and wish else sample.gaps
        return replace(sample, probes=results if wish else None, own=own, gaps=gaps)

    def follow(self, snapshot: Snapshot, addresses: Sequence[str]) -> None:
        """Aim at what is there now; at published ports once the NAT rules are known, or why they are not.

        Until then nobody knows who answers at the loopback address, and a way would change its name under way.
        """
        with self._lock:
            if self._prober and self._wish:
                wish = self._wish if _are_rules_told(snapshot) else replace(self._wish, published=False)
                self._prober.aim(aims(wish, snapshot.inventory, addresses))

    def close(self) -> None:
        if self._prober:
            self._prober.close()


def _are_rules_told(snapshot: Snapshot) -> bool:
    return snapshot.firewall is not None or bool(snapshot.gaps_of("rules"))


@dataclass(frozen=True, slots=True)
class _Own:
    """natop's connections, as they are when somebody asks."""

    prober: Prober

    def __iter__(self) -> Iterator[OwnFlow]:
        return iter(self.prober.own())


def _container(name: str, containers: Sequence[Container]) -> Container:
    """The running container with this name or this beginning of its id. Raises CannotProbe."""
    found = called(name, containers)
    if len(found) != 1:
        what = "several containers have ids that begin so" if found else "the engine knows no such container"
        raise CannotProbe(f"--from {name}: {what}\n`docker ps` lists those that run")
    if not found[0].is_alive:
        raise CannotProbe(f"--from {name}: the container is {found[0].state}; it has no network namespace now")
    return found[0]


def targets_aims(targets: Sequence[ProbeTarget], names: Sequence[str], inventory: Inventory | None) -> list[Aim]:
    """Each target from the host and from inside each of these containers. Raises CannotProbe."""
    containers = inventory.containers if inventory else ()
    sources = {each.id: each for each in (_container(name, containers) for name in names)}
    for each in sources.values():
        _check_that_it_can_be_entered(each, containers)
    return [named(target, tuple(sources.values()), containers) for target in targets]


def _check_that_it_can_be_entered(container: Container, containers: Sequence[Container]) -> None:
    path = netns_of(container, containers)
    if path is None:
        raise CannotProbe(f"--from {container.name}: the engine does not tell its network namespace")
    try:
        with netns.entered(Path(path) if path else None):
            pass
    except netns.NoSuchNetns as error:
        forbidden = isinstance(error.__cause__, PermissionError)
        hint = "that needs CAP_SYS_ADMIN: run sudo natop" if forbidden else "is the engine on another host?"
        raise CannotProbe(f"--from {container.name}: {error}\n{hint}") from error
