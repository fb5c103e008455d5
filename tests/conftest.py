"""What every test shares: a home of its own, never the developer's."""

import os
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import settings
from PIL import Image

from orchestration.instance import prepare_home

# The machine is shared: an example may take its time, and CI looks at the same ones each time.
settings.register_profile("tessera", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("tessera")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, so that none of them is left to one worker at the end."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, to which Dagster's and Tessera's environment points."""
    monkeypatch.setenv("TESSERA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return prepare_home()


@pytest.fixture
def instance(home: Path):
    """The Dagster instance below the home."""
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture
def photo_folder(tmp_path: Path):
    """Returns a function that makes a folder of so many distinct photos, in groups of colour."""

    def make(n: int, name: str = "photos") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for number in range(n):
            hue = number * 67 % 256
            photo = Image.linear_gradient("L").rotate(number * 13).resize((64, 48))
            tint = Image.new("L", photo.size, hue)
            Image.merge("HSV", (tint, photo, photo.point(lambda v: 255 - v // 2))).convert(
                "RGB"
            ).save(folder / f"photo_{number:03}.png")
        return folder

    return make
