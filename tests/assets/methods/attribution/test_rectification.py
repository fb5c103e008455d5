import pytest
import torch
from torch import nn
from torch.nn import functional

from assets.methods.attribution.rectification import Rectification
from assets.methods.common.errors import UserError

VALUES = torch.tensor([-2.0, -1, 3, 9])
SIGNAL = torch.tensor([1.0, -1, -2, 4])


def answer_and_way_back(function):
    features = VALUES.clone().requires_grad_()
    with Rectification() as rectification:
        output = function(features * 1)
    return output.tolist(), torch.autograd.grad(output, features, SIGNAL)[0].tolist(), rectification


@pytest.mark.parametrize(
    "relu",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        functional.relu,
        functional.relu_,
        torch.relu,
        torch.Tensor.relu,
        torch.Tensor.relu_,
    ],
)
def test_a_relu_passes_what_is_positive_of_the_signal(relu):
    output, back, rectification = answer_and_way_back(relu)
    assert output == [0, 0, 3, 9]
    assert back == [1, 0, 0, 4]
    assert rectification.n_met == 1


@pytest.mark.parametrize("relu6", [nn.ReLU6(), nn.ReLU6(inplace=True), functional.relu6])
def test_a_relu6_passes_it_too(relu6):
    output, back, rectification = answer_and_way_back(relu6)
    assert output == [0, 0, 3, 6]
    assert back == [1, 0, 0, 4]
    assert rectification.n_met == 1


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (nn.SiLU(inplace=True), "silu"),
        (nn.GELU(), "gelu"),
        (nn.Hardswish(), "hardswish"),
        (nn.LeakyReLU(inplace=True), "leaky_relu"),
        (nn.ELU(), "elu"),
        (nn.Hardtanh(), "hardtanh"),
        (nn.Tanh(), "tanh"),
        (nn.PReLU(), "prelu"),
        (nn.Mish(), "mish"),
        (nn.Softplus(), "softplus"),
    ],
)
def test_another_activation_function_is_refused(activation, name):
    with pytest.raises(UserError, match=f"activation function {name}, but"), Rectification():
        activation(VALUES.clone())


def test_all_else_is_left_alone():
    convolution = nn.Conv2d(1, 1, 3)
    features = torch.randn(1, 1, 5, 5)
    with Rectification() as rectification:
        inside = convolution(features)
    assert torch.equal(inside, convolution(features))
    assert rectification.n_met == 0


def test_outside_a_relu_has_its_gradient():
    answer_and_way_back(functional.relu)
    features = VALUES.clone().requires_grad_()
    back = torch.autograd.grad(functional.relu(features), features, SIGNAL)[0]
    assert back.tolist() == [0, 0, -2, 4]
