"""A map that was made anew, turned and mirrored so that it fits the last one."""

from dataclasses import dataclass
from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from assets.methods.layout.grid import GridShape

Number = TypeVar("Number", np.int64, np.float64)

_FEWEST = 3  # known photos; with fewer, several ways of turning fit equally well


def turned_points(
    points: NDArray[np.float64], onto: NDArray[np.number], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Turn, and mirror if that fits better, points (n, 2) about their mean.

    The ``known`` ones come as near as they can to ``onto`` (n, 2), in scale and place of its own
    (the orthogonal Procrustes problem). The others of ``onto`` are not read. With too few of them
    the points are returned as they are.
    """
    if np.count_nonzero(known) < _FEWEST:
        return points
    here, there = points[known], onto[known].astype(np.float64)
    # Of a 2 x 2 matrix: any BLAS gives the same bytes.
    left, _, right = np.linalg.svd((here - here.mean(axis=0)).T @ (there - there.mean(axis=0)))
    mean = points.mean(axis=0)
    return (points - mean) @ (left @ right) + mean


@dataclass(frozen=True)
class Symmetry:
    """A turn or a mirroring of a grid: first rows and columns are exchanged, then mirrored."""

    transposed: bool
    rows_mirrored: bool
    columns_mirrored: bool

    def of(self, cells: NDArray[Number], grid: GridShape) -> NDArray[Number]:
        """Return cells or points (n, 2), row and column, of the grid turned."""
        turned = cells[:, ::-1].copy() if self.transposed else cells.copy()
        if self.rows_mirrored:
            turned[:, 0] = grid.rows - 1 - turned[:, 0]
        if self.columns_mirrored:
            turned[:, 1] = grid.columns - 1 - turned[:, 1]
        return turned


def best_symmetry(
    cells: NDArray[np.int64],
    grid: GridShape,
    onto: NDArray[np.integer],
    known: NDArray[np.bool_],
) -> Symmetry:
    """Return how to turn or mirror cells (n, 2), row and column, within the grid to fit ``onto``.

    Of the eight symmetries of a square, or the four of another grid, it is the one that leaves the
    least squared distance between the ``known`` cells and ``onto`` (n, 2); of equals the first.
    """
    ways = [
        Symmetry(*way)
        for way in product((False, True), repeat=3)
        if grid.rows == grid.columns or not way[0]
    ]
    distances = [np.square(way.of(cells, grid)[known] - onto[known]).sum() for way in ways]
    return ways[int(np.argmin(distances))]
