import numpy as np
import pytest

from assets.methods.models.backbones import DEFAULT_BACKBONE, PIXELS
from assets.methods.models.class_head import load_class_head
from assets.methods.models.embedding import vector_key
from assets.results.page import named_by_network

VECTORS = np.eye(1280, dtype=np.float32)[:3]


def test_a_network_names_what_has_the_key_of_its_own_vectors():
    head = load_class_head(DEFAULT_BACKBONE)
    key = vector_key(DEFAULT_BACKBONE, "float32")
    naming = named_by_network(DEFAULT_BACKBONE, key, VECTORS)
    assert head is not None
    assert naming is not None
    names, numbers = naming
    assert names == list(head.class_names)
    assert list(numbers) == list(head.classes_of(VECTORS))


@pytest.mark.parametrize(
    ("backbone", "key"),
    [(DEFAULT_BACKBONE, "other-float32-1"), (PIXELS, vector_key(PIXELS, "float32"))],
)
def test_nothing_names_the_vectors_of_another_network_or_of_pixels(backbone, key):
    assert named_by_network(backbone, key, VECTORS) is None
