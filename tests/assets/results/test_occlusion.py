import io
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from assets.config import OcclusionMapsConfig
from assets.io_managers import load, save
from assets.methods.attribution.explain import Question, explain_image
from assets.methods.attribution.heat_map import HeatMapSettings
from assets.methods.attribution.occlusion import OcclusionSettings
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.errors import UserError
from assets.methods.models.callable_classifier import CallableClassifier
from assets.methods.photos.catalogue import CatalogueSettings
from assets.methods.photos.decode import image_id
from assets.methods.photos.rejects import Reason, Reject
from assets.resources.progress import LogProgress
from assets.results.occlusion import (
    OcclusionResults,
    explain_originals,
    explained_files,
)
from assets.results.photo_map import png
from assets.steps import Step
from assets.values import OcclusionMaps


def test_a_picture_becomes_a_png_of_the_same_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    picture = png(Image.fromarray(pixels))
    assert picture.suffix == ".png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(picture.data))), pixels)


def _brightness(images: list[Image.Image]) -> dict[str, list[float]]:
    bright = [float(np.asarray(image).mean()) / 255 for image in images]
    return {"dark": [1 - value for value in bright], "bright": bright}


@pytest.fixture
def question() -> Question:
    return Question(
        CallableClassifier(_brightness, None, "brightness"),
        "brightness",
        "bright",
        OcclusionSettings(8, 8),
        HeatMapSettings(),
    )


@pytest.fixture
def store(tmp_path) -> WindowScoreStore:
    return WindowScoreStore(tmp_path / "windows")


def picture(level: int) -> Image.Image:
    image = Image.new("RGB", (24, 16))
    image.paste((level, level, level), (16, 0, 24, 8))
    return image


def answered(question, store, level=255):
    """What is found in a picture, and its files."""
    explained = explain_image(picture(level), "photo.png", question, store)
    return explained, explained_files(explained)


def test_what_was_found_is_a_row_an_image_and_experiment(question, store):
    results = OcclusionResults()
    results.add("ab", "/photos/b.png", 0.9, *answered(question, store, 255))
    results.add("cd", "/photos/d.png", 0.8, *answered(question, store, 102))
    results.rejects.append(Reject("/photos/e.png", Reason.UNREADABLE, "The file is gone."))
    value = results.value({"box": 8})
    assert value.table[["rank", "image_id", "uri", "experiment"]].to_numpy().tolist() == [
        [1, "ab", "/photos/b.png", "seen"],
        [1, "ab", "/photos/b.png", "hidden"],
        [2, "cd", "/photos/d.png", "seen"],
        [2, "cd", "/photos/d.png", "hidden"],
    ]
    seen = value.table.iloc[2]
    assert seen.score == 0.8
    assert seen.score_at_full_size == pytest.approx(0.4 / 6)
    assert (seen.minimum, seen.maximum) == (0, pytest.approx(0.4))
    assert seen["mean"] == pytest.approx(0.4 / 6)
    assert (seen.share_above_threshold, seen.n_windows, seen.n_computed) == (0, 6, 6)
    assert value.rejects.to_dict("records") == [
        {"uri": "/photos/e.png", "reason": "unreadable", "detail": "The file is gone."}
    ]
    keys = ["ab/seen", "ab/hidden", "cd/seen", "cd/hidden"]
    assert list(value.maps) == list(value.window_scores) == list(value.overlays) == keys
    assert list(value.figures) == ["ab", "cd"]
    assert value.maps["cd/seen"].max() == pytest.approx(0.4)
    assert value.window_scores["ab/hidden"].shape == (2, 3)
    assert value.settings == {"box": 8}


def test_what_was_found_outlives_the_process(question, store, tmp_path):
    results = OcclusionResults()
    results.add("ab", "/photos/b.png", 0.9, *answered(question, store))
    value = results.value(OcclusionMapsConfig().model_dump())
    save(value, tmp_path / "value")
    loaded = load(OcclusionMaps, tmp_path / "value")
    pd.testing.assert_frame_equal(loaded.table, value.table)
    pd.testing.assert_frame_equal(loaded.rejects, value.rejects)
    for name in ("maps", "window_scores"):
        before, after = getattr(value, name), getattr(loaded, name)
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[key], after[key]) for key in before)
    assert (loaded.overlays, loaded.figures) == (value.overlays, value.figures)
    assert loaded.settings == value.settings


def test_nothing_that_could_be_read_is_a_mistake_with_its_first_reason():
    results = OcclusionResults()
    for name in "ab":
        results.rejects.append(Reject(f"/{name}.png", Reason.UNREADABLE, f"{name} is gone."))
    with pytest.raises(UserError, match=r"None of the 2 images .* because: a is gone\.$"):
        results.value({})


class Log:
    """The run's log and the asset's metadata, as Dagster would have them."""

    def __init__(self, run) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.metadata: dict[str, object] = {}
        log = SimpleNamespace(info=self.lines.append, warning=self.warnings.append)
        context = SimpleNamespace(
            log=log,
            asset_key=dg.AssetKey("occlusion_maps"),
            add_output_metadata=self.metadata.update,
        )
        self.step = Step(context, run, LogProgress())


@pytest.fixture
def photos(tmp_path) -> pd.DataFrame:
    """Four photos on disk, the last two of which are not what they were."""
    rows = []
    for number, folder in enumerate(("a", "b", "c", "d")):
        file = tmp_path / folder / "photo.png"
        file.parent.mkdir()
        picture(255 - number).save(file)
        rows.append((image_id(file.read_bytes()), str(file)))
    (tmp_path / "a" / "photo.png").unlink()
    picture(7).save(tmp_path / "c" / "photo.png")
    return pd.DataFrame(rows, columns=["image_id", "uri"]).assign(score=[0.9, 0.8, 0.7, 0.6])


def _unheard(message: str) -> None:
    raise AssertionError(message)


def artifacts(tracking, run_id: str, folder: str | None = None) -> list[str]:
    found = []
    for item in tracking.client.list_artifacts(run_id, folder):
        found += artifacts(tracking, run_id, item.path) if item.is_dir else [item.path]
    return sorted(found)


def test_originals_are_looked_into_and_those_that_have_gone_are_rejects(
    photos, question, store, tracking, tmp_path
):
    with tracking.lone_run("occlusion_maps", _unheard) as run:
        log = Log(run)
        results = explain_originals(photos, question, CatalogueSettings(), store, log.step)
    assert list(results.figures) == [photos.image_id[1], photos.image_id[3]]
    assert [(reject.uri, reject.reason) for reject in results.rejects] == [
        (photos.uri[0], Reason.UNREADABLE),
        (photos.uri[2], Reason.UNREADABLE),
    ]
    assert len(log.warnings) == 2
    assert log.warnings[0].startswith("photo.png was left out: ")
    assert log.lines[0] == "photo.png, 2 of 4: 12 windows."
    assert log.lines[1].startswith("photo.png, 2 of 4: expected: ")
    # The first that could be read is the highest.
    assert list(log.metadata) == ["highest"]
    assert log.metadata["highest"].value.startswith("![thumbnail](data:image/jpeg;base64,")


def test_mlflow_has_files_a_series_of_pictures_and_a_series_of_figures(
    photos, question, store, tracking, tmp_path
):
    with tracking.lone_run("occlusion_maps", _unheard) as run:
        results = explain_originals(photos, question, CatalogueSettings(), store, Log(run).step)
    table = results.value({}).table
    found = artifacts(tracking, run.run_id)
    files = [name for name in found if not name.startswith("images/")]
    kinds = ["figure.png", "hidden.npy", "hidden.png", "seen.npy", "seen.png"]
    assert files == sorted(
        f"{folder}/{kind}" for folder in ("photo-2", "photo-4") for kind in kinds
    )
    series = {tuple(Path(name).name.split("+")[:3]) for name in found if name.startswith("images/")}
    ranks = [str(rank) for rank in table["rank"].unique()]
    assert series == {(key, "step", rank) for key in ("figure", "seen", "hidden") for rank in ranks}
    history = tracking.client.get_metric_history(run.run_id, "seen.maximum")
    assert [(one.step, one.value) for one in history] == [
        (row["rank"], pytest.approx(row["maximum"]))
        for _, row in table[table.experiment == "seen"].iterrows()
    ]
    whole = tracking.client.download_artifacts(run.run_id, "photo-4/seen.npy", str(tmp_path))
    values = results.maps[f"{photos.image_id[3]}/seen"]
    np.testing.assert_array_equal(np.load(whole), values)
