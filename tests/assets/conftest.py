"""Fixtures that the tests of assets and of their resources share."""

import shutil
import socket
from pathlib import Path

import pytest

from assets.resources.tracking import Tracking


@pytest.fixture(scope="session")
def migrated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that holds nothing but MLflow's database: a new one takes seconds to migrate."""
    home = tmp_path_factory.mktemp("migrated")
    assert Tracking(home=str(home)).client.search_registered_models() == []
    return home


@pytest.fixture
def tracking(migrated_home: Path, tmp_path: Path) -> Tracking:
    """MLflow in a database of its own, below a home of its own."""
    home = shutil.copytree(migrated_home, tmp_path / "home")
    return Tracking(home=str(home))


@pytest.fixture
def unreachable_uri() -> str:
    """The address of a server that is down: a port that was free a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://bob:secret@127.0.0.1:{free.getsockname()[1]}"
