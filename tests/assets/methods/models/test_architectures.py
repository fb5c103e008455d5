import pytest
import torch

from assets.methods.common.errors import UserError
from assets.methods.models.architectures import build_architecture, class_names_of, unique_names


def test_only_names_that_occur_twice_get_an_id():
    assert unique_names("aba", "123") == ("a [1]", "b", "a [3]")


@pytest.mark.parametrize("name", ["timm:test_resnet", "torchvision:squeezenet1_1"])
@pytest.mark.parametrize(("classes", "outputs"), [(None, 1000), (7, 7)])
def test_the_classifier_tells_apart_as_many_classes_as_asked(name, classes, outputs):
    built = build_architecture(name, classes)
    assert built.dropped == ()
    assert built.module.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, outputs)


@pytest.mark.parametrize("name", ["timm:test_resnet", "torchvision:resnet18"])
def test_without_its_classifier_a_network_says_which_layer_is_gone(name):
    built = build_architecture(name, 0)
    assert built.dropped == ("fc",)
    assert built.module.eval()(torch.zeros(1, 3, 64, 64)).shape[1] < 1000


@pytest.mark.parametrize("name", ["timm:test_resnet", "torchvision:resnet18"])
def test_classes_have_distinct_names(name):
    names = class_names_of(name, build_architecture(name, None).module)
    assert len(names) == len(set(names)) == 1000
    assert names[0] == "tench"


def test_a_network_of_other_classes_is_refused():
    with pytest.raises(UserError, match="does not classify into ImageNet's classes"):
        class_names_of("timm:test_resnet", build_architecture("timm:test_resnet", 7).module)
