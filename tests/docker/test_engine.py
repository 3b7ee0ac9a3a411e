"""Which engine is asked, and what becomes of a reading when it does not answer."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from natop.collect import engine, pulse
from natop.feed import LiveFeed, Source, readings
from tests.docker.inventory import UNCLOSED, guest
from tests.docker.line import Line
from tests.kernel import product
from tests.lab.dockerhost import DockerHost
from tests.lab.inject import Entry, inject
from tests.lab.netns import Namespace, wait_until

NO_RIGHT_TO_OVERRIDE = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--")
"""A command before natop: root, but bound by the permissions of files."""


def names(document: dict[str, object]) -> set[str]:
    """The containers of a document."""
    containers = document["containers"]
    assert isinstance(containers, list)
    return {container["name"] for container in containers}


@pytest.fixture
def configured(docker_host: DockerHost, tmp_path: Path) -> dict[str, str]:
    """An environment in which the docker command has made a context `lab`, without a config.json so far."""
    environment = {"DOCKER_CONFIG": str(tmp_path)}
    docker(environment, "context", "create", "lab", "--docker", f"host={docker_host.url}")
    return environment


def docker(environment: dict[str, str], *arguments: str) -> None:
    command = ["docker", *arguments]
    subprocess.run(command, env=product.environment(environment), check=True, capture_output=True, timeout=30)


def test_an_engine_by_option(docker_host: DockerHost) -> None:
    """Also from outside its namespace, which natop then enters for the flows alone."""
    options = ("--netns", docker_host.namespace.name, "--docker-host", docker_host.url)
    document = product.snapshot(None, *options)
    assert names(document) == set(docker_host.names)
    assert document["host"]["netns"] == f"net:[{docker_host.namespace.path.stat().st_ino}]"


def test_an_engine_by_environment(docker_host: DockerHost) -> None:
    environment = {"DOCKER_HOST": docker_host.url}
    assert names(product.snapshot(docker_host.namespace, env=environment)) == set(docker_host.names)
    left_out = product.snapshot(docker_host.namespace, "--no-docker", env=environment)
    assert (left_out["containers"], left_out["host"]["docker"], left_out["gaps"]) == (None, None, [])


def test_an_option_goes_before_the_environment(docker_host: DockerHost) -> None:
    environment = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    document = product.snapshot(docker_host.namespace, "--docker-host", docker_host.url, env=environment)
    assert names(document) == set(docker_host.names)


def test_an_engine_by_context(docker_host: DockerHost, configured: dict[str, str]) -> None:
    elsewhere = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    by_option = product.snapshot(docker_host.namespace, "--context", "lab", env=configured | elsewhere)
    by_environment = product.snapshot(docker_host.namespace, env=configured | {"DOCKER_CONTEXT": "lab"})
    docker(configured, "context", "use", "lab")
    current = product.snapshot(docker_host.namespace, env=configured)
    for document in (by_option, by_environment, current):
        assert names(document) == set(docker_host.names)
    overruled = product.snapshot(docker_host.namespace, env=configured | elsewhere)
    assert (overruled["containers"], len(overruled["gaps"])) == (None, 1)


def test_an_unknown_context_is_never_another_engine(docker_host: DockerHost, configured: dict[str, str]) -> None:
    done = product.natop(docker_host.namespace, "snapshot", "--context", "labb", env=configured)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("natop: no Docker context 'labb'")
    document = product.snapshot(docker_host.namespace, env=configured | {"DOCKER_CONTEXT": "labb"})
    (gap,) = document["gaps"]
    assert gap["source"] == "docker"
    assert "no Docker context 'labb'" in gap["reason"]


@pytest.mark.parametrize("options", [("--no-docker", "--context", "lab"), ("--context", "a", "--docker-host", "b")])
def test_options_that_exclude_each_other_are_usage(options: tuple[str, ...]) -> None:
    done = product.natop(None, "snapshot", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert 1 <= len(done.stderr.splitlines()) <= 3


@contextlib.contextmanager
def silent_engine(path: Path) -> Iterator[str]:
    """An engine that takes every connection and never says a word; its URL."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(16)
        yield f"unix://{path}"


NO_ENGINE = {
    "absent": "no Docker Engine is listening there",
    "deserted": "no Docker Engine is listening there",
    "forbidden": "no permission",
    "no url": "nonsense",
}


@pytest.mark.parametrize("why", NO_ENGINE)
def test_without_an_engine_the_flows_are_read_all_the_same(namespace: Namespace, tmp_path: Path, why: str) -> None:
    inject(namespace, [Entry(src="10.0.0.1", dst="10.0.0.2")])
    path = tmp_path / "docker.sock"
    with contextlib.ExitStack() as engines:
        url = f"unix://{path}" if why == "absent" else engines.enter_context(silent_engine(path))
        if why == "deserted":
            engines.close()
        elif why == "forbidden":
            path.chmod(0)
        elif why == "no url":
            url = "nonsense://"
        by = NO_RIGHT_TO_OVERRIDE if why == "forbidden" else ()
        document = product.snapshot(namespace, "--flows", "--docker-host", url, by=by)
    assert len(document["flows"]) == document["conntrack"]["flows"] == 1
    assert (document["host"]["docker"], document["containers"]) == (None, None)
    (gap,) = document["gaps"]
    assert gap["source"] == "docker"
    assert NO_ENGINE[why] in gap["reason"]


BABBLE = (
    b'HTTP/1.0 500 \x1b[31mhello\xff\r\nContent-Type: application/json\r\n\r\n{"message": "\\u001b[31mhello\\n\\u202e"}'
)


@contextlib.contextmanager
def babbling_engine() -> Iterator[str]:
    """A server that answers every request with an error whose message holds an escape sequence."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def babble() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(4096)
                        connection.sendall(BABBLE)

        thread = threading.Thread(target=babble, daemon=True)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def test_an_engine_s_error_never_reaches_a_terminal(namespace: Namespace) -> None:
    with babbling_engine() as url:
        done = product.natop(None, "-b", "-n", "1", "--netns", namespace.name, "--docker-host", url)
    assert done.returncode == 0
    assert "hello" in done.stdout
    assert done.stdout.replace("\n", "").isprintable()


@pytest.mark.filterwarnings(UNCLOSED)
def test_a_silent_engine_delays_nothing(namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A live view has its flows at once; a single reading waits for the engine, but not for ever."""
    monkeypatch.setattr(engine, "TIMEOUT_S", 30)
    inject(namespace, [Entry(src="10.0.0.1", dst="10.0.0.2")])
    threads_before = threading.enumerate()
    with silent_engine(tmp_path / "docker.sock") as url:
        source = Source(namespace.name, engine.Target(url))
        begun = time.monotonic()
        feed = LiveFeed(source, 0.5)
        first = next(iter(feed))
        assert time.monotonic() - begun < 15
        feed.close()
        monkeypatch.setattr(engine, "TIMEOUT_S", 0.3)
        (single,) = readings(source, 0.5, 1)
        wait_until(lambda: threading.enumerate() == threads_before, what="the watchers' threads to end")
    gc.collect()
    for snapshot, reason in ((first, "has not answered yet"), (single, "gave no answer")):
        assert snapshot.whole is not None
        assert snapshot.whole.counts.total == 1
        assert [(gap.source, reason in gap.reason) for gap in snapshot.gaps] == [("docker", True)]


@contextlib.contextmanager
def frozen(host: DockerHost) -> Iterator[None]:
    """The engine's process stopped in the middle of whatever it does."""
    pid = int((host.engine.folder / "docker.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.filterwarnings(UNCLOSED)
def test_an_engine_that_freezes_is_a_gap_until_it_wakes(
    docker_host: DockerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flows and the inventory as last seen stay on the screen; then the engine is followed as before."""
    monkeypatch.setattr(pulse, "PULSE_S", 0.5)
    monkeypatch.setattr(engine, "TIMEOUT_S", 1)
    with Line(docker_host) as line:

        def silence() -> list[str]:
            return [gap.reason for gap in line.tick().gaps if gap.source == "docker"]

        assert silence() == []
        with frozen(docker_host):
            wait_until(silence, what="the gap")
            (reason,) = silence()
            assert reason.startswith("the Docker Engine has not answered for ")
            taken = line.read()
            assert taken.whole is not None
            assert {each.container.name for each in taken.containers} == set(docker_host.names)
        wait_until(lambda: not silence(), what="the engine's answer")
        with guest(docker_host, name="late"):
            line.until(present=["late"])
        line.until(absent=["late"])
        assert silence() == []
    gc.collect()
