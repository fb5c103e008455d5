import numpy as np

from assets.methods.layout.refinement_kernel import swap_pass


def test_one_swap_keeps_every_array_up_to_date() -> None:
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
    )
    assert swaps == 1
    assert photo_at.tolist() == [[0, 2, 1]]
    assert col.tolist() == [0, 2, 1]
    assert surround.tolist() == [[[0.0], [1.0], [0.0]]]
