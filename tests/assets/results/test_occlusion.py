import dataclasses
import io
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from assets.config import OcclusionMapsConfig
from assets.io_managers import load, save
from assets.methods.attribution.heat_map import HeatMapSettings
from assets.methods.attribution.occlusion import OcclusionSettings, scale_down
from assets.methods.attribution.occlusion_maps import occlusion_maps
from assets.methods.attribution.target import Target
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.attribution.windows import place_windows
from assets.methods.common.errors import UserError
from assets.methods.models.callable_classifier import CallableClassifier
from assets.methods.models.identity import ModelIdentity
from assets.methods.photos.catalogue import CatalogueSettings
from assets.methods.photos.decode import image_id
from assets.methods.photos.rejects import Reason
from assets.resources.progress import LogProgress
from assets.results import occlusion
from assets.results.occlusion import chosen_occlusion_maps, run_occlusion
from assets.results.photo_map import png
from assets.steps import Step
from assets.values import OcclusionMaps
from support.calls import count_calls
from support.classifiers import Brightness

IDENTITY = ModelIdentity("brightness", "", "0")

CONFIG = OcclusionMapsConfig(box=8, stride=8)


def test_a_picture_becomes_a_png_of_the_same_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    picture = png(Image.fromarray(pixels))
    assert picture.suffix == ".png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(picture.data))), pixels)


@pytest.fixture
def store(tmp_path):
    return WindowScoreStore(tmp_path / "windows")


@pytest.fixture
def drawn(monkeypatch):
    """What is handed to the drawings, which are made all the same."""
    calls = {"draw_overlay": [], "draw_occlusion_figure": []}
    for name, made in calls.items():
        original = getattr(occlusion, name)

        def draw(*arguments, made=made, original=original):
            made.append(arguments)
            return original(*arguments)

        monkeypatch.setattr(occlusion, name, draw)
    return calls


def run(image, store, classifier=None, class_name="bright", listeners=(), **config):
    target = Target(classifier or Brightness(), IDENTITY, class_name)
    chosen = OcclusionMapsConfig(**{"box": 4, "stride": 4, **config})
    return run_occlusion(image, "corner.png", target, chosen, store, *listeners)


def corner(width=12, height=8, mode="RGB"):
    """A black image whose upper right window of 4 px, scaled with the image, is white."""
    image = Image.new("RGB", (width, height))
    image.paste("white", (width * 2 // 3, 0, width, height // 2))
    return image.convert(mode)


def test_both_maps_the_score_and_their_figures(store):
    found = run(corner(), store)
    lit = np.asarray(corner())[..., 0] / 255
    assert found.metrics["score"] == pytest.approx(1 / 6)
    np.testing.assert_array_equal(found.maps["seen"].values, lit)
    # Without the one white window nothing is bright; without another one all of it is left.
    np.testing.assert_allclose(found.maps["hidden"].values, 1 - (1 - lit) / 6, rtol=1e-6)
    assert found.metrics == {
        "score": pytest.approx(1 / 6),
        "seen.minimum": 0,
        "seen.maximum": 1,
        "seen.mean": pytest.approx(1 / 6),
        "seen.share_above_threshold": pytest.approx(1 / 6),
        "hidden.minimum": pytest.approx(5 / 6),
        "hidden.maximum": 1,
        "hidden.mean": pytest.approx(1 - 5 / 36),
        "hidden.share_above_threshold": 1,
    }
    assert {type(metric) for metric in found.metrics.values()} == {float}


def test_the_maps_are_those_of_occlusion_maps(store, tmp_path):
    image, settings = corner(24, 16), OcclusionSettings(5, 3, "mean", long_side=10)
    found = run(image, store, **vars(settings))
    other = WindowScoreStore(tmp_path / "other")
    expected = occlusion_maps(WindowedImage(image, settings), Brightness(), "bright", other)
    assert list(found.maps) == list(expected) == ["seen", "hidden"]
    for experiment, one in expected.items():
        np.testing.assert_array_equal(found.maps[experiment].values, one.values)
        np.testing.assert_array_equal(found.maps[experiment].scores, one.scores)


@pytest.mark.parametrize("experiment", ["seen", "hidden"])
def test_one_experiment_alone_has_one_map_one_overlay_and_its_figures(store, experiment, drawn):
    found = run(corner(), store, experiment=experiment)
    assert list(found.maps) == [experiment]
    assert list(found.images) == ["figure", experiment]
    assert {name.split(".")[0] for name in found.metrics} == {"score", experiment}
    ((_, seen, hidden, *_),) = drawn["draw_occlusion_figure"]
    assert (seen is None, hidden is None) == (experiment == "hidden", experiment == "seen")


def test_pictures_are_rgb_and_the_same_each_time(store):
    one = run(corner(), store)
    two = run(corner(), store)
    assert list(one.images) == ["figure", "seen", "hidden"]
    for name, image in one.images.items():
        assert image.mode == "RGB"
        assert image.tobytes() == two.images[name].tobytes()
    assert [found.n_computed for found in two.maps.values()] == [0, 0]
    assert one.images["seen"].tobytes() != one.images["hidden"].tobytes()


def test_an_overlay_says_what_its_map_shows(store, drawn):
    run(corner(), store, class_name="dark")
    assert [(label, values.max()) for _, values, _, label in drawn["draw_overlay"]] == [
        ("P(dark), window cut out", 1),
        ("1 - P(dark), window painted over", pytest.approx(1 / 6)),
    ]


def test_the_figure_shows_the_window_that_says_most_where_it_lies_on_the_image(store, drawn):
    run(corner(24, 16), store, long_side=12)
    ((image, seen, hidden, drawing, title),) = drawn["draw_occlusion_figure"]
    assert (image.size, drawing) == ((24, 16), HeatMapSettings())
    # 8 to 12 px from the left of the scaled image, 16 to 24 of the image itself.
    assert seen.window_rectangle == hidden.window_rectangle == (16, 0, 24, 8)
    assert (seen.window_image.size, hidden.window_image.size) == ((4, 4), (12, 8))
    for panel in (seen, hidden):
        bright = np.asarray(panel.window_image)[..., 0].mean() / 255
        assert panel.window_score == pytest.approx(bright)
    # Scaling leaves a soft edge.
    assert seen.window_score > 0.95
    assert hidden.window_score < 0.01
    assert seen.values.shape == hidden.values.shape == (16, 24)
    assert dataclasses.astuple(title) == (
        *("corner.png", "bright", "brightness", pytest.approx(1 / 6, abs=1e-3)),
        *(4, 4, "black", 6),
    )


def test_a_window_larger_than_the_image_is_told_as_it_is(store, drawn):
    run(corner(), store, box=64, stride=16)
    (title,) = drawn["draw_occlusion_figure"][0][4:]
    assert (title.box, title.n_windows) == (12, 1)


def test_the_score_is_that_of_the_image_scaled_down(store):
    class Sizes(Brightness):
        def classify(self, images):
            self.shapes = getattr(self, "shapes", []) + [tuple(image.shape) for image in images]
            return super().classify(images)

    classifier = Sizes()
    found = run(corner(24, 16), store, classifier, long_side=12)
    assert classifier.shapes[-1] == (3, 8, 12)
    assert (3, 16, 24) not in classifier.shapes
    assert found.metrics["score"] == pytest.approx(1 / 6, abs=1e-3)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_an_image_of_any_mode_is_taken_as_rgb(store, mode):
    found = run(corner(mode=mode), store)
    np.testing.assert_array_equal(found.maps["seen"].values, np.asarray(corner())[..., 0] / 255)


def test_the_threshold_decides_what_share_of_windows_counts(store):
    shares = [
        run(corner(), store, threshold=threshold).metrics["hidden.share_above_threshold"]
        for threshold in (0.5, 0.9, 1)
    ]
    assert shares == [1, pytest.approx(1 / 6), 0]


def test_work_is_estimated_and_its_progress_told(store):
    estimates, told = [], []
    run(corner(), store, listeners=(estimates.append, lambda *done: told.append(done)))
    assert [one.n_windows for one in estimates] == [12, 12]
    assert told[-1] == (12, 12)


def test_an_unknown_class_is_refused_before_any_work(store, tmp_path):
    classifier = Brightness()
    with pytest.raises(UserError, match="There is no class nsfw: choose dark or bright"):
        run(corner(), store, classifier, class_name="nsfw")
    assert classifier.sizes == []
    assert list(tmp_path.iterdir()) == []


def test_the_score_of_an_image_is_found_by_the_name_of_the_class(store):
    for class_names in (("dark", "bright"), ("bright", "dark")):
        classifier = Brightness(class_names)
        for class_name, score in (("bright", 1 / 6), ("dark", 5 / 6)):
            found = run(corner(), store, classifier, class_name)
            assert found.metrics["score"] == pytest.approx(score)


def test_an_image_that_was_mapped_before_costs_no_call(store):
    first = run(corner(), store)
    classifier = Brightness()
    again = run(corner(), store, classifier)
    assert classifier.sizes == []
    assert again.metrics == first.metrics


def test_an_image_is_scaled_once_and_its_windows_are_placed_once(store, monkeypatch):
    counts = count_calls(monkeypatch, scale_down, place_windows)
    run(corner(24, 16), store, long_side=12)
    assert counts == {"scale_down": 1, "place_windows": 1}


def test_the_files_are_what_was_found(store):
    found = run(corner(), store)
    assert list(found.files) == ["figure.png", "seen.npy", "seen.png", "hidden.npy", "hidden.png"]
    for name, image in found.images.items():
        opened = Image.open(io.BytesIO(found.files[f"{name}.png"]))
        np.testing.assert_array_equal(np.asarray(opened), np.asarray(image))
    for experiment, one in found.maps.items():
        loaded = np.load(io.BytesIO(found.files[f"{experiment}.npy"]))
        np.testing.assert_array_equal(loaded, one.values)


def _brightness(images: list[Image.Image]) -> dict[str, list[float]]:
    bright = [float(np.asarray(image).mean()) / 255 for image in images]
    return {"dark": [1 - value for value in bright], "bright": bright}


TARGET = Target(CallableClassifier(_brightness, None, "brightness"), IDENTITY, "bright")


def picture(level: int) -> Image.Image:
    image = Image.new("RGB", (24, 16))
    image.paste((level, level, level), (16, 0, 24, 8))
    return image


class Log:
    """The run's log and the asset's metadata, as Dagster would have them."""

    def __init__(self, run) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.metadata: dict[str, Any] = {}
        log = SimpleNamespace(info=self.lines.append, warning=self.warnings.append)
        context = SimpleNamespace(
            run=SimpleNamespace(tags={}),
            log=log,
            asset_key=dg.AssetKey("occlusion_maps"),
            add_output_metadata=self.metadata.update,
        )
        self.step = Step(context, run, LogProgress())


def written(folder: Path, *levels: int) -> pd.DataFrame:
    """Write photos to disk, all of one name, and return them as they are chosen."""
    rows = []
    for number, level in enumerate(levels):
        file = folder / str(number) / "photo.png"
        file.parent.mkdir()
        picture(level).save(file)
        rows.append((image_id(file.read_bytes()), str(file), 0.9 - number / 10))
    return pd.DataFrame(rows, columns=["image_id", "uri", "score"])


@pytest.fixture
def photos(tmp_path) -> pd.DataFrame:
    """Four photos on disk, the last two of which are not what they were."""
    chosen = written(tmp_path, 255, 254, 253, 252)
    Path(chosen.uri[0]).unlink()
    picture(7).save(chosen.uri[2])
    return chosen


def _unheard(message: str) -> None:
    raise AssertionError(message)


def artifacts(tracking, run_id: str, folder: str | None = None) -> list[str]:
    found = []
    for item in tracking.client.list_artifacts(run_id, folder):
        found += artifacts(tracking, run_id, item.path) if item.is_dir else [item.path]
    return sorted(found)


def test_what_was_found_is_a_row_an_image_and_experiment(store, tracking, tmp_path):
    chosen = written(tmp_path, 255, 102, 10)
    Path(chosen.uri[2]).unlink()
    with tracking.lone_run("occlusion_maps", _unheard) as run:
        log = Log(run).step
        value = chosen_occlusion_maps(chosen, TARGET, CONFIG, CatalogueSettings(), store, log)
    (first, second, _), uris = chosen.image_id, chosen.uri
    assert value.table[["rank", "image_id", "uri", "experiment"]].to_numpy().tolist() == [
        [1, first, uris[0], "seen"],
        [1, first, uris[0], "hidden"],
        [2, second, uris[1], "seen"],
        [2, second, uris[1], "hidden"],
    ]
    seen = value.table.iloc[2]
    assert seen.score == 0.8
    assert seen.score_at_full_size == pytest.approx(0.4 / 6)
    assert (seen.minimum, seen.maximum) == (0, pytest.approx(0.4))
    assert seen["mean"] == pytest.approx(0.4 / 6)
    assert (seen.share_above_threshold, seen.n_windows, seen.n_computed) == (0, 6, 6)
    (reject,) = value.rejects.to_dict("records")
    assert (reject["uri"], reject["reason"]) == (uris[2], "unreadable")
    keys = [f"{one}/{experiment}" for one in (first, second) for experiment in ("seen", "hidden")]
    assert list(value.maps) == list(value.window_scores) == list(value.overlays) == keys
    assert list(value.figures) == [first, second]
    assert value.maps[keys[2]].max() == pytest.approx(0.4)
    assert value.window_scores[keys[1]].shape == (2, 3)
    assert list(value.sheet) == ["1"]
    assert artifacts(tracking, run.run_id, "sheet") == ["sheet/page-1.png"]
    page = tracking.client.download_artifacts(run.run_id, "sheet/page-1.png", str(tmp_path))
    assert Path(page).read_bytes() == value.sheet["1"].data
    named = {"model": "brightness", "class_name": "bright"}
    assert value.settings == {**CONFIG.model_dump(), **named}


def test_what_was_found_outlives_the_process(store, tracking, tmp_path):
    with tracking.lone_run("occlusion_maps", _unheard) as run:
        chosen, log = written(tmp_path, 255), Log(run).step
        value = chosen_occlusion_maps(chosen, TARGET, CONFIG, CatalogueSettings(), store, log)
    save(value, tmp_path / "value")
    loaded = load(OcclusionMaps, tmp_path / "value")
    pd.testing.assert_frame_equal(loaded.table, value.table)
    pd.testing.assert_frame_equal(loaded.rejects, value.rejects)
    for name in ("maps", "window_scores"):
        before, after = getattr(value, name), getattr(loaded, name)
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[key], after[key]) for key in before)
    assert (loaded.overlays, loaded.figures) == (value.overlays, value.figures)
    assert loaded.sheet == value.sheet
    # A home of an earlier version has no sheet.
    shutil.rmtree(tmp_path / "value" / "sheet")
    assert load(OcclusionMaps, tmp_path / "value").sheet == {}
    assert loaded.settings == value.settings


def test_nothing_that_could_be_read_is_a_mistake_with_its_first_reason(photos, store, tracking):
    gone = photos.iloc[[0, 2]]
    with tracking.lone_run("occlusion_maps", _unheard) as run:
        log = Log(run).step
        with pytest.raises(UserError, match=r"^None of the 2 images .* because: .*\.$"):
            chosen_occlusion_maps(gone, TARGET, CONFIG, CatalogueSettings(), store, log)
    assert artifacts(tracking, run.run_id) == []


def test_originals_are_mapped_and_those_that_have_gone_are_rejects(
    photos, store, tracking, tmp_path
):
    with tracking.lone_run("occlusion_maps", _unheard) as run:
        log = Log(run)
        value = chosen_occlusion_maps(photos, TARGET, CONFIG, CatalogueSettings(), store, log.step)
    assert list(value.figures) == [photos.image_id[1], photos.image_id[3]]
    assert value.rejects.uri.tolist() == [photos.uri[0], photos.uri[2]]
    assert value.rejects.reason.tolist() == [Reason.UNREADABLE.value] * 2
    assert len(log.warnings) == 2
    assert log.warnings[0].startswith("photo.png was left out: ")
    assert log.lines[0] == "photo.png, 2 of 4: 12 windows."
    assert log.lines[1].startswith("photo.png, 2 of 4: expected: ")
    # The first that could be read is the highest.
    assert list(log.metadata) == ["highest", "images", "rejected", "sheet"]
    for name in ("highest", "sheet"):
        assert log.metadata[name].value.startswith("![thumbnail](data:image/jpeg;base64,")


def test_mlflow_has_files_a_series_of_pictures_and_a_series_of_figures(
    photos, store, tracking, tmp_path
):
    with tracking.lone_run("occlusion_maps", _unheard) as run:
        log = Log(run).step
        value = chosen_occlusion_maps(photos, TARGET, CONFIG, CatalogueSettings(), store, log)
    table = value.table
    found = artifacts(tracking, run.run_id)
    files = [name for name in found if not name.startswith(("images/", "sheet/"))]
    folders = [f"photo-{image_id[:8]}" for image_id in photos.image_id[[1, 3]]]
    kinds = ["figure.png", "hidden.npy", "hidden.png", "seen.npy", "seen.png"]
    assert files == sorted(f"{folder}/{kind}" for folder in folders for kind in kinds)
    series = {tuple(Path(name).name.split("+")[:3]) for name in found if name.startswith("images/")}
    ranks = [str(rank) for rank in table["rank"].unique()]
    assert series == {(key, "step", rank) for key in ("figure", "seen", "hidden") for rank in ranks}
    history = tracking.client.get_metric_history(run.run_id, "seen.maximum")
    assert [(one.step, one.value) for one in history] == [
        (row["rank"], pytest.approx(row["maximum"]))
        for _, row in table[table.experiment == "seen"].iterrows()
    ]
    whole = tracking.client.download_artifacts(run.run_id, f"{folders[1]}/seen.npy", str(tmp_path))
    values = value.maps[f"{photos.image_id[3]}/seen"]
    np.testing.assert_array_equal(np.load(whole), values)
