import numpy as np
import pytest

from assets.methods.layout.refinement_kernel import swap_pass


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
        pytest.param([0, 5, -3], [0, 1, 1], 1, 0.0, 1, id="far ones may come nearer"),
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
