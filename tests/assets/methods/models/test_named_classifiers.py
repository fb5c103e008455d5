from urllib.error import URLError

import numpy as np
import pytest
import torch
from skimage import data

from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.models import named_classifiers
from assets.methods.models.architectures import build_architecture
from assets.methods.models.classifier_file import convert_open_nsfw
from assets.methods.models.named_classifiers import load_named_classifier

PLAN = ComputePlan("cpu", 1, "float32", 1)


@pytest.fixture
def _no_downloads(monkeypatch):
    """Leave networks with random weights, so that nothing is downloaded."""
    monkeypatch.setattr(named_classifiers, "download_architecture", build_architecture)


def test_the_packaged_classifier_sees_a_cat():
    classifier = load_named_classifier("efficientnet-lite0", PLAN)
    found = classifier.classify(torch.from_numpy(data.chelsea()).permute(2, 0, 1)[None])
    best = sorted(found, key=lambda name: found[name][0])[-3:]
    assert {"tabby", "tiger cat", "Egyptian cat"} & set(best)
    assert sum(values[0] for values in found.values()) == pytest.approx(1, abs=1e-5)


def test_the_baseline_of_1996_works_on_as_many_images_at_once_as_planned():
    classifier = load_named_classifier("skin-baseline", ComputePlan("cpu", 1, "float32", 3))
    assert classifier.class_names == ("sfw", "nsfw")
    assert classifier.workers == 3
    assert classifier.classify(torch.zeros((1, 3, 4, 5), dtype=torch.uint8))["nsfw"] == [0]


@pytest.mark.usefixtures("_no_downloads")
@pytest.mark.parametrize("name", ["timm:test_resnet", "torchvision:squeezenet1_1"])
def test_networks_come_with_the_names_of_their_classes(name):
    classifier = load_named_classifier(name, PLAN)
    assert len(set(classifier.class_names)) == 1000
    assert {"tench", "tabby"} <= set(classifier.class_names)
    image = torch.zeros((2, 3, 40, 50), dtype=torch.uint8)
    assert classifier.classify(image)["tabby"].shape == (2,)


@pytest.mark.usefixtures("_no_downloads")
def test_two_classes_of_one_name_carry_their_wordnet_id():
    names = load_named_classifier("timm:test_resnet", PLAN).class_names
    assert names[134] == "crane [n02012849]"
    assert names[517] == "crane [n03126707]"
    assert "crane" not in names


@pytest.mark.usefixtures("_no_downloads")
def test_the_fingerprint_covers_the_weights():
    def fingerprint():
        return load_named_classifier("timm:test_resnet", PLAN).fingerprint

    torch.manual_seed(0)
    first = fingerprint()
    assert fingerprint() != first
    torch.manual_seed(0)
    assert fingerprint() == first


def test_a_file_is_found_by_its_path(tmp_path):
    path = convert_open_nsfw(tmp_path)
    classifier = load_named_classifier(str(path), PLAN)
    assert classifier.class_names == ("sfw", "nsfw")
    assert classifier.fingerprint.startswith(path.stem.removeprefix("open_nsfw-"))


def test_a_function_is_found_by_its_place(monkeypatch, tmp_path):
    source = "def bright(images):\n    return {'bright': [0.5] * len(images)}\n"
    (tmp_path / "named_function.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    classifier = load_named_classifier("python:named_function:bright", PLAN)
    assert np.array_equal(classifier.classify([torch.zeros(3, 2, 2).byte()])["bright"], [0.5])


def test_an_address_is_a_black_box_that_is_not_asked_before_it_is_used():
    assert load_named_classifier("http://127.0.0.1:9/nothing", PLAN).workers == 4


@pytest.mark.usefixtures("_no_downloads")
@pytest.mark.parametrize("name", ["resnet18", "timm:nothing", "torchvision:raft_small", "x:y", ""])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(UserError, match=f"no network {name}"):
        load_named_classifier(name, PLAN)


def test_without_a_network_the_packaged_one_is_named(monkeypatch):
    def no_network(*_, **how):
        raise URLError("name not known")

    monkeypatch.setattr("timm.create_model", no_network)
    with pytest.raises(UserError, match=r"could not be downloaded.*use efficientnet-lite0"):
        load_named_classifier("timm:test_resnet", PLAN)
