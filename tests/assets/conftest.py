"""Fixtures that the tests of assets and of their resources share."""

import socket
from pathlib import Path

import pytest

from assets.resources.tracking import Tracking


@pytest.fixture
def tracking(home: Path) -> Tracking:
    """MLflow in a database of its own, below a home of its own."""
    return Tracking(home=str(home))


@pytest.fixture
def unreachable_uri() -> str:
    """The address of a server that is down: a port that was free a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://bob:secret@127.0.0.1:{free.getsockname()[1]}"
