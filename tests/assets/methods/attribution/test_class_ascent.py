import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from assets.methods.attribution.class_ascent import (
    LARGEST_STEP,
    log_odds,
    log_odds_gradient,
    step_along,
)


def test_log_odds_are_those_of_the_softmax():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    inputs = torch.randn(1, 3, 2, 2)
    probabilities = torch.softmax(net(inputs).double(), dim=1)[0].detach()
    for index, probability in enumerate(probabilities):
        expected = torch.log(probability / (1 - probability))
        assert float(log_odds(net, inputs, index).detach()) == pytest.approx(float(expected))


def test_of_two_classes_the_gradient_is_the_difference_of_their_weights():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    net[1].weight.data = torch.tensor([[1.0, 2, 3], [5, 3, 2]])
    gradient = log_odds_gradient(net, torch.ones(1, 3, 1, 1), 1)
    assert gradient.ravel().tolist() == pytest.approx([4, 1, -1], rel=1e-6)


def test_where_the_class_is_certain_there_is_still_a_gradient():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    net[1].weight.data = torch.tensor([[0.0, 0, 0], [1, 1, 1]])
    inputs = torch.full((1, 3, 1, 1), 1000.0)
    assert log_odds_gradient(net, inputs, 1).ravel().tolist() == pytest.approx([1, 1, 1])


def test_the_gradient_is_that_of_small_differences():
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=5).eval().double()
    inputs = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    along = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        ahead, behind = (float(log_odds(net, inputs + far * along, 3)) for far in (1e-6, -1e-6))
    slope = (log_odds_gradient(net, inputs, 3) * along[0].numpy()).sum()
    assert slope == pytest.approx((ahead - behind) / 2e-6, rel=1e-4)


def test_working_in_place_leaves_the_inputs():
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(3, 2))
    inputs = torch.full((1, 3, 1, 1), -1.0)
    log_odds(net, inputs, 0)
    log_odds_gradient(net, inputs, 0)
    assert (inputs == -1).all()


GREY = Image.new("RGB", (8, 8), (100, 100, 100))


def mean_of(image):
    return float(np.asarray(image).mean())


def test_a_step_goes_along_the_direction():
    direction = np.ones((8, 8, 3), dtype=np.float32)
    direction[:, 4:] = -1
    changed = np.asarray(
        step_along(GREY, 1e-9 * direction, lambda one: float(np.asarray(one)[0, 0, 0]))
    )
    assert (changed[:, :4] == 100 + LARGEST_STEP).all()
    assert (changed[:, 4:] == 100 - LARGEST_STEP).all()


def test_a_step_that_is_too_long_is_halved():
    def odds(image):
        return -abs(mean_of(image) - 101)

    changed = step_along(GREY, np.ones((8, 8, 3), dtype=np.float32), odds)
    assert mean_of(changed) == 101


def test_where_nothing_rises_the_image_stays():
    down = np.ones((8, 8, 3), dtype=np.float32)
    assert step_along(GREY, down, lambda image: -mean_of(image)) is GREY
    assert step_along(GREY, 0 * down, mean_of) is GREY


def test_a_step_stays_within_grey_levels():
    white = Image.new("RGB", (8, 8), "white")
    direction = np.ones((8, 8, 3), dtype=np.float32)
    direction[0] = -1
    changed = step_along(white, direction, lambda image: -mean_of(image))
    assert np.asarray(changed)[1:].min() == 255
