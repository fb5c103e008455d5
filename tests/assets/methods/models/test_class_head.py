import numpy as np
import pytest

from assets.methods.models.class_head import ClassHead, load_class_head


def test_a_vector_has_the_class_in_whose_direction_it_is():
    head = ClassHead(np.array([[1, 0], [0, 1], [-1, -1]], np.float32), ("right", "up", "back"))
    vectors = np.array([[0.9, 0.1], [0.1, 0.9], [-0.7, -0.7]], np.float32)
    assert list(head.classes_of(vectors)) == [0, 1, 2]
    assert len(head.classes_of(vectors[:0])) == 0


def test_the_packaged_network_has_the_classes_of_imagenet():
    head = load_class_head("efficientnet-lite0")
    assert head is not None
    assert head.weights.shape == (len(head.class_names), 1280) == (1000, 1280)
    assert "goldfish" in head.class_names


@pytest.mark.parametrize("name", ["pixels", "torchvision:resnet18", "weights.safetensors"])
def test_other_backbones_have_none(name):
    assert load_class_head(name) is None
