from pathlib import Path

import dagster as dg
import pytest

from assets.resources.collections import Collection
from orchestration.instance import register
from support.homes import point_to
from support.small_nights import Night


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home: the instance of these tests is in memory."""
    home = tmp_path / "home"
    home.mkdir()
    point_to(home, monkeypatch)
    return home


@pytest.fixture
def instance(home):
    """An instance in memory, in which a run starts no process and takes no second."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def night(home, instance, photo_folder):
    """Maps the collections birds and cats."""
    for name in ("birds", "cats"):
        register(instance, Collection(name, str(photo_folder(1, name))))
    return Night(home, instance)
