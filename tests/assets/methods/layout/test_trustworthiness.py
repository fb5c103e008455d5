import numpy as np
import pytest
from sklearn import manifold

from assets.methods.layout.trustworthiness import neighbourhood, trustworthiness


def test_one_photo_worked_out_by_hand() -> None:
    # Ranks by features are 1, 2, 3, 4; the two nearest places hold ranks 4 and 1.
    distances = np.array([0.1, 0.2, 0.3, 0.4])
    found = neighbourhood(distances, distances, np.array([2, 3, 4, 1]), k=2)
    assert (found.excess, found.kept) == (2.0, 1.0)


def test_ties_count_by_their_share() -> None:
    # All four places are equally far: each counts one half of a neighbour.
    distances = np.array([0.1, 0.2, 0.3, 0.4])
    found = neighbourhood(distances, distances, np.array([1, 1, 1, 1]), k=2)
    assert (found.excess, found.kept) == (0.5 * 1 + 0.5 * 2, 0.5 * 1 + 0.5 * 1)


@pytest.mark.parametrize("k", [1, 5, 8])
def test_agrees_with_sklearn(k: int) -> None:
    rng = np.random.default_rng(k)
    vectors, points = rng.normal(size=(60, 7)), rng.normal(size=(60, 2))
    excess = 0.0
    for i in range(60):
        distances = np.delete(np.linalg.norm(vectors - vectors[i], axis=1), i)
        steps = np.delete(np.linalg.norm(points - points[i], axis=1), i)
        excess += neighbourhood(distances, np.sort(distances), steps, k).excess
    expected = manifold.trustworthiness(vectors, points, n_neighbors=k)
    assert trustworthiness(excess / 60, 60, k) == pytest.approx(expected)
