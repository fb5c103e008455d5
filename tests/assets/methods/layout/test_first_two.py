import numpy as np

from assets.methods.layout.first_two import pca


def test_the_first_two_components_are_the_points() -> None:
    assert pca(np.arange(12.0).reshape(4, 3)).tolist() == [[0, 1], [3, 4], [6, 7], [9, 10]]


def test_a_lacking_component_is_zero() -> None:
    assert pca(np.array([[2.0], [3.0]])).tolist() == [[2, 0], [3, 0]]
