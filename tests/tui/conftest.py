"""Hosts that several tests look at."""

import pytest
from textual.notifications import Notification

from natop.model import Snapshot
from tests.tui.worlds import world


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No snapshot grows old and no toast goes while a test is slow: only a test that says so lets time pass."""
    monkeypatch.setattr("natop.tui.showing.monotonic", lambda: 0.0)
    monkeypatch.setattr(Notification, "time_left", 3600.0)


@pytest.fixture(scope="session")
def small() -> list[Snapshot]:
    """Three snapshots of a host of six containers and some hundred flows."""
    return world(6).history(600, 3)


@pytest.fixture(scope="session")
def busy() -> list[Snapshot]:
    """Snapshots of a host with fourteen containers and some thousand flows."""
    return world(14).history(6600, 8)
