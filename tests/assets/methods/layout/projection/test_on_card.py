"""Projections on a card: neighbours stay neighbours, and what may differ from run to run."""

import numpy as np
import pytest
import torch
from sklearn.manifold import trustworthiness

from assets.methods.layout.projection.projection import (
    ProjectionSettings,
    ProjectionStore,
    project,
    project_unless_known,
)
from support.devices import CARD, HAS_CARD, needs_card

pytestmark = needs_card

# On a card torchdr compiles kernels for the two, which starts a compiler.
METHODS = [
    "tsne",
    pytest.param("largevis", marks=pytest.mark.process),
    pytest.param("umap", marks=pytest.mark.process),
]


@pytest.fixture(scope="module")
def vectors():
    """600 unit vectors in 12 groups."""
    rng = np.random.default_rng(0)
    found = 2 * rng.normal(size=(12, 40))[rng.integers(0, 12, 600)] + rng.normal(size=(600, 40))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
def test_neighbours_stay_neighbours(vectors, method):
    settings = ProjectionSettings(method, iterations=400)
    points = project(vectors, settings, CARD)
    assert points.shape == (600, 2)
    assert points.dtype == np.float64
    found = trustworthiness(vectors, points, n_neighbors=10)
    expected = trustworthiness(vectors, project(vectors, settings, "cpu"), n_neighbors=10)
    assert found > 0.85
    assert found > expected - 0.02


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [5, 17, 65])
def test_few_photos_have_finite_points(vectors, method, n):
    points = project(vectors[:n], ProjectionSettings(method, iterations=60), CARD)
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_bytes(vectors, method):
    settings = ProjectionSettings(method, iterations=100, seed=3)
    first, second = (project(vectors, settings, CARD) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_the_random_state_is_left_as_it_was(vectors, method):
    torch.manual_seed(5)
    expected = [torch.rand(3), torch.rand(3, device=CARD)]
    torch.manual_seed(5)
    project(vectors[:50], ProjectionSettings(method, iterations=20), CARD)
    found = [torch.rand(3), torch.rand(3, device=CARD)]
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


def test_points_are_kept_for_the_device_asked_for(vectors, tmp_path):
    settings, store = ProjectionSettings("tsne", iterations=60), ProjectionStore(tmp_path)
    points, is_new = project_unless_known(vectors, settings, CARD, store)
    again, is_new_again = project_unless_known(vectors, settings, CARD, store)
    assert (is_new, is_new_again) == (True, False)
    assert points.tobytes() == again.tobytes()


def test_many_photos_are_projected_on_the_card():
    # Enough that repulsion is interpolated, on a card alone: the CPU would take minutes.
    if not HAS_CARD:
        pytest.skip("it takes a card")
    rng = np.random.default_rng(0)
    n = 12_000
    vectors = rng.normal(size=(40, 50))[rng.integers(0, 40, n)] + 0.3 * rng.normal(size=(n, 50))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    first, second = (project(vectors, ProjectionSettings(iterations=300), CARD) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    some = rng.permutation(n)[:2_000]
    assert trustworthiness(vectors[some], first[some], n_neighbors=10) > 0.8
