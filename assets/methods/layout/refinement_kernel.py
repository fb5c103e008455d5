"""The inner loop of the refinement, compiled; import it inside functions only."""

import numpy as np
from numba import njit  # noqa: TID253
from numpy.typing import NDArray


# Reordering of sums lets the loops over features use vector instructions; nothing is NaN here.
@njit(cache=True, fastmath={"reassoc", "contract"})
def swap_pass(
    photo_at: NDArray[np.int32],
    row: NDArray[np.int32],
    col: NDArray[np.int32],
    features: NDArray[np.float32],
    squared_length: NDArray[np.float32],
    kernel: NDArray[np.float32],
    surround: NDArray[np.float32],
    mass: NDArray[np.float32],
    order: NDArray[np.int64],
    reach: int,
    least_gain: float,
    anchors: NDArray[np.int32],
    known: NDArray[np.bool_],
    max_move: int,
    price: float,
) -> int:
    """Offer every photo the places of those within ``reach`` cells; return the number of swaps.

    Photo i holds cell (row[i], col[i]), where ``photo_at`` (rows, columns) has i, or -1 if the cell
    is empty; ``features`` is (n, d) and ``squared_length`` (n,) the |x|^2 of each. With N the cells
    around a cell and w their weights in the ``kernel`` (2r + 1, 2r + 1), ``surround`` (rows,
    columns, d) is the sum of w x over N and ``mass`` (rows, columns) the sum of w. Swapping i in
    cell a with j in cell b changes the objective, the sum of w |x_i - x_j|^2 over pairs, by

        -2 (x_j - x_i) . (surround_a - surround_b) + (|x_j|^2 - |x_i|^2) (mass_a - mass_b)
        + 2 w_ab |x_i - x_j|^2,

    the last term because the two keep their distance from each other. Each photo that is ``known``
    (n,) adds ``price`` times its squared distance in cells from its row and column in ``anchors``
    (n, 2), and comes to no cell more than ``max_move`` rows or columns from them unless it was
    farther away. A swap is made when it lowers the objective by more than ``least_gain``; all
    arrays are kept up to date in place.
    """
    rows, columns = photo_at.shape
    dimensions = features.shape[1]
    radius = kernel.shape[0] // 2
    swaps = 0
    for i in order:
        from_row, from_col = row[i], col[i]
        for b_row in range(max(0, from_row - reach), min(rows, from_row + reach + 1)):
            for b_col in range(max(0, from_col - reach), min(columns, from_col + reach + 1)):
                j = photo_at[b_row, b_col]
                if j < 0 or j == i:
                    continue
                a_row, a_col = row[i], col[i]
                strayed = 0
                if known[i]:
                    down, right = a_row - anchors[i, 0], a_col - anchors[i, 1]
                    new_down, new_right = b_row - anchors[i, 0], b_col - anchors[i, 1]
                    far = max(abs(new_down), abs(new_right))
                    if far > max_move and far >= max(abs(down), abs(right)):
                        continue
                    strayed += new_down**2 + new_right**2 - down**2 - right**2
                if known[j]:
                    down, right = b_row - anchors[j, 0], b_col - anchors[j, 1]
                    new_down, new_right = a_row - anchors[j, 0], a_col - anchors[j, 1]
                    far = max(abs(new_down), abs(new_right))
                    if far > max_move and far >= max(abs(down), abs(right)):
                        continue
                    strayed += new_down**2 + new_right**2 - down**2 - right**2
                towards = np.float32(0)
                for k in range(dimensions):
                    step = features[j, k] - features[i, k]
                    towards += step * (surround[a_row, a_col, k] - surround[b_row, b_col, k])
                lengthened = squared_length[j] - squared_length[i]
                change = lengthened * (mass[a_row, a_col] - mass[b_row, b_col]) - 2 * towards
                if abs(b_row - a_row) <= radius and abs(b_col - a_col) <= radius:
                    apart = np.float32(0)
                    for k in range(dimensions):
                        step = features[j, k] - features[i, k]
                        apart += step * step
                    change += 2 * kernel[b_row - a_row + radius, b_col - a_col + radius] * apart
                if change + price * strayed >= -least_gain:
                    continue
                for u in range(-radius, radius + 1):
                    for v in range(-radius, radius + 1):
                        weight = kernel[u + radius, v + radius]
                        if 0 <= a_row + u < rows and 0 <= a_col + v < columns:
                            for k in range(dimensions):
                                step = features[j, k] - features[i, k]
                                surround[a_row + u, a_col + v, k] += weight * step
                        if 0 <= b_row + u < rows and 0 <= b_col + v < columns:
                            for k in range(dimensions):
                                step = features[j, k] - features[i, k]
                                surround[b_row + u, b_col + v, k] -= weight * step
                photo_at[a_row, a_col], photo_at[b_row, b_col] = j, i
                row[i], col[i], row[j], col[j] = b_row, b_col, a_row, a_col
                swaps += 1
    return swaps
