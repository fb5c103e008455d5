import numpy as np
import pytest

from assets.methods.layout.grid import GridShape
from assets.methods.layout.turning import Symmetry, best_symmetry, turned_points


@pytest.mark.parametrize("mirrored", [False, True])
def test_points_are_turned_and_mirrored_back(mirrored):
    rng = np.random.default_rng(0)
    last = rng.normal(size=(20, 2))
    angle = 1.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (last * ([-1, 1] if mirrored else [1, 1])) @ turn + [3, 5]
    known = np.arange(20) < 12
    back = turned_points(points, np.where(known[:, None], 10 * last, 99), known)
    np.testing.assert_allclose(back - back.mean(axis=0), last - last.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(back.mean(axis=0), points.mean(axis=0))


def test_two_known_points_turn_nothing():
    points = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 5.0]])
    assert turned_points(points, points[::-1], np.array([True, True, False])) is points


@pytest.mark.parametrize("columns", [3, 4])
def test_a_grid_is_turned_to_fit(columns):
    grid = GridShape(columns, 3)
    cells = np.stack(np.divmod(np.arange(grid.cells), columns), axis=1)
    known = np.arange(grid.cells) % 2 == 0
    for transposed in (False, True) if columns == 3 else (False,):
        for rows_mirrored in (False, True):
            for columns_mirrored in (False, True):
                way = Symmetry(transposed, rows_mirrored, columns_mirrored)
                onto = way.of(cells, grid)
                assert sorted(map(tuple, onto.tolist())) == sorted(map(tuple, cells.tolist()))
                assert best_symmetry(cells, grid, onto, known) == way
