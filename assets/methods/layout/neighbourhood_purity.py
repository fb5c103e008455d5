"""Neighbourhood purity: how often photos that lie side by side have the same label."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

# One of each two opposite directions: every pair of adjacent cells is met once.
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


def neighbourhood_purity(
    row: NDArray[np.integer], col: NDArray[np.integer], labels: Sequence[Hashable | None]
) -> float | None:
    """Return the share of adjacent pairs of labelled photos that have the same label.

    Each cell has up to 8 adjacent ones. None if no two labelled photos are adjacent.
    """
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    nothing = -1
    grid = np.full((row.max() + 3, col.max() + 3), nothing)
    # A margin of one cell, so that shifting does not wrap around.
    grid[row + 1, col + 1] = [nothing if label is None else numbers[label] for label in labels]
    same = pairs = 0
    for direction in _DIRECTIONS:
        other = np.roll(grid, direction, axis=(0, 1))
        both = (grid != nothing) & (other != nothing)
        pairs += int(np.count_nonzero(both))
        same += int(np.count_nonzero(both & (grid == other)))
    return same / pairs if pairs else None


def random_purity(labels: Sequence[Hashable | None]) -> float | None:
    """Return the purity that placing the photos at random has in expectation.

    It is the chance that two labelled photos have the same label; None for fewer than two.
    """
    counts = Counter(label for label in labels if label is not None)
    n = counts.total()
    return sum(c * (c - 1) for c in counts.values()) / (n * (n - 1)) if n > 1 else None
