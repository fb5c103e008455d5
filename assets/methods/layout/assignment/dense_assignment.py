"""Solvers that read the cost of every photo in every cell: a matrix, which grows with the square.

All of them minimise the same sum. Each returns the cell of each photo and prices of the cells, and
the prices prove a lower bound whatever the solver did (``dual_bound``).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.errors import UserError
from assets.methods.layout.grid import GridShape

# What is summed over the photos: the distance from point to cell, in cells, or its square.
Cost = Literal["squared", "distance"]
SUMMED: dict[Cost, str] = {"squared": "squared distances", "distance": "distances"}
# The cell of each photo (n,), and the prices of the cells (cells,), up or down to any constant.
Solution = tuple[NDArray[np.integer], NDArray[np.float64]]

MOST_CELLS = 10_000  # lapjv takes six minutes there, and five matrices take 4 GB
_MATRICES = 5  # of float64, that lapjv and what leads to it hold at once
# Cost levels of lapjv's rounded passes, coarse to fine. One pass is enough on most grids, but on a
# grid of one row the step from it to full precision would take 20 s.
_LEVELS = (2**6, 2**10, 2**14, 2**18, 2**22, 2**26)
MOST_PIVOTS = 2**31 - 1  # as many as POT can count; it stops far below
_ROUNDING = 1e-12  # of the largest cost: a price is not changed for less


def check_size(solver: str, grid: GridShape) -> None:
    """Raise a UserError if the matrix of a grid is too large, for the clock or for the memory."""
    import psutil

    if grid.cells > MOST_CELLS:
        raise UserError(
            f"The solver {solver} needs the cost of every photo in each of {grid.cells:,} cells: "
            f"it is for up to {MOST_CELLS:,} cells. Use --solver auto."
        )
    needed, free = _MATRICES * 8 * grid.cells**2, psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"The solver {solver} needs {needed / 1e9:.1f} GB for the costs of {grid.cells:,} "
            f"cells, and {free / 1e9:.1f} GB are free. Use --solver auto."
        )


def costs_of_cells(points: NDArray[np.float64], grid: GridShape, cost: Cost) -> NDArray[np.float64]:
    """Return the cost (n, cells) of every point (n, 2), as (x, y) in cells, in every cell."""
    return costs_between(points[:, np.newaxis], np.arange(grid.cells), grid, cost)


def costs_between(
    points: NDArray[np.float64], cell: NDArray[np.integer], grid: GridShape, cost: Cost
) -> NDArray[np.float64]:
    """Return the cost of points (..., 2) in cells given by number, the two broadcast together."""
    row, col = np.divmod(cell, grid.columns)
    squared = np.square(points[..., 0] - col) + np.square(points[..., 1] - row)
    return squared if cost == "squared" else np.sqrt(squared, out=squared)


def dual_bound(costs: NDArray[np.float64], prices: NDArray[np.float64]) -> float:
    """Return the lower bound on the cost of any assignment that ``prices`` of the cells prove.

    With u_i = min_j (c_ij - v_j) every u_i + v_j <= c_ij, so that sum u + sum v is feasible for the
    dual of the assignment problem whatever the solver's rounding. A surplus cell is taken by a
    photo that costs nothing anywhere, whose u is -max v.
    """
    return bound_of_least((costs - prices).min(axis=1), prices)


def bound_of_least(least: NDArray[np.float64], prices: NDArray[np.float64]) -> float:
    """Return ``dual_bound`` from the least cost less price of each photo (n,) over all cells."""
    n_surplus = len(prices) - len(least)
    return float(least.sum() + prices.sum() - n_surplus * prices.max())


def solve_jonker_volgenant(costs: NDArray[np.float64]) -> Solution:
    """Solve by lapjv: Jonker and Volgenant 1987.

    On costs that are not whole numbers lapjv's row reduction can spend minutes on price changes of
    1e-10 at a time. So it first solves for costs rounded to ever finer whole numbers, each time
    starting from the prices (the dual variables of the cells) found so far; what is left to do at
    full precision takes milliseconds.
    """
    n, cells = costs.shape
    if cells == 1:  # lapjv leaves the prices of a single cell undefined
        return np.zeros(1, dtype=np.int32), np.zeros(1)
    padded = np.zeros((cells, cells))
    padded[:n] = costs
    prices = np.zeros(cells)
    largest = max(padded.max(), 1.0)
    for levels in _LEVELS:
        rounded = np.rint(_reduced(padded, prices) * (levels / largest))
        prices += _lapjv(rounded)[2][2].astype(np.float64) * (largest / levels)
    cell, _, (_, _, corrections) = _lapjv(_reduced(padded, prices), force_doubles=True)
    prices += corrections
    return cell[:n], prices


def solve_hungarian(costs: NDArray[np.float64]) -> Solution:
    """Solve by SciPy's ``linear_sum_assignment``, which returns no prices: they are found here.

    It is the Hungarian method in its form of O(n^3): the photos come in one after the other, each
    by a shortest path that lengthens the assignment, and prices keep the reduced costs from being
    negative. SciPy calls it "a modified Jonker-Volgenant algorithm with no initialization" (Crouse,
    "On implementing 2D rectangular assignment algorithms", IEEE TAES 52, 2016).
    """
    from scipy.optimize import linear_sum_assignment

    _, cell = linear_sum_assignment(costs)
    return cell, prices_of(costs, cell)


def solve_network_simplex(costs: NDArray[np.float64]) -> Solution:
    """Solve as a transport of one unit from each photo, by POT's network simplex.

    Bonneel, van de Panne, Paris and Heidrich, "Displacement interpolation using Lagrangian mass
    transport", ACM Transactions on Graphics 30, 2011. The units are whole numbers, and a basic
    solution has whole numbers only: the plan is an assignment, without rounding.
    """
    import ot

    n, cells = costs.shape
    costs, photos = with_surplus(costs)
    plan, log = ot.emd(photos, np.ones(cells), costs, numItermax=MOST_PIVOTS, log=True)
    return plan[:n].argmax(axis=1), log["v"]


def with_surplus(costs: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return costs with one more row where cells are left over, and what each row has to give.

    The row is that of an empty place, which costs nothing and fills as many cells as stay empty.
    """
    n, cells = costs.shape
    if n == cells:
        return costs, np.ones(n)
    return np.vstack([costs, np.zeros((1, cells))]), np.append(np.ones(n), float(cells - n))


def prices_of(costs: NDArray[np.float64], cell: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return prices that prove an optimal assignment ``cell`` (n,) to be optimal.

    They are the lengths of shortest paths between cells, found by Bellman and Ford's method: a step
    from the cell of photo i to cell j costs what the photo's move there would. Only an assignment
    that is not optimal has cycles of negative length, for which the steps are counted.
    """
    n, cells = costs.shape
    own = costs[np.arange(n), cell]
    is_empty = np.ones(cells, dtype=bool)
    is_empty[cell] = False
    least = _ROUNDING * max(float(costs.max()), 1.0)
    prices = np.zeros(cells)
    moved = np.arange(n)
    for _ in range(cells):
        through = prices[cell[moved]] - own[moved]
        reached = (costs[moved] + through[:, np.newaxis]).min(axis=0, initial=np.inf)
        # An empty place moves for nothing.
        reached = np.minimum(reached, prices[is_empty].min(initial=np.inf))
        is_shorter = reached < prices - least
        if not is_shorter.any():
            break
        prices[is_shorter] = reached[is_shorter]
        moved = np.flatnonzero(is_shorter[cell])
    return prices


def _reduced(costs: NDArray[np.float64], prices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the costs less the prices of the cells, the least of each row being 0."""
    reduced = costs - prices
    reduced -= reduced.min(axis=1, keepdims=True)
    return reduced


def _lapjv(costs: NDArray[np.float64], *, force_doubles: bool = False) -> tuple:
    from lapjv import lapjv

    return lapjv(costs, force_doubles=force_doubles)
