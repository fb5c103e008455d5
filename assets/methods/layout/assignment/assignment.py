"""Each photo gets a cell of its own, at the least total distance from its point.

What is summed is the squared distance or the distance itself, and several solvers can do it
(`Solver`). Left to choose, ``assign`` solves small grids by the Jonker-Volgenant algorithm (Jonker
and Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment
problems", Computing 38, 1987), large ones by ShuffleSnap, or where the distance itself is summed by
a network simplex. Optimality is never taken on trust: a result counts as certified only when its
cost meets a lower bound computed from dual variables.
"""

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.progress import Progress, silent
from assets.methods.layout.assignment.dense_assignment import (
    Cost,
    check_size,
    costs_of_cells,
    dual_bound,
    solve_hungarian,
    solve_jonker_volgenant,
    solve_network_simplex,
)
from assets.methods.layout.assignment.entropic_transport import REGULARISATION, solve_entropic
from assets.methods.layout.assignment.large_assignment import solve_near, solve_proven
from assets.methods.layout.assignment.sparse_transport import MOST_PHOTOS, solve_sparse
from assets.methods.layout.grid import GridShape

# auto: jonker-volgenant up to LAPJV_CELLS, and beyond what large_assignment or sparse_transport do.
Solver = Literal["auto", "jonker-volgenant", "hungarian", "optimal-transport", "sinkhorn"]

LAPJV_CELLS = 2_048  # lapjv's time grows with the cube of the cells: about 1.5 s here
EXACT_PHOTOS = 10_000  # up to here optimality is proven in seconds without being asked
CERTIFIED_GAP = 1e-6  # a proven relative gap that counts as optimal
NEAR_GAP = 1e-4  # promised of squared distances where a proof was asked for above EXACT_PHOTOS
SOFT_GAP = 0.1  # promised of sinkhorn, and of distances above EXACT_PHOTOS
_ROUNDING = 1e-12  # of the cost of a photo, in cells
_NEED_ALL_COSTS = ("jonker-volgenant", "hungarian", "sinkhorn")


@dataclass(frozen=True)
class Assignment:
    """The cell of each of n photos, and how good the assignment is.

    Attributes:
        row, col: (n,) int32, no two photos in one cell.
        cost: the sum over photos of the squared distance in cells, or of the distance.
        lower_bound: a proven lower bound on the cost of any assignment, or None if not computed.
        gap: ``(cost - lower_bound) / cost``, 0 if the cost is 0, None without a bound.
        certified: whether the gap is proven to be at most ``CERTIFIED_GAP``.
        solver: the program that found it: ``"lapjv"``, ``"scipy"``, ``"network simplex"``,
            ``"sinkhorn"``, ``"shufflesnap exact"`` or ``"shufflesnap"``.
        seconds: wall-clock time of the solver.
        cost_kind: what ``cost`` and its bound sum up. Homes of before have none: squares.
    """

    row: NDArray[np.int32]
    col: NDArray[np.int32]
    cost: float
    lower_bound: float | None
    gap: float | None
    certified: bool
    solver: str
    seconds: float
    cost_kind: Cost = "squared"


def assign(
    points_in_cells: NDArray[np.floating],
    grid: GridShape,
    *,
    certify: bool = False,
    time_limit_seconds: float = 60.0,
    progress: Progress = silent,
    solver: Solver = "auto",
    cost: Cost = "squared",
) -> Assignment:
    """Assign points (n, 2), in units of the cell pitch as (x, y), to the cells of ``grid``.

    Cells in excess of the photos stay empty; the solver chooses which. Up to ``LAPJV_CELLS`` cells
    and up to ``EXACT_PHOTOS`` photos the result is optimal, except that of sinkhorn. Beyond, the
    squared distances of ``auto`` are near-optimal without a bound, unless ``certify`` asks for a
    proven bound: then the exact solver refines its candidates until the gap closes or
    ``time_limit_seconds`` have passed (it ends the round it is in). All other results have a bound.

    The result depends on the points alone, not on the number of threads; only a search cut short
    by its time limit depends on the speed of the machine.

    Raises:
        UserError: the grid is too large for the solver.
        ValueError: there are no points, or more than cells.
    """
    points = np.ascontiguousarray(points_in_cells, dtype=np.float64)
    n = len(points)
    if not 1 <= n <= grid.cells:
        raise ValueError(f"{n} points do not fit into {grid.cells} cells")
    started = time.perf_counter()
    progress(0, n)
    is_small = grid.cells <= LAPJV_CELLS
    cell: NDArray[np.integer]
    bound: float | None
    if solver in _NEED_ALL_COSTS or is_small:
        name, cell, bound = _solve_dense(points, grid, solver, cost)
    elif solver == "optimal-transport" or cost == "distance":
        name = "network simplex" if n <= MOST_PHOTOS else "shufflesnap"
        cell, bound = solve_sparse(points, grid, cost, time_limit_seconds)
    elif certify or n <= EXACT_PHOTOS:
        name, (cell, bound) = "shufflesnap exact", solve_proven(points, grid, time_limit_seconds)
    else:
        name, cell, bound = "shufflesnap", solve_near(points, grid), None
    progress(n, n)
    return _as_assignment(points, grid, cell, bound, name, time.perf_counter() - started, cost)


def cost_of(
    points: NDArray[np.float64], row: NDArray[np.integer], col: NDArray[np.integer], cost: Cost
) -> float:
    """Return the sum over n photos of the distance from point (n, 2) to cell, or of its square."""
    squared = np.square(points - np.stack([col, row], axis=1))
    return float(squared.sum() if cost == "squared" else np.sqrt(squared.sum(axis=1)).sum())


def promised_gap(solver: str, cost_kind: Cost, n: int, cost: float) -> float:
    """Return the largest gap that a result of so many photos and such a cost may have.

    ``solver`` is that of the `Assignment`. Sinkhorn cannot tell costs apart that differ by less
    than its regularisation, which is much where all photos lie near their cells.
    """
    if solver == "sinkhorn":
        return max(SOFT_GAP, n * REGULARISATION[cost_kind] / cost) if cost else SOFT_GAP
    if n <= EXACT_PHOTOS or solver in ("lapjv", "scipy"):
        return CERTIFIED_GAP
    return NEAR_GAP if cost_kind == "squared" and solver == "shufflesnap exact" else SOFT_GAP


def _solve_dense(
    points: NDArray[np.float64], grid: GridShape, solver: Solver, cost: Cost
) -> tuple[str, NDArray[np.integer], float]:
    """Return the program that was used, the cell of each point, and a lower bound on the cost."""
    if grid.cells > LAPJV_CELLS:
        check_size(solver, grid)
    costs = costs_of_cells(points, grid, cost)
    if solver == "sinkhorn":
        name, (cell, prices) = "sinkhorn", solve_entropic(costs, cost)
    elif solver == "hungarian":
        name, (cell, prices) = "scipy", solve_hungarian(costs)
    elif solver == "optimal-transport":
        name, (cell, prices) = "network simplex", solve_network_simplex(costs)
    else:
        name, (cell, prices) = "lapjv", solve_jonker_volgenant(costs)
    return name, cell, dual_bound(costs, prices)


def _as_assignment(
    points: NDArray[np.float64],
    grid: GridShape,
    cell: NDArray[np.integer],
    bound: float | None,
    solver: str,
    seconds: float,
    cost_kind: Cost,
) -> Assignment:
    row, col = (part.astype(np.int32) for part in np.divmod(cell, grid.columns))
    cost = cost_of(points, row, col, cost_kind)
    gap = None
    if bound is not None:
        # Costs are not negative, so 0 is a bound too; above the cost it can be only by rounding.
        bound = min(max(bound, 0.0), cost)
        # Points that lie on their cells cost no more than rounding, and rounding has no ratio.
        gap = (cost - bound) / cost if cost - bound > _ROUNDING * len(points) else 0.0
    certified = gap is not None and gap <= CERTIFIED_GAP
    return Assignment(row, col, cost, bound, gap, certified, solver, seconds, cost_kind)
