"""sock_diag's answers to sockets; the sockets that processes hold, from /proc."""

import os
import socket
import struct
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.collect import owners, sockets
from natop.collect.owners import ProcessReader, cgroups, user
from natop.collect.proc import PROC
from natop.decode.sockets import decode_sockets, refused
from natop.model import UNKNOWN64, Addresses, Descriptor, Process, SocketTable
from tests.unit import diag, plain
from tests.unit.diag import Socket
from tests.unit.netlink import error, message
from tests.unit.strategies import IPV4, IPV6, PORTS


@st.composite
def built(draw: st.DrawFn) -> Socket:
    address = draw(st.sampled_from((IPV4, IPV6)))
    is_open = draw(st.booleans())
    return Socket(
        local=draw(address),
        port=draw(PORTS),
        remote=draw(address) if is_open else "",
        remote_port=draw(st.integers(1, 0xFFFF)) if is_open else 0,
        proto=draw(st.sampled_from((diag.TCP, diag.UDP))),
        inode=draw(st.integers(0, 2**32 - 1)),
        cgroup=draw(st.none() | st.integers(0, 2**64 - 2)),
    )


def told(table: SocketTable) -> list[Socket]:
    def text(column: Addresses, row: int, family: int) -> str:
        spelled = plain.text(column.value(row))
        return spelled if family == 2 or ":" in spelled else f"::ffff:{spelled}"

    found = []
    for row in range(len(table)):
        family = 2 if ":" not in plain.text(table.local.value(row)) else 10
        cgroup = int(table.cgroup[row])
        remote_port = int(table.remote_port[row])
        found.append(
            Socket(
                local=text(table.local, row, family),
                port=int(table.local_port[row]),
                remote=text(table.remote, row, family) if remote_port else "",
                remote_port=remote_port,
                proto=int(table.proto[row]),
                inode=int(table.inode[row]),
                cgroup=None if cgroup == UNKNOWN64 else cgroup,
            )
        )
    return found


@given(st.lists(built(), max_size=20))
def test_built_answers_come_back(wanted: list[Socket]) -> None:
    table = decode_sockets(diag.answers(wanted))
    assert sorted(map(repr, told(table))) == sorted(map(repr, wanted))
    assert sorted(table.state.tolist()) == sorted(each.state for each in wanted)


@given(st.binary(max_size=400))
def test_any_bytes_are_borne(noise: bytes) -> None:
    decode_sockets(noise)


@given(st.lists(built(), min_size=1, max_size=6), st.data())
def test_spoilt_answers_are_borne(wanted: list[Socket], data: st.DataObject) -> None:
    """Some bytes other than they should be, or the end missing."""
    spoilt = bytearray(diag.answers(wanted))
    for _ in range(data.draw(st.integers(0, 8))):
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    table = decode_sockets(bytes(spoilt[: data.draw(st.integers(0, len(spoilt)))]))
    assert len(table) <= len(wanted) + len(spoilt) // 88


def test_what_is_not_a_socket_is_left_out() -> None:
    one = diag.listening("10.0.0.1:80", inode=5)
    noise = message(diag.SOCK_DIAG_BY_FAMILY + 1, bytes(72)) + message(diag.SOCK_DIAG_BY_FAMILY, bytes(20))
    assert told(decode_sockets(noise + diag.answers([one]) + error(2))) == [one]


def test_a_dual_stack_socket_s_ipv4_ends() -> None:
    table = decode_sockets(diag.answers([diag.connected("::ffff:10.0.0.1:80", "::ffff:10.0.0.2:4000")]))
    assert (plain.text(table.local.value(0)), plain.text(table.remote.value(0))) == ("10.0.0.1", "10.0.0.2")


def test_the_columns_are_read_only() -> None:
    table = decode_sockets(diag.answers([diag.listening("10.0.0.1:80")]))
    with pytest.raises(ValueError, match="read-only"):
        table.inode[0] = 9
    assert not np.asarray(table.cgroup).flags.writeable


def test_this_kernel_s_answers() -> None:
    """The sockets of this test's own namespace, among them one that it opens; needs no right."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port, inode = server.getsockname()[1], os.fstat(server.fileno()).st_ino
        table = decode_sockets(sockets.dump())
    (row,) = np.flatnonzero((table.local_port == port) & (table.proto == diag.TCP) & (table.remote_port == 0)).tolist()
    assert (int(table.inode[row]), plain.text(table.local.value(row))) == (inode, "127.0.0.1")


def process(root: Path, pid: int, *inodes: int, name: str = "nginx", command: str = "nginx\0-g\0daemon off;\0") -> Path:
    """A process of a made-up /proc, its first descriptor no socket."""
    folder = root / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "comm").write_text(f"{name}\n")
    (folder / "cmdline").write_text(command)
    (folder / "fd" / "0").symlink_to("/dev/null")
    for number, inode in enumerate(inodes, 3):
        (folder / "fd" / str(number)).symlink_to(f"socket:[{inode}]")
    return folder


def test_a_process_s_cgroups(tmp_path: Path) -> None:
    (process(tmp_path, 10, 111) / "cgroup").write_text("0::/system.slice/nginx.service\n")
    process(tmp_path, 11, 222)
    found = {each.pid: each.cgroups for each in ProcessReader(tmp_path).read(5)}
    assert found == {10: "0::/system.slice/nginx.service\n", 11: ""}, "a kernel without cgroups has no such file"


def test_a_process_s_user_is_who_started_it(tmp_path: Path) -> None:
    """Neither whom a set-user-ID program works as, nor who owns the folder."""
    told = "Name:\tdocker-proxy\nUid:\t1000\t0\t0\t0\nGid:\t7\t7\t7\t7\n"
    (process(tmp_path, 10, 111) / "status").write_text(told)
    (process(tmp_path, 11, 222) / "status").write_text("Name:\tx\n")
    process(tmp_path, 12, 333)
    assert {each.pid: each.uid for each in ProcessReader(tmp_path).read(5)} == {10: 1000, 11: None, 12: None}
    assert user(PROC / "self") == os.getuid()


def remove(folder: Path) -> None:
    for file in sorted(folder.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()
    folder.rmdir()


def test_processes_and_their_sockets(tmp_path: Path) -> None:
    process(tmp_path, 10, 111, 222)
    process(tmp_path, 11)
    process(tmp_path, 12, 333, name="sh", command="")
    (tmp_path / "self").mkdir()
    found = {each: set(descriptors) for each, descriptors in ProcessReader(tmp_path).read(5).items()}
    assert found == {
        Process(10, "nginx", ("nginx", "-g", "daemon off;")): {Descriptor(3, 111), Descriptor(4, 222)},
        Process(12, "sh", ()): {Descriptor(3, 333)},
    }


def test_a_process_that_vanishes_and_one_that_closes_its_sockets(tmp_path: Path) -> None:
    first, second = process(tmp_path, 10, 111), process(tmp_path, 11, 222)
    reader = ProcessReader(tmp_path)
    assert {each.pid for each in reader.read(5)} == {10, 11}
    remove(first)
    assert {each.pid for each in reader.read(5)} == {11}
    (second / "fd" / "3").unlink()
    assert reader.read(5) == {}


def test_a_process_that_vanishes_while_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = process(tmp_path, 10, 111)
    process(tmp_path, 11, 222)

    def gone_before_its_name_is_read(path: Path) -> str:
        if path.parent == folder:
            raise ProcessLookupError(3, "No such process")
        return "nginx"

    monkeypatch.setattr(owners, "_first_line", gone_before_its_name_is_read)
    assert {each.pid for each in ProcessReader(tmp_path).read(5)} == {11}


def test_a_process_that_becomes_another_program(tmp_path: Path) -> None:
    folder = process(tmp_path, 10, 111, name="sh", command="sh\0-c\0exec nginx\0")
    reader = ProcessReader(tmp_path)
    assert {each.name for each in reader.read(5)} == {"sh"}
    (folder / "comm").write_text("nginx\n")
    (folder / "cmdline").write_text("nginx\0")
    assert list(reader.read(5)) == [Process(10, "nginx", ("nginx",))]


def test_a_process_that_may_not_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process(tmp_path, 10, 111)
    process(tmp_path, 11, 222)
    listdir = os.listdir

    def refused(path: Path) -> list[str]:
        if Path(path) == tmp_path / "10" / "fd":
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refused)
    assert {each.pid for each in ProcessReader(tmp_path).read(5)} == {11}


def test_no_proc_at_all(tmp_path: Path) -> None:
    assert ProcessReader(tmp_path / "none").read(1) == {}


@pytest.mark.parametrize("holding", [0, 40])
def test_without_time_all_have_their_turn(tmp_path: Path, holding: int) -> None:
    """However little time there is, each reading goes on where the last one ended: nobody is left out for ever."""
    for pid in range(100, 100 + holding):
        process(tmp_path, pid, pid)
    reader = ProcessReader(tmp_path)
    reader.read(10)
    for pid in range(200, 210):
        process(tmp_path, pid, pid)
    for pid in range(100, 100 + holding):
        (tmp_path / str(pid) / "fd" / "9").symlink_to(f"socket:[{pid + 1000}]")
    for _ in range(60):
        found = reader.read(0)
    assert {each.pid for each in found} == {*range(200, 210), *range(100, 100 + holding)}
    old = [descriptors for each, descriptors in found.items() if each.pid < 200]
    assert all(len(descriptors) == 2 for descriptors in old), "those known are looked at anew, too"


def test_who_is_new_does_not_wait_for_its_turn(tmp_path: Path) -> None:
    """A docker-proxy of a container that has just started, among a thousand processes that hold no socket."""
    for pid in range(100, 200):
        process(tmp_path, pid)
    process(tmp_path, 99, 99)
    reader = ProcessReader(tmp_path)
    reader.read(10)
    reader.read(0)
    for pid in (50, 300):
        process(tmp_path, pid, pid)
    found = {each.pid for _ in range(2) for each in reader.read(0)}
    assert found == {50, 99, 300}


def test_the_time_that_it_may_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pid in range(100, 200):
        process(tmp_path, pid, pid)
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    looked: list[int] = []
    look = ProcessReader._look

    def slow(reader: ProcessReader, pid: int) -> None:
        clock[0] += 0.01
        looked.append(pid)
        look(reader, pid)

    monkeypatch.setattr(ProcessReader, "_look", slow)
    reader = ProcessReader(tmp_path)
    for _ in range(5):
        looked.clear()
        reader.read(0.1)
        assert len(looked) <= 12
    reader.read(10)
    for pid in range(300, 320):
        process(tmp_path, pid, pid)
    for _ in range(5):
        found = reader.read(0.1)
    assert len(found) == 120, "those known leave half of the time for others"


def test_cgroups_by_id(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").touch()
    inner = tmp_path / "docker" / ("a" * 64)
    inner.mkdir(parents=True)
    found = cgroups((tmp_path / "absent", tmp_path))
    assert found[os.stat(inner).st_ino] == f"/docker/{'a' * 64}"
    assert found[os.stat(tmp_path).st_ino] == "/"
    assert cgroups((tmp_path / "absent",)) == {}


TCP, UDP = 6, 17


def test_protocols_that_the_kernel_does_not_tell() -> None:
    """The request refused, or its dump ended with an error; the protocol stands in the sequence number."""

    def ended(kind: int, proto: int, number: int) -> bytes:
        return struct.pack("=IHHIIi", 20, kind, 0, proto, 0, number)

    one = diag.answers([diag.listening("10.0.0.1:80")])
    assert refused(one + ended(3, TCP, 0) + ended(3, UDP, 0)) == []
    assert refused(one + ended(3, TCP, 0) + ended(3, UDP, -2) + ended(3, UDP, -2)) == [UDP]
    assert refused(ended(2, TCP, -2) + ended(2, UDP, -2)) == [TCP, UDP]
    assert refused(b"") == refused(b"\xff" * 40) == []


def test_every_protocol_of_this_kernel_is_told() -> None:
    assert refused(sockets.dump()) == []


def test_how_this_kernel_refuses_a_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has no part in sock_diag (253, for experiments), between two that have."""
    wanted = [(socket.AF_INET, proto) for proto in (TCP, 253, UDP)]
    monkeypatch.setattr(sockets, "_WANTED", wanted)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port, answers = server.getsockname()[1], sockets.dump()
    assert refused(answers) == [253]
    assert port in decode_sockets(answers).local_port
