import numpy as np
import pytest

from assets.methods.layout.neighbourhood_purity import neighbourhood_purity, random_purity


def test_two_by_two_worked_out_by_hand() -> None:
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


def test_undefined_without_neighbours() -> None:
    assert neighbourhood_purity(np.array([0, 5]), np.array([0, 5]), ["a", "a"]) is None
    assert random_purity(["a", None]) is None


def test_random_purity_is_the_mean_over_random_placements() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], [20, 10, 6])
    row, col = np.divmod(np.arange(36), 6)
    found = [neighbourhood_purity(row, col, rng.permutation(labels).tolist()) for _ in range(300)]
    assert np.mean(found) == pytest.approx(random_purity(labels.tolist()), abs=0.01)
