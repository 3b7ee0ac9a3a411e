"""The layers of the tests that need a real kernel or a real Docker Engine, as a pytest plugin.

A test's folder says its layer: tests/kernel needs root and network tools, tests/docker an engine as well. Where the
environment lacks something these tests are skipped and say what; with CI=true or NATOP_REQUIRE_LAB=1 they fail
instead. LAB=0 leaves both layers out.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.dockerhost import DockerHost
from tests.lab.engine import APPLETS, sweep_folders
from tests.lab.netns import Namespace, sweep

NETWORK = ("ip", "nsenter", "setpriv", "conntrack", "nft")
COMMANDS = {"kernel": NETWORK, "docker": (*NETWORK, "containerd", "dockerd", "docker", "iptables", "busybox")}
_left_out = pytest.StashKey[int]()
_lacking: set[str] = set()
"""Why single tests were left out."""


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A fresh, empty network namespace."""
    with Namespace() as fresh:
        yield fresh


@pytest.fixture(scope="session")
def shared_docker_host() -> Iterator[DockerHost]:
    """The lab's Docker host, built once a session (about three seconds)."""
    with DockerHost() as host:
        yield host


@pytest.fixture
def docker_host(shared_docker_host: DockerHost) -> DockerHost:
    """The session's Docker host with an empty conntrack table."""
    shared_docker_host.namespace.settle()
    return shared_docker_host


@functools.cache
def missing(layer: str) -> str:
    """What this machine lacks for a layer, in words; empty when nothing."""
    if os.geteuid() != 0:
        return "it needs root"
    lacking = [command for command in COMMANDS[layer] if not shutil.which(command)]
    if lacking:
        return f"not installed: {', '.join(lacking)} (tests/lab/packages.sh installs them)"
    try:
        with Namespace("try") as trial:
            trial.run("conntrack", "-C")
            missing_applets = _missing_applets(trial) if layer == "docker" else ""
    except (OSError, RuntimeError) as error:
        return f"no private network namespace with conntrack: {error}"
    return missing_applets


def required() -> bool:
    """Whether a layer that cannot run is a failure."""
    return os.environ.get("CI", "").lower() in ("true", "1") or os.environ.get("NATOP_REQUIRE_LAB") == "1"


def lack(reason: str) -> None:
    """Skip the running test because the environment lacks something, or fail it where every layer is demanded."""
    if required():
        pytest.fail(f"every layer is demanded here, but {reason}", pytrace=False)
    _lacking.add(reason)
    pytest.skip(reason)


def pytest_configure() -> None:
    """Clear what killed runs left behind, and let SIGTERM unwind the fixtures as Ctrl+C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if os.geteuid() == 0 and os.environ.get("LAB") != "0":
        sweep()
        sweep_folders()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each test the marker of its folder, and deselect these layers where LAB=0 asks for it.

    They run one after the other: while a test resizes the machine's hash table, dumps in any namespace miss entries.
    """
    here = Path(__file__).parent.parent
    for item in items:
        for layer in COMMANDS:
            if here / layer in item.path.parents:
                item.add_marker(layer)
    if os.environ.get("LAB") == "0":
        unwanted = [item for item in items if _layer(item)]
        items[:] = [item for item in items if not _layer(item)]
        config.stash[_left_out] = len(unwanted)
        config.hook.pytest_deselected(items=unwanted)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip or fail a test whose layer cannot run here."""
    layer = _layer(item)
    reason = missing(layer) if layer else ""
    if reason:
        lack(f"the {layer} layer cannot run: {reason}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out, and why: a green run must not hide it."""
    if config.stash.get(_left_out, 0):
        terminalreporter.write_line(f"LAB=0: left out {config.stash[_left_out]} tests of the kernel and docker layers")
    for layer in COMMANDS:
        skipped = [report for report in terminalreporter.stats.get("skipped", []) if layer in report.keywords]
        if skipped and missing(layer):
            terminalreporter.write_line(f"left out {len(skipped)} tests of the {layer} layer: {missing(layer)}")
    for reason in sorted(_lacking):
        terminalreporter.write_line(f"left out some tests: {reason}")


def _layer(item: pytest.Item) -> str:
    """The layer of a test; the docker layer includes what the kernel layer needs."""
    return next((layer for layer in ("docker", "kernel") if item.get_closest_marker(layer)), "")


def _missing_applets(trial: Namespace) -> str:
    """Which parts this machine's busybox lacks for the lab's image."""
    offered = trial.run("busybox", "--list").stdout.split()
    lacking = [applet for applet in APPLETS if applet not in offered]
    return f"busybox has no {', '.join(lacking)} (busybox-static has)" if lacking else ""
