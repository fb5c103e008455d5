import numpy as np
import pytest
import torch

from assets.methods.common.errors import UserError
from assets.methods.models.classifier import check_class, score_function
from support.classifiers import Brightness

IMAGES = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 4, 5)


class Says(Brightness):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def classify(self, images):
        return {name: np.full(len(images), self.value) for name in self.class_names}


@pytest.mark.parametrize("class_names", [("dark", "bright"), ("bright", "dark")])
def test_a_class_is_found_by_its_name_wherever_it_stands(class_names):
    scores = score_function(Brightness(class_names), "bright")(IMAGES)
    assert scores.dtype == np.float32
    assert scores.tolist() == pytest.approx([0, 0.2, 1])


def test_few_classes_are_all_named():
    with pytest.raises(UserError, match="no class nsfw: choose dark or bright"):
        score_function(Brightness(), "nsfw")


def test_of_many_classes_the_nearest_are_named():
    names = [f"n{number:04}" for number in range(20)] + ["tabby", "Egyptian cat", "tiger cat"]
    with pytest.raises(UserError, match="did you mean tabby"):
        check_class(names, "taby")
    with pytest.raises(UserError, match="did you mean Egyptian cat"):
        check_class(names, "EGYPTIAN CAT")
    with pytest.raises(UserError, match="they are called n0000, n0001 and so on"):
        check_class(names, "xyz")


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01])
def test_what_is_no_probability_is_refused(value):
    with pytest.raises(UserError, match="as the probability of dark"):
        score_function(Says(value), "dark")(IMAGES)


@pytest.mark.parametrize(("value", "clipped"), [(1 + 5e-7, 1), (-5e-7, 0)])
def test_rounding_is_clipped(value, clipped):
    assert score_function(Says(value), "dark")(IMAGES).tolist() == 3 * [clipped]
