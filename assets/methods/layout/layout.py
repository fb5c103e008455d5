"""From points in the plane to photos in cells: assign, refine, and measure the result."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.errors import UserError
from assets.methods.common.progress import Progress, silent
from assets.methods.layout.assignment.assignment import Assignment, Solver, assign
from assets.methods.layout.assignment.dense_assignment import Cost
from assets.methods.layout.grid import GridShape, choose_grid, points_to_cells
from assets.methods.layout.quality import LayoutQuality, layout_quality
from assets.methods.layout.refinement import Refinement, refine


@dataclass(frozen=True)
class LayoutSettings:
    """The grid's shape, how cells are assigned and proven, and whether they are swapped then.

    Raises:
        UserError: the shape cannot be read, or a number is out of its range.
    """

    shape: str = "auto"
    certify: bool = False
    certify_seconds: float = 60.0
    refine: bool = True
    seed: int = 0
    solver: Solver = "auto"
    cost: Cost = "squared"

    def __post_init__(self) -> None:
        choose_grid(1, self.shape)
        if self.seed < 0:
            raise UserError(f"The seed may not be negative, as {self.seed} is.")
        if not self.certify_seconds > 0:
            raise UserError(f"The proof needs a time limit above 0 s, not {self.certify_seconds}.")


@dataclass(frozen=True)
class Stay:
    """How a layout of n photos follows from the last map.

    Attributes:
        anew: why it was made anew, in a sentence; empty if it stays.
        known: (n,), whether a photo was on the last map.
        before: (n, 2), row and column there, in the grid of now; of known photos only.
        gone: (g,) the numbers, in the last map, of the photos that are no longer there.
        gone_cells: (g, 2), their cells as ``before``.
        last_dpq16: of the last map.
        fresh_dpq16: of the last map that was made anew, which may be this one.
    """

    anew: str
    known: NDArray[np.bool_]
    before: NDArray[np.int64]
    gone: NDArray[np.int64]
    gone_cells: NDArray[np.int64]
    last_dpq16: float | None
    fresh_dpq16: float | None


@dataclass(frozen=True)
class Layout:
    """Each photo's cell, row and col (n,), with the steps that led there.

    ``cells`` (n, 2) are the places that were assigned, x and y in units of one cell pitch: the
    points of the projection, or, on a map that stays, the cells of the last map. The metrics of
    ``assignment`` are those of the solver for these places, before the refinement. ``refinement``
    is None when it was off, and so is ``unrefined_quality``, which a map that stays does not have
    either. ``stay`` is None where there was no last map.
    """

    grid: GridShape
    cells: NDArray[np.float64]
    row: NDArray[np.int32]
    col: NDArray[np.int32]
    assignment: Assignment
    unrefined_quality: LayoutQuality | None
    refinement: Refinement | None
    quality: LayoutQuality
    stay: Stay | None = None

    def displacement(self) -> NDArray[np.float64]:
        """Return each photo's distance (n,) from its point to its cell, in cells."""
        return np.hypot(self.cells[:, 0] - self.col, self.cells[:, 1] - self.row)


def assigned(
    places: NDArray[np.floating],
    grid: GridShape,
    settings: LayoutSettings,
    progress: Callable[[str], Progress],
) -> Assignment:
    """Assign places (n, 2), x and y in units of one cell pitch, to cells as the settings say."""
    return assign(
        places,
        grid,
        certify=settings.certify,
        time_limit_seconds=settings.certify_seconds,
        progress=progress("photos assigned"),
        solver=settings.solver,
        cost=settings.cost,
    )


def lay_out(
    points: NDArray[np.floating],
    vectors: NDArray[np.floating],
    labels: Any = None,
    settings: LayoutSettings | None = None,
    progress: Callable[[str], Progress] = lambda unit: silent,
) -> Layout:
    """Give each photo a cell of its own.

    Args:
        points: (n, 2), from the projection.
        vectors: (n, d), of unit length, near each other where photos look alike.
        labels: (n,) or None, for the purity of neighbourhoods.
        settings: of grid, solver and refinement.
        progress: given the unit of a step, returns the step's listener.

    Raises:
        UserError: the grid is too small for n photos, or too large for the solver.
    """
    settings = settings or LayoutSettings()
    grid = choose_grid(len(points), settings.shape)
    cells = points_to_cells(points, grid)
    assignment = assigned(cells, grid, settings, progress)
    row, col, refinement, unrefined_quality = assignment.row, assignment.col, None, None
    if settings.refine:
        unrefined_quality = layout_quality(row, col, vectors, seed=settings.seed)
        refinement = refine(
            row, col, vectors, grid, seed=settings.seed, progress=progress("passes")
        )
        row, col = refinement.row, refinement.col
    quality = layout_quality(row, col, vectors, points, labels, seed=settings.seed)
    return Layout(grid, cells, row, col, assignment, unrefined_quality, refinement, quality)
