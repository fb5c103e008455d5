import numpy as np
import pytest

from assets.methods.common.errors import UserError
from assets.methods.layout.layout import LayoutSettings, lay_out


@pytest.fixture
def square():
    """Four photos that lie where the cells of a 2 x 2 grid are, in reading order."""
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    return points, np.column_stack([points, np.ones(4)]).astype(np.float32)


def test_points_that_lie_on_the_cells_stay_there(square):
    layout = lay_out(*square)
    assert (layout.grid.columns, layout.grid.rows) == (2, 2)
    np.testing.assert_array_equal(layout.col, [0, 1, 0, 1])
    np.testing.assert_array_equal(layout.row, [0, 0, 1, 1])
    assert layout.assignment.cost == 0
    np.testing.assert_array_equal(layout.displacement(), 0)


def test_without_refinement_the_cells_are_the_solvers(square):
    rng = np.random.default_rng(0)
    points, vectors = rng.normal(size=(30, 2)), rng.normal(size=(30, 5)).astype(np.float32)
    layout = lay_out(points, vectors, settings=LayoutSettings(refine=False))
    assert layout.refinement is None
    np.testing.assert_array_equal(layout.row, layout.assignment.row)
    np.testing.assert_array_equal(layout.col, layout.assignment.col)


def test_the_figures_of_the_solver_are_those_before_the_refinement():
    rng = np.random.default_rng(0)
    points, vectors = rng.normal(size=(60, 2)), rng.normal(size=(60, 5)).astype(np.float32)
    refined = lay_out(points, vectors)
    assert refined.refinement.swaps > 0
    moved = np.square(refined.displacement()).sum()
    assert moved >= refined.assignment.cost
    plain = lay_out(points, vectors, settings=LayoutSettings(refine=False))
    assert plain.assignment.cost == refined.assignment.cost


def test_each_step_has_a_listener_of_its_own(square):
    units = []
    points, vectors = square
    lay_out(points, vectors, progress=lambda unit: units.append(unit) or (lambda done, total: None))
    assert units == ["photos assigned", "passes"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"shape": "wide"}, "wide"), ({"seed": -1}, "seed"), ({"certify_seconds": 0}, "time limit")],
)
def test_settings_out_of_range_are_refused(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        LayoutSettings(**settings)
