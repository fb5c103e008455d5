import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn.manifold import trustworthiness
from threadpoolctl import threadpool_limits

from assets.methods.layout.projection import tsne as module
from assets.methods.layout.projection.projection import ProjectionSettings, project
from assets.methods.layout.projection.tsne import (
    continued_tsne,
    known_neighbours,
    nearest_neighbours,
    tsne,
)


def components(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return 2 * rng.normal(size=(12, 20))[rng.integers(0, 12, n)] + rng.normal(size=(n, 20))


def test_neighbours_on_the_plane_are_neighbours_in_the_feature_space() -> None:
    vectors = components(400)
    points = tsne(vectors, perplexity=30, iterations=400, seed=0)
    assert trustworthiness(vectors, points, n_neighbors=8) > 0.9


def test_progress_counts_the_iterations() -> None:
    seen: list[tuple[int, int]] = []
    tsne(
        components(40),
        perplexity=5,
        iterations=150,
        seed=0,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[:6] == [(25, 150), (50, 150), (75, 150), (100, 150), (125, 150), (150, 150)]


def digest_of_projections() -> str:
    """Cover both of t-SNE's thread settings, and the methods that torch computes."""
    digest = hashlib.sha256()
    rng = np.random.default_rng(0)
    for method, n in (("tsne", 600), ("tsne", 2_100), ("largevis", 200), ("umap", 200)):
        vectors = rng.normal(size=(n, 300)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        digest.update(project(vectors, ProjectionSettings(method, iterations=30)).tobytes())
    return digest.hexdigest()


@pytest.mark.process
def test_the_number_of_threads_changes_nothing() -> None:
    # How many threads there can be, the libraries ask once in a process.
    alone = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import runpy; print(runpy.run_path({__file__!r})['digest_of_projections']())",
        ],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": os.getcwd(),
        },
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    with threadpool_limits(limits=2):
        assert digest_of_projections() == alone.strip()


def test_three_on_a_line() -> None:
    indices, distances = nearest_neighbours(np.array([[0.0], [1.0], [3.0]]), 2)
    assert indices.tolist() == [[1, 2], [0, 2], [1, 0]]
    np.testing.assert_allclose(distances, [[1, 3], [1, 2], [2, 3]])


@pytest.mark.parametrize("k", [0, 3])
def test_as_many_neighbours_as_vectors_are_refused(k: int) -> None:
    with pytest.raises(ValueError, match="nearest neighbours"):
        nearest_neighbours(np.zeros((3, 2)), k)


def test_ties_do_not_depend_on_the_number_of_threads() -> None:
    vectors = np.random.default_rng(0).integers(0, 3, size=(1_500, 6)).astype(np.float64)
    found = []
    for threads in (1, 2):
        with threadpool_limits(limits=threads):
            found.append(nearest_neighbours(vectors, 20)[0].tobytes())
    assert found[0] == found[1]


def test_known_neighbours_are_of_the_known_alone() -> None:
    vectors = np.array([[5.0], [0.0], [4.0], [1.0]])
    indices, distances = known_neighbours(vectors, np.array([True, True, False, True]), 2)
    assert indices.tolist() == [[0, 3]]
    np.testing.assert_allclose(distances, [[1, 3]])


@pytest.fixture(scope="module")
def groups() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vectors in three groups far apart, points of the first 120, and which these are."""
    rng = np.random.default_rng(0)
    group = np.arange(130) % 3
    vectors = 20.0 * np.eye(3, 20)[group] + rng.normal(size=(130, 20))
    points = 9.0 * np.eye(3, 2)[group[:120]] + rng.normal(size=(120, 2))
    return vectors, points, np.arange(130) < 120


@pytest.mark.parametrize("is_large", [False, True])
def test_new_points_come_to_their_group_wherever_they_were(
    monkeypatch: pytest.MonkeyPatch, groups: tuple[np.ndarray, ...], is_large: bool
) -> None:
    if is_large:
        monkeypatch.setattr(module, "_BARNES_HUT_PHOTOS", 100)
    vectors, points, known = groups
    made = []
    for elsewhere in (0.0, 50.0):
        start = np.vstack([points, np.full((10, 2), elsewhere)])
        made.append(continued_tsne(vectors, start, known, perplexity=10, seed=0))
    assert made[0].tobytes() == made[1].tobytes()
    middles = [points[one::3].mean(axis=0) for one in range(3)]
    distances = np.linalg.norm(made[0][120:, np.newaxis] - middles, axis=2)
    assert (distances.argmin(axis=1) == np.arange(120, 130) % 3).all()
    # A large map holds the known points wholly.
    moved = np.abs(made[0][:120] - points).max()
    assert (moved == 0) == is_large


def test_of_points_that_are_all_known_none_moves(groups: tuple[np.ndarray, ...]) -> None:
    vectors, points, known = groups
    again = continued_tsne(vectors[:120], points, known[:120], perplexity=10, seed=0)
    assert again.tobytes() == points.tobytes()
