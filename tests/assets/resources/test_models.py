import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from assets.methods.common.devices import ComputeSettings
from assets.methods.common.errors import UserError
from assets.methods.models import open_nsfw
from assets.methods.models.classifier_file import (
    OPEN_NSFW,
    convert_open_nsfw,
    describe_classifier,
    save_classifier,
)
from assets.methods.models.reference_images import reference_images
from assets.methods.models.torch_classifier import TorchClassifier
from assets.resources.models import Models
from assets.resources.pyfunc_classifier import PyfuncClassifier
from assets.resources.registry import CHAMPION, CHAMPION_URI, MODEL
from assets.resources.tracking import Tracking
from support.black_box import BlackBox, serving
from support.classifiers import Brightness

COMPUTE = ComputeSettings(device="cpu")


@pytest.fixture(scope="module")
def packaged(tmp_path_factory) -> Path:
    return convert_open_nsfw(tmp_path_factory.mktemp("packaged"))


@pytest.fixture
def models(tracking, packaged) -> Models:
    """Models below a home in which the packaged network has been converted already."""
    home = Path(tracking.home)
    (home / "models").mkdir()
    shutil.copy(packaged, home / "models")
    return Models(home, tracking)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Two photographs as MLflow's users pass them, (n, height, width, 3) uint8."""
    whole = reference_images()
    return np.stack([whole["coffee"][::8, ::8], whole["coffee"][::-8, ::8]])


@pytest.fixture(scope="module")
def variant(tmp_path_factory) -> Path:
    """A network that differs from the packaged one in one bias."""
    weights = open_nsfw.packaged_weights()
    weights["fc_nsfw.bias"] = weights["fc_nsfw.bias"] + torch.tensor([0.0, 2.0])
    path = tmp_path_factory.mktemp("variant") / "variant.safetensors"
    save_classifier(path, weights, OPEN_NSFW, open_nsfw.CLASS_NAMES, open_nsfw.PREPROCESSING)
    return path


def unheard(warning: str) -> None:
    raise AssertionError(warning)


def classify(classifier, images: np.ndarray) -> dict[str, np.ndarray]:
    return classifier.classify(torch.from_numpy(images).permute(0, 3, 1, 2))


def test_mlflow_alone_predicts_what_tessera_does(models, tracking, images, monkeypatch):
    classifier = models.load(CHAMPION_URI, COMPUTE, unheard).classifier
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)
    with warnings.catch_warnings():
        # Of type hints in MLflow's own modules.
        warnings.simplefilter("ignore", UserWarning)
        import mlflow.pyfunc

        answer = mlflow.pyfunc.load_model(CHAMPION_URI).predict(images)
    expected = classify(classifier, images)
    assert answer.columns.tolist() == list(classifier.class_names) == ["sfw", "nsfw"]
    assert np.ptp(expected["nsfw"]) > 1e-4
    for name in answer:
        np.testing.assert_allclose(answer[name], expected[name], atol=1e-6)


def test_the_champion_is_the_packaged_network(models, packaged):
    model = models.champion()
    assert model.is_new
    assert model.weights == models.packaged()
    assert model.description == describe_classifier(packaged)
    assert (
        models.load(CHAMPION_URI, COMPUTE, unheard).classifier.fingerprint
        == model.description.fingerprint
    )


def test_when_the_alias_moves_the_other_version_is_loaded(models, variant, images):
    before = models.load(CHAMPION_URI, COMPUTE, unheard).classifier
    models.registry.register(variant, CHAMPION)
    after = models.load(CHAMPION_URI, COMPUTE, unheard).classifier
    assert after.fingerprint == describe_classifier(variant).fingerprint != before.fingerprint
    odds = [
        answer["nsfw"] / answer["sfw"]
        for answer in (classify(before, images), classify(after, images))
    ]
    # Two more in the logit of one of two classes.
    np.testing.assert_allclose(odds[1] / odds[0], np.exp(2), rtol=1e-4)


def test_a_registry_that_is_down_leaves_the_packaged_network_to_load(
    models, tracking, unreachable_uri, packaged
):
    home = tracking.home
    down = Models(Path(home), Tracking(home=home, tracking_uri=unreachable_uri))
    assert down.champion().unreachable
    fingerprint = describe_classifier(packaged).fingerprint
    heard = []
    assert down.load(CHAMPION_URI, COMPUTE, heard.append).classifier.fingerprint == fingerprint
    assert heard[0].startswith(f"The model registry could not be asked, {packaged.name} is used: ")
    assert "secret" not in heard[0]


def test_any_version_that_tessera_registered_shows_its_layers(models, packaged, variant):
    """Also one that is not champion: a deconvnet, say, goes back through its layers."""
    models.champion()
    models.registry.register(variant, "challenger")
    files = {"models:/nsfw/1": packaged, "models:/nsfw/2": variant}
    for name, file in {**files, "models:/nsfw@challenger": variant}.items():
        classifier = models.load(name, COMPUTE, unheard).classifier
        assert isinstance(classifier, TorchClassifier)
        assert classifier.fingerprint == describe_classifier(file).fingerprint
    assert (
        models.load(CHAMPION_URI, COMPUTE, unheard).classifier.fingerprint != classifier.fingerprint
    )


def test_the_model_of_a_run_is_loaded_through_mlflow(models, tracking, images):
    expected = classify(models.load(CHAMPION_URI, COMPUTE, unheard).classifier, images)
    run_id = tracking.client.get_model_version(MODEL, "1").run_id
    classifier = models.load(f"runs:/{run_id}/{MODEL}", COMPUTE, unheard).classifier
    assert isinstance(classifier, PyfuncClassifier)
    assert classifier.class_names == ("sfw", "nsfw")
    np.testing.assert_allclose(classify(classifier, images)["nsfw"], expected["nsfw"], atol=1e-6)


def test_a_classifier_that_is_no_model_of_mlflow_needs_no_registry(
    tmp_path, unreachable_uri, variant
):
    tracking = Tracking(home=str(tmp_path), tracking_uri=unreachable_uri, strict=True)
    down = Models(tmp_path, tracking)
    loaded = down.load(str(variant), COMPUTE, unheard).classifier
    assert loaded.fingerprint == describe_classifier(variant).fingerprint
    with pytest.raises(UserError, match="There is no network nonsense"):
        down.load("nonsense", COMPUTE, unheard)


@pytest.mark.parametrize("version", ["7", ""])
def test_the_version_of_a_remote_model_is_the_one_that_it_reports(
    tmp_path, unreachable_uri, version
):
    down = Models(tmp_path, Tracking(home=str(tmp_path), tracking_uri=unreachable_uri))
    box = BlackBox(Brightness())
    box.header = version
    with serving(box) as url:
        loaded = down.load(url, COMPUTE, unheard)
    assert (loaded.identity.name, loaded.identity.version) == (url, version)
    assert loaded.identity.fingerprint == loaded.classifier.fingerprint


def test_the_packaged_model_has_a_name_of_its_own(models, variant):
    models.registry.register(variant, "champion")
    packaged = models.load("open_nsfw", COMPUTE, unheard).classifier
    assert packaged.fingerprint == describe_classifier(models.packaged()).fingerprint
    assert (
        models.load(CHAMPION_URI, COMPUTE, unheard).classifier.fingerprint != packaged.fingerprint
    )


def test_what_was_answered_is_kept_below_the_home(tmp_path, tracking):
    models, again = (Models(tmp_path, tracking) for _ in range(2))
    models.probabilities.append("print", ["a"], np.array([[0.25, 0.75]], np.float32))
    models.window_scores.open("key", 2)
    np.testing.assert_array_equal(again.probabilities.find("print", ["a"])["a"], [0.25, 0.75])
    assert (tmp_path / "windows" / "key.f32").exists()


def test_the_version_that_an_alias_stood_for_is_known(models: Models) -> None:
    champion = models.champion()

    by_alias, by_number, packaged = (
        models.load(name, COMPUTE, unheard).identity
        for name in (CHAMPION_URI, f"models:/{MODEL}/{champion.version}", "open_nsfw")
    )

    assert (by_alias.name, by_alias.version) == (CHAMPION_URI, champion.version)
    assert (by_number.version, by_number.fingerprint) == (champion.version, by_alias.fingerprint)
    assert (packaged.name, packaged.version) == ("open_nsfw", "")
