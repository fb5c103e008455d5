import numpy as np
import pytest

from assets.methods.layout.distance_preservation import (
    means_of_nearest,
    preservation_quality,
    running_means,
)


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
    assert preservation_quality(grid, ideal, 2.0) == pytest.approx(expected)


def test_the_ideal_itself_has_quality_one() -> None:
    ideal = np.array([0.5, 1.0, 2.0])
    assert preservation_quality(ideal, ideal, 2.0) == 1.0


@pytest.mark.parametrize("distance", [0.0, 0.3])
def test_undefined_if_all_photos_are_equally_far_from_each_other(distance: float) -> None:
    means = running_means(np.full(7, distance))
    assert preservation_quality(means, means, float(means[-1])) is None
