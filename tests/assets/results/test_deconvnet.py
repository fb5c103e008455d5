import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torch import nn

from assets.config import DeconvnetMapsConfig
from assets.methods.attribution.deconvnet_figure import signed_image
from assets.methods.attribution.deconvnet_maps import DeconvnetSettings, deconvnet_map
from assets.methods.attribution.target import Target
from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.common.timestamps import DATE_VARIABLE
from assets.methods.models.callable_classifier import CallableClassifier
from assets.methods.models.classifier_file import convert_open_nsfw, load_classifier
from assets.methods.models.http_classifier import HttpClassifier
from assets.methods.models.identity import ModelIdentity
from assets.methods.models.named_classifiers import load_named_classifier
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.models.scoring import score_image
from assets.methods.models.torch_classifier import TorchClassifier
from assets.methods.photos.catalogue import CatalogueSettings
from assets.methods.photos.decode import image_id
from assets.methods.photos.rejects import Reason
from assets.resources.progress import LogProgress
from assets.resources.tracking import Tracking
from assets.results import deconvnet
from assets.results.deconvnet import DeconvnetResult, chosen_deconvnet_maps, run_deconvnet
from assets.results.originals import Original, tracked_results
from assets.steps import Step
from support.black_box import BlackBox, serving

PLAN = ComputePlan("cpu", 1, "float32", 1)
LAYER = "relu_stage1_block0"
CONFIG = DeconvnetMapsConfig()


def unheard(message: str) -> None:
    raise AssertionError(message)


def bright_net() -> nn.Module:
    """Its class "bright" is the sum of what is lighter than mid-grey."""
    convolution, head = nn.Conv2d(3, 2, 1), nn.Linear(2 * 8 * 8, 2)
    net = nn.Sequential(convolution, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), head)
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    convolution.weight.data[0] = 1
    head.weight.data[1, :64] = 0.01
    return net


def target_of(classifier=None, class_name="bright") -> Target:
    if classifier is None:
        reading = Preprocessing(16, 16, (0.5,) * 3, (0.25,) * 3, "bilinear")
        classifier = TorchClassifier(bright_net(), reading, ("dark", "bright"), "f", PLAN)
    return Target(classifier, ModelIdentity("my model", "", "0"), class_name)


def run_on(
    image: Image.Image,
    target: Target | None = None,
    settings: DeconvnetSettings | None = None,
    judged: Image.Image | None = None,
) -> DeconvnetResult:
    target, settings = target or target_of(), settings or DeconvnetSettings()
    return run_deconvnet(image, "photo.png", target, settings, judged)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


class Log:
    """The run's log and the asset's metadata, as Dagster would have them."""

    def __init__(self, run) -> None:
        self.warnings: list[str] = []
        self.metadata: dict[str, Any] = {}
        context = SimpleNamespace(
            run=SimpleNamespace(tags={}),
            log=SimpleNamespace(info=lambda line: None, warning=self.warnings.append),
            asset_key=dg.AssetKey("deconvnet_maps"),
            add_output_metadata=self.metadata.update,
        )
        self.step = Step(context, run, LogProgress())


SIZES = [(24, 16), (600, 9), (9, 600), (17, 17), (1500, 1000)]


@pytest.fixture
def photos(tmp_path) -> pd.DataFrame:
    """Photos of all shapes on disk, all of one name, the last two of which are not as they were."""
    rows = []
    for number, size in enumerate([*SIZES, (20, 20), (20, 20)]):
        file = tmp_path / str(number) / "photo.png"
        file.parent.mkdir()
        noise(*size, seed=number).save(file)
        rows.append((image_id(file.read_bytes()), str(file), 0.9 - number / 10))
    Path(rows[-2][1]).unlink()
    noise(20, 20, seed=99).save(rows[-1][1])
    return pd.DataFrame(rows, columns=["image_id", "uri", "score"])


def artifacts(tracking, run_id: str, folder: str | None = None) -> list[str]:
    found = []
    for item in tracking.client.list_artifacts(run_id, folder):
        found += artifacts(tracking, run_id, item.path) if item.is_dir else [item.path]
    return sorted(found)


def test_photos_of_any_shape_are_carried_back_and_those_that_are_gone_are_rejects(
    photos, tracking, tmp_path
):
    with tracking.lone_run("deconvnet_maps", unheard) as run:
        log = Log(run)
        value = chosen_deconvnet_maps(photos, target_of(), CONFIG, CatalogueSettings(), log.step)
    read, gone = photos[: len(SIZES)], photos[len(SIZES) :]
    assert list(value.reconstructions) == list(value.figures) == read.image_id.tolist()
    for size, pixels in zip(SIZES, value.reconstructions.values(), strict=True):
        assert pixels.shape == (size[1], size[0], 3)
        assert pixels.dtype == np.float32
        assert np.isfinite(pixels).all()
        assert np.abs(pixels).max() > 0
    named = {"model": "my model", "class_name": "bright"}
    assert value.settings == {**CONFIG.model_dump(), **named}
    # The table accounts for every image but the rejects.
    assert value.table["rank"].tolist() == [1, 2, 3, 4, 5]
    for column in ("image_id", "uri", "score"):
        assert value.table[column].tolist() == read[column].tolist()
    assert (value.table.changed_score >= value.table.square_score).all()
    assert value.rejects.uri.tolist() == gone.uri.tolist()
    assert value.rejects.reason.tolist() == [Reason.UNREADABLE.value] * 2
    assert value.rejects.detail.str.endswith(".").all()
    assert len(log.warnings) == 2
    assert log.warnings[0].startswith("photo.png was left out: ")
    assert {name: log.metadata[name] for name in ("images", "rejected")} == {
        "images": 5,
        "rejected": 2,
    }
    assert log.metadata["highest"].value.startswith("![thumbnail](data:image/jpeg;base64,")

    found = artifacts(tracking, run.run_id)
    kinds = ["changed.png", "figure.png", "reconstruction.npy", "reconstruction.png"]
    folders = [f"photo-{image_id[:8]}" for image_id in value.table.image_id]
    assert [name for name in found if not name.startswith("images/")] == sorted(
        ["deconvnet_maps.csv"] + [f"{folder}/{kind}" for folder in folders for kind in kinds]
    )
    series = {tuple(Path(name).name.split("+")[:3]) for name in found if name.startswith("images/")}
    assert series == {("figure", "step", str(rank)) for rank in range(1, 6)}
    client = tracking.client
    for name, column in (
        ("score", "judged_score"),
        ("square_score", "square_score"),
        ("changed_score", "changed_score"),
    ):
        history = client.get_metric_history(run.run_id, name)
        assert [one.step for one in history] == [1, 2, 3, 4, 5]
        assert [one.value for one in history] == pytest.approx(value.table[column].tolist())
    whole = client.download_artifacts(run.run_id, f"{folders[1]}/reconstruction.npy", str(tmp_path))
    np.testing.assert_array_equal(np.load(whole), value.reconstructions[photos.image_id[1]])


def test_the_first_that_could_be_read_is_the_highest(photos, tracking):
    without_first = photos.iloc[[5, 3, 0]].reset_index(drop=True)
    with tracking.lone_run("deconvnet_maps", unheard) as run:
        log = Log(run)
        value = chosen_deconvnet_maps(
            without_first, target_of(), CONFIG, CatalogueSettings(), log.step
        )
    assert value.table["rank"].tolist() == [1, 2]
    assert value.table.image_id.tolist() == [photos.image_id[3], photos.image_id[0]]
    assert "highest" in log.metadata
    # The folders are the same whichever images are gone.
    names = {name.split("/")[0] for name in artifacts(tracking, run.run_id)}
    folders = {f"photo-{image_id[:8]}" for image_id in value.table.image_id}
    assert names == {"deconvnet_maps.csv", *folders, "images"}


def test_when_none_can_be_read_the_first_reason_is_told(photos, tracking):
    with tracking.lone_run("deconvnet_maps", unheard) as run:
        step = Log(run).step
        with pytest.raises(
            UserError, match=r"^None of the 2 images could be read again, the first "
        ):
            chosen_deconvnet_maps(photos[5:], target_of(), CONFIG, CatalogueSettings(), step)
    assert artifacts(tracking, run.run_id) == []


def test_the_files_are_what_was_found():
    image = noise(30, 20)
    result = run_on(image)
    files, found = result.files, result.found

    def pixels(name: str) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(files[name])))

    np.testing.assert_array_equal(
        np.load(io.BytesIO(files["reconstruction.npy"])), found.reconstruction
    )
    np.testing.assert_array_equal(
        pixels("reconstruction.png"), np.asarray(signed_image(found.reconstruction))
    )
    np.testing.assert_array_equal(pixels("changed.png"), np.asarray(found.changed))
    np.testing.assert_array_equal(pixels("figure.png"), np.asarray(result.images["figure"]))
    assert (pixels("changed.png") != np.asarray(image)).any()


def test_the_deconvnet_reads_the_judged_pixels_and_tells_what_a_square_of_them_scores(monkeypatch):
    told = []
    draw = deconvnet.draw_deconvnet_figure
    monkeypatch.setattr(
        deconvnet,
        "draw_deconvnet_figure",
        lambda *given, notes: told.append(notes) or draw(*given, notes=notes),
    )
    target, image = target_of(), Image.new("RGB", (96, 48))
    wide, square = Image.new("RGB", (32, 16), "white"), noise(24, 24)
    found = run_on(image, target, judged=wide)
    # The network reads a white square from the middle, and twice as much of mid-grey when padded.
    assert found.metrics["score"] == score_image(target.classifier, wide, "bright")
    assert found.metrics["score"] > found.metrics["square_score"] + 0.05
    assert found.found.reconstruction.shape == (48, 96, 3)
    assert found.found.changed.size == found.found.change.shape[1::-1] == (32, 16)
    both, warning = found.notes
    assert both == (
        "The deconvnet reads the working copy padded to a square, of which P(bright) is "
        f"{found.metrics['square_score']:.4f}; the photo's score is {found.metrics['score']:.4f}, "
        "by its working copy."
    )
    assert warning.startswith("Warning: these scores differ by more than 0.02. Whether the photo ")
    found = run_on(square, target)
    assert found.metrics["score"] == pytest.approx(found.metrics["square_score"], abs=1e-6)
    assert told == [(both, warning), ()]


def test_a_server_that_is_down_costs_no_reconstruction(tmp_path, unreachable_uri):
    heard = []
    tracking = Tracking(home=str(tmp_path), tracking_uri=unreachable_uri)
    photo = noise(12, 9)
    image = Original(1, "photo.png", "photo.png", "photo", photo, "id", photo, photo.size)
    with tracking.lone_run("deconv", heard.append) as run:
        results = list(tracked_results([image], lambda one: run_on(one.image), run))
    assert len(results) == 1
    assert len(heard) == 1


@pytest.fixture(scope="module")
def open_nsfw(tmp_path_factory):
    return load_classifier(convert_open_nsfw(tmp_path_factory.mktemp("open_nsfw")), PLAN)


@pytest.mark.parametrize("size", [(224, 16), (16, 224)])
def test_the_padding_is_cut_off_and_what_is_left_lies_in_its_place(open_nsfw, size):
    """A picture that is padded beforehand is the same to the network, and keeps its padding."""
    wide = noise(*size)
    blue, green, red = (round(255 * level) for level in open_nsfw.preprocessing.mean)
    square = Image.new("RGB", (224, 224), (red, green, blue))
    left, upper = (224 - size[0]) // 2, (224 - size[1]) // 2
    square.paste(wide, (left, upper))
    found, padded = (deconvnet_map(image, open_nsfw, "nsfw") for image in (wide, square))
    assert found.reconstruction.shape == (size[1], size[0], 3)
    assert found.square_score == padded.square_score
    part = padded.reconstruction[upper : upper + size[1], left : left + size[0]]
    # At the cut a pixel has no neighbour to be interpolated with.
    inner = (slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(
        found.reconstruction[inner], part[inner], atol=0.02 * np.abs(part).max()
    )
    assert np.abs(part[inner]).max() > 0


def test_the_activations_that_add_most_are_found_in_the_layer_that_is_named(open_nsfw):
    target = target_of(open_nsfw, "nsfw")
    found = run_on(noise(60, 40), target, DeconvnetSettings(LAYER)).found
    assert found.top_layer == LAYER
    contributions: list[Any] = [one.activation.contribution for one in found.top]
    assert contributions == sorted(contributions, reverse=True)
    assert contributions[-1] > 0
    assert len({one.activation.channel for one in found.top}) == len(found.top) == 9
    # Where no place is given, the deconvnet starts from the one that adds most.
    assert found.start == found.top[0].activation
    one = found.top[1].activation
    settings = DeconvnetSettings(LAYER, (one.channel, one.row, one.column))
    placed = run_on(noise(60, 40), target, settings)
    assert (placed.found.start.channel, placed.found.start.row, placed.found.start.column) == (
        one.channel,
        one.row,
        one.column,
    )
    assert placed.found.start.value == pytest.approx(one.value)
    assert (placed.found.reconstruction != found.reconstruction).any()


def told(target: Target, settings: DeconvnetSettings | None = None) -> str:
    with pytest.raises(UserError) as caught:
        run_on(noise(12, 9), target, settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (
            "relu_stage1_blok0",
            "There is no layer relu_stage1_blok0: did you mean relu_stage1_block0",
        ),
        (
            "features.7",
            "There is no layer features.7: the network's convolutions run from conv_1 to",
        ),
        ("fc_nsfw", "The layer fc_nsfw gives no map of channels: choose a convolution"),
    ],
)
def test_a_layer_that_is_none_is_told_with_those_that_there_are(open_nsfw, layer, sentence):
    assert told(target_of(open_nsfw, "nsfw"), DeconvnetSettings(layer)).startswith(sentence)


def test_a_place_outside_the_layer_is_told_with_its_size(open_nsfw):
    message = told(target_of(open_nsfw, "nsfw"), DeconvnetSettings(LAYER, (0, 99, 0)))
    assert "no activation at channel, row, column (0, 99, 0): it has" in message


def test_a_class_that_is_not_there_is_told(open_nsfw):
    assert told(target_of(open_nsfw, "porn")) == "There is no class porn: choose sfw or nsfw."


def brightness(images):
    return {"dark": [0.5] * len(images), "bright": [0.5] * len(images)}


@pytest.mark.parametrize("kind", ["skin-baseline", "function", "black box"])
def test_a_classifier_that_shows_no_layers_is_told_in_a_sentence(kind):
    own = CallableClassifier(brightness, None, "brightness")
    with serving(BlackBox(own)) as address:
        classifier = {
            "skin-baseline": lambda: load_named_classifier("skin-baseline", PLAN),
            "function": lambda: own,
            "black box": lambda: HttpClassifier(address),
        }[kind]()
        message = told(target_of(classifier, classifier.class_names[0]))
    assert message.startswith("A deconvnet goes back through the layers of a network, and this ")


def test_the_answer_is_the_same_each_time(monkeypatch):
    monkeypatch.setenv(DATE_VARIABLE, "0")
    first, again = (run_on(noise(40, 30)) for _ in range(2))
    assert first.files == again.files
