"""The best assignment without a matrix of costs: a transport to candidate cells, and its proof.

A network simplex finds the best assignment to a few candidate cells of each photo, and prices of
the cells. A pass over all cells then looks for those that are cheaper at these prices than the cell
a photo has: they become candidates, too, until there are none. The pass also gives a lower bound on
the cost of any assignment to any cells, so that the search can be ended at any time. That is column
generation, as in Schmitzer, "A sparse multiscale algorithm for dense optimal transport", Journal of
Mathematical Imaging and Vision 56, 2016.
"""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.methods.layout.assignment.dense_assignment import (
    MOST_PIVOTS,
    Cost,
    Solution,
    bound_of_least,
    costs_between,
    costs_of_cells,
    dual_bound,
    solve_network_simplex,
)
from assets.methods.layout.assignment.large_assignment import solve_near
from assets.methods.layout.grid import GridShape

PROVEN_GAP = 1e-9  # at which the search ends
MOST_PHOTOS = 25_000  # one transport of so many takes half a minute

DENSE_CELLS = 1_100  # as many are solved with all their costs
_COARSE_GAP = 1e-3  # at which the search on a coarser grid ends
_CHEAPEST = 12  # cells of each photo that become candidates at once
_AROUND = 2  # cells around the cheapest one that do, too
_KEPT = 0.8  # the share of the best prices in those that candidates are searched with
_ROUNDING = 1e-10  # of a reduced cost


@dataclass(frozen=True)
class _Problem:
    """Points (n, 2), as (x, y) in cells, the grid, and what is summed."""

    points: NDArray[np.float64]
    grid: GridShape
    cost: Cost

    def costs(self, photo: NDArray[np.integer], cell: NDArray[np.integer]) -> NDArray[np.float64]:
        return costs_between(self.points[photo], cell, self.grid, self.cost)


@dataclass(frozen=True)
class _Priced:
    """Prices of the cells, the bound that they prove, and each photo's cheapest cells (n, k)."""

    prices: NDArray[np.float64]
    bound: float
    cheapest: NDArray[np.integer]
    reduced: NDArray[np.float64]


def solve_sparse(
    points: NDArray[np.float64], grid: GridShape, cost: Cost, time_limit_seconds: float
) -> tuple[NDArray[np.integer], float]:
    """Return the cell of each point (n, 2), as (x, y) in cells, and a lower bound on the cost.

    They meet to ``PROVEN_GAP`` unless the time limit ends the search before, after the round it is
    in; the time is that of this thread, so that other work on the machine changes nothing. Of more
    than ``MOST_PHOTOS`` photos only the bound is searched for, on a coarser grid, and the
    assignment is the one for squared distances.
    """
    deadline = time.thread_time() + time_limit_seconds
    cell, _, bound = _solve(_Problem(points, grid, cost), deadline, PROVEN_GAP)
    return cell, bound


def _solve(
    problem: _Problem, deadline: float, wanted_gap: float
) -> tuple[NDArray[np.integer], NDArray[np.float64], float]:
    """Return the cell of each photo, prices of the cells, and the bound that they prove."""
    if problem.grid.cells <= DENSE_CELLS:
        costs = costs_of_cells(problem.points, problem.grid, problem.cost)
        cell, prices = solve_network_simplex(costs)
        return cell, prices, dual_bound(costs, prices)
    best = _priced(problem, _prices_of_coarser_grid(problem, deadline))
    cell = solve_near(problem.points, problem.grid).astype(np.int64)
    if len(problem.points) > MOST_PHOTOS:
        return cell, best.prices, best.bound
    everyone = np.arange(len(problem.points))
    candidates = _joined(_pairs(problem, everyone, best.cheapest), _around(problem, everyone, cell))
    while True:
        cell, prices = _transport(problem, candidates)
        costs = problem.costs(everyone, cell)
        searched = [_priced(problem, prices)]
        # Prices swing from round to round: half-way to the best ones they are nearer the last.
        if searched[0].bound < best.bound:
            mixed = _KEPT * _centred(best.prices) + (1 - _KEPT) * _centred(prices)
            searched.append(_priced(problem, mixed))
        best = max(best, *searched, key=lambda one: one.bound)
        total = float(costs.sum())
        if total - best.bound <= wanted_gap * total or time.thread_time() > deadline:
            return cell, best.prices, best.bound
        more = [_cheaper(problem, one, prices, costs - prices[cell]) for one in searched]
        size = len(candidates)
        candidates = _joined(candidates, *more)
        if len(candidates) == size:  # what is cheaper is so by rounding
            return cell, best.prices, best.bound


def _prices_of_coarser_grid(problem: _Problem, deadline: float) -> NDArray[np.float64]:
    """Return prices of the cells, interpolated from those of cells twice as wide.

    Every fourth photo is assigned to the coarse grid, in the order of bands of rows, so that the
    photos that are left out are spread as the others are.
    """
    from scipy.ndimage import map_coordinates

    grid, points = problem.grid, problem.points
    coarse = GridShape(-(-grid.columns // 2), -(-grid.rows // 2))
    order = np.lexsort((points[:, 0], points[:, 1] // 4))
    sample = points[order[::4]][: coarse.cells]
    coarse_problem = _Problem((sample - 0.5) / 2, coarse, problem.cost)
    _, prices, _ = _solve(coarse_problem, deadline, _COARSE_GAP)
    row, col = np.divmod(np.arange(grid.cells), grid.columns)
    table = prices.reshape(coarse.rows, coarse.columns)
    places = ((row - 0.5) / 2, (col - 0.5) / 2)
    scale = 4 if problem.cost == "squared" else 2
    return scale * map_coordinates(table, places, order=1, mode="nearest")


def _priced(problem: _Problem, prices: NDArray[np.float64]) -> _Priced:
    """Search all cells for the cheapest of each photo, and so for the bound of ``dual_bound``."""
    from assets.methods.layout.assignment.pricing_kernel import BLOCK, find_cheapest

    grid, n = problem.grid, len(problem.points)
    table = np.ascontiguousarray(prices.reshape(grid.rows, grid.columns))
    padding = ((0, -grid.rows % BLOCK), (0, -grid.columns % BLOCK))
    padded = np.pad(table, padding, constant_values=-np.inf)
    blocks = padded.reshape(padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK)
    cheapest = np.zeros((n, _CHEAPEST), dtype=np.int64)
    reduced = np.full((n, _CHEAPEST), np.inf)
    is_squared = problem.cost == "squared"
    find_cheapest(problem.points, table, blocks.max(axis=(1, 3)), is_squared, cheapest, reduced)
    return _Priced(prices, bound_of_least(reduced[:, 0], prices), cheapest, reduced)


def _transport(
    problem: _Problem, candidates: NDArray[np.integer]
) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    photo, cell = np.divmod(candidates, problem.grid.cells)
    shape = (len(problem.points), problem.grid.cells)
    return solve_candidates(problem.costs(photo, cell), photo, cell, shape)


def solve_candidates(
    costs: NDArray[np.float64],
    photo: NDArray[np.integer],
    cell: NDArray[np.integer],
    shape: tuple[int, int],
) -> Solution:
    """Return the best assignment of photos to candidate cells, and its prices of the cells.

    Args:
        costs: (k,), of ``photo`` (k,) in ``cell`` (k,), no pair of which comes twice.
        photo, cell: the candidates. Some assignment has to be possible.
        shape: the numbers of photos and of cells.
    """
    import ot
    from scipy.sparse import coo_matrix

    n, cells = shape
    supply = np.ones(n)
    if cells > n:  # an empty place fills the cells that are left, as in the dense solver
        photo = np.append(photo, np.full(cells, n))
        cell = np.append(cell, np.arange(cells))
        costs = np.append(costs, np.zeros(cells))
        supply = np.append(supply, float(cells - n))
    matrix = coo_matrix((costs, (photo, cell)), shape=(len(supply), cells))
    plan, log = ot.emd(supply, np.ones(cells), matrix, numItermax=MOST_PIVOTS, log=True)
    is_taken = (plan.data > 0.5) & (plan.row < n)
    chosen = np.empty(n, dtype=np.int64)
    chosen[plan.row[is_taken]] = plan.col[is_taken]
    return chosen, log["v"]


def _cheaper(
    problem: _Problem,
    priced: _Priced,
    prices: NDArray[np.float64],
    own: NDArray[np.float64],
) -> NDArray[np.integer]:
    """Return cells that are cheaper at ``prices`` than the one a photo has, and cells around them.

    ``own`` (n,) is the reduced cost of each photo in its cell.
    """
    reduced = priced.reduced + priced.prices[priced.cheapest] - prices[priced.cheapest]
    is_cheaper = reduced < own[:, np.newaxis] - _ROUNDING
    photo, place = np.nonzero(is_cheaper)
    moved = np.flatnonzero(is_cheaper.any(axis=1))
    return np.append(
        photo * problem.grid.cells + priced.cheapest[photo, place],
        _around(problem, moved, priced.cheapest[moved, 0]),
    )


def _around(
    problem: _Problem, photo: NDArray[np.integer], cell: NDArray[np.integer]
) -> NDArray[np.integer]:
    """Return the cells around the ``cell`` of each ``photo`` as candidates."""
    grid = problem.grid
    row, col = np.divmod(cell, grid.columns)
    steps = np.arange(-_AROUND, _AROUND + 1)
    down, right = (step.ravel() for step in np.meshgrid(steps, steps))
    rows, cols = row[:, np.newaxis] + down, col[:, np.newaxis] + right
    is_inside = (rows >= 0) & (rows < grid.rows) & (cols >= 0) & (cols < grid.columns)
    return (photo[:, np.newaxis] * grid.cells + rows * grid.columns + cols)[is_inside]


def _pairs(
    problem: _Problem, photo: NDArray[np.integer], cells: NDArray[np.integer]
) -> NDArray[np.integer]:
    return (photo[:, np.newaxis] * problem.grid.cells + cells).ravel()


def _joined(*candidates: NDArray[np.integer]) -> NDArray[np.integer]:
    return np.unique(np.concatenate(candidates))


def _centred(prices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return prices that may be mixed with others: they are the same up to a constant."""
    return prices - np.median(prices)
