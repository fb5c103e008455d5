"""The least sum of squared distances on large grids, by ShuffleSnap.

It solves windows of the grid, and when asked to be exact goes on to a min-cost flow with a
Lagrangian bound over all cells. It knows no other cost.
"""

import numpy as np
from numpy.typing import NDArray

from assets.methods.layout.grid import GridShape

_SEED = 0  # of the starting permutation


def solve_near(points: NDArray[np.float64], grid: GridShape) -> NDArray[np.integer]:
    """Return the cell of each point (n, 2), as (x, y) in cells: near the optimum, in a second."""
    import shufflesnap

    target = shufflesnap.Grid.rectangle(grid.columns, grid.rows)
    return shufflesnap.assign(points, target, normalize="none", seed=_SEED).cell


def solve_proven(
    points: NDArray[np.float64], grid: GridShape, time_limit_seconds: float
) -> tuple[NDArray[np.integer], float]:
    """Return the cell of each point, and a lower bound that it meets if there is time enough."""
    import shufflesnap

    target = shufflesnap.Grid.rectangle(grid.columns, grid.rows)
    result = shufflesnap.assign(
        points,
        target,
        normalize="none",
        seed=_SEED,
        exact=True,
        exact_time_limit=time_limit_seconds,
    )
    return result.cell, float(result.lower_bound)
