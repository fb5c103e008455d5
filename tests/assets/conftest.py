"""Fixtures that the tests of assets, of their methods and of their resources share."""

import socket
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

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


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    """An fsspec store in memory, empty before and after."""
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    yield filesystem
    filesystem.store.clear()
