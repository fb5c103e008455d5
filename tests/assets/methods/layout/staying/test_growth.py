import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.methods.common.errors import UserError
from assets.methods.layout.grid import GridShape
from assets.methods.layout.staying.growth import changed_grid

NOWHERE = np.zeros((0, 2), dtype=np.int64)


@pytest.mark.parametrize(
    ("before", "n", "shape", "now"),
    [
        ((30, 30), 900, "auto", (30, 30)),
        ((30, 30), 901, "auto", (31, 30)),
        ((31, 30), 931, "auto", (31, 31)),
        ((30, 29), 957, "auto", (31, 31)),
        # A wide grid becomes squarer as it grows.
        ((36, 28), 1_009, "auto", (36, 29)),
        ((1, 1), 2, "auto", (2, 1)),
        ((16, 9), 145, "16:9", (17, 9)),
        ((17, 9), 154, "16:9", (17, 10)),
    ],
)
def test_lines_are_added_below_and_on_the_right(before, n, shape, now):
    changed = changed_grid(GridShape(*before), NOWHERE, n, shape)
    assert (changed.grid.columns, changed.grid.rows) == now
    assert changed.rows.tolist() == list(range(before[1]))
    assert changed.columns.tolist() == list(range(before[0]))


def test_a_stated_grid_stays_and_may_be_too_small():
    assert changed_grid(GridShape(4, 3), NOWHERE, 12, "4x3").grid == GridShape(4, 3)
    assert changed_grid(GridShape(4, 3), NOWHERE, 1, "4x3").grid == GridShape(4, 3)
    with pytest.raises(UserError, match="too few for 13 photos"):
        changed_grid(GridShape(4, 3), NOWHERE, 13, "4x3")


def test_a_grid_that_became_too_empty_loses_its_emptiest_lines():
    # 6 x 6 cells of which rows 1 and 4 and column 0 have lost their photos.
    cells = np.array([(row, col) for row in (0, 2, 3, 5) for col in range(1, 6)])
    changed = changed_grid(GridShape(6, 6), cells, 20)
    assert changed.grid == GridShape(5, 4)
    moved = changed.cells(cells)
    assert len({tuple(cell) for cell in moved.tolist()}) == 20
    assert moved[0].tolist() == [0, 0]
    assert moved[-1].tolist() == [3, 4]


def test_a_few_empty_cells_change_nothing():
    cells = np.array([(row, col) for row in range(6) for col in range(4)])
    assert changed_grid(GridShape(6, 6), cells, 24).grid == GridShape(6, 6)


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 200),
    st.sampled_from(["auto", "16:9", "0.5"]),
    st.integers(0, 2**32 - 1),
)
def test_there_is_always_room_and_old_cells_are_inside(columns, rows, n, shape, seed):
    before = GridShape(columns, rows)
    places = np.random.default_rng(seed).permutation(before.cells)[:n]
    cells = np.stack(np.divmod(places, columns), axis=1)
    changed = changed_grid(before, cells, n, shape)
    assert changed.grid.cells >= n
    inside = changed.cells(cells)
    assert (inside >= 0).all()
    assert (inside < [changed.grid.rows, changed.grid.columns]).all()
