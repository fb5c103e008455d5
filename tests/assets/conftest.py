"""Fixtures that the tests of assets, of their methods and of their resources share."""

import contextlib
import socket
import threading
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


class SilentServer:
    """Accepts every connection and never answers; ``n_asked`` counts the connections."""

    def __init__(self, listening: socket.socket) -> None:
        self.uri = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.n_asked = 0
        self._connections: list[socket.socket] = []
        self._listening = listening
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._connections.append(self._listening.accept()[0])
                self.n_asked += 1

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for connection in self._connections:
            connection.close()


@pytest.fixture
def silent_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SilentServer]:
    """A server that never answers, for which MLflow waits a second."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = SilentServer(listening)
        yield server
        server.close()


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    """An fsspec store in memory, empty before and after."""
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    yield filesystem
    filesystem.store.clear()
