"""Containers, networks and published ports are what `docker inspect` says, now and after every change."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from natop.collect.engine import EngineWatcher
from natop.model import Container
from tests.docker.inventory import UNCLOSED, as_container, guest, known, named, network_drivers, watching
from tests.kernel import product
from tests.lab.dockerhost import HOST, DockerHost
from tests.lab.engine import IMAGE, Engine
from tests.lab.netns import Namespace, wait_until

PATIENCE_S = 10
PORTS = ("-p", "127.0.0.1:5353:53/udp", "-p", f"{HOST}:9443:443", "-p", "7000-7002:7000-7002")


def assert_as_inspected(host: DockerHost) -> None:
    document = product.snapshot(host.namespace, "--docker-host", host.url)
    drivers = network_drivers(host)
    expected = {container["Id"]: as_container(container, drivers) for container in host.inspect()}
    told = {container["id"]: container for container in document["containers"]}
    assert told.keys() == expected.keys()
    for identity, container in expected.items():
        assert {key: told[identity][key] for key in container} == container
    assert document["gaps"] == []


def test_the_lab_s_containers(docker_host: DockerHost) -> None:
    assert_as_inspected(docker_host)


def test_the_engine_s_versions(docker_host: DockerHost) -> None:
    facts = product.snapshot(docker_host.namespace, "--docker-host", docker_host.url)["host"]["docker"]
    versions = docker_host.docker("version", "--format", "{{.Server.Version}} {{.Server.APIVersion}}").split()
    assert [facts["version"], facts["api_version"]] == versions
    assert facts["rootless"] is False


def test_containers_of_every_state_and_mode(docker_host: DockerHost) -> None:
    """Paused, ended, never started, with ports of every kind, in another's namespace, addressed by hand."""
    host = docker_host
    with ExitStack() as guests:
        for name, options in {
            "ports": (*PORTS, "--expose", "99"),
            "borrower": ("--network", "container:app1"),
            "placed": ("--network", "six", "--ip", "172.19.0.99", "--ip6", "fd00:19::0:0099") if host.ipv6 else (),
        }.items():
            guests.enter_context(guest(host, *options, name=name))
        guests.enter_context(guest(host, name="paused"))
        guests.enter_context(guest(host, name="ended", command=("sh", "-c", "exit 3")))
        host.docker("pause", "paused")
        host.docker("wait", "ended")
        host.docker("create", "--name", "fresh", "-p", "7100:80", IMAGE, "sleep", "1")
        guests.callback(host.docker, "rm", "fresh")
        states = {container["Name"]: container["State"]["Status"] for container in host.inspect()}
        assert (states["/paused"], states["/ended"], states["/fresh"]) == ("paused", "exited", "created")
        assert_as_inspected(host)


@pytest.fixture
def watcher(docker_host: DockerHost) -> Iterator[EngineWatcher]:
    with watching(docker_host.url) as following:
        yield following


def await_guest(watcher: EngineWatcher, condition: Callable[[Container], object], name: str = "guest") -> Container:
    """Wait until the watcher knows a container of this name of which the condition holds."""

    def holds() -> bool:
        container = named(watcher, name)
        return container is not None and bool(condition(container))

    wait_until(holds, PATIENCE_S, what=f"the news about {name}")
    found = named(watcher, name)
    assert found is not None
    return found


def test_start_stop_and_removal_are_noticed(docker_host: DockerHost, watcher: EngineWatcher) -> None:
    with guest(docker_host) as identity:
        running = await_guest(watcher, lambda container: container.state == "running")
        assert (running.id, running.pid) == (identity, docker_host.inspect("guest")[0]["State"]["Pid"])
        assert [place.ipv4 for place in running.networks] == [docker_host.address("guest", "bridge")]
        docker_host.docker("pause", "guest")
        await_guest(watcher, lambda container: container.state == "paused")
        docker_host.docker("unpause", "guest")
        await_guest(watcher, lambda container: container.state == "running")
        docker_host.docker("stop", "guest")
        stopped = await_guest(watcher, lambda container: container.state == "exited")
        assert stopped.pid is None
        assert [place.ipv4 for place in stopped.networks] == [None]
        docker_host.docker("start", "guest")
        again = await_guest(watcher, lambda container: container.pid)
        assert again.pid != running.pid
        docker_host.docker("kill", "guest")
        await_guest(watcher, lambda container: container.state == "exited")
    wait_until(lambda: named(watcher, "guest") is None, PATIENCE_S, what="the removal")


def test_a_container_that_ends_by_itself_is_noticed(docker_host: DockerHost, watcher: EngineWatcher) -> None:
    with guest(docker_host, command=("sh", "-c", "exit 3")):
        await_guest(watcher, lambda container: container.state == "exited")


def test_a_new_name_is_noticed(docker_host: DockerHost, watcher: EngineWatcher) -> None:
    with guest(docker_host) as identity:
        docker_host.docker("rename", "guest", "visitor")
        try:
            assert await_guest(watcher, lambda _: True, "visitor").id == identity
            assert named(watcher, "guest") is None
        finally:
            docker_host.docker("rename", "visitor", "guest")


def test_networks_joined_and_left_are_noticed(docker_host: DockerHost, watcher: EngineWatcher) -> None:
    with guest(docker_host):
        docker_host.docker("network", "connect", "internal", "guest")
        both = await_guest(watcher, lambda container: len(container.networks) == 2 and container.networks[1].ipv4)
        assert [place.network for place in both.networks] == ["bridge", "internal"]
        assert both.networks[1].ipv4 == docker_host.address("guest", "internal")
        docker_host.docker("network", "disconnect", "bridge", "guest")
        one = await_guest(watcher, lambda container: len(container.networks) == 1)
        assert [place.network for place in one.networks] == ["internal"]


def test_a_container_made_anew_is_another(docker_host: DockerHost, watcher: EngineWatcher) -> None:
    with guest(docker_host, "-p", "7200:80") as old:
        await_guest(watcher, lambda container: container.published)
    with guest(docker_host, "-p", "7201:80") as new:
        anew = await_guest(watcher, lambda container: container.id == new and container.published)
        assert {port.host_port for port in anew.published} == {7201}
    assert old not in {container.id for container in known(watcher).containers}


def test_networks_made_and_removed_are_noticed(docker_host: DockerHost, watcher: EngineWatcher) -> None:
    def found() -> bool:
        return "passing" in {network.name for network in known(watcher).networks}

    docker_host.docker("network", "create", "--internal", "--subnet", "172.31.7.0/24", "passing")
    try:
        wait_until(found, PATIENCE_S, what="the new network")
        (network,) = [network for network in known(watcher).networks if network.name == "passing"]
        assert (network.driver, network.subnets, network.internal) == ("bridge", ("172.31.7.0/24",), True)
    finally:
        docker_host.docker("network", "rm", "passing")
    wait_until(lambda: not found(), PATIENCE_S, what="the network's end")


def test_commands_run_inside_are_no_news(docker_host: DockerHost, watcher: EngineWatcher) -> None:
    """Health checks run them all the time; they must not have the inventory read again."""
    before, _ = watcher.latest()
    docker_host.docker("exec", "app1", "echo", "hello")
    time.sleep(0.3)
    assert watcher.latest()[0] is before


def test_a_watcher_leaves_no_thread(docker_host: DockerHost) -> None:
    before = threading.enumerate()
    for follow in (True, False):
        with watching(docker_host.url, follow=follow) as watcher:
            assert len(known(watcher).containers) == len(docker_host.names)
        wait_until(lambda: threading.enumerate() == before, PATIENCE_S, what="the watcher's thread to end")


@pytest.mark.filterwarnings(UNCLOSED)
def test_an_engine_that_restarts_is_read_again(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is away the last inventory stands, with a gap that says so; what changed meanwhile is seen after."""
    monkeypatch.setattr("natop.collect.engine.RETRY_S", 0.2)
    with Engine(namespace) as engine, watching(engine.url) as watcher:
        for name, policy in (("lasting", "always"), ("once", "no")):
            options = ("--detach", "--stop-timeout", "1", "--restart", policy, "--name", name)
            engine.docker("run", *options, IMAGE, "sleep", "1000000")
        before = await_guest(watcher, lambda container: container.pid, "lasting")
        await_guest(watcher, lambda container: container.pid, "once")
        engine.stop()
        wait_until(lambda: watcher.latest()[1], PATIENCE_S, what="the gap")
        gap = watcher.latest()[1]
        assert gap is not None
        assert (gap.source, gap.reason.endswith("shown as last seen")) == ("docker", True)
        assert named(watcher, "lasting") is not None
        engine.start()
        after = await_guest(watcher, lambda container: container.pid and container.pid != before.pid, "lasting")
        assert after.id == before.id
        assert await_guest(watcher, lambda container: container.state == "exited", "once").pid is None
        wait_until(lambda: watcher.latest()[1] is None, PATIENCE_S, what="the gap's end")
        engine.docker("rename", "once", "renamed")
        await_guest(watcher, lambda _: True, "renamed")
    gc.collect()
