import json
import subprocess
import sys

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torchvision import models

from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.models import classifier_file, open_nsfw
from assets.methods.models.classifier_file import (
    ClassifierDescription,
    convert_open_nsfw,
    describe_classifier,
    load_classifier,
    save_classifier,
)
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.models.reference_images import OPEN_NSFW_SCORES, reference_images
from assets.methods.models.torch_classifier import TorchClassifier

TINY = "timm:test_resnet"
PLAN = ComputePlan("cpu", 1, "float32", 1)
NUMBERS = Preprocessing(40, 32, (0.5,) * 3, (0.5,) * 3, "bicubic", True, "BGR")
SCORES = {"astronaut": {"a": 0.25}}


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=3).state_dict()


@pytest.fixture(scope="module")
def nsfw_file(tmp_path_factory):
    return convert_open_nsfw(tmp_path_factory.mktemp("home"))


@pytest.fixture
def saved(tmp_path, weights):
    def save(**changed):
        parts = {
            "weights": weights,
            "architecture": TINY,
            "class_names": ["a", "b", "c"],
            "preprocessing": NUMBERS,
            "reference_scores": SCORES,
        }
        return save_classifier(tmp_path / "net.safetensors", **{**parts, **changed})

    return save


@pytest.fixture
def rewritten(tmp_path, saved):
    """Return a function that saves the classifier with other metadata."""

    def write(**changed):
        saved()
        path = tmp_path / "net.safetensors"
        described = json.loads(classifier_file.read_safetensors(path, "np")[1]["classifier"])
        kept = {name: value for name, value in {**described, **changed}.items() if value != ""}
        save_file(load_file(path), path, {"classifier": json.dumps(kept)})
        return path

    return write


def test_a_file_holds_the_whole_classifier(saved, tmp_path, weights):
    described = saved()
    assert described == ClassifierDescription(
        TINY, ("a", "b", "c"), NUMBERS, SCORES, described.fingerprint
    )
    loaded = load_classifier(tmp_path / "net.safetensors", PLAN)
    module = timm.create_model("test_resnet", num_classes=3)
    module.load_state_dict(weights)
    image = torch.randint(0, 256, (1, 3, 50, 60), dtype=torch.uint8)
    expected = TorchClassifier(module, NUMBERS, "abc", "f", PLAN).classify(image)
    assert loaded.classify(image) == expected
    assert loaded.fingerprint == described.fingerprint
    assert loaded.preprocessing == NUMBERS


def test_a_torchvision_network_may_have_classes_of_its_own(tmp_path):
    path = tmp_path / "net.safetensors"
    weights = models.squeezenet1_1(weights=None, num_classes=2).state_dict()
    save_classifier(path, weights, "torchvision:squeezenet1_1", ["x", "y"], NUMBERS)
    assert load_classifier(path, PLAN).class_names == ("x", "y")


def test_the_fingerprint_covers_everything_but_the_reference_scores(saved, weights):
    other = {**weights, "fc.bias": weights["fc.bias"] + 1}
    changes = [
        {},
        {"weights": other},
        {"class_names": ["a", "c", "b"]},
        {"preprocessing": Preprocessing(40, 32, (0.5,) * 3, (0.5,) * 3, "bicubic", True)},
    ]
    fingerprints = [saved(**change).fingerprint for change in changes]
    assert len(set(fingerprints)) == len(changes)
    assert saved(reference_scores=None).fingerprint == fingerprints[0]


def test_the_same_classifier_is_the_same_bytes(saved, tmp_path):
    saved()
    first = (tmp_path / "net.safetensors").read_bytes()
    saved()
    assert (tmp_path / "net.safetensors").read_bytes() == first


def test_weights_of_another_architecture_are_refused_and_nothing_is_written(saved, tmp_path):
    with pytest.raises(UserError, match="do not fit timm:test_vit"):
        saved(architecture="timm:test_vit")
    with pytest.raises(UserError, match="do not fit open_nsfw"):
        saved(architecture="open_nsfw")
    with pytest.raises(UserError, match="do not fit timm:test_resnet"):
        saved(class_names=["a", "b"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"class_names": ""},
        {"class_names": []},
        {"class_names": ["a", "b", "b"]},
        {"class_names": 3},
        {"class_names": "abc"},
        {"preprocessing": {}},
        {"preprocessing": {"resize": 1}},
        {"preprocessing": 5},
        {"architecture": ""},
        {"code_version": "x"},
        {"reference_scores": {"a": "b"}},
    ],
)
def test_metadata_that_describes_no_classifier_is_refused(rewritten, changed):
    with pytest.raises(UserError, match="holds no classifier of Tessera's"):
        describe_classifier(rewritten(**changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"crop": 41},
        {"resize": 10**6},
        {"mean": [0.5]},
        {"std": [1.0, 1.0, float("nan")]},
        {"std": [1.0, 0.0, 1.0]},
        {"interpolation": "guess"},
        {"channels": "GBR"},
        {"unknown": 1},
    ],
)
def test_preprocessing_that_cannot_be_is_refused(rewritten, changed):
    numbers = {
        "resize": 40,
        "crop": 32,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "interpolation": "bicubic",
    }
    assert describe_classifier(rewritten(preprocessing=numbers)).preprocessing.resize == 40
    with pytest.raises(UserError, match="holds no classifier of Tessera's"):
        describe_classifier(rewritten(preprocessing={**numbers, **changed}))


def test_another_version_of_the_code_is_refused(rewritten):
    with pytest.raises(UserError, match="written for version 7"):
        describe_classifier(rewritten(code_version=7))


def test_an_unknown_architecture_is_refused(rewritten):
    with pytest.raises(UserError, match="no network timm:nothing"):
        load_classifier(rewritten(architecture="timm:nothing"), PLAN)


def test_foreign_damaged_and_missing_files_are_refused(tmp_path, weights):
    path = tmp_path / "net.safetensors"
    with pytest.raises(UserError, match="no weights file"):
        describe_classifier(path)
    save_file(weights, path, {"architecture": "test_resnet"})
    with pytest.raises(UserError, match="holds no classifier of Tessera's"):
        describe_classifier(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        describe_classifier(path)


def test_open_nsfw_is_converted_once(nsfw_file):
    described = describe_classifier(nsfw_file)
    assert nsfw_file.name == f"open_nsfw-{described.fingerprint[:12]}.safetensors"
    written = nsfw_file.stat().st_mtime_ns
    assert convert_open_nsfw(nsfw_file.parent) == nsfw_file
    assert nsfw_file.stat().st_mtime_ns == written
    assert described.class_names == ("sfw", "nsfw")
    assert described.preprocessing == open_nsfw.PREPROCESSING


def test_a_damaged_conversion_is_made_anew(tmp_path):
    path = convert_open_nsfw(tmp_path)
    whole = path.read_bytes()
    for damage in (whole[:-8], whole[:-8] + b"damaged!"):
        path.write_bytes(damage)
        assert convert_open_nsfw(tmp_path).read_bytes() == whole
    assert set(tmp_path.iterdir()) == {path, path.with_suffix(".corrupt")}


def test_the_converted_network_gives_the_known_answers(nsfw_file):
    described, classifier = describe_classifier(nsfw_file), load_classifier(nsfw_file, PLAN)
    for name, photo in reference_images().items():
        scores = classifier.classify(torch.from_numpy(photo).permute(2, 0, 1)[None])
        assert scores["nsfw"][0] == pytest.approx(OPEN_NSFW_SCORES[name], abs=1e-5)
        assert described.reference_scores[name] == {"nsfw": OPEN_NSFW_SCORES[name]}


@pytest.mark.process
def test_describing_needs_no_torch(nsfw_file):
    program = (
        "import sys; from pathlib import Path\n"
        "from assets.methods.models.classifier_file import describe_classifier\n"
        f"print(describe_classifier(Path({str(nsfw_file)!r})).class_names)\n"
        "assert 'torch' not in sys.modules"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert printed.stdout.decode().strip() == "('sfw', 'nsfw')"
