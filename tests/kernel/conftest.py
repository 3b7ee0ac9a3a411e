"""What several files of this layer share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel import probenet
from tests.kernel.faulthost import FaultHost


@pytest.fixture
def made(tmp_path: Path) -> Iterator[FaultHost]:
    """A fresh host to provoke faults on."""
    with FaultHost(tmp_path) as host:
        yield host


@pytest.fixture
def net() -> Iterator[probenet.Net]:
    """Namespaces to probe in, without a fault."""
    with probenet.net() as made:
        yield made
