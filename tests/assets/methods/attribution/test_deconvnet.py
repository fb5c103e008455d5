import copy
import warnings
from fractions import Fraction

import numpy as np
import pytest
import timm
import torch
import torchvision
from captum.attr import Deconvolution, NeuronDeconvolution
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from assets.methods.attribution.deconvnet import (
    Activation,
    activation_at,
    convolutional_layers,
    deconvolve,
    last_layer,
    strongest_activations,
)
from assets.methods.common.errors import UserError

# Of a row a, b, c, d the filter makes a_before + 2 a - a_after - 1.
INPUT = [[1, 0, 2, 0], [0, 3, 0, 1], [0, 0, 0, 0], [2, 0, 0, 0]]
#   filtered           rectified      pooled   switches
#   1 -2  3  1         1 0 3 1        5 3      (1, 1) (0, 2)
#  -4  5  1  1         0 5 1 1        3 0      (3, 0) (2, 2), the first of four zeros
#  -1 -1 -1 -1         0 0 0 0
#   3  1 -1 -1         3 1 0 0
# The class weighs the pooled 2, -1, 3 and 1. Unpooled and rectified, 2 lies at (1, 1), nothing at
# (0, 2), 3 at (3, 0) and 1 at (2, 2). The filter transposed spreads a signal s as s, 2 s, -s.
PICTURE = [[0, 0, 0, 0], [2, 4, -2, 0], [0, 1, 2, -1], [6, -3, 0, 0]]
# The gradient passes the -1, which the deconvnet drops, and stops where the ReLU gave nothing.
GRADIENT = [[0, -1, -2, 1], [2, 4, -2, 0], [0, 0, 0, 0], [6, -3, 0, 0]]


def example():
    net = nn.Sequential(
        nn.Conv2d(1, 1, (1, 3), padding=(0, 1)), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    ).append(nn.Linear(4, 2))
    net[0].weight.data = torch.tensor([[[[1.0, 2.0, -1.0]]]])
    net[0].bias.data = torch.tensor([-1.0])
    net[4].weight.data = torch.tensor([[0.0, 0, 0, 0], [2, -1, 3, 1]])
    return net.eval(), torch.tensor(INPUT, dtype=torch.float32)[None, None]


def test_the_hand_worked_example():
    net, inputs = example()
    assert deconvolve(net, inputs, 1)[0].tolist() == PICTURE
    inputs.requires_grad_()
    assert torch.autograd.grad(net(inputs)[0, 1], inputs)[0][0, 0].tolist() == GRADIENT


def test_an_activation_of_the_hand_worked_example():
    net, inputs = example()
    start = Activation("1", 0, 3, 0, value=3.0)
    expected = np.zeros((4, 4))
    expected[3, :2] = [2, -1]
    assert np.array_equal(deconvolve(net, inputs, start)[0], expected)


def test_the_strongest_activations_of_the_hand_worked_example():
    net, inputs = example()
    # 5 x 2 at (1, 1), 3 x -1 at (0, 2), 3 x 3 at (3, 0).
    assert strongest_activations(net, inputs, "1", 9, class_index=1) == [
        Activation("1", 0, 1, 1, value=5.0, contribution=10.0)
    ]
    net[4].weight.data[1, 0] = 1.0
    assert strongest_activations(net, inputs, "1", 9, class_index=1) == [
        Activation("1", 0, 3, 0, value=3.0, contribution=9.0)
    ]
    assert strongest_activations(net, inputs, "1", 9) == [Activation("1", 0, 1, 1, value=5.0)]


@pytest.mark.parametrize(
    ("region", "place"),
    [
        ((0, 0, 4, 4), (1, 1)),
        ((0, 2, 4, 4), (3, 0)),
        # An edge that is shared is no overlap; the least of a pixel is.
        ((2, 0, 4, 4), (0, 2)),
        ((Fraction(199, 100), 0, 4, 4), (1, 1)),
        ((1, 0, 2, 1), None),
        ((-9, 3, 1, 9), (3, 0)),
        # Where no place overlaps, all count.
        ((-2, 0, 0, 4), (1, 1)),
        ((0, 4, 4, 6), (1, 1)),
    ],
)
def test_only_places_over_a_region_count(region, place):
    net, inputs = example()
    net[4].weight.data[1, 1] = 1.0
    edges = tuple(Fraction(edge) for edge in region)
    found = strongest_activations(net, inputs, "1", 9, class_index=1, region=edges)
    assert [(one.row, one.column) for one in found] == ([] if place is None else [place])


def test_a_place_of_a_coarse_layer_stands_for_its_part_of_the_inputs():
    net, inputs = example()
    # Of the pooled 5, 3, 3 and 0, each over two by two px, 5 x 2 is most.
    for left, place in ((1, (0, 0)), (2, (0, 1))):
        region = (Fraction(left), Fraction(0), Fraction(4), Fraction(2))
        (found,) = strongest_activations(net, inputs, "2", 1, region=region)
        assert (found.row, found.column) == place


def test_where_windows_overlap_signals_add_up():
    net = nn.Sequential(nn.MaxPool2d((1, 2), stride=1), nn.ReLU(), nn.Flatten(), nn.Linear(2, 1))
    net[3].weight.data = torch.tensor([[2.0, 3.0]])
    found = deconvolve(net, torch.tensor([[[[1.0, 5.0, 2.0]]]]), 0)
    assert found.tolist() == [[[0.0, 5.0, 0.0]]]


def captums(module, inputs, class_index):
    plain = copy.deepcopy(module)
    for layer in plain.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum says that it sets hooks
        return Deconvolution(plain).attribute(inputs.clone(), target=class_index)[0].detach()


@pytest.mark.parametrize("name", ["test_resnet", "resnet18", "regnetx_002"])
def test_timms_networks_give_what_captum_gives(name):
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=4).eval()
    inputs = torch.randn(1, 3, 64, 64)
    expected = captums(net, inputs, 2).numpy()
    assert np.abs(expected).max() > 1e-6
    np.testing.assert_allclose(
        deconvolve(net, inputs, 2), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


def test_a_relu_that_serves_in_several_places():
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=4).eval()
    inputs = torch.randn(1, 3, 64, 64)
    expected = captums(net, inputs, 2).numpy()
    np.testing.assert_allclose(
        deconvolve(net, inputs, 2), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )
    assert last_layer(net, inputs) == "layer4.1.relu"


def plain_net(seed=0, relu=nn.ReLU):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        relu(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(6, 5, 3),
        relu(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    ).eval()


@settings(max_examples=25)
@given(
    seed=st.integers(0, 999),
    layer=st.sampled_from(["0", "1", "2", "3"]),
    place=st.tuples(*[st.integers(0, 4)] * 3),
)
def test_an_activation_gives_what_captums_neuron_gives(seed, layer, place):
    net, inputs = plain_net(seed), torch.randn(1, 3, 16, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        neuron = NeuronDeconvolution(net, net.get_submodule(layer))
        expected = neuron.attribute(inputs, place)[0].detach().numpy()
    start = activation_at(net, inputs, layer, place)
    assert start.value == float(net[: int(layer) + 1](inputs)[0][place].detach())
    found = deconvolve(net, inputs, start)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@settings(max_examples=25)
@given(seed=st.integers(0, 999), class_index=st.sampled_from([None, 0, 2]))
def test_the_strongest_are_the_largest_of_each_channel(seed, class_index):
    net, inputs = plain_net(seed), torch.randn(1, 3, 16, 16)
    features = net[:5](inputs).detach().requires_grad_()
    strengths = features
    if class_index is not None:
        gradient = torch.autograd.grad(net[5:](features)[0, class_index], features)[0]
        strengths = features * gradient
    best = sorted((float(one.max()) for one in strengths[0].detach()), reverse=True)
    found = strongest_activations(net, inputs, "4", 3, class_index)
    shown = [one.value if class_index is None else one.contribution for one in found]
    assert shown == pytest.approx([one for one in best[:3] if one > 0], rel=1e-5)
    assert len({one.channel for one in found}) == len(found)
    for one in found:
        assert float(features.detach()[0, one.channel, one.row, one.column]) == one.value


def test_working_in_place_changes_nothing():
    torch.manual_seed(0)
    inputs = torch.randn(1, 3, 16, 16)
    kept = inputs.clone()
    apart, inplace = plain_net(), plain_net(relu=lambda: nn.ReLU(inplace=True))
    assert np.array_equal(deconvolve(inplace, inputs, 1), deconvolve(apart, inputs, 1))
    for layer in ("0", "3"):
        found = strongest_activations(inplace, inputs, layer, 9, 1)
        assert found == strongest_activations(apart, inputs, layer, 9, 1)
        assert np.array_equal(
            deconvolve(inplace, inputs, found[0]), deconvolve(apart, inputs, found[0])
        )
    assert torch.equal(inputs, kept)
    first = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(768, 2))
    deconvolve(first, inputs, 0)
    strongest_activations(first, inputs, "0", 1, 0)
    activation_at(first, inputs, "0", (0, 0, 0))
    convolutional_layers(first, inputs)
    assert torch.equal(inputs, kept)


class CentredInPlace(nn.Module):
    def forward(self, features):
        return features.sub_(1)


def test_a_network_that_changes_its_inputs_in_place():
    net, inputs = plain_net(), torch.randn(1, 3, 16, 16)
    centring = nn.Sequential(CentredInPlace(), net).eval()
    kept = inputs.clone()
    assert np.array_equal(deconvolve(centring, inputs, 1), deconvolve(net, inputs - 1, 1))
    (found,) = strongest_activations(centring, inputs, "1.4", 1, 1)
    (expected,) = strongest_activations(net, inputs - 1, "4", 1, 1)
    assert found.value == expected.value
    assert torch.equal(inputs, kept)


def test_a_sum_in_place_leaves_what_a_layer_gave():
    # torchvision's blocks add their shortcut to what bn2 gave, where it is.
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=4).eval()
    inputs = torch.randn(1, 3, 64, 64)
    given = []
    hook = net.layer4[1].bn2.register_forward_hook(
        lambda *seen: given.append(seen[2].detach().clone())
    )
    net(inputs)
    hook.remove()
    found = strongest_activations(net, inputs, "layer4.1.bn2", 1)[0]
    assert found.value == float(given[0].max())


def test_the_module_is_left_as_it_is():
    net, inputs = plain_net(), torch.randn(1, 3, 16, 16)
    before = copy.deepcopy(net.state_dict())
    deconvolve(net, inputs, strongest_activations(net, inputs, "4", 1, 0)[0])
    assert all(torch.equal(one, before[name]) for name, one in net.state_dict().items())
    assert all(one.grad is None for one in net.parameters())
    assert not any(layer._forward_hooks or layer._backward_hooks for layer in net.modules())


def test_frozen_weights_are_no_hindrance():
    net, inputs = plain_net(), torch.randn(1, 3, 16, 16)
    expected = deconvolve(net, inputs, 1), strongest_activations(net, inputs, "4", 2, 1)
    net.requires_grad_(False)
    with torch.no_grad():
        found = deconvolve(net, inputs, 1), strongest_activations(net, inputs, "4", 2, 1)
    assert np.array_equal(found[0], expected[0])
    assert found[1] == expected[1]


def test_layers_come_in_the_order_they_run_in():
    net, inputs = plain_net(), torch.randn(1, 3, 16, 16)
    assert convolutional_layers(net, inputs) == {
        "0": (6, 16, 16),
        "1": (6, 16, 16),
        "3": (5, 5, 5),
        "4": (5, 5, 5),
    }
    assert last_layer(net, inputs) == "4"
    pooled = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.ReLU(), nn.Flatten())
    assert last_layer(pooled, inputs) == "0"


def test_a_network_without_places_has_no_last_layer():
    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 4), nn.ReLU())
    with pytest.raises(UserError, match="no convolution whose output has several places"):
        last_layer(net, torch.randn(1, 3, 16, 16))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("features.0", "no layer features.0: the network's convolutions run from 0 to 4"),
        ("44", "no layer 44: did you mean 4"),
        ("7", "gives no map of channels"),
        ("", "gives no map of channels"),
    ],
)
def test_a_layer_that_is_not_there_or_no_map_is_refused(layer, message):
    net, inputs = plain_net(), torch.randn(1, 3, 16, 16)
    with pytest.raises(UserError, match=message):
        strongest_activations(net, inputs, layer, 1)
    with pytest.raises(UserError, match=message):
        deconvolve(net, inputs, Activation(layer, 0, 0, 0, 0.0))


def test_a_layer_that_takes_no_part_is_refused():
    net = plain_net()
    net[0].unused = nn.Conv2d(3, 3, 1)
    with pytest.raises(UserError, match=r"0\.unused gives no map"):
        strongest_activations(net, torch.randn(1, 3, 16, 16), "0.unused", 1)


def test_a_layer_of_a_network_without_convolutions_is_refused():
    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 4), nn.ReLU())
    with pytest.raises(UserError, match="There is no layer conv1: the network has no convolution"):
        strongest_activations(net, torch.randn(1, 3, 16, 16), "conv1", 1)


@pytest.mark.parametrize("place", [(5, 0, 0), (0, 5, 0), (0, 0, 5), (0, -1, 0)])
def test_a_place_that_is_not_there_is_refused(place: tuple[int, int, int]):
    net, inputs = plain_net(), torch.randn(1, 3, 16, 16)
    with pytest.raises(UserError, match="5 channels of 5 x 5, counted from 0"):
        activation_at(net, inputs, "4", place)
    with pytest.raises(UserError, match="no activation at channel, row, column"):
        deconvolve(net, inputs, Activation("4", *place, value=0.0))
