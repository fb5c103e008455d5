import subprocess
import sys
from urllib.error import URLError

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data
from torchvision import models

from assets.methods.common.errors import UserError
from assets.methods.models import backbones
from assets.methods.models.architectures import build_architecture
from assets.methods.models.backbones import (
    DEFAULT_BACKBONE,
    PIXELS,
    backbone_fingerprint,
    load_backbone,
)
from assets.methods.models.efficientnet_lite0 import packaged_network
from assets.methods.models.preprocessing import Preprocessing, preprocess

CATS = range(281, 288)  # ImageNet's tabby to lynx
TINY = "test_resnet"  # made by timm for tests: 32 px, 0.5 million weights


@pytest.fixture(scope="module")
def default():
    return load_backbone(DEFAULT_BACKBONE)


@pytest.fixture
def checkpoint(tmp_path):
    """Return a function that saves a tiny network, classifier and all, as a user would."""

    def save(metadata=None, **changed):
        torch.manual_seed(0)
        weights = {**timm.create_model(TINY, num_classes=7).state_dict(), **changed}
        save_file(weights, tmp_path / "net.safetensors", metadata)
        return tmp_path / "net.safetensors"

    return save


def test_the_packaged_weights_recognise_a_cat(default):
    chelsea = preprocess(Image.fromarray(data.chelsea()), default.preprocessing)
    with torch.inference_mode():
        scores = packaged_network()(torch.from_numpy(chelsea).permute(2, 0, 1)[None])
    assert set(scores.topk(5).indices[0].tolist()) & set(CATS)


def test_the_default_gives_1280_features(default):
    assert default.dimensions == 1280
    assert default.preprocessing == Preprocessing(256, 224, (0.5,) * 3, (0.5,) * 3, "bicubic")
    assert not default.module.training


@pytest.mark.process
def test_the_default_fingerprint_needs_no_torch(default):
    program = (
        "import sys; from assets.methods.models.backbones import backbone_fingerprint; "
        f"print(*map(backbone_fingerprint, ({DEFAULT_BACKBONE!r}, {PIXELS!r}))); "
        "assert 'torch' not in sys.modules"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    fingerprints = [default.fingerprint, load_backbone(PIXELS).fingerprint]
    assert printed.stdout.decode().split() == fingerprints
    assert fingerprints[0] != fingerprints[1]


def test_the_vector_of_pixels_is_the_photo_itself():
    pixels = load_backbone(PIXELS)
    red = np.zeros((16, 16, 3), dtype=np.uint8)
    red[:, :8, 0] = 255
    read = torch.from_numpy(preprocess(Image.fromarray(red), pixels.preprocessing))
    vector = pixels.module(read.permute(2, 0, 1)[None])
    assert vector.shape == (1, pixels.dimensions) == (1, 768)
    channels = vector.reshape(3, 16, 16)
    assert (channels[0, :, :8] == 1).all()
    assert (channels[0, :, 8:] == -1).all()
    assert (channels[1:] == -1).all()


def test_no_photo_has_the_vector_zero_by_its_pixels():
    greys = [Image.new("RGB", (40, 20), (value,) * 3) for value in (127, 128)]
    prepared = [preprocess(grey, load_backbone(PIXELS).preprocessing) for grey in greys]
    assert [np.sign(one).mean() for one in prepared] == [-1, 1]


@pytest.mark.parametrize(
    ("name", "dimensions", "preprocessing"),
    [
        (
            "timm:test_vit",
            64,
            Preprocessing(168, 160, (0.5,) * 3, (0.5,) * 3, "bicubic"),
        ),
        (
            "torchvision:resnet18",
            512,
            Preprocessing(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear"),
        ),
        (
            "torchvision:squeezenet1_1",
            512,
            Preprocessing(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear"),
        ),
        (
            "torchvision:mobilenet_v3_small",
            1024,
            Preprocessing(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear"),
        ),
    ],
)
def test_other_networks_come_without_their_classifier(monkeypatch, name, dimensions, preprocessing):
    monkeypatch.setattr(backbones, "download_architecture", build_architecture)
    backbone = load_backbone(name)
    assert backbone.dimensions == dimensions
    assert backbone.preprocessing == preprocessing


def test_torchvision_weights_are_fitted_and_never_unpickled(monkeypatch):
    published = models.mobilenet_v3_small(weights=None).state_dict()
    asked = {}

    def download(url, **how):
        asked.update(how)
        return published

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    module = load_backbone("torchvision:mobilenet_v3_small").module
    assert asked["weights_only"] is True
    assert torch.equal(module.state_dict()["classifier.0.bias"], published["classifier.0.bias"])


@pytest.mark.parametrize("name", [f"timm:{TINY}", "torchvision:resnet18"])
def test_without_a_network_the_packaged_default_is_named(monkeypatch, name):
    def no_network(*_, **how):
        if how.get("pretrained", True):
            raise URLError("name not known")
        raise AssertionError

    monkeypatch.setattr("timm.create_model", no_network)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    with pytest.raises(UserError, match=f"could not be downloaded.*use {DEFAULT_BACKBONE}"):
        load_backbone(name)


@pytest.mark.parametrize("name", ["resnet18", "timm:nothing", "torchvision:raft_small", "x:y", ""])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(UserError, match=f"no network {name}"):
        load_backbone(name)


def test_weights_that_timm_does_not_have_are_refused():
    with pytest.raises(UserError, match=r"could not be downloaded \(Invalid pretrained tag"):
        load_backbone("timm:resnet18.nobody")


def test_a_download_that_is_not_the_published_file_is_refused(monkeypatch):
    def damaged(*_, **how):
        raise RuntimeError("invalid hash value")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", damaged)
    with pytest.raises(UserError, match="invalid hash value"):
        load_backbone("torchvision:resnet18")


def test_a_path_may_hold_an_at_sign(checkpoint, tmp_path):
    file = checkpoint({"architecture": TINY})
    (tmp_path / "a@b").mkdir()
    moved = file.rename(tmp_path / "a@b" / file.name)
    assert load_backbone(str(moved)).dimensions == load_backbone(f"timm:{TINY}@{moved}").dimensions


@pytest.mark.parametrize("architecture", [TINY, f"timm:{TINY}"])
def test_a_file_names_its_architecture(checkpoint, architecture):
    file = checkpoint({"architecture": architecture})
    backbone = load_backbone(str(file))
    weights = timm.create_model(TINY).state_dict() | backbone.module.state_dict()
    assert backbone.dimensions == weights["fc.weight"].shape[1]
    assert backbone.fingerprint == load_backbone(f"timm:{TINY}@{file}").fingerprint


def test_the_fingerprint_covers_the_weights(checkpoint):
    file = str(checkpoint({"architecture": TINY}))
    before = backbone_fingerprint(file)
    assert before == backbone_fingerprint(file)
    checkpoint({"architecture": TINY}, **{"bn1.bias": torch.ones(32)})
    assert backbone_fingerprint(file) != before


def test_a_file_without_architecture_is_refused(checkpoint):
    with pytest.raises(UserError, match="does not say which architecture"):
        load_backbone(str(checkpoint()))


def test_a_file_of_another_architecture_is_refused(checkpoint):
    with pytest.raises(UserError, match="does not fit timm:test_vit"):
        load_backbone(f"timm:test_vit@{checkpoint()}")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="no weights file"):
        load_backbone(str(tmp_path / "absent.safetensors"))


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "net.safetensors").write_bytes(np.random.default_rng(0).bytes(100))
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load_backbone(str(tmp_path / "net.safetensors"))
