import numpy as np
import pytest
import torch

from assets.methods.attribution.deconvnet import deconvolve, has_switches, last_layer
from assets.methods.common.devices import ComputePlan
from assets.methods.models.architectures import PLAIN_CONVNET, build_architecture
from assets.methods.models.classifier import classify_arrays
from assets.methods.models.classifier_file import load_classifier
from assets.methods.models.plain_convnet import plain_convnet
from assets.methods.training.train import TrainedClassifier, save_trained
from support.explicit_deconvnet import explicit_deconvnet

PLAN = ComputePlan("cpu", 2, "float32", 1)
NAMES = ("sfw", "nsfw")


def used_net(seed=0):
    """Return a network whose norms are not those of a new one, as after a training."""
    torch.manual_seed(seed)
    net = plain_convnet(2)
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 2)
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(0, 0.1)
    return net.eval()


def test_it_has_eighty_thousand_weights():
    convolutions = 16 * (3 * 25 + 1) + 32 * (16 * 9 + 1) + 64 * (32 * 9 + 1) + 96 * (64 * 9 + 1)
    norms = 2 * (16 + 32 + 64 + 96)
    linear = 2 * (96 + 1)
    expected = convolutions + norms + linear
    assert sum(one.numel() for one in plain_convnet(2).parameters()) == expected == 80_354


@pytest.mark.parametrize(("height", "width"), [(32, 32), (112, 112), (33, 150)])
@pytest.mark.parametrize("classes", [2, 5])
def test_it_maps_pictures_to_logits(height, width, classes):
    with torch.no_grad():
        logits = plain_convnet(classes).eval()(torch.randn(3, 3, height, width))
    assert logits.shape == (3, classes)
    assert torch.isfinite(logits).all()


def test_before_the_average_sides_are_a_thirty_second():
    with torch.no_grad():
        features = plain_convnet(2).eval()[:-3](torch.randn(1, 3, 112, 112))
    assert features.shape == (1, 96, 3, 3)


def test_a_file_of_it_answers_as_it_does(tmp_path):
    net = used_net()
    preprocessing = build_architecture(PLAIN_CONVNET, 2).preprocessing
    trained = TrainedClassifier(
        net.state_dict(), PLAIN_CONVNET, preprocessing, NAMES, [], best_epoch=1, n_resumed=0
    )
    described = save_trained(trained, tmp_path / "net.safetensors")
    loaded = load_classifier(tmp_path / "net.safetensors", PLAN)
    assert (described.architecture, described.class_names) == (PLAIN_CONVNET, NAMES)
    assert loaded.class_names == NAMES
    assert loaded.module.state_dict().keys() == net.state_dict().keys()
    for name, tensor in loaded.module.state_dict().items():
        assert torch.equal(tensor, net.state_dict()[name]), name
    pictures = list(np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3), dtype=np.uint8))
    scores = classify_arrays(loaded, pictures)["nsfw"]
    values = (torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.no_grad():
        expected = net(values).softmax(1)[:, 1].numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert np.ptp(scores) > 1e-3


@pytest.mark.parametrize("class_index", [0, 1])
@pytest.mark.parametrize("seed", [0, 1])
def test_both_ways_back_to_the_pixels_agree(seed, class_index):
    net = used_net(seed)
    inputs = torch.randn(1, 3, 112, 112)
    output, explicit = explicit_deconvnet(net, inputs, torch.eye(2)[class_index][None])
    torch.testing.assert_close(output, net(inputs).detach())
    found = deconvolve(net, inputs, class_index)
    largest = np.abs(explicit).max()
    np.testing.assert_allclose(found, explicit, rtol=0, atol=1e-5 * largest)
    assert largest > 1e-4


def test_it_has_switches_and_a_last_layer_with_places():
    net = used_net()
    assert has_switches(net)
    assert last_layer(net, torch.randn(1, 3, 112, 112)) == "14"
