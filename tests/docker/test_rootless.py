"""natop on real engines of a user's, without root: where their NAT is, and what natop sees from outside and inside."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.docker.line import Line, ends, snapshot, to
from tests.lab import oracle, podman, traffic
from tests.lab.dockerhost import HOST, OUTSIDE, WEB, DockerHost
from tests.lab.engine import IMAGE
from tests.lab.layers import lack
from tests.lab.netns import wait_until
from tests.lab.rootless import RootlessDockerHost, RootlessPodmanHost, UserEngine, missing

BRIDGED = ("webserver", "app1", "app2")
COMMAND = (sys.executable, "-m", "natop", "snapshot", "--format", "json", "--flows")
TRACKED = """
table inet tracked {
    chain input {
        type filter hook input priority 0
        ct state new counter
    }
}
"""
"""Without a rule that asks for it, the host's namespace tracks nothing: an engine without root makes none there."""


@pytest.fixture(scope="module")
def rootless_docker() -> Iterator[RootlessDockerHost]:
    """A host with a rootless Docker Engine, built once."""
    if reason := missing():
        lack(reason)
    with RootlessDockerHost() as host:
        host.namespace.nft(TRACKED)
        yield host


@pytest.fixture(scope="module")
def rootless_podman() -> Iterator[RootlessPodmanHost]:
    """A host with a rootless Podman service, built once."""
    if reason := missing() or podman.missing():
        lack(reason)
    with RootlessPodmanHost() as host:
        host.namespace.nft(TRACKED)
        yield host


def test_docker_s_nat_is_elsewhere_and_natop_says_how_to_get_there(rootless_docker: RootlessDockerHost) -> None:
    host = rootless_docker
    document = _outside(host)
    assert document["host"]["docker"]["rootless"] is True
    as_user, as_root = _ways(document)
    assert as_root
    _assert_the_ways_lead_there(host, host.engine, (as_user, as_root), "bridge")


def test_docker_s_published_ports_have_lost_their_client(rootless_docker: RootlessDockerHost) -> None:
    """rootlesskit takes the call on the host and makes another inside, from 127.0.0.1 to docker-proxy's socket."""
    host = rootless_docker
    host.within.flush()
    host.namespace.flush()
    with traffic.hold(host.outside, HOST, 8443, 2):
        document = snapshot("--netns", str(host.within.path), "--docker-host", host.url)
        calls = to(document["flows"], dst="127.0.0.1", dport=8443)
        assert len(calls) == 2
        for call in calls:
            assert (call["kind"], call["server"]) == ("PROXIED", "webserver")
            assert call["client_other"].startswith("host: ")
        outer = _outside(host, "--netns", host.namespace.name)
        served = to(outer["flows"], src=OUTSIDE, dport=8443)
        assert [re.sub(r"\d+", "PID", flow["server_other"]) for flow in served] == ["host: rootlesskit[PID]"] * 2


def test_docker_s_sandboxes_where_only_the_engine_sees_them(rootless_docker: RootlessDockerHost) -> None:
    """From outside, their files are empty ones."""
    host = rootless_docker
    host.docker("exec", "app1", "nslookup", "app2")
    key = host.inspect("app1")[0]["NetworkSettings"]["SandboxKey"]
    assert Path(key).read_bytes() == b""
    with Line(host, host.within.path) as line:
        taken = line.read()
        listed = {each.name: each.path for each in taken.namespaces}
        own = {each.container.name: each.own_table for each in taken.containers}
        sharing = {each.container.name for each in taken.containers if each.tcp}
    assert set(BRIDGED) <= listed.keys()
    assert set(BRIDGED) <= sharing
    assert (own["app1"] or 0) > 0
    for name in BRIDGED:
        document = snapshot("--netns", listed[name], "--docker-host", host.url)
        assert document["host"]["netns"] == str(host.inside(name).readlink())
    with Line(host) as line:
        listed = {each.name: each.path for each in line.read().namespaces}
    assert Path(listed["Docker's own"]).samefile(host.within.path)


def test_podman_s_nat_is_elsewhere_and_natop_says_how_to_get_there(rootless_podman: RootlessPodmanHost) -> None:
    host = rootless_podman
    document = _outside(host)
    assert (document["host"]["docker"]["product"], document["host"]["docker"]["rootless"]) == ("Podman", True)
    as_user, as_root = _ways(document)
    assert as_root or podman.version() >= 5, "from then on it keeps it elsewhere"
    _assert_the_ways_lead_there(host, host.engine, (as_user, as_root), "podman")


def test_podman_s_sandboxes_where_only_podman_sees_them(rootless_podman: RootlessPodmanHost) -> None:
    host = rootless_podman
    with Line(host) as line:
        taken = line.read()
    listed = {each.name: each.path for each in taken.namespaces}
    for name in BRIDGED:
        document = snapshot("--netns", listed[name], "--docker-host", host.url)
        assert document["host"]["netns"] == str(host.inside(name).readlink())
    assert {each.container.name for each in taken.containers if each.tcp} >= set(BRIDGED)


def test_podman_s_container_on_no_network(rootless_podman: RootlessPodmanHost) -> None:
    """One process stands for all of its network: the flows are that process's, and not in any other table."""
    host = rootless_podman
    made = ("podman", "run", "--detach", "--name", "lone", "--network", "slirp4netns", "--publish", "8095:443", IMAGE)
    done = host.engine.as_user(*made, "sh", "-c", WEB)
    assert done.returncode == 0, done.stderr
    try:
        wait_until(lambda: _answers(host, 8095), what="the container to accept")
        with traffic.hold(host.outside, HOST, 8095, 2):
            document = _outside(host)
        (lone,) = (each for each in document["containers"] if each["name"] == "lone")
        assert (lone["flows"], lone["untracked"]) == (None, "slirp4netns")
        held = [flow for flow in to(document["flows"], src=OUTSIDE, dport=8095) if flow["state"] == "ESTABLISHED"]
        assert [re.sub(r"\d+", "PID", flow["server_other"]) for flow in held] == ["host: rootlessport[PID]"] * 2
    finally:
        host.docker("rm", "--force", "lone")


def _answers(host: DockerHost, port: int) -> bool:
    with suppress(OSError, AssertionError):
        traffic.hold(host.outside, HOST, port, 1).release()
        return True
    return False


def _outside(host: DockerHost, *arguments: str) -> dict[str, Any]:
    """What natop says in the host's namespace: of containers on bridges it knows no number."""
    document = snapshot("--netns", host.namespace.name, "--docker-host", host.url, *arguments)
    told = {each["name"]: each["flows"] for each in document["containers"]}
    assert [told[name] for name in BRIDGED] == [None] * len(BRIDGED)
    return document


def _ways(document: dict[str, Any]) -> tuple[str, str]:
    """The commands that natop names: for the user, and for root where it knows one."""
    (gap,) = (gap for gap in document["gaps"] if "rootless" in gap["reason"])
    found = re.fullmatch(r"as its user: (.* natop)(?:; as root: (natop --netns \S+))?", gap["remedy"])
    assert found, gap["remedy"]
    return found[1], found[2] or ""


def _assert_the_ways_lead_there(host: DockerHost, engine: UserEngine, ways: tuple[str, str], network: str) -> None:
    """Both commands, run as printed, read the namespace of the engine's bridges, and all that conntrack lists there."""
    as_user, as_root = ways
    _talk(host, network)
    judged = oracle.quiet(host.within)
    found = [_as_user(engine, as_user, host.url)]
    found += [snapshot(*shlex.split(as_root)[1:], "--docker-host", host.url)] if as_root else []
    inode = host.within.path.stat().st_ino
    for document in found:
        assert document["host"]["netns"] == f"net:[{inode}]"
        assert "rootless" not in " ".join(gap["reason"] for gap in document["gaps"])
        _assert_as_judged(document, judged, host)


def _as_user(engine: UserEngine, command: str, url: str) -> dict[str, Any]:
    """The document of natop started by the user as the command says."""
    words = [*shlex.split(command)[:-1], *COMMAND, "--docker-host", url]
    done = engine.as_user("env", "XDG_CONFIG_HOME=/dev/null", *words)
    assert (done.returncode, done.stderr) == (0, "")
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def _talk(host: DockerHost, network: str) -> None:
    """Connections to the world outside, and to a server's own address from the engine's namespace."""
    host.within.flush()
    assert traffic.get(host.inside("app1"), OUTSIDE, 443, 3) == 3
    assert traffic.get(host.inside("webserver"), OUTSIDE, 80) == 1
    assert traffic.get(host.within, host.address("webserver", network), 80, 2) == 2


def _assert_as_judged(document: dict[str, Any], judged: list[oracle.Flow], host: DockerHost) -> None:
    """Each flow of conntrack's, once, with the containers that have its addresses."""
    told = {ends(row): row for row in document["flows"]}
    assert told.keys() == {ends(flow) for flow in judged}
    out = to(judged, dst=OUTSIDE)
    assert [told[ends(flow)]["client"] for flow in out if flow["orig"]["dport"] == 443] == ["app1"] * 3
    assert {(row["kind"], row["server_other"]) for row in (told[ends(flow)] for flow in out)} == {("MASQUERADED", None)}
    assert {each["name"] for each in document["containers"] if each["flows"]} >= set(BRIDGED)
    web = to(judged, dst=host.inspect("webserver")[0]["NetworkSettings"]["Networks"]["internal"]["IPAddress"])
    assert web == []
    served = [row for row in told.values() if row["server"] == "webserver"]
    assert len(served) == 2
