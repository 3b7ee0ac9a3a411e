"""What several files of this layer share."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kernel import probenet
from tests.kernel.faulthost import FaultHost
from tests.lab import printed
from tests.lab.netns import Namespace


@pytest.fixture
def made(tmp_path: Path) -> Iterator[FaultHost]:
    """A fresh host to provoke faults on."""
    with FaultHost(tmp_path) as host:
        yield host


@pytest.fixture
def net() -> Iterator[probenet.Net]:
    """Namespaces to probe in, without a fault."""
    with probenet.net() as made:
        yield made


def values(place: Namespace | None, names: Iterable[str]) -> dict[str, str]:
    """What `sysctl -n` tells of each."""
    return {name: " ".join(printed.shell(place, f"sysctl -n {name}").split()) for name in names}


GLOBAL = ("net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_buckets")


@dataclass(frozen=True)
class Machine:
    """The conntrack table's limit and buckets, one value for all namespaces, writable in the first one alone."""

    most: int
    buckets: int
    is_writable: bool


@pytest.fixture
def machine() -> Iterator[Machine]:
    """The table's sizes, which are so again when the test ends."""
    before = values(None, GLOBAL)
    nodes = {Path("/proc/sys", name.replace(".", "/")): value for name, value in before.items()}
    is_writable = all(map(_takes, nodes, nodes.values()))
    try:
        yield Machine(int(before[GLOBAL[0]]), int(before[GLOBAL[1]]), is_writable)
    finally:
        for node, value in nodes.items() if is_writable else ():
            node.write_text(value)


def _takes(node: Path, value: str) -> bool:
    try:
        node.write_text(value)
    except OSError:
        return False
    return True
