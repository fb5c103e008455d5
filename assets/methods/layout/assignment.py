"""Each photo gets a cell of its own, at the least total squared distance from its point.

Small grids are solved by the Jonker-Volgenant algorithm (Jonker and Volgenant, "A shortest
augmenting path algorithm for dense and sparse linear assignment problems", Computing 38, 1987),
large ones by ShuffleSnap, which solves windows of the grid and, when asked to be exact, goes on to
a min-cost flow with a Lagrangian bound over all cells. Optimality is never taken on trust: a
result counts as certified only when its cost meets a lower bound computed from dual variables.
"""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.progress import Progress, silent
from assets.methods.layout.grid import GridShape

LAPJV_CELLS = 2_048  # lapjv's time grows with the cube of the cells: about 1.5 s here
EXACT_PHOTOS = 10_000  # up to here ShuffleSnap proves optimality in seconds without being asked
CERTIFIED_GAP = 1e-6  # a proven relative gap that counts as optimal
# Cost levels of lapjv's rounded passes, coarse to fine. One pass is enough on most grids, but on a
# grid of one row the step from it to full precision would take 20 s.
_LEVELS = (2**6, 2**10, 2**14, 2**18, 2**22, 2**26)
_ROUNDING = 1e-12  # of the squared distance of a photo, in cells
_SEED = 0  # of ShuffleSnap's starting permutation


@dataclass(frozen=True)
class Assignment:
    """The cell of each of n photos, and how good the assignment is.

    Attributes:
        row, col: (n,) int32, no two photos in one cell.
        cost: the sum over photos of the squared distance in cells; the mean is ``cost / n``.
        lower_bound: a proven lower bound on the cost of any assignment, or None if not computed.
        gap: ``(cost - lower_bound) / cost``, 0 if the cost is 0, None without a bound.
        certified: whether the gap is proven to be at most ``CERTIFIED_GAP``.
        solver: ``"lapjv"``, ``"shufflesnap exact"`` or ``"shufflesnap"``.
        seconds: wall-clock time of the solver.
    """

    row: NDArray[np.int32]
    col: NDArray[np.int32]
    cost: float
    lower_bound: float | None
    gap: float | None
    certified: bool
    solver: str
    seconds: float


def assign(
    points_in_cells: NDArray[np.floating],
    grid: GridShape,
    *,
    certify: bool = False,
    time_limit_seconds: float = 60.0,
    progress: Progress = silent,
) -> Assignment:
    """Assign points (n, 2), in units of the cell pitch as (x, y), to the cells of ``grid``.

    Cells in excess of the photos stay empty; the solver chooses which. Up to ``LAPJV_CELLS`` cells
    and up to ``EXACT_PHOTOS`` photos the result is optimal. Beyond, it is near-optimal without a
    bound, unless ``certify`` asks for a proven bound: then the exact solver refines its candidates
    until the gap closes or ``time_limit_seconds`` have passed (it ends the round it is in).

    The result depends on the points alone, not on the number of threads; only a search cut short
    by its time limit depends on the speed of the machine.

    Raises:
        ValueError: there are no points, or more than cells.
    """
    points = np.ascontiguousarray(points_in_cells, dtype=np.float64)
    n = len(points)
    if not 1 <= n <= grid.cells:
        raise ValueError(f"{n} points do not fit into {grid.cells} cells")
    started = time.perf_counter()
    progress(0, n)
    if grid.cells <= LAPJV_CELLS:
        solver, (cell, bound) = "lapjv", _solve_dense(points, grid)
    elif certify or n <= EXACT_PHOTOS:
        solver, (cell, bound) = "shufflesnap exact", _solve_exact(points, grid, time_limit_seconds)
    else:
        solver, (cell, bound) = "shufflesnap", (_solve_fast(points, grid), None)
    progress(n, n)
    return _as_assignment(points, grid, cell, bound, solver, time.perf_counter() - started)


def _as_assignment(
    points: NDArray[np.float64],
    grid: GridShape,
    cell: NDArray[np.integer],
    bound: float | None,
    solver: str,
    seconds: float,
) -> Assignment:
    row, col = (part.astype(np.int32) for part in np.divmod(cell, grid.columns))
    cost = float(np.square(points - np.stack([col, row], axis=1)).sum())
    gap = None
    if bound is not None:
        # Costs are not negative, so 0 is a bound too; above the cost it can be only by rounding.
        bound = min(max(bound, 0.0), cost)
        # Points that lie on their cells cost no more than rounding, and rounding has no ratio.
        gap = (cost - bound) / cost if cost - bound > _ROUNDING * len(points) else 0.0
    certified = gap is not None and gap <= CERTIFIED_GAP
    return Assignment(row, col, cost, bound, gap, certified, solver, seconds)


def _solve_dense(points: NDArray[np.float64], grid: GridShape) -> tuple[NDArray[np.integer], float]:
    """Return the optimal cell of each point and a lower bound on the cost, by lapjv.

    On costs that are not whole numbers lapjv's row reduction can spend minutes on price changes of
    1e-10 at a time. So it first solves for costs rounded to ever finer whole numbers, each time
    starting from the prices (the dual variables of the cells) found so far; what is left to do at
    full precision takes milliseconds.
    """
    costs = _padded_costs(points, grid)
    if grid.cells == 1:  # lapjv leaves the prices of a single cell undefined
        return np.zeros(1, dtype=np.int32), float(costs[0, 0])
    prices = np.zeros(grid.cells)
    largest = max(costs.max(), 1.0)
    for levels in _LEVELS:
        rounded = np.rint(_reduced(costs, prices) * (levels / largest))
        prices += _lapjv(rounded)[2][2].astype(np.float64) * (largest / levels)
    cell, _, (_, _, corrections) = _lapjv(_reduced(costs, prices), force_doubles=True)
    prices += corrections
    return cell[: len(points)], _dual_bound(costs, prices)


def _padded_costs(points: NDArray[np.float64], grid: GridShape) -> NDArray[np.float64]:
    """Return the squared distance of every point to every cell, with a free row a surplus cell."""
    row, col = np.divmod(np.arange(grid.cells), grid.columns)
    costs = np.zeros((grid.cells, grid.cells))
    costs[: len(points)] = np.square(points[:, :1] - col) + np.square(points[:, 1:] - row)
    return costs


def _reduced(costs: NDArray[np.float64], prices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the costs less the prices of the cells, the least of each row being 0."""
    reduced = costs - prices
    reduced -= reduced.min(axis=1, keepdims=True)
    return reduced


def _lapjv(costs: NDArray[np.float64], *, force_doubles: bool = False) -> tuple:
    from lapjv import lapjv

    return lapjv(costs, force_doubles=force_doubles)


def _dual_bound(costs: NDArray[np.float64], prices: NDArray[np.float64]) -> float:
    """Return the lower bound on the cost that ``prices`` of the cells prove.

    With u_i = min_j (c_ij - v_j) every u_i + v_j <= c_ij, so that sum u + sum v is feasible for the
    dual of the assignment problem whatever the solver's rounding.
    """
    return float((costs - prices).min(axis=1).sum() + prices.sum())


def _solve_exact(
    points: NDArray[np.float64], grid: GridShape, time_limit_seconds: float
) -> tuple[NDArray[np.integer], float]:
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


def _solve_fast(points: NDArray[np.float64], grid: GridShape) -> NDArray[np.integer]:
    import shufflesnap

    target = shufflesnap.Grid.rectangle(grid.columns, grid.rows)
    return shufflesnap.assign(points, target, normalize="none", seed=_SEED).cell
