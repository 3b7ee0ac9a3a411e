"""Where containers' network namespaces are, as an engine tells and as this machine has them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from natop.collect import netns, sandboxes
from natop.model import EngineReading

ID, OTHER = "a" * 64, "b" * 64
HERE = Path(f"/proc/{os.getpid()}/ns/net")
"""A real namespace: this process's own."""


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    """A sandbox as it looks where it is not mounted: an empty file."""
    path = tmp_path / "0123456789ab"
    path.touch()
    return path


def fields(sandbox: Path | str = "", pid: int = 0, mode: str = "shop", identity: str = ID) -> Mapping[str, Any]:
    return {
        "Id": identity,
        "State": {"Pid": pid},
        "HostConfig": {"NetworkMode": mode},
        "NetworkSettings": {"SandboxKey": str(sandbox), "Networks": {"shop": {}}},
    }


def reading(*containers: Mapping[str, Any], pid: int | None = None, product: str = "Engine") -> EngineReading:
    own = f"/proc/{pid}/ns/net" if pid else None
    return EngineReading({"Components": [{"Name": product}]}, {}, containers, (), pid, own)


def test_a_sandbox_that_is_mounted_here(tmp_path: Path) -> None:
    sandbox = tmp_path / "sandbox"
    sandbox.symlink_to(HERE)
    assert sandboxes.path_of(ID, reading(fields(sandbox), fields(identity=OTHER))) == sandbox
    assert sandboxes.path_of(OTHER, reading(fields(sandbox), fields(identity=OTHER))) is None
    assert sandboxes.path_of(ID, None) is None


def test_one_that_the_engine_alone_sees(hidden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rootless engine's: below the root of its process it is what it says."""
    seen = f"/proc/77/root{hidden}"
    monkeypatch.setattr(netns, "is_namespace", lambda path: str(path) == seen)
    assert sandboxes.path_of(ID, reading(fields(hidden), pid=77)) == Path(seen)
    assert sandboxes.path_of(ID, reading(fields(hidden))) is None
    assert list(sandboxes.files(fields(hidden), 77)) == [str(hidden), seen]
    assert list(sandboxes.files({"NetworkSettings": {"SandboxKey": 7}}, 77)) == []


@pytest.mark.parametrize("cgroups", [f"0::/user.slice/libpod-{ID}.scope\n", f"0::/docker/{OTHER}\n", ""])
def test_one_that_nobody_tells_is_found_by_a_process_whose_cgroup_names_it(
    hidden: Path, monkeypatch: pytest.MonkeyPatch, cgroups: str
) -> None:
    monkeypatch.setattr(sandboxes, "_cgroups", lambda path: cgroups if path == HERE else "")
    found = sandboxes.path_of(ID, reading(fields(hidden, os.getpid())))
    assert found == (HERE if ID in cgroups else None)


def test_a_process_that_is_gone_has_no_cgroup() -> None:
    assert sandboxes._cgroups(HERE) == Path("/proc/self/cgroup").read_text()
    assert sandboxes._cgroups(Path("/proc/0/ns/net")) == ""


@pytest.mark.parametrize("mode", ["host", f"container:{OTHER}"])
def test_whose_namespace_is_another_s_has_none(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandboxes, "_cgroups", lambda _: ID)
    assert sandboxes.path_of(ID, reading(fields(pid=os.getpid(), mode=mode))) is None
    assert sandboxes.path_of(ID, reading(fields("/run/docker/netns/default", os.getpid()))) is None


def test_one_that_may_not_be_looked_at_is_taken_at_the_engine_s_word(
    hidden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(netns, "is_namespace", refuse)
    assert sandboxes.path_of(ID, reading(fields(hidden))) == hidden


def test_what_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a container's sandbox is swarm's; what a process leads to, and the engine's own, stand for themselves."""
    for name in ("0123456789ab", "ingress_sbox"):
        (tmp_path / name).symlink_to(HERE)
    monkeypatch.setattr(sandboxes, "_cgroups", lambda _: OTHER)
    monkeypatch.setattr(netns, "identity", lambda path=None: "" if path == Path("/proc/0/ns/net") else str(path))
    given = reading(
        fields(tmp_path / "0123456789ab"),
        fields(pid=os.getpid(), identity=OTHER),
        fields("/proc/self/ns/net", identity="c" * 64),
        pid=77,
    )
    found = set(sandboxes.namespaces(given)) - set(netns.listed())
    beside = {str(tmp_path / name) for name in ("0123456789ab", "ingress_sbox")}
    assert found == {*beside, str(HERE), "/proc/self/ns/net", "/proc/77/ns/net"}


def test_below_another_process_s_root_nothing_is_taken_for_a_link(tmp_path: Path) -> None:
    (tmp_path / "sandbox").touch()
    below = Path(f"/proc/{os.getpid()}/root{tmp_path}")
    assert str(below / "sandbox") in netns.listed([below])
    (tmp_path / "link").symlink_to(tmp_path)
    assert str(tmp_path / "sandbox") in netns.listed([tmp_path / "link"])


def test_podman_s_containers_track_nothing_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sandbox").symlink_to(HERE)
    monkeypatch.setattr(sandboxes, "_inside", lambda *_: iter([(ID, b"fill")]))
    assert sandboxes.own_tables(reading(fields(tmp_path / "sandbox"), product="Podman Engine")) == {}
    assert sandboxes.own_tables(reading(fields(tmp_path / "sandbox"))) == {ID: b"fill"}
