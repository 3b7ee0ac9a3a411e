"""Reading namespaces by way of processes; /proc is a folder of the test's own."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from natop import sysctls
from natop.collect import netns, proc
from natop.collect.testimony import FILES, SYSCTLS_AT_ONCE, NamespaceReader
from natop.model import EngineReading, Gap, NetnsText

WEB, APP, EDGE = "a" * 64, "b" * 64, "c" * 64


class Proc:
    """A /proc whose processes share the namespaces that are files of this folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.own = self.namespace("own")
        self.process("thread-self", self.own)

    def namespace(self, name: str) -> Path:
        path = self.root / f"namespace-{name}"
        path.touch()
        return path

    def process(self, pid: int | str, namespace: Path, cgroup: str = "/", **files: str) -> None:
        folder = self.root / str(pid)
        (folder / "ns").mkdir(parents=True)
        (folder / "net").mkdir()
        (folder / "ns" / "net").symlink_to(namespace)
        (folder / "cgroup").write_text(f"0::{cgroup}\n")
        for name in FILES:
            (folder / "net" / name).write_text(files.get(name, f"{name} of {namespace.name}"))

    def end(self, pid: int) -> None:
        for path in sorted((self.root / str(pid)).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (self.root / str(pid)).rmdir()


@pytest.fixture
def fake(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def name_of(namespace: Path) -> str:
    return f"net:[{namespace.stat().st_ino}]"


def container(identity: str, pid: int, sandbox: Path | str | None = None, mode: str = "shop") -> Mapping[str, object]:
    return {
        "Id": identity,
        "State": {"Status": "running", "Pid": pid},
        "HostConfig": {"NetworkMode": mode},
        "NetworkSettings": {"SandboxKey": str(sandbox or "")},
    }


def engine(*containers: Mapping[str, object]) -> EngineReading:
    return EngineReading({}, {}, containers, ())


def read(
    fake: Proc, *containers: Mapping[str, object], reader: NamespaceReader | None = None
) -> tuple[dict[str, NetnsText], dict[str, str], list[Gap]]:
    """What a reader tells, without the namespace of this very thread, which is the machine's."""
    gaps: list[Gap] = []
    told, members = (reader or NamespaceReader(fake.root)).read(engine(*containers), gaps)
    own = told.pop(netns.identity())
    assert own.files["snmp"] == "snmp of namespace-own"
    return told, members, gaps


def test_without_an_engine_the_own_namespace_alone() -> None:
    gaps: list[Gap] = []
    told, members = NamespaceReader().read(None, gaps)
    assert (list(told), members, gaps) == ([netns.identity()], {}, [])
    assert told[netns.identity()].files.keys() == set(FILES)
    assert "Tcp:" in told[netns.identity()].files["snmp"]


def test_a_namespace_is_read_once_however_many_share_it(fake: Proc) -> None:
    web = fake.namespace("web")
    fake.process(10, web)
    fake.process(11, web, f"/docker/{APP}", snmp="must not be read")
    told, members, gaps = read(fake, container(WEB, 10, web), container(APP, 11, mode=f"container:{WEB}"))
    assert members == {WEB: name_of(web), APP: name_of(web)}
    assert {each: text.files["snmp"] for each, text in told.items()} == {name_of(web): "snmp of namespace-web"}
    assert gaps == []


def test_a_host_network_container_is_in_the_engine_s_namespace(fake: Proc) -> None:
    host = fake.namespace("host")
    fake.process(10, host, f"/system.slice/docker-{EDGE}.scope")
    _, members, gaps = read(fake, container(EDGE, 10, "/var/run/docker/netns/default/no/such", mode="host"))
    assert (members, gaps) == ({EDGE: name_of(host)}, [])


def test_a_process_of_another_namespace_than_the_sandbox_is_another_s(fake: Proc) -> None:
    """The number was used again, be it by another container."""
    web, other = fake.namespace("web"), fake.namespace("other")
    fake.process(10, other, f"/docker/{WEB}")
    fake.process(11, fake.namespace("app"))
    told, members, gaps = read(fake, container(WEB, 10, web), container(APP, 11, fake.root / "namespace-app"))
    assert (list(members), len(told), gaps) == ([APP], 1, [])


def test_a_process_whose_cgroup_names_another_is_another_s(fake: Proc) -> None:
    """The engine is on another machine, or the sandbox out of sight."""
    fake.process(10, fake.namespace("other"), f"/docker/{APP}")
    for sandbox in ("/no/such/sandbox", None):
        told, members, gaps = read(fake, container(WEB, 10, sandbox))
        assert (told, members) == ({}, {})
        assert gaps == [
            Gap("tcp", "no process of the containers is on this machine", "run natop where the engine runs")
        ]


def test_a_process_that_has_ended_is_left_out(fake: Proc) -> None:
    web, app = fake.namespace("web"), fake.namespace("app")
    fake.process(10, web)
    fake.process(11, app)
    containers = (container(WEB, 10, web), container(APP, 11, app))
    assert len(read(fake, *containers)[0]) == 2
    fake.end(10)
    told, members, gaps = read(fake, *containers)
    assert (list(told), members, gaps) == ([name_of(app)], {APP: name_of(app)}, [])


def test_a_namespace_whose_files_are_gone_is_left_out(fake: Proc) -> None:
    web = fake.namespace("web")
    fake.process(10, web)
    for name in FILES:
        (fake.root / "10" / "net" / name).unlink()
    assert read(fake, container(WEB, 10, web))[:2] == ({}, {})


def test_a_file_that_cannot_be_read_is_left_out(fake: Proc) -> None:
    web = fake.namespace("web")
    fake.process(10, web)
    (fake.root / "10" / "net" / "sockstat6").unlink()
    told, _, _ = read(fake, container(WEB, 10, web))
    assert told[name_of(web)].files.keys() == set(FILES) - {"sockstat6"}


def test_stopped_containers_and_odd_answers_are_left_out(fake: Proc) -> None:
    odd: list[Mapping[str, object]] = [
        container(WEB, 0),
        {"Id": APP},
        {"Id": APP, "State": None, "NetworkSettings": None},
        {"Id": APP, "State": {"Pid": "10"}, "NetworkSettings": {"SandboxKey": 7}},
        {"Id": APP, "State": {"Pid": True}},
    ]
    assert read(fake, *odd) == ({}, {}, [])


def test_without_the_right_to_look_there_is_a_gap_and_no_number(fake: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    web = fake.namespace("web")
    fake.process(10, web)
    stat = os.stat

    def refused(path: Any, *, dir_fd: int | None = None, **options: Any) -> os.stat_result:
        if path == "ns/net":
            raise PermissionError(13, "Permission denied")
        return stat(path, dir_fd=dir_fd, **options)

    monkeypatch.setattr(os, "stat", refused)
    told, members, gaps = read(fake, container(WEB, 10, web), container(APP, 10, web))
    assert (told, members) == ({}, {})
    assert gaps == [Gap("tcp", "no right to look into the network namespaces of 2 containers", "run: sudo natop")]
    alone = read(fake, container(WEB, 10, web))[2]
    assert [gap.reason for gap in alone] == ["no right to look into the network namespaces of 1 container"]


def test_a_descriptor_is_not_lost(fake: Proc) -> None:
    web = fake.namespace("web")
    fake.process(10, web)
    before = len(os.listdir("/proc/self/fd"))
    read(fake, container(WEB, 10, web), container(APP, 12, web))
    assert len(os.listdir("/proc/self/fd")) == before


# Sysctls


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the test sets; namespaces are entered in name only."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    @contextmanager
    def entered(path: Path) -> Iterator[None]:
        assert path.exists()
        yield

    monkeypatch.setattr(netns, "entered", entered)
    monkeypatch.setattr(proc, "read", lambda names: dict.fromkeys(names, "7\n"))
    return now


def asked(fake: Proc, reader: NamespaceReader, *containers: Mapping[str, object]) -> set[str]:
    """The namespaces whose sysctls were read at this tick."""
    return {each for each, text in read(fake, *containers, reader=reader)[0].items() if text.sysctls}


def test_sysctls_are_read_when_a_container_appears_and_once_in_a_while(fake: Proc, clock: list[float]) -> None:
    web, app = fake.namespace("web"), fake.namespace("app")
    fake.process(10, web)
    fake.process(11, app)
    reader = NamespaceReader(fake.root)
    first, both = container(WEB, 10, web), (container(WEB, 10, web), container(APP, 11, app))
    assert asked(fake, reader, first) == {name_of(web)}
    clock[0] += 30
    assert asked(fake, reader, *both) == {name_of(app)}
    assert asked(fake, reader, *both) == set()
    clock[0] += 30
    assert asked(fake, reader, *both) == {name_of(web)}
    clock[0] += 30
    assert asked(fake, reader, *both) == {name_of(app)}


@pytest.mark.usefixtures("clock")
def test_which_sysctls_are_read(fake: Proc) -> None:
    web = fake.namespace("web")
    fake.process(10, web)
    told, _, _ = read(fake, container(WEB, 10, web))
    assert told[name_of(web)].sysctls == dict.fromkeys(sysctls.INSIDE, "7\n")


def test_a_container_that_started_anew_is_asked_at_once(fake: Proc, clock: list[float]) -> None:
    web = fake.namespace("web")
    fake.process(10, web)
    reader = NamespaceReader(fake.root)
    assert asked(fake, reader, container(WEB, 10, web)) == {name_of(web)}
    fake.end(10)
    fake.process(12, web)
    clock[0] += 1
    assert asked(fake, reader, container(WEB, 12, web)) == {name_of(web)}


def test_at_one_tick_not_all_are_asked_again(fake: Proc, clock: list[float]) -> None:
    places = [fake.namespace(f"n{number}") for number in range(SYSCTLS_AT_ONCE + 3)]
    for number, place in enumerate(places):
        fake.process(10 + number, place)
    containers = [container(f"{number:064x}", 10 + number, place) for number, place in enumerate(places)]
    reader = NamespaceReader(fake.root)
    assert len(asked(fake, reader, *containers)) == len(places)
    clock[0] += 61
    assert len(asked(fake, reader, *containers)) == SYSCTLS_AT_ONCE
    assert len(asked(fake, reader, *containers)) == 3
    assert asked(fake, reader, *containers) == set()


def test_a_namespace_that_may_not_be_entered_has_no_sysctls(fake: Proc) -> None:
    """A file that is no namespace: setns(2) refuses it."""
    web = fake.namespace("web")
    fake.process(10, web)
    assert asked(fake, NamespaceReader(fake.root), container(WEB, 10, web)) == set()
