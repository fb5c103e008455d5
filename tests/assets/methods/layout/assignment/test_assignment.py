import hashlib
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from threadpoolctl import threadpool_limits

from assets.methods.common.errors import UserError
from assets.methods.layout.assignment import assignment
from assets.methods.layout.assignment.assignment import (
    CERTIFIED_GAP,
    LAPJV_CELLS,
    SOFT_GAP,
    Assignment,
    assign,
    promised_gap,
)
from assets.methods.layout.assignment.dense_assignment import MOST_CELLS, Cost
from assets.methods.layout.grid import GridShape, choose_grid, points_to_cells


def clustered(n: int, grid: GridShape, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, 20, size=(12, 2))
    return points_to_cells(centres[rng.integers(0, 12, n)] + rng.normal(size=(n, 2)), grid)


def uniform(n: int, grid: GridShape) -> np.ndarray:
    return points_to_cells(np.random.default_rng(0).uniform(size=(n, 2)), grid)


def uniform_in_some_grid(
    n: int, columns: int, seed: int, whole_numbers: bool
) -> tuple[np.ndarray, GridShape]:
    """Return points, and a grid of so many columns that has room for them, and often for more."""
    rng = np.random.default_rng(seed)
    grid = GridShape(columns, -(-n // columns) + int(rng.integers(0, 3)))
    points = rng.uniform(0, columns, size=(n, 2))
    return np.round(points) if whole_numbers else points, grid


def least_cost(points: np.ndarray, grid: GridShape, cost: Cost = "squared") -> float:
    row, col = np.divmod(np.arange(grid.cells), grid.columns)
    costs = np.square(points[:, :1] - col) + np.square(points[:, 1:] - row)
    if cost == "distance":
        costs = np.sqrt(costs)
    return float(costs[linear_sum_assignment(costs)].sum())


def assert_one_photo_a_cell(result: Assignment, n: int, grid: GridShape) -> None:
    assert result.row.dtype == result.col.dtype == np.int32
    assert result.row.shape == result.col.shape == (n,)
    assert ((result.row >= 0) & (result.row < grid.rows)).all()
    assert ((result.col >= 0) & (result.col < grid.columns)).all()
    assert len(set(zip(result.row.tolist(), result.col.tolist(), strict=True))) == n


def bound_and_gap(result: Assignment) -> tuple[float, float]:
    assert result.lower_bound is not None
    assert result.gap is not None
    return result.lower_bound, result.gap


EXACT = ("jonker-volgenant", "hungarian", "optimal-transport")
COSTS: tuple[Cost, ...] = ("squared", "distance")


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
    points, grid = uniform_in_some_grid(n, columns, seed, whole_numbers)
    result = assign(points, grid)
    assert_one_photo_a_cell(result, n, grid)
    assert result.cost == pytest.approx(least_cost(points, grid), abs=1e-9)
    assert result.lower_bound is not None
    assert result.lower_bound <= result.cost
    assert result.certified


@settings(max_examples=30)
@given(
    st.sampled_from(EXACT),
    st.sampled_from(COSTS),
    st.integers(1, 40),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_every_exact_solver_finds_the_least_cost_and_proves_it(
    solver, cost, n, columns, seed, whole_numbers
) -> None:
    points, grid = uniform_in_some_grid(n, columns, seed, whole_numbers)
    result = assign(points, grid, solver=solver, cost=cost)
    assert_one_photo_a_cell(result, n, grid)
    assert result.cost == pytest.approx(least_cost(points, grid, cost), rel=1e-9, abs=1e-9)
    assert result.cost_kind == cost
    assert result.certified


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("n", [841, 900])
def test_the_exact_solvers_agree_on_photos_of_a_usual_number(cost, n) -> None:
    grid = GridShape(30, 30)
    points = clustered(n, grid)
    found = [assign(points, grid, solver=solver, cost=cost) for solver in EXACT]
    assert [one.solver for one in found] == ["lapjv", "scipy", "network simplex"]
    assert all(one.certified for one in found)
    costs = [one.cost for one in found]
    assert costs == pytest.approx([costs[0]] * 3, rel=1e-9)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("n", [2, 60, 841])
@pytest.mark.parametrize("spread", [clustered, uniform])
def test_sinkhorn_comes_near_the_least_cost_and_knows_how_near(cost, n, spread) -> None:
    grid = choose_grid(n) if n < 800 else GridShape(30, 30)
    points = spread(n, grid)
    result = assign(points, grid, solver="sinkhorn", cost=cost)
    assert_one_photo_a_cell(result, n, grid)
    least = least_cost(points, grid, cost)
    bound, gap = bound_and_gap(result)
    assert bound <= least + 1e-9
    assert least - 1e-9 <= result.cost <= 1.01 * least
    assert gap <= promised_gap("sinkhorn", cost, n, result.cost)


def test_the_sum_of_distances_lets_one_photo_go_far_and_the_squares_move_all() -> None:
    # Three photos on their cells, and a fourth that comes in at the left.
    points = np.array([[0.0, 0.1], [0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    grid = GridShape(columns=4, rows=1)
    squares, distances = (assign(points, grid, cost=cost) for cost in COSTS)
    assert squares.col.max() == distances.col.max() == 3
    assert sorted(squares.col - points[:, 0]) == [0, 1, 1, 1]
    # A step of three costs as much as three of one, less what is saved by the shorter way.
    assert sorted(distances.col - points[:, 0]) == [0, 0, 0, 3]
    assert squares.cost == pytest.approx(3.01)
    assert distances.cost == pytest.approx(np.hypot(3, 0.1))


@pytest.fixture
def few_cells(monkeypatch) -> None:
    """Treat a grid of 900 cells as a large one."""
    monkeypatch.setattr("assets.methods.layout.assignment.assignment.LAPJV_CELLS", 200)
    monkeypatch.setattr("assets.methods.layout.assignment.sparse_transport.DENSE_CELLS", 200)


@pytest.mark.parametrize(
    ("solver", "cost"), [("auto", "distance"), ("optimal-transport", "squared")]
)
@pytest.mark.parametrize("n", [841, 900])
def test_large_grids_are_solved_without_a_matrix(few_cells, solver, cost, n) -> None:
    grid = GridShape(30, 30)
    points = clustered(n, grid)
    result = assign(points, grid, solver=solver, cost=cost)
    assert_one_photo_a_cell(result, n, grid)
    assert result.solver == "network simplex"
    assert bound_and_gap(result)[1] <= 1e-9
    assert result.cost == pytest.approx(least_cost(points, grid, cost), rel=1e-9)


def test_of_distances_there_is_a_bound_when_the_time_is_over(few_cells, monkeypatch) -> None:
    grid = GridShape(30, 30)
    points = clustered(900, grid)
    cut_short = assign(points, grid, cost="distance", time_limit_seconds=0)
    assert_one_photo_a_cell(cut_short, 900, grid)
    assert not cut_short.certified
    assert 0 < bound_and_gap(cut_short)[1] <= SOFT_GAP
    monkeypatch.setattr("assets.methods.layout.assignment.sparse_transport.MOST_PHOTOS", 800)
    monkeypatch.setattr("assets.methods.layout.assignment.assignment.MOST_PHOTOS", 800)
    too_many = assign(points, grid, cost="distance")
    assert_one_photo_a_cell(too_many, 900, grid)
    assert (too_many.solver, too_many.cost_kind) == ("shufflesnap", "distance")
    bound, gap = bound_and_gap(too_many)
    assert bound <= cut_short.cost <= too_many.cost
    assert 0 < gap <= SOFT_GAP


@pytest.mark.parametrize("solver", ["jonker-volgenant", "hungarian", "sinkhorn"])
def test_a_matrix_that_is_too_large_is_refused_in_a_sentence(monkeypatch, solver) -> None:
    grid = GridShape(MOST_CELLS + 1, 1)
    with pytest.raises(UserError, match=f"{solver} needs the cost.*up to 10,000 cells.*auto"):
        assign(np.zeros((1, 2)), grid, solver=solver)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=10**8))
    with pytest.raises(UserError, match=r"needs 0\.2 GB .* 2,304 cells, and 0\.1 GB are free"):
        assign(np.zeros((1, 2)), GridShape(48, 48), solver=solver)


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
    monkeypatch.setattr("assets.methods.layout.assignment.assignment.LAPJV_CELLS", 0)
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
    cases = (
        (30, 880, "auto", "squared"),
        (50, 2_480, "auto", "squared"),
        (52, 2_650, "auto", "squared"),
        (50, 2_480, "auto", "distance"),
        (30, 880, "sinkhorn", "squared"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assignment, "EXACT_PHOTOS", 2_600)
        for side, n, solver, cost in cases:
            grid = GridShape(side, side)
            result = assign(clustered(n, grid), grid, solver=solver, cost=cost)
            assert (result.gap is None) == (n > assignment.EXACT_PHOTOS)
            digest.update(result.row.tobytes() + result.col.tobytes())
    return digest.hexdigest()


@pytest.mark.process
def test_the_number_of_threads_changes_nothing() -> None:
    # How many threads there can be, the libraries ask once in a process.
    script = f"import runpy; print(runpy.run_path({__file__!r})['digest_of_assignments']())"
    alone = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    with threadpool_limits(limits=2):
        assert digest_of_assignments() == alone.strip()
