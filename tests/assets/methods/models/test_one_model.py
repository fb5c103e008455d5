"""A remote model that is replaced while it is asked, or between two calls: nothing is mixed."""

import numpy as np
import pytest
import torch
from PIL import Image

from assets.methods.attribution.occlusion import OcclusionSettings
from assets.methods.attribution.occlusion_maps import occlusion_maps, whole_image_score
from assets.methods.attribution.target import Target
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.errors import UserError
from assets.methods.models.http_classifier import KEY_VARIABLE, HttpClassifier, HttpSettings
from assets.methods.models.identity import ModelIdentity
from assets.methods.models.one_model import ModelChangedError, by_one_model, spread
from assets.methods.models.scoring import score_unseen
from assets.methods.models.vector_store import VectorStore
from support.black_box import BlackBox, serving
from support.classifiers import Brightness

QUICK = HttpSettings(batch_size=8, workers=2, tries=3, timeout_seconds=10)
SETTINGS = OcclusionSettings(box=8, stride=4)
NAMING = ("not at all", "in each output", "in a header")


class Darker(Brightness):
    """Another model of the same classes."""

    def classify(self, images):
        bright = super().classify(images)["bright"] ** 2
        return {"bright": bright, "dark": 1 - bright}


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def store(tmp_path):
    return WindowScoreStore(tmp_path / "windows")


@pytest.fixture
def image():
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    return Image.fromarray(pixels)


def replaced(box, naming, classifier):
    """Let another model answer from now on."""
    box.classifier = classifier
    name = "2" if isinstance(classifier, Darker) else "1"
    box.model_version = {"id": name} if naming == "in each output" else None
    box.header = name if naming == "in a header" else None


def box_of(naming, swaps=()):
    """A black box whose model is replaced before each of the requests with these numbers."""

    def swap(number):
        if number in swaps:
            other = Brightness() if isinstance(box.classifier, Darker) else Darker()
            replaced(box, naming, other)

    box = BlackBox(Brightness(), swap)
    replaced(box, naming, Brightness())
    return box


def score_and_maps(image, classifier, store, notify=lambda sentence: None):
    windowed = WindowedImage(image, SETTINGS)

    def compute():
        score = whole_image_score(windowed.scaled, SETTINGS, classifier, "bright", store)
        return score, occlusion_maps(windowed, classifier, "bright", store)

    return by_one_model(classifier, compute, notify)


def explained(image, url, store, notify=lambda sentence: None):
    classifier = HttpClassifier(url, QUICK)
    target = Target(classifier, ModelIdentity(url, classifier.version, "0"), "bright")
    return score_and_maps(image, classifier, store, notify), target.identity.version


def is_of(found, classifier, image, tmp_path):
    """Whether score and both maps are all those of one model."""
    store = WindowScoreStore(tmp_path / type(classifier).__name__)
    (score, maps), (expected_score, expected) = found, score_and_maps(image, classifier, store)
    return score == pytest.approx(expected_score, abs=1e-6) and all(
        np.allclose(one.scores, expected[experiment].scores, rtol=0, atol=1e-6)
        for experiment, one in maps.items()
    )


@pytest.mark.parametrize("naming", NAMING)
@pytest.mark.parametrize("request_number", [2, 4, 12])
def test_a_model_replaced_within_a_map_begins_it_anew(
    image, store, tmp_path, naming, request_number
):
    told = []
    with serving(box_of(naming, {request_number})) as url:
        found, version = explained(image, url, store, told.append)
    assert is_of(found, Darker(), image, tmp_path)
    (sentence,) = told
    assert "this begins anew, so that all answers are of one model" in sentence
    if naming == "not at all":
        assert "which names no version, gives bright the probability" in sentence
    else:
        assert "answered by version 1, and answers by version 2 now" in sentence
        assert version == "2"


@pytest.mark.parametrize("naming", NAMING)
def test_a_model_replaced_again_and_again_stops_the_map(image, store, naming):
    with serving(box_of(naming, range(4, 200, 4))) as url:
        with pytest.raises(UserError, match="It is the third change while one result"):
            explained(image, url, store)
        box = box_of(naming)
    # What is stored is of one model, or nothing.
    with serving(box) as url:
        (_, maps), _ = explained(image, url, store)
    assert all(one.n_computed == one.windows.count for one in maps.values())


@pytest.mark.parametrize("naming", NAMING)
def test_windows_of_another_model_are_not_used_by_the_next_call(image, store, tmp_path, naming):
    box = box_of(naming)
    with serving(box) as url:
        first, _ = explained(image, url, store)
        again, _ = explained(image, url, store)
        assert [one.n_computed for one in again[1].values()] == [0, 0]
        replaced(box, naming, Darker())
        second, version = explained(image, url, store)
    assert is_of(first, Brightness(), image, tmp_path)
    assert is_of(again, Brightness(), image, tmp_path)
    assert is_of(second, Darker(), image, tmp_path)
    assert version == ("" if naming == "not at all" else "2")


@pytest.mark.parametrize("naming", NAMING)
def test_an_interrupted_map_does_not_go_on_by_another_model(image, store, tmp_path, naming):
    box = box_of(naming)
    swap = box.faults
    box.faults = lambda number: b"<html>" if number == 9 else swap(number)
    with serving(box) as url:
        with pytest.raises(UserError, match="one output for each"):
            explained(image, url, store)
        replaced(box, naming, Darker())
        found, _ = explained(image, url, store)
    assert is_of(found, Darker(), image, tmp_path)


def test_answers_that_differ_by_rounding_are_of_one_model(image, store):
    box = box_of("not at all")

    class Rounding(Brightness):
        def classify(self, images):
            noise = 4e-4 * (len(box.requests) % 2)
            return {name: one + noise for name, one in super().classify(images).items()}

    box.classifier = Rounding()
    told = []
    with serving(box) as url:
        explained(image, url, store, told.append)
        explained(image, url, store, told.append)
    assert told == []


def test_a_service_that_knows_fingerprints_may_call_one_model_by_two_names(image, store):
    box = BlackBox(Brightness())
    box.model_version = {"id": "champion", "fingerprint": "f1"}
    with serving(box) as url:
        classifier = HttpClassifier(url, QUICK)
        before = classifier.version, classifier.fingerprint
        box.model_version = {"id": "3", "fingerprint": "f1"}
        classifier.classify([torch.zeros((3, 4, 4), dtype=torch.uint8)])
        after = HttpClassifier(url, QUICK)
        assert before == ("champion", after.fingerprint)
        assert after.version == "3"
        box.model_version = {"id": "3", "fingerprint": "f2"}
        with pytest.raises(ModelChangedError):
            classifier.classify([torch.zeros((3, 4, 4), dtype=torch.uint8)])


def test_a_version_that_cannot_be_shown_is_made_fit_to_be():
    box = BlackBox(Brightness())
    with serving(box) as url:
        box.header = "x" * 300
        assert len(HttpClassifier(url, QUICK).version) == 16
        box.header, box.model_version = None, {"id": "\x1b[31m 7"}
        assert HttpClassifier(url, QUICK).version == "\\x1b[31m 7"
        box.model_version = {"id": 7}
        assert HttpClassifier(url, QUICK).version == "7"
        box.model_version = {"id": None}
        assert HttpClassifier(url, QUICK).version == ""


def test_spread_takes_what_lies_apart():
    assert spread(np.array([5.0, 1, 4, 2, 3]), 3) == [1, 4, 0]
    assert spread(np.array([7.0]), 4) == [0]
    assert spread(np.array([]), 4) == []


class Photos:
    """Forty photos of a few pixels, and their scores by the local models."""

    def __init__(self):
        self.ids = [f"{number:02d}" for number in range(40)]

    def load(self, image_id):
        return Image.new("RGB", (4, 4), (5 * int(image_id) + 20,) * 3)

    def scores(self, classifier):
        bright = np.array([(5 * number + 20) / 255 for number in range(40)])
        return bright**2 if isinstance(classifier, Darker) else bright


def scored(photos, url, store):
    classifier = HttpClassifier(url, QUICK)
    return score_unseen(photos.ids, photos.load, classifier, "bright", store)


@pytest.mark.parametrize("naming", NAMING)
def test_scores_of_two_models_are_never_in_one_result(tmp_path, naming):
    photos, store = Photos(), VectorStore(tmp_path)
    box = box_of(naming, {4})
    with serving(box) as url:
        with pytest.raises(ModelChangedError, match="run the same again, so that all answers"):
            scored(photos, url, store)
        found = scored(photos, url, store)
        np.testing.assert_allclose(found.scores, photos.scores(Darker()), atol=1e-6)
        assert scored(photos, url, store).n_computed == 0
        # Between two calls.
        replaced(box, naming, Brightness())
        found = scored(photos, url, store)
        np.testing.assert_allclose(found.scores, photos.scores(Brightness()), atol=1e-6)


def test_photos_scored_before_the_model_changed_are_kept_under_its_version(tmp_path, monkeypatch):
    monkeypatch.setattr("assets.methods.models.vector_store.SHARD_SIZE", 8)
    monkeypatch.setattr("assets.methods.models.vector_store.SHARD_SECONDS", 0.0)
    photos, store = Photos(), VectorStore(tmp_path)
    box = box_of("in a header", {4})
    with serving(box) as url:
        with pytest.raises(ModelChangedError):
            scored(photos, url, store)
        replaced(box, "in a header", Brightness())
        found = scored(photos, url, store)
    assert 0 < found.n_computed < 40
    np.testing.assert_allclose(found.scores, photos.scores(Brightness()), atol=1e-6)
