"""The inner loop of the refinement, compiled; import it inside functions only."""

import numpy as np
from numba import njit  # noqa: TID253
from numpy.typing import NDArray

_FORBIDDEN = np.iinfo(np.int64).max


@njit(cache=True)
def _strayed(
    photo: int,
    row: int,
    col: int,
    new_row: int,
    new_col: int,
    anchors: NDArray[np.int32],
    max_move: int,
) -> int:
    """Return 1 if a photo would leave its anchor, -1 if it would come back, else 0; or _FORBIDDEN.

    It may come to no cell more than ``max_move`` rows or columns away unless it was farther.
    """
    down, right = row - anchors[photo, 0], col - anchors[photo, 1]
    new_down, new_right = new_row - anchors[photo, 0], new_col - anchors[photo, 1]
    far, new_far = max(abs(down), abs(right)), max(abs(new_down), abs(new_right))
    if new_far > max_move and new_far >= far:
        return _FORBIDDEN
    return int(new_far > 0) - int(far > 0)


@njit(cache=True)
def _is_near(
    photo: int,
    row: NDArray[np.int32],
    col: NDArray[np.int32],
    anchors: NDArray[np.int32],
    max_move: int,
) -> bool:
    """Whether a photo is at most ``max_move`` rows and columns from its anchor."""
    down, right = row[photo] - anchors[photo, 0], col[photo] - anchors[photo, 1]
    return max(abs(down), abs(right)) <= max_move


@njit(cache=True)
def _offered(
    line: int, lines: int, reach: int, anchor: int, is_held: bool, max_move: int
) -> tuple[int, int]:
    """Return the first row, or column, that is offered to a photo, and the one after the last.

    All others are forbidden to a photo that is held near its anchor.
    """
    first, last = line - reach, line + reach
    if is_held:
        first, last = max(first, anchor - max_move), min(last, anchor + max_move)
    return max(0, first), min(lines, last + 1)


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
    (n,) adds ``price`` unless it is in its row and column in ``anchors`` (n, 2), and comes to no
    cell more than ``max_move`` rows or columns from them unless it was farther away. A swap is made
    when it lowers the objective by more than ``least_gain``; all arrays are kept up to date in
    place.
    """
    rows, columns = photo_at.shape
    dimensions = features.shape[1]
    radius = kernel.shape[0] // 2
    swaps = 0
    for i in order:
        is_held = known[i] and _is_near(i, row, col, anchors, max_move)
        top, bottom = _offered(row[i], rows, reach, anchors[i, 0], is_held, max_move)
        left, right = _offered(col[i], columns, reach, anchors[i, 1], is_held, max_move)
        for b_row in range(top, bottom):
            for b_col in range(left, right):
                j = photo_at[b_row, b_col]
                if j < 0 or j == i:
                    continue
                a_row, a_col = row[i], col[i]
                strayed = 0
                if known[i]:
                    farther = _strayed(i, a_row, a_col, b_row, b_col, anchors, max_move)
                    if farther == _FORBIDDEN:
                        continue
                    strayed += farther
                if known[j]:
                    farther = _strayed(j, b_row, b_col, a_row, a_col, anchors, max_move)
                    if farther == _FORBIDDEN:
                        continue
                    strayed += farther
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


@njit(cache=True, fastmath={"reassoc", "contract"})
def reassign_groups(
    photo_at: NDArray[np.int32],
    row: NDArray[np.int32],
    col: NDArray[np.int32],
    features: NDArray[np.float32],
    field: NDArray[np.float32],
    cells: NDArray[np.int64],
    starts: NDArray[np.int64],
    least_gain: float,
) -> int:
    """Assign the photos of each group of cells to these cells anew; return how many moved.

    Group g is ``cells[starts[g] : starts[g + 1]]``, numbers of occupied cells counted by rows. Its
    assignment is the best for the sum of -2 x . f, with x (d,) of ``features`` (n, d) the photo and
    f of ``field`` (rows, columns, d) the cell; a group whose sum would fall by no more than
    ``least_gain`` stays. All groups look at the same field, so that their order does not matter.
    """
    columns = photo_at.shape[1]
    moved = 0
    for g in range(len(starts) - 1):
        group = cells[starts[g] : starts[g + 1]]
        size = len(group)
        photos = np.empty(size, dtype=np.int32)
        for x in range(size):
            photos[x] = photo_at[group[x] // columns, group[x] % columns]
        costs = np.empty((size, size))
        for x in range(size):
            i = photos[x]
            for y in range(size):
                b_row, b_col = group[y] // columns, group[y] % columns
                alike = np.float32(0)
                for k in range(features.shape[1]):
                    alike += features[i, k] * field[b_row, b_col, k]
                costs[x, y] = -2 * alike
        taken = best_assignment(costs)
        gain = 0.0
        for x in range(size):
            gain += costs[x, x] - costs[x, taken[x]]
        if gain <= least_gain:
            continue
        for x in range(size):
            if taken[x] != x:
                i, cell = photos[x], group[taken[x]]
                row[i], col[i] = cell // columns, cell % columns
                photo_at[row[i], col[i]] = i
                moved += 1
    return moved


@njit(cache=True)
def best_assignment(costs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the column (m,) of each row at the least total of ``costs`` (m, m).

    Shortest augmenting paths with potentials, one row at a time.
    """
    size = len(costs)
    row_price, column_price = np.zeros(size), np.zeros(size + 1)
    row_of = np.full(size + 1, -1)  # the last column is where the free row starts
    before, least = np.empty(size, dtype=np.int64), np.empty(size)
    for free in range(size):
        column = size
        row_of[column] = free
        least[:] = np.inf
        seen = np.zeros(size + 1, dtype=np.bool_)
        while row_of[column] >= 0:
            seen[column] = True
            x = row_of[column]
            step, following = np.inf, -1
            for y in range(size):
                if not seen[y]:
                    reduced = costs[x, y] - row_price[x] - column_price[y]
                    if reduced < least[y]:
                        least[y], before[y] = reduced, column
                    if least[y] < step:
                        step, following = least[y], y
            for y in range(size + 1):
                if seen[y]:
                    row_price[row_of[y]] += step
                    column_price[y] -= step
                elif y < size:
                    least[y] -= step
            column = following
        while column != size:
            row_of[column] = row_of[before[column]]
            column = before[column]
    taken = np.empty(size, dtype=np.int64)
    for y in range(size):
        taken[row_of[y]] = y
    return taken


@njit(cache=True)
def costs_of_cells(
    row: NDArray[np.int32],
    col: NDArray[np.int32],
    distances: NDArray[np.float32],
    kernel: NDArray[np.float32],
    share: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return what each photo would cost in each cell, (rows, columns, n), as in ``anneal_pass``."""
    rows, columns = share.shape
    costs = np.zeros((rows, columns, len(row)), dtype=np.float32)
    for i in range(len(row)):
        _add_around(row[i], col[i], distances[i], kernel, share, costs)
    return costs


@njit(cache=True)
def _add_around(
    row: int,
    col: int,
    values: NDArray[np.float32],
    kernel: NDArray[np.float32],
    share: NDArray[np.float32],
    costs: NDArray[np.float32],
) -> None:
    """Add ``values`` (n,) to the costs in the cells around one, times the weight of the two."""
    rows, columns = share.shape
    radius = kernel.shape[0] // 2
    for b_row in range(max(0, row - radius), min(rows, row + radius + 1)):
        for b_col in range(max(0, col - radius), min(columns, col + radius + 1)):
            weight = kernel[b_row - row + radius, b_col - col + radius] / np.float32(2)
            weight *= share[row, col] + share[b_row, b_col]
            if weight:
                for k in range(len(values)):
                    costs[b_row, b_col, k] += weight * values[k]


@njit(cache=True, fastmath={"reassoc", "contract"})
def anneal_pass(
    photo_at: NDArray[np.int32],
    row: NDArray[np.int32],
    col: NDArray[np.int32],
    distances: NDArray[np.float32],
    costs: NDArray[np.float32],
    kernel: NDArray[np.float32],
    share: NDArray[np.float32],
    order: NDArray[np.int64],
    reach: int,
    tolerated: NDArray[np.float32],
    anchors: NDArray[np.int32],
    known: NDArray[np.bool_],
    max_move: int,
    price: float,
) -> int:
    """Offer swaps as ``swap_pass`` does, of which some may cost; return how many were made.

    The objective is the sum of w_ab ``distances[i, j]`` over pairs of photos i in cell a and j in
    cell b, with w_ab = ``kernel`` (2r + 1, 2r + 1) at b - a times the mean of ``share`` (rows,
    columns) at a and b. ``costs[a_row, a_col, i]`` is the sum of w_ab distances[i, j] over all b,
    which photo i would have in cell a, and is kept up to date. A swap is made when it changes the
    objective, with what the anchors add to it, by less than the next number of ``tolerated``, which
    are taken in turn.
    """
    rows, columns = photo_at.shape
    radius = kernel.shape[0] // 2
    swaps = offered = 0
    for i in order:
        is_held = known[i] and _is_near(i, row, col, anchors, max_move)
        top, bottom = _offered(row[i], rows, reach, anchors[i, 0], is_held, max_move)
        left, right = _offered(col[i], columns, reach, anchors[i, 1], is_held, max_move)
        for b_row in range(top, bottom):
            for b_col in range(left, right):
                j = photo_at[b_row, b_col]
                if j < 0 or j == i:
                    continue
                a_row, a_col = row[i], col[i]
                change = (
                    costs[b_row, b_col, i]
                    + costs[a_row, a_col, j]
                    - costs[a_row, a_col, i]
                    - costs[b_row, b_col, j]
                )
                if abs(b_row - a_row) <= radius and abs(b_col - a_col) <= radius:
                    weight = kernel[b_row - a_row + radius, b_col - a_col + radius]
                    weight *= share[a_row, a_col] + share[b_row, b_col]
                    change += weight * distances[i, j]
                offered += 1
                strayed = 0
                if known[i]:
                    farther = _strayed(i, a_row, a_col, b_row, b_col, anchors, max_move)
                    if farther == _FORBIDDEN:
                        continue
                    strayed += farther
                if known[j]:
                    farther = _strayed(j, b_row, b_col, a_row, a_col, anchors, max_move)
                    if farther == _FORBIDDEN:
                        continue
                    strayed += farther
                if change + price * strayed >= tolerated[offered % len(tolerated)]:
                    continue
                photo_at[a_row, a_col], photo_at[b_row, b_col] = j, i
                row[i], col[i], row[j], col[j] = b_row, b_col, a_row, a_col
                swaps += 1
                difference = distances[j] - distances[i]
                _add_around(a_row, a_col, difference, kernel, share, costs)
                _add_around(b_row, b_col, -difference, kernel, share, costs)
    return swaps
