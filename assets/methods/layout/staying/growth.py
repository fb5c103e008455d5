"""The grid of a map that stays: the old one with lines added to it, or taken out."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.methods.layout.grid import GridShape, choose_grid, wanted_ratio

# A grid with more empty cells than this share of the photos, and than these many of its longer
# lines, is too empty. A new grid has less than one line of empty cells.
EMPTY_SHARE = 0.15
EMPTY_LINES = 2


@dataclass(frozen=True)
class ChangedGrid:
    """A grid, and where the cells of the one before are in it.

    ``rows`` and ``columns`` have the new index of each row and column of the grid before: their old
    one, unless lines were taken out.
    """

    grid: GridShape
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]

    def cells(self, cells: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return where cells (n, 2), row and column, of the grid before are in this one."""
        return np.stack([self.rows[cells[:, 0]], self.columns[cells[:, 1]]], axis=1)


def changed_grid(
    before: GridShape, cells: NDArray[np.integer], n: int, shape: str = "auto"
) -> ChangedGrid:
    """Return the grid for ``n`` photos that differs least from the one ``before``.

    Rows are added below and columns on the right, so that every cell keeps its row and its column.
    From a grid that has become too empty, the lines with the fewest photos are taken out. Of a row
    and a column, the one is added or taken out that brings the ratio of the sides nearer to what
    ``shape`` asks for (see ``choose_grid``). A stated grid stays as it is.

    Args:
        before: the grid of the last map.
        cells: (m, 2), the rows and columns of its photos that are still there.
        n: how many photos there are now.
        shape: the setting that the last map was made with.

    Raises:
        UserError: a stated grid has too few cells.
    """
    ratio = wanted_ratio(shape)
    rows, columns = list(range(before.rows)), list(range(before.columns))
    if ratio is None:
        grid = choose_grid(n, shape)
    elif before.cells < n:
        grid = _grown(before, n, ratio)
    else:
        grid = before
        if before.cells - n > max(EMPTY_SHARE * n, EMPTY_LINES * max(before.columns, before.rows)):
            grid = _compacted(rows, columns, cells, n, ratio)
    return ChangedGrid(grid, _indices(rows, before.rows), _indices(columns, before.columns))


def _grown(before: GridShape, n: int, ratio: float) -> GridShape:
    grid = before
    while grid.cells < n:
        wider = GridShape(grid.columns + 1, grid.rows)
        higher = GridShape(grid.columns, grid.rows + 1)
        grid = min(wider, higher, key=lambda one: _distance(one, ratio))
    return grid


def _compacted(
    rows: list[int], columns: list[int], cells: NDArray[np.integer], n: int, ratio: float
) -> GridShape:
    """Take out lines while ``n`` cells are left; ``rows`` and ``columns`` are those that stay."""
    in_row = np.bincount(cells[:, 0], minlength=len(rows))
    in_column = np.bincount(cells[:, 1], minlength=len(columns))
    while True:
        lower = GridShape(len(columns), len(rows) - 1)
        narrower = GridShape(len(columns) - 1, len(rows))
        possible = [one for one in (lower, narrower) if one.cells >= n]
        if not possible:
            return GridShape(len(columns), len(rows))
        nearer = min(possible, key=lambda one: _distance(one, ratio))
        lines, counts = (rows, in_row) if nearer == lower else (columns, in_column)
        # Of equals the last one: what comes before it keeps its place.
        lines.remove(min(reversed(lines), key=lambda line: counts[line]))


def _distance(grid: GridShape, ratio: float) -> float:
    # Rounded, so that 31 x 30 and 30 x 31 are equally far from a square.
    return round(abs(math.log(grid.columns / grid.rows / ratio)), 9)


def _indices(kept: list[int], n: int) -> NDArray[np.int64]:
    """Return the new index of each of ``n`` lines; one that is gone has that of its neighbour."""
    return np.minimum(np.searchsorted(kept, np.arange(n)), len(kept) - 1)
