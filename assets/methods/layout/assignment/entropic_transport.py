"""Entropic transport: a soft assignment that is easy to compute, rounded to one photo a cell.

Cuturi, "Sinkhorn distances: lightspeed computation of optimal transport", NIPS 2013; stabilised as
in Schmitzer, "Stabilized sparse scaling algorithms for entropy regularized transport problems",
SIAM Journal on Scientific Computing 41, 2019: the scalings are kept as potentials, logarithms in
units of the cost, and the regularisation falls by steps, each of which starts from the potentials
of the last. Written out here because POT's two ways did not serve: the logarithmic one takes ten
times as long, and the stabilised one overflows on costs as different as those of a grid.
"""

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from assets.methods.layout.assignment.dense_assignment import Cost, Solution, with_surplus
from assets.methods.layout.assignment.sparse_transport import solve_candidates

# The last regularisation: squares of neighbouring cells differ by more than their distances do.
REGULARISATION: dict[Cost, float] = {"squared": 0.1, "distance": 0.02}

_STEP = 4.0  # from one regularisation to the next
_RESTARTS = 8  # how often the scalings become part of the potentials, at each regularisation
_SCALINGS = 25  # between two of them
_TOLERANCE = 1e-2  # of a photo, by which the shares of a cell sum to less or more than 1
_LIKELIEST = 12  # cells of each photo among which the assignment is chosen
_LEAST = 1e-100  # keeps a cell that no photo wants yet from a division by zero


def solve_entropic(costs: NDArray[np.float64], cost: Cost) -> Solution:
    """Return the cell of each photo, and prices: the potentials of the cells.

    The assignment is not the best one: it is as far from it as the bound of the prices says.

    Args:
        costs: (n, cells), of every photo in every cell.
        cost: what they are; it decides the regularisation.
    """
    rows, supply = with_surplus(costs)
    # More threads would sum in another order.
    with threadpool_limits(limits=1):
        prices, plan = _soften(rows, supply, REGULARISATION[cost])
    return _rounded(plan[: len(costs)], costs), prices


def _soften(
    costs: NDArray[np.float64], supply: NDArray[np.float64], last: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the potentials of the cells, and the plan (rows, cells)."""
    prices = np.zeros(costs.shape[1])
    regularisation = max(float(costs.max()), last)
    while True:
        for _ in range(_RESTARTS):
            plan, prices, error = _scaled(costs, supply, prices, regularisation)
            if error < _TOLERANCE:
                break
        if regularisation == last:
            return prices, plan
        regularisation = max(regularisation / _STEP, last)


def _scaled(
    costs: NDArray[np.float64],
    supply: NDArray[np.float64],
    prices: NDArray[np.float64],
    regularisation: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Scale rows and columns in turn; return the plan, the prices, and the largest error."""
    plan = (prices - costs) / regularisation
    # Of each row the largest entry is 1: no row vanishes.
    plan -= plan.max(axis=1, keepdims=True)
    np.exp(plan, out=plan)
    of_cells = np.ones(costs.shape[1])
    for _ in range(_SCALINGS):
        of_rows = supply / (plan @ of_cells)
        filled = of_rows @ plan
        error = float(np.abs(filled * of_cells - 1).max())
        if error < _TOLERANCE:
            break
        of_cells = 1 / np.maximum(filled, _LEAST)
    plan *= of_rows[:, np.newaxis]
    plan *= of_cells
    return plan, prices + regularisation * np.log(of_cells), error


def _rounded(plan: NDArray[np.float64], costs: NDArray[np.float64]) -> NDArray[np.integer]:
    """Return the best assignment to the likeliest cells of each photo, by the network simplex.

    A greedy assignment is added to them: without it there might be none.
    """
    n, cells = plan.shape
    k = min(_LIKELIEST, cells)
    likeliest = np.argpartition(-plan, k - 1, axis=1)[:, :k]
    chosen = np.hstack([likeliest, _greedy(plan)[:, np.newaxis]])
    candidates = np.unique(np.arange(n)[:, np.newaxis] * cells + chosen)
    photo, cell = np.divmod(candidates, cells)
    return solve_candidates(costs[photo, cell], photo, cell, plan.shape)[0]


def _greedy(plan: NDArray[np.float64]) -> NDArray[np.integer]:
    """Give each photo its likeliest cell, the surest photos first, each cell once.

    In each round a cell takes, of the photos that want it most, the one with the largest share of
    the plan. The others look again among the cells that are left.
    """
    n, cells = plan.shape
    cell = np.empty(n, dtype=np.int64)
    photos, free = np.arange(n), np.arange(cells)
    while len(photos):
        shares = plan[np.ix_(photos, free)]
        wanted = shares.argmax(axis=1)
        surest = np.argsort(-shares[np.arange(len(photos)), wanted], kind="stable")
        _, first = np.unique(wanted[surest], return_index=True)
        served = surest[first]
        cell[photos[served]] = free[wanted[served]]
        photos = np.delete(photos, served)
        free = np.delete(free, wanted[served])
    return cell
