import dataclasses

import numpy as np
import pytest

from assets.methods.common.errors import UserError
from assets.methods.layout.projection.projection import (
    METHODS,
    LastPoints,
    ProjectionSettings,
    ProjectionStore,
    project,
    project_unless_known,
)

PCA = ProjectionSettings(method="pca", pca_components=3)


def unit_vectors(n: int, groups: int = 3, seed: int = 0) -> np.ndarray:
    """Return n unit vectors around ``groups`` directions, group i % groups each."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(groups, 64))[np.arange(n) % groups] + 0.3 * rng.normal(size=(n, 64))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 17, 65])
def test_any_number_of_photos_has_finite_points(method: str, n: int) -> None:
    points = project(unit_vectors(n), ProjectionSettings(method, iterations=60))
    assert points.shape == (n, 2)
    assert points.dtype == np.float64
    assert np.isfinite(points).all()


@pytest.mark.parametrize("method", METHODS)
def test_copies_of_one_photo_lie_in_one_point(method: str) -> None:
    points = project(np.repeat(unit_vectors(1), 50, axis=0), ProjectionSettings(method))
    np.testing.assert_allclose(points, 0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_one_distinct_photo_among_copies(method: str) -> None:
    vectors = np.repeat(unit_vectors(1), 50, axis=0)
    vectors[17] = unit_vectors(2)[1]
    points = project(vectors, ProjectionSettings(method, iterations=60))
    assert np.isfinite(points).all()
    assert np.ptp(points, axis=0).max() > 0


@pytest.mark.parametrize("method", METHODS)
def test_groups_stay_together(method: str) -> None:
    points = project(unit_vectors(90), ProjectionSettings(method, perplexity=10))
    distances = np.linalg.norm(points[:, np.newaxis] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1)
    assert (nearest % 3 == np.arange(90) % 3).mean() > 0.95


@pytest.mark.parametrize("method", ["pca", "drlim"])
def test_points_are_turned_to_fit_the_last_unless_a_network_places_them(method: str) -> None:
    vectors, settings = unit_vectors(20), ProjectionSettings(method, iterations=20)
    points = project(vectors, settings)
    mirrored = points * [-1, 1]
    again = project(vectors, settings, last=LastPoints(mirrored, np.arange(20) < 15))
    np.testing.assert_allclose(again, points if method == "drlim" else mirrored, atol=1e-6)


def test_tsne_goes_on_from_the_last_points() -> None:
    vectors, settings = unit_vectors(60), ProjectionSettings(perplexity=10)
    points, known = project(vectors[:50], settings), np.arange(60) < 50
    last = LastPoints(np.vstack([points, np.zeros((10, 2))]), known)
    again = project(vectors, settings, last=last)
    extent = np.ptp(points, axis=0).max()
    assert np.abs(again[known] - points).max() < 0.2 * extent
    # Each new one lies among the old ones of its group.
    distances = np.linalg.norm(again[50:, np.newaxis] - again[:50], axis=2)
    assert (distances.argmin(axis=1) % 3 == np.arange(50, 60) % 3).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_bytes(method: str) -> None:
    settings = ProjectionSettings(method, iterations=60, seed=3)
    first, second = (project(unit_vectors(40), settings) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_progress_grows_to_its_end(method: str) -> None:
    seen: list[tuple[int, int]] = []
    project(
        unit_vectors(30),
        ProjectionSettings(method, iterations=60),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]


@pytest.mark.parametrize(
    "setting",
    [
        {"method": "sne"},
        {"perplexity": 1.0},
        {"perplexity": float("nan")},
        {"perplexity": float("inf")},
        {"pca_components": 1},
        {"iterations": 0},
        {"seed": -1},
    ],
)
def test_impossible_settings_are_the_users_error(setting: dict) -> None:
    with pytest.raises(UserError, match=r"\.$"):
        ProjectionSettings(**setting)


@pytest.mark.parametrize("vectors", [np.zeros((0, 4)), np.zeros(4), np.array([[1.0, np.nan]])])
def test_vectors_that_are_none_are_refused(vectors: np.ndarray) -> None:
    with pytest.raises(ValueError, match="finite vectors"):
        project(vectors, ProjectionSettings())


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)


def test_the_same_vectors_are_projected_once(tmp_path, vectors):
    store = ProjectionStore(tmp_path)
    points, is_new = project_unless_known(vectors, PCA, "cpu", store)
    again, is_new_again = project_unless_known(vectors, PCA, "cpu", store)
    assert (is_new, is_new_again) == (True, False)
    assert again.tobytes() == points.tobytes()


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"method": "tsne"}, {"perplexity": 3.0}, {"pca_components": 2}],
    ids=lambda change: next(iter(change)),
)
def test_another_setting_is_another_projection(tmp_path, vectors, change):
    store = ProjectionStore(tmp_path)
    project_unless_known(vectors, PCA, "cpu", store)
    _, is_new = project_unless_known(vectors, dataclasses.replace(PCA, **change), "cpu", store)
    assert is_new


def test_other_vectors_are_another_projection(tmp_path, vectors):
    store = ProjectionStore(tmp_path)
    assert store.path(vectors, PCA, "cpu") != store.path(vectors.T, PCA, "cpu")
    assert store.path(vectors, PCA, "cpu") != store.path(vectors + 1, PCA, "cpu")
