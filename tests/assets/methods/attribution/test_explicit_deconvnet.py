import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from assets.methods.attribution.deconvnet import Activation, deconvolve
from assets.methods.models import open_nsfw
from assets.methods.models.open_nsfw_network import OpenNsfwNetwork
from assets.methods.models.preprocessing import preprocess
from assets.methods.models.reference_images import reference_images
from support.explicit_deconvnet import explicit_deconvnet


def one_hot(n, index):
    return torch.eye(n)[index][None]


def assert_they_agree(net, inputs, classes, class_index):
    """Both ways give one picture, to 1e-5 of its largest value, and it is not empty."""
    output, explicit = explicit_deconvnet(
        net, inputs, one_hot(classes, class_index).to(inputs.dtype)
    )
    torch.testing.assert_close(output, net(inputs).detach())
    found = deconvolve(net, inputs, class_index)
    largest = np.abs(explicit).max()
    np.testing.assert_allclose(found, explicit, rtol=0, atol=1e-5 * largest + 1e-12)
    return largest


def test_the_hand_worked_example():
    # Worked out in test_deconvnet.
    net = nn.Sequential(
        nn.Conv2d(1, 1, (1, 3), padding=(0, 1)), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    ).append(nn.Linear(4, 2))
    net[0].weight.data = torch.tensor([[[[1.0, 2.0, -1.0]]]])
    net[0].bias.data = torch.tensor([-1.0])
    net[4].weight.data = torch.tensor([[0.0, 0, 0, 0], [2, -1, 3, 1]])
    rows = [[1.0, 0, 2, 0], [0, 3, 0, 1], [0, 0, 0, 0], [2, 0, 0, 0]]
    _, picture = explicit_deconvnet(net.eval(), torch.tensor([[rows]]), one_hot(2, 1))
    assert picture[0].tolist() == [[0, 0, 0, 0], [2, 4, -2, 0], [0, 1, 2, -1], [6, -3, 0, 0]]


def test_where_windows_overlap_signals_add_up():
    net = nn.Sequential(nn.MaxPool2d((1, 2), stride=1))
    signal = torch.tensor([[[[2.0, 3.0]]]])
    _, picture = explicit_deconvnet(net, torch.tensor([[[[1.0, 5.0, 2.0]]]]), signal)
    assert picture.tolist() == [[[0.0, 5.0, 0.0]]]


POOLS = {
    "apart": nn.MaxPool2d(2),
    "overlapping": nn.MaxPool2d(3, stride=2),
    "overlapping by two": nn.MaxPool2d(3, stride=1),
    "padded": nn.MaxPool2d(3, stride=2, padding=1),
    "of OpenNSFW": nn.MaxPool2d(3, stride=2, ceil_mode=True),
    "dilated": nn.MaxPool2d(2, stride=1, dilation=2),
    "oblong": nn.MaxPool2d((3, 2), stride=(1, 2), padding=(1, 0)),
}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
@pytest.mark.parametrize("side", [16, 17])
def test_both_ways_agree_on_nets_with_pools(pool, side):
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), pool, nn.Conv2d(8, 6, 3), nn.ReLU(), pool]
    net = nn.Sequential(*body, nn.Flatten(), nn.LazyLinear(12), nn.ReLU(), nn.Linear(12, 4))
    inputs = torch.randn(1, 3, side, side)
    net(inputs)
    for class_index in range(4):
        assert assert_they_agree(net.eval(), inputs, 4, class_index) > 1e-3


def test_both_ways_agree_on_open_nsfw():
    net = OpenNsfwNetwork()
    net.load_state_dict(open_nsfw.packaged_weights())
    image = Image.fromarray(reference_images()["astronaut"])
    inputs = torch.from_numpy(preprocess(image, open_nsfw.PREPROCESSING)).permute(2, 0, 1)[None]
    assert assert_they_agree(net.eval(), inputs, 2, 1) > 0.1


def test_both_ways_agree_from_an_activation():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(4, 5, 3))
    inputs = torch.randn(1, 3, 16, 16)
    signal = torch.zeros(1, 5, 4, 4)
    signal[0, 3, 1, 2] = 1
    _, explicit = explicit_deconvnet(net, inputs, signal)
    found = deconvolve(net, inputs, Activation("3", 3, 1, 2, 0.0))
    np.testing.assert_allclose(found, explicit, rtol=0, atol=1e-5)
    assert np.abs(explicit).max() > 1e-2


@st.composite
def layers(draw, channels):
    """A layer that takes so many channels, and how many it gives."""
    kind = draw(st.sampled_from(["conv", "conv", "relu", "relu6", "max", "average", "norm"]))
    kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    padding = draw(st.integers(0, kernel // 2))
    if kind == "conv":
        groups = draw(st.sampled_from([1, 2]))
        outgoing = draw(st.sampled_from([2, 4]))
        dilation = draw(st.integers(1, 2))
        return (
            nn.Conv2d(channels, outgoing, kernel, stride, padding, dilation, groups),
            outgoing,
        )
    if kind == "max":
        return nn.MaxPool2d(kernel, stride, padding, ceil_mode=draw(st.booleans())), channels
    if kind == "average":
        ceil, counted = draw(st.booleans()), draw(st.booleans())
        return nn.AvgPool2d(kernel, stride, padding, ceil, counted), channels
    if kind == "norm":
        norm = nn.BatchNorm2d(channels)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(norm.weight)
        return norm, channels
    return nn.ReLU() if kind == "relu" else nn.ReLU6(), channels


@settings(max_examples=50)
@given(data=st.data(), seed=st.integers(0, 9999))
def test_both_ways_agree_on_random_nets(data, seed):
    torch.manual_seed(seed)
    channels, body = 2, []
    for _ in range(data.draw(st.integers(1, 4))):
        layer, channels = data.draw(layers(channels))
        body.append(layer)
    height, width = data.draw(st.integers(24, 31)), data.draw(st.integers(24, 31))
    places = data.draw(st.integers(1, 3))
    net = nn.Sequential(
        nn.Sequential(*body),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(places),
        nn.Dropout(),
        nn.Identity(),
        nn.Flatten(),
        nn.Linear(channels * places**2, 3),
    ).double()
    inputs = torch.randn(1, 2, height, width, dtype=torch.float64)
    try:
        net.eval()(inputs)
    except RuntimeError:
        return  # the net has no pixels left
    assert_they_agree(net, inputs, 3, 1)


@pytest.mark.parametrize(
    "layer",
    [
        nn.SiLU(),
        nn.Conv2d(1, 1, 3, padding="same"),
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
        nn.AvgPool2d(2, divisor_override=3),
        nn.BatchNorm2d(1, track_running_stats=False),
    ],
)
def test_another_layer_is_refused(layer):
    inputs = torch.randn(1, 1, 6, 6)
    with pytest.raises(TypeError, match="the explicit deconvnet has"):
        explicit_deconvnet(nn.Sequential(layer), inputs, torch.ones_like(layer(inputs)))
