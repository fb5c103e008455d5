"""The search for the cheapest cells at given prices, compiled; import it inside functions only."""

import numpy as np
from numba import njit  # noqa: TID253
from numpy.typing import NDArray

BLOCK = 8  # cells a side


@njit(cache=True)
def find_cheapest(
    points: NDArray[np.float64],
    prices: NDArray[np.float64],
    highest: NDArray[np.float64],
    is_squared: bool,
    cells: NDArray[np.int64],
    reduced: NDArray[np.float64],
) -> None:
    """Write the k cells of least cost less price for each point, the cheapest first.

    Args:
        points: (n, 2), as (x, y) in cells.
        prices: (rows, columns), of each cell.
        highest: the highest price of each block of ``BLOCK`` x ``BLOCK`` cells. A block is left
            out if the distance to it less this price is more than what has been found.
        is_squared: whether the cost is the squared distance.
        cells, reduced: (n, k), the number of the cell and its cost less its price. ``reduced`` is
            infinite before the call, and where there are fewer than k cells.
    """
    rows, columns = prices.shape
    block_rows, block_columns = highest.shape
    k = cells.shape[1]
    for i in range(len(points)):
        x, y = points[i, 0], points[i, 1]
        own_row = min(max(int(y), 0), rows - 1) // BLOCK
        own_column = min(max(int(x), 0), columns - 1) // BLOCK
        # From the point's own block outwards, so that most blocks are left out.
        for ring in range(max(block_rows, block_columns)):
            for block_row in range(own_row - ring, own_row + ring + 1):
                if block_row < 0 or block_row >= block_rows:
                    continue
                step = 1 if abs(block_row - own_row) == ring else max(2 * ring, 1)
                for block_column in range(own_column - ring, own_column + ring + 1, step):
                    if block_column < 0 or block_column >= block_columns:
                        continue
                    top, left = block_row * BLOCK, block_column * BLOCK
                    bottom = min(top + BLOCK, rows) - 1
                    right = min(left + BLOCK, columns) - 1
                    down = max(top - y, 0.0, y - bottom)
                    across = max(left - x, 0.0, x - right)
                    least = across * across + down * down
                    if not is_squared:
                        least = np.sqrt(least)
                    if least - highest[block_row, block_column] >= reduced[i, k - 1]:
                        continue
                    for row in range(top, bottom + 1):
                        for column in range(left, right + 1):
                            cost = (x - column) ** 2 + (y - row) ** 2
                            if not is_squared:
                                cost = np.sqrt(cost)
                            value = cost - prices[row, column]
                            if value >= reduced[i, k - 1]:
                                continue
                            place = k - 1
                            while place > 0 and reduced[i, place - 1] > value:
                                reduced[i, place] = reduced[i, place - 1]
                                cells[i, place] = cells[i, place - 1]
                                place -= 1
                            reduced[i, place] = value
                            cells[i, place] = row * columns + column
