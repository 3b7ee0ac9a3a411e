"""The fixtures of the tests that run natop on a Docker host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docker.line import Line
from tests.lab.dockerhost import DockerHost


@pytest.fixture
def line(docker_host: DockerHost) -> Iterator[Line]:
    """natop's readings of the session's Docker host, whose table is empty at first."""
    with Line(docker_host) as readings:
        yield readings
