import pytest

from assets.methods.common.errors import UserError
from assets.methods.models.architectures import build_architecture
from assets.methods.models.classifier_file import save_classifier
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.training.settings import TrainingSettings


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"epochs": 0}, "epochs is 0: it has to be at least 1"),
        ({"batch_size": 3}, "batch_size is 3: it has to be at least 4"),
        ({"patience": -1}, "patience is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0: it has to be above 0"),
        ({"learning_rate": float("inf")}, "learning_rate is inf"),
        ({"base": "timm:test_resnet", "input_side": 0}, "input_side is 0"),
        (
            {"base": "timm:test_resnet", "input_side": 4097},
            "input_side is 4097: it has to be at most 4096",
        ),
        ({"trained": "tail"}, "trained is tail: choose head or all"),
        ({"class_weights": "even"}, "class_weights is even: choose balanced or none"),
        ({"augmentation": "heavy"}, "augmentation is heavy: choose light or none"),
        ({"input_side": 112}, "OpenNSFW reads squares of 224 px"),
        ({"base": "plain_convnet"}, r"No weights .* published: .* \(--from-scratch --train all\)"),
        (
            {"pretrained": False},
            r"A head alone learns little .* set trained to all \(--train all\)",
        ),
    ],
)
def test_choices_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(UserError, match=said):
        TrainingSettings(**wrong)


def test_the_largest_squares_that_a_file_may_ask_for_can_be_trained_on(tmp_path):
    side = TrainingSettings(base="timm:test_resnet", input_side=4096).input_side
    weights = build_architecture("timm:test_resnet", 2).module.state_dict()
    numbers = Preprocessing(side, side, (0.5,) * 3, (0.5,) * 3, "bilinear")
    file = tmp_path / "large.safetensors"
    described = save_classifier(file, weights, "timm:test_resnet", ("a", "b"), numbers)
    assert described.preprocessing.crop == 4096


@pytest.mark.parametrize(
    ("chosen", "rate"),
    [
        ({}, 1e-3),
        ({"trained": "all"}, 1e-4),
        ({"trained": "all", "pretrained": False}, 1e-3),
        ({"trained": "all", "learning_rate": 0.5}, 0.5),
    ],
)
def test_the_learning_rate_suits_what_is_trained(chosen, rate):
    assert TrainingSettings(**chosen).highest_rate == rate
