from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from assets.methods.attribution.levels import FEWEST_WINDOWS, Level, levels_of
from assets.methods.attribution.windows import Windows, place_windows


@st.composite
def grids(draw):
    """Windows on an image, and their stride."""
    box = draw(st.integers(1, 24))
    stride = draw(st.integers(1, box))
    height, width = draw(st.integers(1, 80)), draw(st.integers(1, 80))
    return place_windows(height, width, box, stride), stride


def random_scores(windows: Windows) -> np.ndarray:
    return np.random.default_rng(0).random(windows.shape, np.float32)


@pytest.mark.parametrize(
    ("size", "box", "stride", "steps", "counts"),
    [
        # 55 x 55 windows: 8 x 8, 15 x 15, 28 x 28 of them.
        ((224, 224), 64, 3, [8, 4, 2, 1], [64, 225, 784, 3025]),
        # 13 x 19, of which every other one: windows that are farther apart do not overlap by half.
        ((256, 341), 64, 16, [2, 1], [70, 247]),
        # 5 x 5 windows take no time.
        ((128, 128), 64, 16, [1], [25]),
        ((40, 40), 64, 3, [1], [1]),
    ],
)
def test_the_levels_of_known_grids(size, box, stride, steps, counts):
    height, width = size
    levels = levels_of(place_windows(height, width, box, stride), stride)
    assert [level.step for level in levels] == steps
    assert [len(level.numbers) for level in levels] == counts


@given(grids())
def test_each_level_has_the_windows_of_those_before_it_and_the_last_has_all(grid):
    windows, stride = grid
    levels = levels_of(windows, stride)
    numbers = [set(level.numbers.tolist()) for level in levels]
    assert all(coarse < fine for coarse, fine in pairwise(numbers))
    assert numbers[-1] == set(range(windows.count))
    assert levels[-1].numbers.tolist() == list(range(windows.count))
    assert len(levels) == 1 or windows.count >= FEWEST_WINDOWS
    for level in levels:
        # The corners of the grid, so that nothing is guessed beyond what is known.
        assert {0, windows.count - 1} <= set(level.numbers.tolist())
        assert level.step == 1 or 2 * level.step * stride <= windows.box


@given(grids(), st.sampled_from([1, 2, 4, 8]))
def test_scores_of_a_level_stay_and_the_others_lie_between_them(grid, step):
    windows, _ = grid
    level, scores = Level(windows, step), random_scores(windows)
    filled, own = level.fill(scores), level.only(scores)
    is_own = np.isfinite(own)
    assert np.flatnonzero(is_own).tolist() == level.numbers.tolist()
    assert np.array_equal(filled[is_own], scores[is_own])
    assert own[is_own].min() <= filled.min() <= filled.max() <= own[is_own].max()
    # What is not of the level is not read.
    assert np.array_equal(level.fill(own), filled)
    if step == 1:
        assert np.array_equal(filled, scores)


@given(grids(), st.sampled_from([2, 4, 8]), st.floats(-1, 1), st.floats(-1, 1))
def test_scores_that_change_evenly_over_the_image_are_known_from_few(grid, step, down, across):
    windows, _ = grid
    y, x = np.meshgrid(windows.row_starts, windows.col_starts, indexing="ij")
    scores = (0.5 + down * y / 400 + across * x / 400 + down * across * x * y / 1e5).astype(
        np.float32
    )
    np.testing.assert_allclose(Level(windows, step).fill(scores), scores, atol=1e-6)


@given(grids(), st.sampled_from([2, 4, 8]))
def test_scipy_interpolates_to_the_same(grid, step):
    windows, _ = grid
    level, scores = Level(windows, step), random_scores(windows)
    if min(len(level.rows), len(level.columns)) < 2:
        return
    places = [
        np.asarray(starts)[known].astype(float)
        for starts, known in (
            (windows.row_starts, level.rows),
            (windows.col_starts, level.columns),
        )
    ]
    known = scores[np.ix_(level.rows, level.columns)].astype(float)
    everywhere = np.meshgrid(windows.row_starts, windows.col_starts, indexing="ij")
    expected = RegularGridInterpolator(places, known)(np.stack(everywhere, axis=-1).astype(float))
    np.testing.assert_allclose(level.fill(scores), expected, atol=1e-6)
