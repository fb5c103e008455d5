from dataclasses import asdict

import numpy as np
import pytest
from sklearn import manifold

from assets.methods.layout import quality as module
from assets.methods.layout.quality import (
    excess_and_kept,
    layout_quality,
    means_of_nearest,
    neighbourhood_purity,
    points_trustworthiness,
    preservation_quality,
    random_purity,
    running_means,
    trustworthiness,
)


def placed(n: int, columns: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    cell = rng.permutation(columns * columns)[:n]
    vectors = rng.normal(size=(n, 5))
    return cell // columns, cell % columns, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def dpq16_in_plain_loops(row: np.ndarray, col: np.ndarray, vectors: np.ndarray) -> float:
    n = len(row)
    grid, ideal, pairs = np.zeros(n - 1), np.zeros(n - 1), []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        feature = {j: float(np.linalg.norm(vectors[i] - vectors[j])) for j in others}
        step = {j: (row[i] - row[j]) ** 2 + (col[i] - col[j]) ** 2 for j in others}
        shared = {
            s: np.mean([feature[j] for j in others if step[j] == s]) for s in set(step.values())
        }
        nearest_cells = [shared[s] for s in sorted(step.values())]
        nearest_photos = sorted(feature.values())
        for k in range(1, n):
            grid[k - 1] += np.mean(nearest_cells[:k]) / n
            ideal[k - 1] += np.mean(nearest_photos[:k]) / n
        pairs += feature.values()
    d = np.mean(pairs)
    norms = [(np.maximum(0, (d - m) / d) ** 16).sum() ** (1 / 16) for m in (grid, ideal)]
    return norms[0] / norms[1]


@pytest.mark.parametrize(("n", "columns"), [(2, 2), (3, 2), (9, 3), (20, 5), (25, 5)])
def test_dpq_agrees_with_plain_loops(n: int, columns: int) -> None:
    row, col, vectors = placed(n, columns)
    quality = layout_quality(row, col, vectors)
    if n == 2:
        assert quality.dpq16 is None
    else:
        assert quality.dpq16 == pytest.approx(dpq16_in_plain_loops(row, col, vectors), abs=1e-9)


def test_two_by_two_worked_out_by_hand() -> None:
    # Two pairs of copies at distance 1, side by side: d = 2/3. For each photo the two nearest
    # cells hold a copy and a stranger, so m = 1/2, 1/2, 2/3; ideally 0, 1/2, 2/3.
    vectors = np.array([[0.0], [0.0], [1.0], [1.0]])
    quality = layout_quality(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), vectors)
    expected = (2 * 0.25**16) ** (1 / 16) / (1 + 0.25**16) ** (1 / 16)
    assert quality.dpq16 == pytest.approx(expected)


def test_trustworthiness_of_the_points_is_that_of_sklearn() -> None:
    row, col, vectors = placed(100, 10)
    points = np.random.default_rng(1).normal(size=(100, 2))
    quality = layout_quality(row, col, vectors, points)
    expected = manifold.trustworthiness(vectors, points, n_neighbors=quality.k)
    assert quality.points_trustworthiness == pytest.approx(expected)


def test_a_smooth_layout_is_far_better_than_random_placement() -> None:
    row, col = np.divmod(np.arange(400), 20)
    vectors = np.stack([row, col], axis=1) / 20
    quality = layout_quality(row, col, vectors, vectors)
    assert quality.dpq16 == pytest.approx(1.0, abs=0.02)
    assert quality.random_dpq16 is not None
    assert quality.random_dpq16 < 0.1
    assert quality.trustworthiness is not None
    assert quality.trustworthiness > 0.99
    assert quality.neighbours_kept is not None
    assert quality.neighbours_kept > 0.9


def test_labels_give_purity() -> None:
    row, col = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    quality = layout_quality(row, col, np.eye(4), labels=["a", "a", "b", "b"])
    assert quality.neighbourhood_purity == pytest.approx(1 / 3)
    assert quality.random_purity == pytest.approx(1 / 3)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 17, 65])
@pytest.mark.parametrize("same", [False, True])
def test_never_nan(n: int, same: bool) -> None:
    row, col, vectors = placed(n, 9)
    if same:
        vectors = np.repeat(vectors[:1], n, axis=0)
    quality = layout_quality(row, col, vectors, vectors[:, :2], ["a"] * n)
    assert all(value is None or np.isfinite(value) for value in asdict(quality).values())
    if same:
        assert quality.dpq16 is None


def test_photos_beyond_a_number_are_sampled_with_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    row, col = np.divmod(np.arange(900), 30)
    vectors = np.stack([row, col], axis=1) / 30
    vectors += 0.1 * np.random.default_rng(0).normal(size=vectors.shape)
    whole = layout_quality(row, col, vectors)
    monkeypatch.setattr(module, "SAMPLED_ABOVE", 300)
    sampled = layout_quality(row, col, vectors, seed=1)
    assert (whole.n_sampled, sampled.n_sampled) == (900, 300)
    assert sampled == layout_quality(row, col, vectors, seed=1)
    assert sampled.dpq16 == pytest.approx(whole.dpq16, abs=0.02)
    assert sampled.trustworthiness == pytest.approx(whole.trustworthiness, abs=0.02)


def test_cells_equally_far_share_their_mean() -> None:
    # On 2 x 2 the first photo has two neighbours one step away and one diagonally.
    means = means_of_nearest(np.array([1.0, 3.0, 5.0]), np.array([1, 1, 2]))
    np.testing.assert_allclose(means, [2, 2, 3])


def test_a_long_thin_grid_takes_no_more_than_its_photos() -> None:
    # A table of every squared step up to 10^12 would take 8 TB.
    means = means_of_nearest(np.array([1.0, 3.0, 2.0]), np.array([1, 10**12, 4]))
    np.testing.assert_allclose(means, [1, 1.5, 2])


def test_running_means() -> None:
    np.testing.assert_allclose(running_means(np.array([1.0, 3.0, 5.0])), [1, 2, 3])


def test_quality_worked_out_by_hand() -> None:
    # d = 2: the grid wins (2 - 1) / 2 and 0, the ideal (2 - 0.5) / 2 and (2 - 1) / 2; the third
    # neighbour of the grid is farther than the mean, and counts as nothing.
    grid, ideal = np.array([1.0, 2.0, 2.5]), np.array([0.5, 1.0, 2.0])
    expected = 0.5 / (0.75**16 + 0.5**16) ** (1 / 16)
    assert preservation_quality(grid, ideal) == pytest.approx(expected)


def test_the_ideal_itself_has_quality_one() -> None:
    ideal = np.array([0.5, 1.0, 2.0])
    assert preservation_quality(ideal, ideal) == 1.0


@pytest.mark.parametrize("distance", [0.0, 0.3])
def test_undefined_if_all_photos_are_equally_far_from_each_other(distance: float) -> None:
    means = running_means(np.full(7, distance))
    assert preservation_quality(means, means) is None


def test_one_photo_worked_out_by_hand() -> None:
    # Ranks by features are 1, 2, 3, 4; the two nearest places hold ranks 4 and 1.
    distances = np.array([0.1, 0.2, 0.3, 0.4])
    found = excess_and_kept(distances, distances, np.array([2, 3, 4, 1]), k=2)
    assert found == (2.0, 1.0)


def test_ties_count_by_their_share() -> None:
    # All four places are equally far: each counts one half of a neighbour.
    distances = np.array([0.1, 0.2, 0.3, 0.4])
    found = excess_and_kept(distances, distances, np.array([1, 1, 1, 1]), k=2)
    assert found == (0.5 * 1 + 0.5 * 2, 0.5 * 1 + 0.5 * 1)


@pytest.mark.parametrize("k", [1, 5, 8])
def test_trustworthiness_agrees_with_sklearn(k: int) -> None:
    rng = np.random.default_rng(k)
    vectors, points = rng.normal(size=(60, 7)), rng.normal(size=(60, 2))
    excess = 0.0
    for i in range(60):
        distances = np.delete(np.linalg.norm(vectors - vectors[i], axis=1), i)
        steps = np.delete(np.linalg.norm(points - points[i], axis=1), i)
        excess += excess_and_kept(distances, np.sort(distances), steps, k)[0]
    expected = manifold.trustworthiness(vectors, points, n_neighbors=k)
    assert trustworthiness(excess / 60, 60, k) == pytest.approx(expected)


def test_purity_worked_out_by_hand() -> None:
    # aa over bb: of the six pairs the two horizontal ones agree.
    row, col = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert neighbourhood_purity(row, col, ["a", "a", "b", "b"]) == pytest.approx(2 / 6)
    assert random_purity(["a", "a", "b", "b"]) == pytest.approx(2 * 2 / 12)


def test_edges_do_not_meet_round_the_back() -> None:
    row, col = np.zeros(4, dtype=int), np.arange(4)
    assert neighbourhood_purity(row, col, ["a", "b", "b", "a"]) == pytest.approx(1 / 3)


def test_photos_without_label_and_empty_cells_do_not_count() -> None:
    row, col = np.array([0, 0, 0, 2]), np.array([0, 1, 2, 0])
    labels = ["a", "a", None, "a"]
    assert neighbourhood_purity(row, col, labels) == 1.0
    assert random_purity(labels) == 1.0


def test_purity_is_undefined_without_neighbours() -> None:
    assert neighbourhood_purity(np.array([0, 5]), np.array([0, 5]), ["a", "a"]) is None
    assert random_purity(["a", None]) is None


def test_random_purity_is_the_mean_over_random_placements() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], [20, 10, 6])
    row, col = np.divmod(np.arange(36), 6)
    found = [neighbourhood_purity(row, col, rng.permutation(labels).tolist()) for _ in range(300)]
    assert np.mean(found) == pytest.approx(random_purity(labels.tolist()), abs=0.01)


def test_the_trustworthiness_of_points_is_scikit_learns():
    rng = np.random.default_rng(0)
    vectors, points = rng.normal(size=(40, 5)), rng.normal(size=(40, 2))
    measured = points_trustworthiness(points, vectors, np.arange(40))
    assert measured == pytest.approx(manifold.trustworthiness(vectors, points, n_neighbors=8))
    halves = [
        points_trustworthiness(points, vectors, half) for half in np.arange(40).reshape(2, 20)
    ]
    assert np.mean(halves) == pytest.approx(measured)
    assert points_trustworthiness(points, vectors, np.arange(0)) is None
    assert points_trustworthiness(points[:2], vectors[:2], np.arange(2)) is None
