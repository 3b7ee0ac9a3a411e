"""Sockets are read from the kernel only when somebody asks for them, namespace by namespace."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from natop.collect import conntrack, holders, host, netns, sockets
from natop.collect.holders import SocketReader, engine_users
from natop.collect.owners import ProcessReader
from natop.model import HOST_SOCKETS, Descriptor, EngineReading, Gap, Process, Sockets
from tests.unit import netlink
from tests.unit.hosts import container, engine

SANDBOX = Path("/run/docker/netns/0123456789ab")
WEB = container("web", "172.18.0.2", sandbox=str(SANDBOX))
ALONE = container("alone", sandbox="/run/docker/netns/default")
INVENTORY = engine(WEB, ALONE)


class Kernel:
    """Says where it was asked, and refuses what it is told to."""

    def __init__(self) -> None:
        self.place: Path | None = None
        self.asked: list[Path | None] = []
        self.no_entry: OSError | None = None
        self.no_answer: OSError | None = None

    @contextmanager
    def entered(self, namespace: Path | None) -> Iterator[None]:
        if namespace and self.no_entry:
            raise netns.NoSuchNetns(f"cannot enter the network namespace {namespace}") from self.no_entry
        before, self.place = self.place, namespace
        try:
            yield
        finally:
            self.place = before

    def dump(self) -> bytes:
        self.asked.append(self.place)
        if self.no_answer:
            raise self.no_answer
        return b"sockets"


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    played = Kernel()
    monkeypatch.setattr(netns, "entered", played.entered)
    monkeypatch.setattr(netns, "is_namespace", lambda path: path == SANDBOX)
    monkeypatch.setattr(sockets, "dump", played.dump)
    monkeypatch.setattr(holders, "cgroups", lambda: {7: "/docker/x"})
    return played


def test_a_sample_s_sockets_are_read_when_they_are_asked_for(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conntrack, "statistics", lambda: b"")
    monkeypatch.setattr(conntrack, "dump", lambda: iter([netlink.done()]))
    place = Path("/run/netns/lab")
    reader = host.HostReader([], place, None, process_budget_s=60)
    taken = reader.sample(dump=True)
    assert kernel.asked == []
    with closing(socket.create_server(("127.0.0.1", 0))):
        found = taken.sockets(HOST_SOCKETS)
    assert isinstance(found, Sockets)
    assert (found.answers, found.cgroups) == (b"sockets", {7: "/docker/x"})
    assert os.getpid() in {each.pid for each in found.held}
    assert (kernel.asked, kernel.place) == ([place], None)
    assert reader.sample(dump=False).sockets(HOST_SOCKETS) is None
    assert len(kernel.asked) == 1


@pytest.mark.parametrize(
    ("pid", "info", "expected"),
    [
        (812, {"SecurityOptions": ["name=rootless"]}, {0, 1000}),
        (None, {"SecurityOptions": ["name=rootless"]}, None),
        (None, {"SecurityOptions": ["name=seccomp"]}, {0}),
        (812, {"SecurityOptions": []}, {0, 1000}),
        (813, {"SecurityOptions": []}, {0}),
        (813, {}, None),
    ],
    ids=["rootless", "of unknown process", "root by systemd", "behind another process", "gone", "nothing told"],
)
def test_who_may_run_an_engine_s_docker_proxies(
    tmp_path: Path, pid: int | None, info: dict[str, object], expected: set[int] | None
) -> None:
    for number, uid in ((1, 0), (812, 1000)):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "status").write_text(f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
    assert engine_users(replace(INVENTORY, pid=pid, info=info), tmp_path) == expected
    assert engine_users(None, tmp_path) is None


@pytest.mark.parametrize(("usual", "first"), [(0.02, holders.FIRST_LOOK_S), (5.0, 5.0)])
def test_the_first_look_at_processes_has_more_time(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, usual: float, first: float
) -> None:
    """In a namespace that containers share nobody looks at them."""
    budgets: list[float] = []

    def read(_: ProcessReader, budget_s: float) -> dict[Process, tuple[Descriptor, ...]]:
        budgets.append(budget_s)
        return {}

    monkeypatch.setattr(ProcessReader, "read", read)
    reader = SocketReader(None, usual)
    for key in (WEB.id, HOST_SOCKETS, HOST_SOCKETS, WEB.id, HOST_SOCKETS):
        reader.read(key, INVENTORY)
    assert budgets == [first, usual, usual]
    assert len(kernel.asked) == 5


def test_a_shared_namespace_is_read_inside_it(kernel: Kernel) -> None:
    found = SocketReader(None, 1).read(WEB.id, INVENTORY)
    assert isinstance(found, Sockets)
    assert (found.answers, found.held) == (b"sockets", {})
    assert kernel.asked == [SANDBOX]


@pytest.mark.parametrize(
    ("key", "inventory"),
    [(ALONE.id, INVENTORY), ("f" * 64, INVENTORY), (WEB.id, None)],
    ids=["host", "unknown", "none"],
)
def test_a_container_without_a_namespace_here(kernel: Kernel, key: str, inventory: EngineReading | None) -> None:
    assert SocketReader(None, 1).read(key, inventory) is None
    assert kernel.asked == []


def test_a_namespace_that_is_gone_has_no_sockets_and_one_that_is_forbidden_is_a_gap(kernel: Kernel) -> None:
    reader = SocketReader(None, 1)
    kernel.no_entry = FileNotFoundError(2, "No such file or directory")
    assert reader.read(WEB.id, INVENTORY) is None
    kernel.no_entry = PermissionError(1, "Operation not permitted")
    found = reader.read(WEB.id, INVENTORY)
    assert isinstance(found, Gap)
    assert (found.source, found.remedy) == ("sockets", "run: sudo natop")


def test_the_namespace_read_that_is_gone_is_a_gap(kernel: Kernel) -> None:
    kernel.no_entry = FileNotFoundError(2, "No such file or directory")
    found = SocketReader(Path("/run/netns/lab"), 1).read(HOST_SOCKETS, None)
    assert found == Gap("sockets", "cannot enter the network namespace /run/netns/lab")


@pytest.mark.parametrize("key", [HOST_SOCKETS, WEB.id])
def test_a_kernel_without_sock_diag_is_a_gap_that_says_what_helps(kernel: Kernel, key: str) -> None:
    kernel.no_answer = OSError(93, "Protocol not supported")
    found = SocketReader(None, 1).read(key, INVENTORY)
    assert isinstance(found, Gap)
    assert found.reason == "the kernel refuses to tell the sockets: Protocol not supported"
    assert found.remedy == "load the kernel's modules: sudo modprobe -a tcp_diag udp_diag"


@pytest.mark.usefixtures("kernel")
def test_cgroups_are_walked_again_only_after_a_while_or_for_other_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    walks: list[str] = []

    def walk() -> dict[int, str]:
        walks.append("all")
        return {}

    monkeypatch.setattr(holders, "cgroups", walk)
    reader = SocketReader(None, 0)
    for inventory, number in ((INVENTORY, 1), (INVENTORY, 1), (engine(WEB), 2), (None, 3), (None, 3)):
        reader.read(HOST_SOCKETS, inventory)
        assert len(walks) == number
    monkeypatch.setattr(holders, "CGROUPS_KEPT_S", -1.0)
    reader.read(HOST_SOCKETS, None)
    assert len(walks) == 4
