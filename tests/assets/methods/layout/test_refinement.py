import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.methods.layout import refinement as module
from assets.methods.layout.assignment.assignment import assign
from assets.methods.layout.grid import GridShape, choose_grid, points_to_cells
from assets.methods.layout.quality import layout_quality
from assets.methods.layout.refinement import RADIUS, Anchors, Refinement, refine


def scattered(n: int, grid: GridShape, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    row, col = np.divmod(rng.permutation(grid.cells)[:n], grid.columns)
    return row, col, rng.normal(size=(n, 6)).astype(np.float32)


def objective_in_plain_loops(row: np.ndarray, col: np.ndarray, vectors: np.ndarray) -> float:
    """Follow the definition: Gaussian weights of 0.7 cells, squared distances of unit spread."""
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    spread = np.square(centred).sum(axis=1).mean()
    total = weights = 0.0
    for i in range(len(row)):
        for j in range(len(row)):
            down, right = abs(row[i] - row[j]), abs(col[i] - col[j])
            if i != j and max(down, right) <= RADIUS:
                weight = np.exp(-(down**2 + right**2) / (2 * 0.7**2))
                weights += weight
                total += weight * np.square(centred[i] - centred[j]).sum() / spread
    return total / weights / 2 if weights else 0.0


def cells(row: np.ndarray, col: np.ndarray) -> list[tuple[int, int]]:
    return sorted(zip(row.tolist(), col.tolist(), strict=True))


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_the_objective_never_rises_and_the_cells_stay_the_same(
    n: int, columns: int, seed: int
) -> None:
    grid = GridShape(columns, -(-n // columns) + 1)
    row, col, vectors = scattered(n, grid, seed)
    refined = refine(row, col, vectors, grid)
    assert cells(refined.row, refined.col) == cells(row, col)
    before = objective_in_plain_loops(row, col, vectors)
    after = objective_in_plain_loops(refined.row, refined.col, vectors)
    assert refined.objective_before == pytest.approx(before, abs=1e-4)
    assert refined.objective_after == pytest.approx(after, abs=1e-4)
    assert after <= before + 1e-5
    moved = np.count_nonzero((refined.row != row) | (refined.col != col))
    assert refined.moved == moved


def test_a_row_of_two_kinds_is_sorted() -> None:
    vectors = np.array([[0.0], [1.0], [0.0], [1.0], [0.0], [1.0]], dtype=np.float32)
    row, col = np.zeros(6, dtype=np.int32), np.arange(6, dtype=np.int32)
    refined = refine(row, col, vectors, GridShape(columns=6, rows=1))
    assert sorted(refined.col[::2].tolist()) in ([0, 1, 2], [3, 4, 5])


def test_scattered_photos_come_to_lie_beside_their_like() -> None:
    rng = np.random.default_rng(0)
    row, col = np.divmod(rng.permutation(225), 15)
    vectors = np.stack(np.divmod(np.arange(225), 15), axis=1).astype(np.float32)
    refined = refine(row, col, vectors, GridShape(15, 15))
    before, after = (
        layout_quality(rows, cols, vectors).dpq16
        for rows, cols in ((row, col), (refined.row, refined.col))
    )
    assert before is not None
    assert after is not None
    assert before < 0.2
    assert after > 0.6


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 17, 65])
def test_any_number_of_photos(n: int) -> None:
    grid = choose_grid(n)
    row, col, vectors = scattered(n, grid, seed=n)
    refined = refine(row, col, vectors, grid)
    assert refined.row.dtype == refined.col.dtype == np.int32
    assert cells(refined.row, refined.col) == cells(row, col)


def test_copies_stay_where_they_are() -> None:
    row, col = np.divmod(np.arange(50), 8)
    refined = refine(row, col, np.full((50, 4), 0.5, dtype=np.float32), choose_grid(50))
    assert (refined.swaps, refined.moved) == (0, 0)
    assert (refined.objective_before, refined.objective_after) == (0.0, 0.0)
    assert refined.row.tolist() == row.tolist()


def test_the_seed_decides_and_the_input_is_left_alone() -> None:
    grid = choose_grid(65)
    row, col, vectors = scattered(65, grid, seed=5)
    kept = row.copy(), col.copy()
    first, again = (refine(row, col, vectors, grid, seed=1) for _ in range(2))
    assert first.row.tobytes() + first.col.tobytes() == again.row.tobytes() + again.col.tobytes()
    assert (row == kept[0]).all()
    assert (col == kept[1]).all()


def test_a_short_reach_keeps_the_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAIRS_A_PASS", 0)
    grid = choose_grid(400)
    row, col, vectors = scattered(400, grid, seed=2)
    refined: Refinement = refine(row, col, vectors, grid)
    assert cells(refined.row, refined.col) == cells(row, col)
    assert refined.objective_after < refined.objective_before


@settings(max_examples=30)
@given(st.integers(2, 60), st.integers(0, 3), st.floats(0, 3), st.integers(0, 2**32 - 1))
def test_known_photos_stay_within_the_bound(n: int, max_move: int, price: float, seed: int) -> None:
    grid = choose_grid(n + 5)
    row, col, vectors = scattered(n, grid, seed)
    known = np.random.default_rng(seed).random(n) < 0.8
    anchors = Anchors(np.stack([row, col], axis=1), known, max_move, price)
    refined = refine(row, col, vectors, grid, anchors=anchors)
    assert cells(refined.row, refined.col) == cells(row, col)
    moves = np.maximum(np.abs(refined.row - row), np.abs(refined.col - col))
    assert moves[known].max(initial=0) <= max_move


def test_what_heat_has_made_worse_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    row, col = np.divmod(np.arange(100), 10)
    vectors = np.stack([row, col], axis=1).astype(np.float32)
    anchors = Anchors(np.stack([row, col], axis=1), np.arange(100) < 95, 4, 0.01)
    # So great a heat scatters all photos within their bound.
    monkeypatch.setattr(module, "_HELD_HEATS", (9.0,))
    refined = refine(row, col, vectors, GridShape(10, 10), anchors=anchors)
    assert refined.moved == 0


def test_anchors_that_are_unknown_change_nothing() -> None:
    grid = choose_grid(65)
    row, col, vectors = scattered(65, grid, seed=5)
    nobody = Anchors(np.zeros((65, 2), dtype=int), np.zeros(65, dtype=bool), 0, 9.0)
    free, anchored = (
        refine(row, col, vectors, grid, anchors=anchors) for anchors in (None, nobody)
    )
    assert free.row.tobytes() + free.col.tobytes() == (
        anchored.row.tobytes() + anchored.col.tobytes()
    )


def test_progress_counts_the_steps() -> None:
    seen: list[tuple[int, int]] = []
    row, col, vectors = scattered(10, choose_grid(10), seed=0)
    refine(row, col, vectors, choose_grid(10), progress=lambda *done: seen.append(done))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_large_collection_does_without_annealing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ANNEALED_PHOTOS", 99)
    monkeypatch.setattr(module, "_SWEPT_OFTEN", 99)
    grid = choose_grid(100)
    row, col, vectors = scattered(100, grid, seed=3)
    refined = refine(row, col, vectors, grid)
    assert cells(refined.row, refined.col) == cells(row, col)
    assert refined.objective_after < refined.objective_before


# FLAS (vc-flas 0.1.7, the best of four radius decays) has 0.868, and the climbs alone 0.826.
def test_random_colours_lie_better_than_by_flas() -> None:
    colours = np.random.default_rng(0).uniform(size=(256, 3)).astype(np.float32)
    grid = choose_grid(256)
    placed = assign(points_to_cells(colours[:, :2], grid), grid)
    refined = refine(placed.row, placed.col, colours, grid)
    dpq16 = layout_quality(refined.row, refined.col, colours).dpq16
    assert dpq16 is not None
    assert dpq16 > 0.875
