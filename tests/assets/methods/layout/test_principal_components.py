import numpy as np
import pytest
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from assets.methods.layout.principal_components import reduce


def test_points_on_a_line_have_one_component() -> None:
    vectors = np.array([[0, 0], [3, 4], [6, 8]], dtype=np.float32)
    np.testing.assert_allclose(reduce(vectors), [[5, 0], [0, 0], [-5, 0]], atol=1e-6)


@pytest.mark.parametrize(("n", "d"), [(30, 100), (300, 40), (5_000, 8)])
def test_agrees_with_sklearn_up_to_sign(n: int, d: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(n, d)) * np.arange(1, d + 1)
    ours = reduce(vectors, 6)
    theirs = PCA(6, svd_solver="full").fit_transform(vectors)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-6 * np.abs(theirs).max())


@pytest.mark.parametrize(("n", "d"), [(1, 5), (2, 5), (5, 2), (60, 70)])
def test_shape_is_the_least_of_components_photos_and_dimensions(n: int, d: int) -> None:
    scores = reduce(np.random.default_rng(0).normal(size=(n, d)).astype(np.float32), 50)
    assert scores.shape == (n, min(50, n, d))
    assert np.isfinite(scores).all()


def test_each_component_points_to_its_largest_coordinate() -> None:
    scores = reduce(np.random.default_rng(1).normal(size=(40, 10)), 10)
    largest = scores[np.abs(scores).argmax(axis=0), np.arange(10)]
    assert (largest > 0).all()


def test_copies_have_no_extent() -> None:
    np.testing.assert_allclose(reduce(np.full((50, 8), 0.3)), 0, atol=1e-12)


@pytest.mark.parametrize("n", [400, 900])
def test_the_number_of_threads_changes_nothing(n: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(n, 600)).astype(np.float32)
    found = []
    for threads in (1, 2):
        with threadpool_limits(limits=threads):
            found.append(reduce(vectors).tobytes())
    assert found[0] == found[1]
