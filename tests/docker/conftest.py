"""The fixtures of the tests that run natop on a Docker host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docker.line import Line
from tests.lab.dockerhost import DockerHost

WITHOUT_PROXY = {"userland-proxy": False}
"""daemon.json of an engine that leaves calls of published ports to the kernel."""


@pytest.fixture
def line(docker_host: DockerHost) -> Iterator[Line]:
    """natop's readings of the session's Docker host, whose table is empty at first."""
    with Line(docker_host) as readings:
        yield readings


@pytest.fixture(scope="session")
def shared_host_without_proxy() -> Iterator[DockerHost]:
    """A Docker host like the lab's, but without docker-proxy."""
    with DockerHost(settings=WITHOUT_PROXY) as host:
        yield host


@pytest.fixture
def without_proxy(shared_host_without_proxy: DockerHost) -> DockerHost:
    """The same with an empty conntrack table."""
    shared_host_without_proxy.namespace.settle()
    return shared_host_without_proxy
