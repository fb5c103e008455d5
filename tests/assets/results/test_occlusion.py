import dataclasses
import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage import data
from torch import nn

from assets.config import OcclusionMapsConfig
from assets.io_managers import CHECKSUMS, load, save
from assets.methods.attribution.heat_map import HeatMapSettings
from assets.methods.attribution.occlusion import OcclusionSettings, scale_down
from assets.methods.attribution.occlusion_maps import occlusion_maps
from assets.methods.attribution.target import Target
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.attribution.windows import place_windows
from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.common.timestamps import DATE_VARIABLE
from assets.methods.models.callable_classifier import CallableClassifier
from assets.methods.models.identity import ModelIdentity
from assets.methods.models.preprocessing import Preprocessing, preprocess
from assets.methods.models.provenance import tessera_version
from assets.methods.models.scoring import score_unseen
from assets.methods.models.torch_classifier import TorchClassifier
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.catalogue import CatalogueSettings, catalogue_photos
from assets.methods.photos.decode import image_id as id_of
from assets.methods.photos.photo_store import PhotoStore
from assets.methods.photos.rejects import Reason
from assets.resources.progress import LogProgress
from assets.results import occlusion
from assets.results.occlusion import chosen_occlusion_maps, run_occlusion
from assets.results.originals import read_originals
from assets.results.photo_map import png
from assets.steps import Step
from assets.values import OcclusionMaps
from support.calls import count_calls
from support.classifiers import Brightness
from support.photos import scene

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

        def draw(*arguments, made=made, original=original, **options):
            made.append((*arguments, options) if options else arguments)
            return original(*arguments, **options)

        monkeypatch.setattr(occlusion, name, draw)
    return calls


def run(image, store, classifier=None, class_name="bright", listeners=(), judged=None, **config):
    target = Target(classifier or Brightness(), IDENTITY, class_name)
    chosen = OcclusionMapsConfig(**{"box": 4, "stride": 4, **config})
    heard = dict(zip(("on_estimate", "progress"), listeners, strict=False))
    return run_occlusion(image, "corner.png", target, chosen, store, judged=judged, **heard)


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
        "read_score": pytest.approx(1 / 6),
        "box": 4,
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
    assert {name.split(".")[0] for name in found.metrics} == {
        "score",
        "read_score",
        "box",
        experiment,
    }
    ((_, seen, hidden, *_),) = drawn["draw_occlusion_figure"]
    assert (seen is None, hidden is None) == (experiment == "hidden", experiment == "seen")


def test_pictures_are_rgb_and_the_same_each_time(store, monkeypatch):
    monkeypatch.setenv(DATE_VARIABLE, "0")
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
    found = [
        (label, values.max(), level) for _, values, _, label, level, _ in drawn["draw_overlay"]
    ]
    assert found == [
        ("P(dark), window cut out", 1, None),
        ("1 - P(dark), window painted over", pytest.approx(1 / 6), pytest.approx(1 / 6)),
    ]


def test_the_figure_shows_the_window_that_says_most_where_it_lies_on_the_image(store, drawn):
    run(corner(24, 16), store, long_side=12)
    ((image, seen, hidden, drawing, title, options),) = drawn["draw_occlusion_figure"]
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
        *("corner.png", "bright", "brightness", pytest.approx(1 / 6)),
        *(4, 4, "black", 6, (12, 8), pytest.approx(1 / 6, abs=1e-3)),
    )
    # A classifier that is no network of torch is fed the image itself.
    assert options["whole"].size == (12, 8)


def test_a_window_larger_than_the_image_is_told_as_it_is(store, drawn):
    found = run(corner(), store, box=64, stride=16)
    title = drawn["draw_occlusion_figure"][0][4]
    assert (title.box, title.n_windows) == (12, 1)
    assert found.box == found.metrics["box"] == 12


def test_what_was_fed_to_a_network_is_scaled_and_cropped_as_it_reads_it(store, drawn):
    reading = Preprocessing(10, 6, (0.5,) * 3, (0.25,) * 3, "bilinear", channels="BGR")
    network = nn.Sequential(nn.Flatten(), nn.Linear(108, 2))
    classifier = TorchClassifier(
        network, reading, ("dark", "bright"), "f", ComputePlan("cpu", 1, "float32", 1)
    )
    image = scene(24, 16)
    run(image, store, classifier, box=8, stride=8)
    ((_, seen, hidden, *_, options),) = drawn["draw_occlusion_figure"]
    windowed = WindowedImage(image, OcclusionSettings(8, 8))
    corners = [tuple(map(int, panel.window_rectangle)) for panel in (seen, hidden)]
    places = [(upper // 8, left // 8) for left, upper, _, _ in corners]
    expected = [
        windowed.window_image(experiment, place)
        for experiment, place in zip(("seen", "hidden"), places, strict=True)
    ]
    fed = [seen.window_image, hidden.window_image, options["whole"]]
    for shown, given in zip(fed, [*expected, image], strict=True):
        # What the network got, brought back to colours; its channels are the other way round.
        levels = (preprocess(given, reading) * 0.25 + 0.5) * 255
        np.testing.assert_allclose(np.asarray(shown), levels[..., ::-1], atol=1e-3)


def test_what_was_read_and_where_windows_lie_is_told_in_pixels_of_both(store):
    about = run(corner(24, 16), store, long_side=12).about
    assert about == {
        "image_size": {"width": 24, "height": 16},
        "read_size": {"width": 12, "height": 8},
        "box_px": {"read": {"width": 4, "height": 4}, "image": {"width": 8, "height": 8}},
        "stride_px": {"read": {"across": 4, "down": 4}, "image": {"across": 8, "down": 8}},
        "strongest_windows": {
            experiment: {
                "score": pytest.approx(score, abs=0.05),
                "read_px": {"left": 8, "upper": 0, "right": 12, "lower": 4},
                "image_px": {"left": 16, "upper": 0, "right": 24, "lower": 8},
            }
            for experiment, score in (("seen", 1), ("hidden", 0))
        },
    }
    # A window that is larger than the image is as large as the image.
    assert run(corner(), store, box=64, stride=16).about["box_px"]["read"] == {
        "width": 12,
        "height": 8,
    }


def test_places_are_told_in_pixels_of_the_file_where_the_image_is_smaller(store):
    target, config = Target(Brightness(), IDENTITY, "bright"), OcclusionMapsConfig(box=4, stride=4)
    found = run_occlusion(corner(), "corner.png", target, config, store, size=(120, 80))
    assert found.about["image_size"] == {"width": 120, "height": 80}
    assert found.about["box_px"]["image"] == {"width": 40, "height": 40}
    place = {"left": 80, "upper": 0, "right": 120, "lower": 40}
    assert found.about["strongest_windows"]["seen"]["image_px"] == place
    assert found.maps["seen"].values.shape == (8, 12)


def test_the_figures_name_the_model_the_sizes_and_the_outlined_windows(store, monkeypatch):
    monkeypatch.setenv(DATE_VARIABLE, "1764324000")
    feet = []
    for name in ("draw_occlusion_figure", "draw_overlay"):
        monkeypatch.setattr(occlusion, name, lambda *_, foot, **__: feet.append(foot) or corner())
    found = run(corner(24, 16), store, long_side=12, experiment="seen")
    foot = [
        "model brightness, fingerprint 0; P(bright), flagged from 0.5",
        f"2025-11-28T10:00:00Z, tessera {tessera_version()}",
        "image 24 x 16 px, read as 12 x 8 px",
        "box 4 x 4 px, stride 4 x 4 px of what was read; box 8 x 8 px, stride 8 x 8 px of the "
        "image",
        "strongest window of seen: 16, 0 to 24, 8 px of the image; 8, 0 to 12, 4 px of what was "
        "read; score {:.4g}".format(found.about["strongest_windows"]["seen"]["score"]),
    ]
    # Of the figure, and of the one overlay.
    assert feet == [foot, foot]


def test_windows_lie_on_the_judged_pixels_and_maps_have_the_size_of_the_image(store, drawn):
    image, judged = Image.new("RGB", (24, 16), "grey"), corner()
    found = run(image, store, judged=judged)
    alone = run(judged, store)
    assert found.metrics["score"] == found.metrics["read_score"] == pytest.approx(1 / 6)
    assert found.notes == ()
    for experiment, one in found.maps.items():
        # Scored once: the same pixels have the same windows.
        assert alone.maps[experiment].n_computed == 0
        np.testing.assert_array_equal(one.scores, alone.maps[experiment].scores)
        assert one.values.shape == (16, 24)
    (shown, seen, _, _, title, _), _ = drawn["draw_occlusion_figure"]
    assert shown.getpixel((20, 2)) == (128, 128, 128)
    assert seen.window_rectangle == (16, 0, 24, 8)
    # Covering a black window changes nothing: there hidden is one less exactly the score.
    assert found.maps["hidden"].values.min() == title.uncovered == 1 - np.float32(1 / 6)


def test_windows_on_the_file_have_a_score_of_their_own_which_is_told(store, drawn):
    image, judged = corner(24, 16), corner(12, 8).point(lambda value: round(0.95 * value))
    run(image, store, judged=judged)
    near = run(image, store, judged=judged, long_side=12)
    assert near.metrics["score"] == pytest.approx(0.95 / 6, abs=1e-3)
    assert near.metrics["read_score"] == pytest.approx(1 / 6, abs=1e-3)
    # Other pixels: none of the windows was known.
    assert [one.n_computed for one in near.maps.values()] == [6, 6]
    (note,) = near.notes
    assert note == (
        f"Windows lie on the file at 12 x 8 px, of which P(bright) is "
        f"{near.metrics['read_score']:.4f}; the photo's score is {near.metrics['score']:.4f}, by "
        "its working copy."
    )
    far = run(image, store, judged=Image.new("RGB", (12, 8)), long_side=12)
    assert far.metrics["score"] == 0
    assert far.notes[1].startswith("Warning: these scores differ by more than 0.02.")
    for (*_, title, options), found in zip(
        drawn["draw_occlusion_figure"][1:], (near, far), strict=True
    ):
        assert options["notes"] == found.notes
        assert title.uncovered == 1 - found.metrics["read_score"]
        assert title.score == found.metrics["score"]


def test_of_a_blurred_photo_pictures_show_no_colour_and_the_maps_are_the_same(store, drawn):
    photo = Image.fromarray(data.astronaut()).resize((48, 32))
    sharp = run_occlusion(photo, "corner.png", TARGET, CONFIG, store)
    blurred = run_occlusion(photo, "corner.png", TARGET, CONFIG, store, is_blurred=True)
    for experiment, found in sharp.maps.items():
        assert found.values.tobytes() == blurred.maps[experiment].values.tobytes()
    photos = [blurred.image, *(panel.window_image for panel in blurred.panels.values())]
    assert all(len(set(one.getpixel((3, 3)))) == 1 for one in photos)
    assert drawn["draw_occlusion_figure"][-1][0] is blurred.image


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


def test_an_estimate_says_so_wherever_it_is_shown(store, monkeypatch):
    feet, notes = [], []
    for name in ("draw_occlusion_figure", "draw_overlay"):
        original = getattr(occlusion, name)

        def draw(*arguments, original=original, **options):
            feet.append(options["foot"])
            notes.extend(options.get("notes", ()))
            return original(*arguments, **options)

        monkeypatch.setattr(occlusion, name, draw)
    photo = Image.fromarray(data.astronaut()).resize((44, 44))
    found = run(photo, store, box=16, stride=2, tolerance=1.0, experiment="seen")
    error = found.maps["seen"].error
    sentence = (
        "The map seen is an estimate from 25 of 225 windows: the mean error is estimated to be "
        f"{error:.2g} of its range."
    )
    assert notes == list(found.notes) == [sentence]
    assert feet[1][-1] == sentence
    estimate = {"n_scored": 25, "n_windows": 225, "error": error}
    assert found.about["estimates"] == {"seen": estimate}
    assert found.metrics["seen.estimated_error"] == error
    for name in ("figure.png", "seen.png"):
        written = Image.open(io.BytesIO(found.files[name])).info
        assert json.loads(written["estimates"]) == {"seen": estimate}
    exact = run(photo, store, box=16, stride=2, experiment="seen")
    assert exact.notes == ()
    assert "estimates" not in exact.about
    assert "seen.estimated_error" not in exact.metrics
    assert "estimate" not in " ".join(feet[3])


def test_each_level_can_be_drawn_and_the_last_is_the_result(store):
    photo, drawn = Image.fromarray(data.astronaut()).resize((44, 44)), []
    target, config = Target(Brightness(), IDENTITY, "bright"), OcclusionMapsConfig(box=16, stride=2)
    found = run_occlusion(
        photo,
        "a.png",
        target,
        config,
        store,
        on_level=lambda so_far, draw: drawn.append((so_far.level, draw())),
    )
    assert [level for level, _ in drawn] == [1, 2]
    for _, one in drawn:
        assert one.files.keys() == found.files.keys()
        assert len(one.notes) == len(one.about["estimates"]) == 2
        assert one.metrics["score"] == found.metrics["score"]
    assert found.notes == ()
    assert drawn[0][1].files["seen.npy"] != drawn[1][1].files["seen.npy"] != found.files["seen.npy"]


def _in_loops(
    pixels: np.ndarray, module: nn.Module, box: int, stride: int, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Both maps of a working copy, (h, w, 3) uint8, computed pixel by pixel at float64."""

    def score(window: np.ndarray) -> float:
        scaled = np.asarray(Image.fromarray(window).resize((24, 24), Image.Resampling.BICUBIC))
        read = torch.from_numpy((scaled / 255 - 0.5) / 0.25).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            return float(module(read).double().softmax(dim=1)[0, 1])

    def starts(length: int) -> list[int]:
        last = length - box
        return sorted({*range(0, last + 1, stride), last})

    height, width, _ = pixels.shape
    sums, counts = np.zeros((2, height, width)), np.zeros((height, width))
    for upper in starts(height):
        for left in starts(width):
            window = np.s_[upper : upper + box, left : left + box]
            painted = pixels.copy()
            painted[window] = 0
            sums[0][window] += score(pixels[window])
            sums[1][window] += 1 - score(painted)
            counts[window] += 1
    maps = {}
    for name, values in zip(("seen", "hidden"), sums / counts, strict=True):
        # Bilinear, between the middles of pixels.
        x = (np.arange(size[0]) + 0.5) * width / size[0] - 0.5
        y = (np.arange(size[1]) + 0.5) * height / size[1] - 0.5
        wide = np.stack([np.interp(x, np.arange(width), row) for row in values])
        tall = [np.interp(y, np.arange(height), column) for column in wide.T]
        maps[name] = np.stack(tall, axis=1)
    return maps


def test_both_maps_agree_with_loops_over_the_working_copy_that_has_the_score(tmp_path, store):
    folder = tmp_path / "photos"
    folder.mkdir()
    photo = Image.fromarray(data.astronaut()[60:420, 20:]).resize((640, 470))
    photo.save(folder / "astronaut.jpg", quality=92)
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(600, 2)
    ).eval()
    reading = Preprocessing(24, 24, (0.5,) * 3, (0.25,) * 3, "bicubic", stretch=True)
    plan = ComputePlan("cpu", 4, "float32", 1)
    classifier = TorchClassifier(module, reading, ("no", "yes"), "f", plan)
    target = Target(classifier, IDENTITY, "yes")

    photos, probabilities = PhotoStore(tmp_path / "store"), VectorStore(tmp_path / "scores")
    (image_id,) = catalogue_photos(str(folder), photos).images.image_id
    load = photos.open_working_copy
    (score,) = score_unseen([image_id], load, classifier, "yes", probabilities).scores
    working_copy = np.asarray(load(image_id))
    assert working_copy.shape == (256, 349, 3)

    (original,) = read_originals(
        [str(folder / "astronaut.jpg")], CatalogueSettings(), pytest.fail, target=target
    )
    config = OcclusionMapsConfig(box=80, stride=50)
    found = run_occlusion(original.image, "a", target, config, store, judged=original.judged)
    assert found.metrics["score"] == pytest.approx(score, abs=1e-7)
    expected = _in_loops(working_copy, module, 80, 50, (640, 470))
    for experiment, one in found.maps.items():
        assert np.ptp(one.values) > 0.01
        np.testing.assert_allclose(one.values, expected[experiment], rtol=0, atol=1e-6)


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
        rows.append((id_of(file.read_bytes()), str(file), 0.9 - number / 10))
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
    # Encoding a working copy changes it by a grey level or two.
    assert seen.judged_score == seen.read_score == pytest.approx(0.4 / 6, abs=0.002)
    assert (seen.minimum, seen.maximum) == pytest.approx((0, 0.4), abs=0.01)
    assert seen["mean"] == pytest.approx(0.4 / 6, abs=0.002)
    assert (seen.share_above_threshold, seen.n_windows, seen.n_computed) == (0, 6, 6)
    (reject,) = value.rejects.to_dict("records")
    assert (reject["uri"], reject["reason"]) == (uris[2], "unreadable")
    keys = [f"{one}/{experiment}" for one in (first, second) for experiment in ("seen", "hidden")]
    assert list(value.maps) == list(value.window_scores) == list(value.overlays) == keys
    assert list(value.figures) == [first, second]
    assert value.maps[keys[2]].max() == pytest.approx(0.4, abs=0.01)
    assert value.window_scores[keys[1]].shape == (2, 3)
    assert list(value.sheet) == ["1"]
    assert artifacts(tracking, run.run_id, "sheet") == ["sheet/page-1.png"]
    page = tracking.client.download_artifacts(run.run_id, "sheet/page-1.png", str(tmp_path))
    assert Path(page).read_bytes() == value.sheet["1"].data
    named = {"model": "brightness", "class_name": "bright"}
    assert value.settings == {**CONFIG.model_dump(), **named}


def test_maps_within_a_tolerance_are_kept_with_their_error_and_finished_when_asked(
    store, tracking, tmp_path
):
    photo = tmp_path / "photo.png"
    Image.fromarray(data.astronaut()).resize((44, 44)).save(photo)
    row = (id_of(photo.read_bytes()), str(photo), 0.9)
    chosen = pd.DataFrame([row], columns=["image_id", "uri", "score"])
    values = []
    for tolerance in (1.0, None):
        config = OcclusionMapsConfig(box=16, stride=2, tolerance=tolerance)
        with tracking.lone_run("occlusion_maps", _unheard) as run:
            log = Log(run)
            values.append(
                chosen_occlusion_maps(chosen, TARGET, config, CatalogueSettings(), store, log.step)
            )
        metrics = tracking.client.get_run(run.run_id).data.metrics
        errors = values[-1].table.estimated_error
        if tolerance is None:
            assert errors.isna().all()
            assert "estimated_error" not in {*metrics, *log.metadata}
        else:
            assert metrics["estimated_error"] == log.metadata["estimated_error"] == errors.max()
            assert metrics["seen.estimated_error"] == errors[0]
    estimate, exact = values
    assert estimate.table.n_scored.tolist() == [25, 25]
    assert exact.table.n_scored.tolist() == [225, 225]
    assert exact.table.n_computed.tolist() == [200, 200]
    for key, scores in estimate.window_scores.items():
        assert np.isfinite(scores).sum() == 25
        assert not np.array_equal(estimate.maps[key], exact.maps[key])


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
    # A home of an earlier version has no sheet, and no checksums.
    shutil.rmtree(tmp_path / "value" / "sheet")
    (tmp_path / "value" / CHECKSUMS).unlink()
    assert load(OcclusionMaps, tmp_path / "value").sheet == {}
    assert loaded.settings == value.settings
    # A home of the version before has another name for the score of what was read.
    former = value.table.rename(columns={"read_score": "score_at_full_size"})
    table = former.drop(columns="judged_score")
    save(dataclasses.replace(value, table=table), tmp_path / "former")
    loaded = load(OcclusionMaps, tmp_path / "former")
    pd.testing.assert_series_equal(loaded.table.read_score, value.table.read_score)


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
    about = {"highest", "images", "rejected", "sheet"}
    assert log.metadata.keys() == about | value.provenance.keys()
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
    assert files == sorted(
        ["occlusion_maps.csv"] + [f"{folder}/{kind}" for folder in folders for kind in kinds]
    )
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
