import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from assets.methods.layout.refinement_kernel import (
    anneal_pass,
    best_assignment,
    costs_of_cells,
    reassign_groups,
    swap_pass,
)


def test_one_swap_keeps_every_array_up_to_date() -> None:
    photo_at, col, surround, swaps = swapped()
    assert swaps == 1
    assert photo_at.tolist() == [[0, 2, 1]]
    assert col.tolist() == [0, 2, 1]
    assert surround.tolist() == [[[0.0], [1.0], [0.0]]]


# The swap takes photo 1 from column 1 to column 2, and photo 2 from 2 to 1; it gains 1.
@pytest.mark.parametrize(
    ("anchors", "known", "max_move", "price", "swaps"),
    [
        pytest.param([0, 1, 2], [1, 1, 1], 1, 0.4, 1, id="it is worth its price of 0.8"),
        pytest.param([0, 1, 2], [1, 1, 1], 1, 0.6, 0, id="it is not worth its price of 1.2"),
        pytest.param([0, 1, 2], [1, 0, 1], 1, 0.6, 1, id="a new photo pays nothing"),
        pytest.param([0, 1, 2], [1, 1, 1], 0, 0.0, 0, id="it would be too far"),
        pytest.param([0, 0, 2], [0, 1, 0], 1, 0.0, 0, id="photo 1 would be too far"),
        pytest.param([0, 0, 3], [0, 0, 1], 1, 0.0, 0, id="photo 2 would be too far"),
        pytest.param([0, 5, -3], [0, 1, 1], 1, 9.0, 1, id="far ones may come nearer"),
        pytest.param([0, 2, 3], [0, 1, 1], 2, 0.9, 1, id="one leaves its cell and one comes back"),
        pytest.param([0, 3, 4], [0, 1, 1], 4, 9.0, 1, id="those that have left pay no more"),
        pytest.param([0, 2, 1], [0, 1, 1], 0, 9.0, 1, id="both come home"),
    ],
)
def test_known_photos_stay_near_their_anchors(
    anchors: list[int], known: list[int], max_move: int, price: float, swaps: int
) -> None:
    assert swapped(anchors, known, max_move, price)[-1] == swaps


def swapped(
    anchors: list[int] | None = None,
    known: list[int] | None = None,
    max_move: int = 0,
    price: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    # A row of three: 0, 1, 0 with weight 1 between adjacent cells. Exchanging the last two costs
    # less: one unlike pair instead of two.
    photo_at = np.array([[0, 1, 2]], dtype=np.int32)
    row, col = np.zeros(3, dtype=np.int32), np.arange(3, dtype=np.int32)
    features = np.array([[0.0], [1.0], [0.0]], dtype=np.float32)
    kernel = np.array([[0, 0, 0], [1, 0, 1], [0, 0, 0]], dtype=np.float32)
    surround = np.array([[[1.0], [0.0], [1.0]]], dtype=np.float32)
    mass = np.array([[1.0, 2.0, 1.0]], dtype=np.float32)
    order = np.array([2], dtype=np.int64)
    swaps = swap_pass(
        photo_at,
        row,
        col,
        features,
        features[:, 0] ** 2,
        kernel,
        surround,
        mass,
        order,
        reach=1,
        least_gain=1e-6,
        anchors=np.array([[0, one] for one in anchors or [0, 0, 0]], dtype=np.int32),
        known=np.array(known or [0, 0, 0], dtype=np.bool_),
        max_move=max_move,
        price=price,
    )
    return photo_at, col, surround, swaps


@settings(max_examples=50)
@given(st.integers(1, 7), st.integers(0, 2**32 - 1), st.booleans())
def test_the_best_assignment_is_scipys(size: int, seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    costs = rng.integers(0, 3, (size, size)) * 1.0 if ties else rng.normal(size=(size, size))
    taken = best_assignment(costs)
    assert sorted(taken) == list(range(size))
    best = costs[linear_sum_assignment(costs)].sum()
    assert costs[np.arange(size), taken].sum() == pytest.approx(best, abs=1e-9)


def test_where_all_are_alike_the_best_assignment_moves_nobody() -> None:
    assert best_assignment(np.zeros((4, 4))).tolist() == [0, 1, 2, 3]


# Two photos, 1 and -1, stand where the field asks for the other; exchanged they gain 8.
@pytest.mark.parametrize(("least_gain", "moved"), [(7.9, 2), (8.1, 0)])
def test_a_group_is_assigned_to_what_its_cells_ask_for(least_gain: float, moved: int) -> None:
    photo_at = np.array([[0, 1]], dtype=np.int32)
    row, col = np.zeros(2, dtype=np.int32), np.arange(2, dtype=np.int32)
    made = reassign_groups(
        photo_at,
        row,
        col,
        features=np.array([[1.0], [-1.0]], dtype=np.float32),
        field=np.array([[[-1.0], [1.0]]], dtype=np.float32),
        cells=np.arange(2),
        starts=np.array([0, 2]),
        least_gain=least_gain,
    )
    assert made == moved
    assert col.tolist() == ([1, 0] if moved else [0, 1])
    assert photo_at.tolist() == [col.tolist()]


def annealed(tolerated: float, known: int = 0) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Offer photo 2 a swap in a row of three: 0, 1, 0 with weight 1 between adjacent cells."""
    values = np.array([0.0, 1.0, 0.0], dtype=np.float32)
    distances = np.abs(np.subtract.outer(values, values))
    photo_at = np.array([[0, 1, 2]], dtype=np.int32)
    row, col = np.zeros(3, dtype=np.int32), np.arange(3, dtype=np.int32)
    kernel = np.array([[0, 0, 0], [1, 0, 1], [0, 0, 0]], dtype=np.float32)
    share = np.ones((1, 3), dtype=np.float32)
    costs = costs_of_cells(row, col, distances, kernel, share)
    anneal_pass(
        photo_at,
        row,
        col,
        distances,
        costs,
        kernel,
        share,
        order=np.array([2]),
        reach=1,
        tolerated=np.full(7, tolerated, dtype=np.float32),
        anchors=np.stack([row, col], axis=1),
        known=np.full(3, known, dtype=np.bool_),
        max_move=0,
        price=0.0,
    )
    expected = costs_of_cells(row, col, distances, kernel, share)
    return photo_at[0].tolist(), costs, expected


@pytest.mark.parametrize(
    ("tolerated", "known", "order"),
    [
        pytest.param(0.0, 0, [0, 2, 1], id="the swap saves 1"),
        pytest.param(-1.5, 0, [0, 1, 2], id="it saves too little"),
        pytest.param(0.0, 1, [0, 1, 2], id="known photos may not move"),
    ],
)
def test_an_annealed_swap_keeps_the_costs_up_to_date(
    tolerated: float, known: int, order: list[int]
) -> None:
    photos, costs, expected = annealed(tolerated, known)
    assert photos == order
    np.testing.assert_array_equal(costs, expected)


def test_the_costs_are_sums_of_weighted_distances() -> None:
    photos, costs, _ = annealed(-9.0)
    assert photos == [0, 1, 2]
    assert costs[0].tolist() == [[1.0, 0.0, 1.0], [0.0, 2.0, 0.0], [1.0, 0.0, 1.0]]
