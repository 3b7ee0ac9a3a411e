"""Reading /proc, naming namespaces, and receiving what ctnetlink answers; nothing here needs a privilege."""

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.collect import conntrack, host, netns, proc
from natop.collect.engine import EngineWatcher
from natop.decode.flows import decode_dump
from natop.model import EngineReading, Gap, Pace
from tests.unit import netlink
from tests.unit.plain import flow


def test_proc_files_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "thread-self" / "net" / "stat").mkdir(parents=True)
    (tmp_path / "thread-self" / "net" / "stat" / "nf_conntrack").write_text("entries\n1\n")
    (tmp_path / "sys").mkdir()
    (tmp_path / "sys" / "max").write_bytes(b"26\xff2144\n")
    names = ("net/stat/nf_conntrack", "sys/max", "sys/none", "sys")
    assert proc.read(names, tmp_path) == {"net/stat/nf_conntrack": "entries\n1\n", "sys/max": "26\ufffd2144\n"}


def test_a_proc_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    (tmp_path / "endless").write_text("x" * (2 << 20))
    assert len(proc.read(["endless"], tmp_path)["endless"]) == 1 << 20


def test_the_machine_s_own_proc() -> None:
    assert proc.read(["sys/kernel/osrelease"])["sys/kernel/osrelease"].strip() == os.uname().release
    assert all(proc.addresses())
    assert proc.hostname() == os.uname().nodename


def test_a_namespace_by_path_or_pid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("/proc/self/ns/net", "./x/.."):
        assert netns.find(name) == Path(name)
    assert netns.find(str(os.getpid())) == Path(f"/proc/{os.getpid()}/ns/net")


def test_a_namespace_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns, "_NAMED", tmp_path)
    (tmp_path / "lab").touch()
    assert netns.find("lab") == tmp_path / "lab"
    with pytest.raises(netns.NoSuchNetns, match="no network namespace 'other'"):
        netns.find("other")


def test_staying_where_one_is() -> None:
    before = netns.identity()
    with netns.entered(None):
        assert netns.identity() == before
    assert before == os.readlink("/proc/thread-self/ns/net")
    assert netns.identity(Path("/no/such")) == ""


def test_what_is_no_namespace_cannot_be_entered(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before = netns.identity()
    for path in (tmp_path / "file", tmp_path / "none"):
        with pytest.raises(netns.NoSuchNetns, match="cannot enter"), netns.entered(path):
            pytest.fail("entered")
    assert netns.identity() == before


# ctnetlink, the kernel's part played by a socket of the test's own


@dataclass
class Kernel:
    """The other end of what natop takes for its netlink socket."""

    here: socket.socket
    there: socket.socket

    def answers(self, *datagrams: bytes) -> None:
        for datagram in datagrams:
            self.here.send(datagram)

    def asked(self) -> list[bytes]:
        self.here.setblocking(False)
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(self.here.recv(1 << 16))
        return found


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    there.settimeout(0.2)
    monkeypatch.setattr(conntrack, "connect", lambda: there)
    with here, there:
        yield Kernel(here, there)


PATIENCE_S = 60.0
"""For what must happen, on a machine however slow."""
ENTRY = netlink.flow_message(flow("10.0.0.1:1", "10.0.0.2:2"))
DUMP_REQUEST = struct.pack("=IHHIIBBH", 20, 0x101, 0x301, 1, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "datagrams",
    [
        [ENTRY + netlink.done()],
        [ENTRY, ENTRY * 3, netlink.done()],
        [netlink.done()],
        [netlink.error(1)],
        [netlink.message(netlink.NEW, bytes(40) + netlink.done()), ENTRY, netlink.done()],
        [ENTRY + netlink.message(netlink.NEW, netlink.done()), netlink.done()],
    ],
    ids=["one", "three", "empty", "refused", "an end within a value", "an end as a value"],
)
def test_a_dump_is_all_datagrams_up_to_its_end(kernel: Kernel, datagrams: list[bytes]) -> None:
    """What comes after the end belongs to nobody; the bytes of a value may look like an end."""
    kernel.answers(*datagrams, b"not asked for, and long enough")
    blocks = [bytes(block) for block in conntrack.dump()]
    assert b"".join(blocks) == b"".join(datagrams)
    assert kernel.there.fileno() == -1
    assert kernel.asked() == [DUMP_REQUEST]


def test_a_dump_that_stalls_ends_without_its_end(kernel: Kernel) -> None:
    kernel.answers(ENTRY)
    dump = decode_dump(conntrack.dump())
    assert (len(dump.flows), dump.complete) == (1, False)


def test_a_defect_in_receiving_ends_the_dump_without_its_end(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its reader would wait for ever."""

    def fail(_: memoryview) -> bool:
        raise ZeroDivisionError

    kernel.answers(ENTRY, netlink.done())
    monkeypatch.setattr(conntrack, "is_last", fail)
    assert not decode_dump(conntrack.dump()).complete


def test_a_large_dump_comes_in_blocks_of_whole_messages(kernel: Kernel) -> None:
    """More than there are blocks for, so that each is used again."""
    datagram = ENTRY * (30_000 // len(ENTRY))
    number = 6 * conntrack.BLOCK // len(datagram)

    def send() -> None:
        for _ in range(number):
            kernel.here.send(datagram)
        kernel.here.send(netlink.done())

    kernel.there.settimeout(PATIENCE_S)
    sender = threading.Thread(target=send)
    sender.start()
    total = 0
    for block in conntrack.dump():
        assert len(block) <= conntrack.BLOCK
        assert len(block) % len(ENTRY) in (0, len(netlink.done()))
        assert bytes(block[: len(ENTRY)]) in (ENTRY, netlink.done())
        total += len(block)
    sender.join()
    assert total == number * len(datagram) + len(netlink.done())


def test_a_dump_that_nobody_wants_any_more_is_left(kernel: Kernel) -> None:
    datagram = ENTRY * (30_000 // len(ENTRY))

    def send() -> None:
        with suppress(OSError):
            for _ in range(10 * conntrack.BLOCK // len(datagram)):
                kernel.here.send(datagram)

    kernel.there.settimeout(PATIENCE_S)
    kernel.here.settimeout(PATIENCE_S)
    sender = threading.Thread(target=send)
    before = threading.active_count()
    sender.start()
    blocks = conntrack.dump()
    assert len(next(blocks)) > conntrack.BLOCK // 2
    blocks.close()  # type: ignore[attr-defined]  # it is a generator
    assert "natop-dump" not in [thread.name for thread in threading.enumerate()]
    assert kernel.there.fileno() == -1
    sender.join()
    assert threading.active_count() == before


@pytest.mark.parametrize("together", [True, False])
def test_statistics_are_both_answers(kernel: Kernel, together: bool) -> None:
    cpus = [netlink.stats_cpu(0, {"found": 1}), netlink.stats_cpu(1, {"found": 2}), netlink.done()]
    replies = [netlink.stats_global(3, 4), *([b"".join(cpus)] if together else cpus)]
    kernel.answers(*replies)
    assert conntrack.statistics() == b"".join(replies)
    first, second = kernel.asked()
    assert struct.unpack_from("=IHH", first) == (20, 0x105, 0x1)
    assert struct.unpack_from("=IHH", second) == (20, 0x104, 0x301)


def test_statistics_refused_are_bytes_all_the_same(kernel: Kernel) -> None:
    kernel.answers(netlink.error(1), netlink.error(1))
    assert conntrack.statistics() == netlink.error(1) * 2


@given(st.binary(max_size=80))
def test_no_datagram_makes_the_receiver_fail(junk: bytes) -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    there.settimeout(0.2)
    with pytest.MonkeyPatch.context() as patch, here, there:
        patch.setattr(conntrack, "connect", lambda: there)
        here.send(junk + netlink.done())
        here.send(netlink.done())
        assert b"".join(map(bytes, conntrack.dump())).startswith(junk + netlink.done())


# One source fails alone


class Engine(EngineWatcher):
    """An engine that has said this much."""

    def __init__(self, reading: EngineReading | None, gap: Gap | None) -> None:
        self._latest, self._pulse = (reading, gap), None
        self.closed = False

    def close(self) -> None:
        self.closed = True


READING = EngineReading({"Version": "29"}, {}, (), ())


def refused() -> bytes:
    raise OSError(93, "Protocol not supported")


@pytest.fixture
def quiet_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conntrack, "statistics", lambda: b"stats")
    monkeypatch.setattr(conntrack, "dump", lambda: iter([ENTRY]))


@pytest.mark.usefixtures("quiet_kernel")
def test_a_sample_is_what_the_sources_said() -> None:
    taken = host.HostReader(["sys/kernel/osrelease"], None, Engine(READING, None)).sample(dump=True, pace=Pace(2, 2))
    assert (taken.stats, taken.engine, taken.pace, taken.gaps) == (b"stats", READING, Pace(2, 2), ())
    assert taken.dump is not None
    assert list(taken.dump) == [ENTRY]
    assert list(taken.proc) == ["sys/kernel/osrelease"]
    assert taken.netns == netns.identity()


@pytest.mark.usefixtures("quiet_kernel")
def test_a_dump_is_taken_only_when_it_is_wanted() -> None:
    assert host.HostReader([], None, None).sample(dump=False).dump is None


def test_a_kernel_without_ctnetlink_is_two_gaps_and_a_sample_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conntrack, "statistics", refused)
    monkeypatch.setattr(conntrack, "dump", refused)
    taken = host.HostReader([], None, None).sample(dump=True)
    assert (taken.stats, taken.dump) == (b"", None)
    assert [gap.source for gap in taken.gaps] == ["counters", "flows"]
    assert all("Protocol not supported" in gap.reason and "modprobe" in str(gap.remedy) for gap in taken.gaps)


@pytest.mark.usefixtures("quiet_kernel")
@pytest.mark.parametrize(
    ("engine", "gaps"),
    [
        (None, []),
        (Engine(None, None), ["the Docker Engine has not answered yet"]),
        (Engine(None, Gap("docker", "gone")), ["gone"]),
        (Engine(READING, Gap("docker", "gone; as last seen")), ["gone; as last seen"]),
        (Engine(READING, None), []),
    ],
)
def test_an_engine_s_gap_stands_beside_what_it_said_before(engine: Engine | None, gaps: list[str]) -> None:
    taken = host.HostReader([], None, engine).sample(dump=False)
    assert taken.engine == (engine.latest()[0] if engine else None)
    assert [gap.reason for gap in taken.gaps] == gaps


def test_closing_a_reader_closes_its_engine() -> None:
    engine = Engine(READING, None)
    host.HostReader([], None, engine).close()
    assert engine.closed
    host.HostReader([], None, None).close()
