"""Hosts that several tests look at."""

import pytest

from natop.model import Snapshot
from tests.tui.worlds import world


@pytest.fixture(scope="session")
def small() -> list[Snapshot]:
    """Three snapshots of a host of six containers and some hundred flows."""
    return world(6).history(600, 3)


@pytest.fixture(scope="session")
def busy() -> list[Snapshot]:
    """Snapshots of a host with fourteen containers and some thousand flows."""
    return world(14).history(6600, 8)
