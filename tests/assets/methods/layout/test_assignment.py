import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from assets.methods.layout.assignment import CERTIFIED_GAP, LAPJV_CELLS, Assignment, assign
from assets.methods.layout.grid import GridShape, choose_grid, points_to_cells


def clustered(n: int, grid: GridShape, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, 20, size=(12, 2))
    return points_to_cells(centres[rng.integers(0, 12, n)] + rng.normal(size=(n, 2)), grid)


def least_cost(points: np.ndarray, grid: GridShape) -> float:
    row, col = np.divmod(np.arange(grid.cells), grid.columns)
    costs = np.square(points[:, :1] - col) + np.square(points[:, 1:] - row)
    return float(costs[linear_sum_assignment(costs)].sum())


def assert_one_photo_a_cell(result: Assignment, n: int, grid: GridShape) -> None:
    assert result.row.dtype == result.col.dtype == np.int32
    assert result.row.shape == result.col.shape == (n,)
    assert ((result.row >= 0) & (result.row < grid.rows)).all()
    assert ((result.col >= 0) & (result.col < grid.columns)).all()
    assert len(set(zip(result.row.tolist(), result.col.tolist(), strict=True))) == n


def test_four_points_on_two_by_two_go_to_their_corners() -> None:
    points = np.array([[0.9, 0.9], [0.1, 0.8], [0.2, 0.1], [0.9, 0.2]])
    result = assign(points, GridShape(2, 2))
    assert result.row.tolist() == [1, 1, 0, 0]
    assert result.col.tolist() == [1, 0, 0, 1]
    assert result.cost == pytest.approx(0.02 + 0.05 + 0.05 + 0.05)
    assert result.certified


def test_in_a_single_row_the_order_of_the_points_is_kept() -> None:
    points = np.array([[2.9, 0.0], [0.0, 0.0], [2.8, 0.0], [3.0, 0.0]])
    result = assign(points, GridShape(columns=4, rows=1))
    assert result.col.tolist() == [2, 0, 1, 3]
    assert result.cost == pytest.approx(0.9**2 + 1.8**2)


def test_surplus_cells_stay_empty_where_no_point_wants_them() -> None:
    points = np.array([[0.0, 0.0], [4.0, 0.0], [3.6, 0.0]])
    result = assign(points, GridShape(columns=5, rows=1))
    assert result.col.tolist() == [0, 4, 3]


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 2**32 - 1), st.booleans())
def test_the_cost_is_the_least_and_the_bound_proves_it(
    n: int, columns: int, seed: int, whole_numbers: bool
) -> None:
    rng = np.random.default_rng(seed)
    grid = GridShape(columns, -(-n // columns) + int(rng.integers(0, 3)))
    points = rng.uniform(0, columns, size=(n, 2))
    if whole_numbers:
        points = np.round(points)
    result = assign(points, grid)
    assert_one_photo_a_cell(result, n, grid)
    assert result.cost == pytest.approx(least_cost(points, grid), abs=1e-9)
    assert result.lower_bound is not None
    assert result.lower_bound <= result.cost
    assert result.certified


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 17, 65])
@pytest.mark.parametrize("shape", ["auto", "100000", "1:100000"])
def test_any_number_of_photos(n: int, shape: str) -> None:
    grid = choose_grid(n, shape)
    result = assign(clustered(n, grid), grid)
    assert_one_photo_a_cell(result, n, grid)
    assert result.certified


def test_copies_surround_their_point() -> None:
    grid = choose_grid(50)
    result = assign(points_to_cells(np.ones((50, 2)), grid), grid)
    assert_one_photo_a_cell(result, 50, grid)
    assert result.certified


def test_no_cost_leaves_no_gap() -> None:
    row, col = np.divmod(np.arange(6), 3)
    result = assign(np.stack([col, row], axis=1).astype(float), GridShape(3, 2))
    assert (result.cost, result.lower_bound, result.gap, result.certified) == (0.0, 0.0, 0.0, True)


def test_points_on_their_cells_are_certified_though_rounding_costs_something() -> None:
    grid = GridShape(10, 7)
    row, col = np.divmod(np.arange(70), 10)
    points = np.stack([col, row], axis=1) * (1 + 1e-15)
    result = assign(points, grid)
    assert result.gap == 0
    assert result.certified


@pytest.mark.parametrize(
    ("n", "grid"),
    [
        (2_100, GridShape(46, 46)),
        (2_116, GridShape(46, 46)),
        (4_096, GridShape(64, 64)),
        (10_000, GridShape(100, 100)),
    ],
)
def test_beyond_lapjv_the_result_is_proven_by_shufflesnap(n: int, grid: GridShape) -> None:
    assert grid.cells > LAPJV_CELLS
    result = assign(clustered(n, grid), grid)
    assert_one_photo_a_cell(result, n, grid)
    assert result.solver == "shufflesnap exact"
    assert result.gap is not None
    assert result.gap <= CERTIFIED_GAP
    assert result.certified


def test_the_two_exact_solvers_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = GridShape(30, 30)
    points = clustered(850, grid)
    dense = assign(points, grid)
    monkeypatch.setattr("assets.methods.layout.assignment.LAPJV_CELLS", 0)
    assert assign(points, grid).cost == pytest.approx(dense.cost, rel=1e-9)


def test_large_collections_have_a_bound_only_if_asked() -> None:
    grid = choose_grid(10_500)
    points = clustered(10_500, grid)
    plain = assign(points, grid)
    assert (plain.solver, plain.certified) == ("shufflesnap", False)
    assert plain.lower_bound is None
    assert plain.gap is None
    assert_one_photo_a_cell(plain, 10_500, grid)
    cut_short = assign(points, grid, certify=True, time_limit_seconds=0)
    assert cut_short.gap is not None
    assert cut_short.lower_bound is not None
    assert cut_short.lower_bound <= cut_short.cost <= plain.cost
    assert cut_short.certified == (cut_short.gap <= CERTIFIED_GAP)


def test_a_long_row_of_lapjv_does_not_take_forever() -> None:
    grid = GridShape(columns=1_200, rows=1)
    walk = np.random.default_rng(0).normal(size=(1_100, 2)).cumsum(axis=0)
    result = assign(points_to_cells(walk, grid), grid)
    assert result.certified
    assert result.seconds < 20


@pytest.mark.parametrize("n", [0, 5])
def test_more_photos_than_cells_or_none_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        assign(np.zeros((n, 2)), GridShape(2, 2))


def test_a_single_cell_is_certified_wherever_its_point_lies() -> None:
    result = assign(np.array([[0.6, 0.8]]), GridShape(1, 1))
    assert result.cost == pytest.approx(1.0)
    assert result.gap == 0.0


def test_progress_ends_with_all_photos() -> None:
    seen: list[tuple[int, int]] = []
    assign(np.zeros((3, 2)), GridShape(2, 2), progress=lambda *done: seen.append(done))
    assert seen == [(0, 3), (3, 3)]


def digest_of_assignments() -> str:
    digest = hashlib.sha256()
    for side, n in ((30, 880), (50, 2_480), (104, 10_500)):
        grid = GridShape(side, side)
        result = assign(clustered(n, grid), grid)
        digest.update(result.row.tobytes() + result.col.tobytes())
    return digest.hexdigest()


@pytest.mark.process
def test_the_number_of_threads_changes_nothing() -> None:
    script = f"import runpy; print(runpy.run_path({__file__!r})['digest_of_assignments']())"
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": os.getcwd()},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(digests) == 1
