import numpy as np
import pytest
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from assets.methods.layout.projection.pca import (
    first_two,
    initial_points,
    on_axes,
    principal_axes,
    principal_components,
)


def test_points_on_a_line_have_one_component() -> None:
    vectors = np.array([[0, 0], [3, 4], [6, 8]], dtype=np.float32)
    np.testing.assert_allclose(
        principal_components(vectors, 50), [[5, 0], [0, 0], [-5, 0]], atol=1e-6
    )


@pytest.mark.parametrize(("n", "d"), [(30, 100), (300, 40), (5_000, 8)])
def test_agrees_with_sklearn_up_to_sign(n: int, d: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(n, d)) * np.arange(1, d + 1)
    ours = principal_components(vectors, 6)
    theirs = PCA(6, svd_solver="full").fit_transform(vectors)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-6 * np.abs(theirs).max())


@pytest.mark.parametrize(("n", "d"), [(1, 5), (2, 5), (5, 2), (60, 70)])
def test_shape_is_the_least_of_components_photos_and_dimensions(n: int, d: int) -> None:
    scores = principal_components(
        np.random.default_rng(0).normal(size=(n, d)).astype(np.float32), 50
    )
    assert scores.shape == (n, min(50, n, d))
    assert np.isfinite(scores).all()


def test_each_component_points_to_its_largest_coordinate() -> None:
    scores = principal_components(np.random.default_rng(1).normal(size=(40, 10)), 10)
    largest = scores[np.abs(scores).argmax(axis=0), np.arange(10)]
    assert (largest > 0).all()


def test_copies_have_no_extent() -> None:
    np.testing.assert_allclose(principal_components(np.full((50, 8), 0.3), 50), 0, atol=1e-12)


@pytest.mark.parametrize("n", [400, 900])
def test_the_number_of_threads_changes_nothing(n: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(n, 600)).astype(np.float32)
    found = []
    for threads in (1, 2):
        with threadpool_limits(limits=threads):
            found.append(principal_components(vectors, 50).tobytes())
    assert found[0] == found[1]


def test_the_first_two_components_are_the_points() -> None:
    assert first_two(np.arange(12.0).reshape(4, 3)).tolist() == [[0, 1], [3, 4], [6, 7], [9, 10]]


def test_a_lacking_component_is_zero() -> None:
    assert first_two(np.array([[2.0], [3.0]])).tolist() == [[2, 0], [3, 0]]


def test_points_are_small_proportional_and_apart() -> None:
    components = np.array([[2.0, 1.0], [2.0, 1.0], [-4.0, -2.0]])
    points = initial_points(components, seed=0)
    np.testing.assert_allclose(points[:, 0].std(), 1e-4, rtol=0.1)
    np.testing.assert_allclose(points[:, 0], 2 * points[:, 1], atol=1e-5)
    assert (points[0] != points[1]).all()


def test_the_seed_decides() -> None:
    components = np.random.default_rng(0).normal(size=(5, 3))
    assert (initial_points(components, 1) == initial_points(components, 1)).all()
    assert (initial_points(components, 1) != initial_points(components, 2)).any()


@pytest.mark.parametrize(("n", "dimensions"), [(8, 30), (60, 7), (5_000, 6)])
def test_the_axes_give_the_components_and_place_other_vectors(n, dimensions):
    vectors = np.random.default_rng(0).normal(size=(n, dimensions)) * np.arange(1, dimensions + 1)
    mean, axes = principal_axes(vectors, 4)
    assert (mean.shape, axes.shape) == ((dimensions,), (dimensions, 4))
    components = on_axes(vectors, mean, axes)
    np.testing.assert_allclose(components, principal_components(vectors, 4), atol=1e-8)
    np.testing.assert_allclose(on_axes(vectors[:1], mean, axes), components[:1], atol=1e-8)
    np.testing.assert_allclose(axes.T @ axes, np.eye(4), atol=1e-8)


def test_vectors_on_a_line_have_one_axis():
    line = np.outer(np.arange(9), [3, 4]).astype(np.float32)
    _, axes = principal_axes(line, 50)
    np.testing.assert_allclose(np.abs(axes), [[0.6], [0.8]], atol=1e-6)
    assert principal_axes(line[:1], 50)[1].shape == (2, 0)
