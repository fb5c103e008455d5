"""The grid that a map is laid out on, and points measured in its cells."""

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.errors import UserError

# How wide the default grid may get, as columns over rows, to leave fewer cells empty.
NEAR_SQUARE = 4 / 3

_COLUMNS_BY_ROWS = re.compile(r"(\d+)\s*[xX×]\s*(\d+)")
_RATIO = re.compile(r"(\d+(?:\.\d+)?)(?:\s*:\s*(\d+(?:\.\d+)?))?")


LONGEST_SIDE = 16_384  # as many pixels as a picture may have a side
MOST_CELLS = 1_000_000


@dataclass(frozen=True)
class GridShape:
    """A grid of ``columns`` x ``rows`` cells; cell (0, 0) is the top left one."""

    columns: int
    rows: int

    @property
    def cells(self) -> int:
        """The number of cells."""
        return self.columns * self.rows


def choose_grid(n: int, shape: str = "auto") -> GridShape:
    """Choose the grid for ``n`` photos.

    ``shape`` is ``"auto"`` (near-square: the grid with the fewest surplus cells among those at most
    4/3 as wide as high), ``"COLUMNSxROWS"``, or an aspect ratio, columns over rows, such as
    ``"16:9"`` or ``"1.5"``.

    Raises:
        UserError: the shape is malformed, or has fewer cells than there are photos.
        ValueError: ``n`` is less than 1.
    """
    if n < 1:
        raise ValueError(f"a grid needs at least one photo, not {n}")
    text = shape.strip()
    if text == "auto":
        return _near_square(n)
    if stated := _COLUMNS_BY_ROWS.fullmatch(text):
        return _stated(n, int(stated[1]), int(stated[2]))
    if ratio := _RATIO.fullmatch(text):
        width, height = float(ratio[1]), float(ratio[2] or 1)
        if width > 0 and height > 0:
            return _with_ratio(n, width / height)
    raise UserError(
        f"The grid {shape!r} is not understood: write auto, COLUMNSxROWS such as 40x25, "
        "or an aspect ratio such as 16:9 or 1.5."
    )


def wanted_ratio(shape: str) -> float | None:
    """Return the ratio, columns over rows, that a ``shape`` of ``choose_grid`` asks for.

    It is 1 for ``"auto"``, and None where the grid itself is stated.
    """
    text = shape.strip()
    if _COLUMNS_BY_ROWS.fullmatch(text):
        return None
    ratio = _RATIO.fullmatch(text)
    return float(ratio[1]) / float(ratio[2] or 1) if ratio else 1.0


def points_to_cells(points: NDArray[np.floating], grid: GridShape) -> NDArray[np.float64]:
    """Stretch ``points`` (n, 2) over the grid, one unit being one cell pitch.

    Each axis is scaled on its own so that the points reach from the centre of the first cell to
    that of the last: x from column 0 to the last column, y from row 0, the top one, to the bottom
    row (y points down). An axis on which all points agree goes to the middle of the grid.

    Raises:
        ValueError: the points are not an (n, 2) array of finite numbers.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError(f"expected finite points of shape (n, 2), not shape {points.shape}")
    last = np.array([grid.columns - 1, grid.rows - 1], dtype=np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    extent = high - low
    share = np.divide(points - low, extent, out=np.full_like(points, 0.5), where=extent > 0)
    return share * last


def _near_square(n: int) -> GridShape:
    base = _with_ratio(n, 1.0)
    least_rows = math.ceil(math.sqrt(n / NEAR_SQUARE))
    candidates = [GridShape(math.ceil(n / rows), rows) for rows in range(least_rows, base.rows)]
    near = [grid for grid in candidates if grid.columns <= NEAR_SQUARE * grid.rows]
    return min([base, *near], key=lambda grid: (grid.cells, grid.columns))


def _stated(n: int, columns: int, rows: int) -> GridShape:
    if max(columns, rows) > LONGEST_SIDE or columns * rows > MOST_CELLS:
        raise UserError(
            f"A grid of {columns}x{rows} is too large: at most {LONGEST_SIDE:,} cells a side and "
            f"{MOST_CELLS:,} in all."
        )
    if columns * rows < n:
        raise UserError(
            f"A grid of {columns}x{rows} has {columns * rows} cells, too few for {n} photos."
        )
    return GridShape(columns, rows)


def _with_ratio(n: int, ratio: float) -> GridShape:
    columns = min(n, max(1, math.ceil(math.sqrt(n * ratio))))
    rows = math.ceil(n / columns)
    return GridShape(math.ceil(n / rows), rows)
