import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.methods.common.errors import UserError
from assets.methods.layout.grid import NEAR_SQUARE, GridShape, choose_grid, points_to_cells


@pytest.mark.parametrize(
    ("n", "grid"),
    [
        (1, GridShape(1, 1)),
        (2, GridShape(2, 1)),
        (3, GridShape(2, 2)),
        (5, GridShape(3, 2)),
        (10, GridShape(4, 3)),
        (17, GridShape(5, 4)),
        (65, GridShape(9, 8)),
        (1000, GridShape(36, 28)),
        (1024, GridShape(32, 32)),
    ],
)
def test_default_grid_is_near_square_with_few_surplus_cells(n: int, grid: GridShape) -> None:
    assert choose_grid(n) == grid


@given(st.integers(1, 200_000))
def test_default_grid_holds_every_photo_and_wastes_less_than_a_row(n: int) -> None:
    grid = choose_grid(n)
    assert n <= grid.cells < n + grid.columns
    assert grid.rows <= grid.columns
    assert grid.columns <= max(NEAR_SQUARE * grid.rows, grid.rows + 1)


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ("40x25", GridShape(40, 25)),
        (" 25 X 41 ", GridShape(25, 41)),
        ("16:9", GridShape(42, 24)),
        ("1.5", GridShape(39, 26)),
        ("0.25", GridShape(16, 63)),
        ("1:100000", GridShape(1, 1000)),
        ("100000", GridShape(1000, 1)),
    ],
)
def test_stated_shapes_of_a_thousand_photos(shape: str, grid: GridShape) -> None:
    assert choose_grid(1000, shape) == grid


@pytest.mark.parametrize(
    "shape", ["", "square", "0x5", "3x3", "-4x4", "0:1", "1:0", "0", "nan", "inf", "4x", "1:2:3"]
)
def test_unusable_shapes_are_the_users_error_in_one_sentence(shape: str) -> None:
    with pytest.raises(UserError) as raised:
        choose_grid(10, shape)
    message = str(raised.value)
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize("shape", ["16385x1", "60000x60000", "1001x1000"])
def test_a_grid_beyond_all_use_is_refused(shape: str) -> None:
    with pytest.raises(UserError, match="too large"):
        choose_grid(7, shape)


def test_points_fill_the_grid_with_y_downwards() -> None:
    points = np.array([[-1.0, 5.0], [0.0, 6.0], [3.0, 9.0]])
    cells = points_to_cells(points, GridShape(columns=9, rows=5))
    np.testing.assert_allclose(cells, [[0, 0], [2, 1], [8, 4]])


def test_an_axis_without_extent_goes_to_the_middle() -> None:
    points = np.array([[7.0, 1.0], [7.0, 2.0]])
    cells = points_to_cells(points, GridShape(columns=4, rows=2))
    np.testing.assert_allclose(cells, [[1.5, 0], [1.5, 1]])


@pytest.mark.parametrize("points", [np.zeros((3, 3)), np.zeros(4), np.array([[0.0, np.nan]])])
def test_points_that_are_none_are_refused(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match="finite points"):
        points_to_cells(points, GridShape(2, 2))
