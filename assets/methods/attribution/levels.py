"""Coarse to fine: which windows are scored first, and what they tell about those between them.

A level has all windows in some rows and columns of the grid, and the next one has twice as many of
each. Between the windows of a level scores are interpolated, linearly along rows and columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assets.methods.attribution.windows import Windows

# Fewer windows than these take seconds, and are scored in one go.
FEWEST_WINDOWS = 100
# The first level has windows that overlap by half: what lies between them is in one of them.
LARGEST_DISTANCE_IN_BOXES = 0.5


@dataclass(frozen=True)
class Level:
    """Every so many rows and columns of a grid of windows, and always the last ones.

    Attributes:
        windows: the whole grid.
        step: from one row or column of the level to the next, in rows or columns of the grid.
    """

    windows: Windows
    step: int

    @property
    def rows(self) -> NDArray[np.intp]:
        """The rows of the grid that the level has, growing."""
        return _every(self.step, self.windows.shape[0])

    @property
    def columns(self) -> NDArray[np.intp]:
        """The columns of the grid that the level has, growing."""
        return _every(self.step, self.windows.shape[1])

    @property
    def numbers(self) -> NDArray[np.intp]:
        """The windows of the level, numbered from 0 row by row of the grid."""
        places = self.rows[:, np.newaxis] * self.windows.shape[1] + self.columns
        return places.ravel()

    @property
    def coarser(self) -> "Level":
        """The level of every other row and column of this one."""
        return Level(self.windows, 2 * self.step)

    def only(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return scores, (rows, columns) of the grid, with NaN for windows not in the level."""
        found = np.full_like(scores, np.nan)
        own = np.ix_(self.rows, self.columns)
        found[own] = scores[own]
        return found

    def fill(self, values: ArrayLike) -> NDArray[np.float32]:
        """Interpolate between the windows of the level, by where they lie in the image.

        Args:
            values: (rows, columns) of the grid, of which those of the level are read.

        Returns:
            float32 (rows, columns) of the grid, those of the level unchanged, and all within their
            range.
        """
        known = np.asarray(values, dtype=np.float64)[np.ix_(self.rows, self.columns)]
        down = _weights(self.windows.row_starts, self.rows)
        across = _weights(self.windows.col_starts, self.columns)
        filled = (down @ known @ across.T).astype(np.float32)
        # Rounding alone could lead out of the range.
        return filled.clip(np.float32(known.min()), np.float32(known.max()))


def levels_of(windows: Windows, stride: int) -> list[Level]:
    """Return the levels of a grid, the coarsest first. The last one has all windows.

    Each has the windows of those before it. The windows of the first overlap by half a box or more;
    small grids have one level.

    Args:
        windows: the grid.
        stride: from one window to the next in px.
    """
    steps = [1]
    if windows.count >= FEWEST_WINDOWS:
        steps += _doubled(LARGEST_DISTANCE_IN_BOXES * windows.box / stride)
    return [Level(windows, step) for step in reversed(steps)]


def _doubled(largest: float) -> Iterator[int]:
    """Yield 2, 4, 8, ... up to ``largest``."""
    step = 2
    while step <= largest:
        yield step
        step *= 2


def _every(step: int, n: int) -> NDArray[np.intp]:
    return np.union1d(np.arange(0, n, step), n - 1)


def _weights(starts: tuple[int, ...], known: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return (starts, known): the share that each known start has in the value of a start."""
    places = np.asarray(starts)[known]
    return np.stack([np.interp(starts, places, one) for one in np.eye(len(known))], axis=1)
