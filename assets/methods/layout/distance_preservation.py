"""Distance preservation quality: how near alike photos lie, over all sizes of neighbourhood.

Barthel, Hezel, Jung and Schall, "Improved Evaluation and Generation of Grid Layouts Using Distance
Preservation Quality and Linear Assignment Sorting", Computer Graphics Forum 42, 2023, section 4.
"""

import numpy as np
from numpy.typing import NDArray

POWER = 16  # p of the norm: large, so that the nearest neighbours count most


def means_of_nearest(
    distances: NDArray[np.floating], squared_steps: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return the mean of ``distances`` to the k nearest cells, for every k from 1 to m: (m,).

    Both arrays are (m,), from one photo to the m others: the distance of their features, and the
    square of the distance of their cells. Cells that are equally far share their mean.
    """
    # By rank, not by value: on a long thin grid the squares are far larger than their number.
    _, ring, counts = np.unique(squared_steps, return_inverse=True, return_counts=True)
    sums = np.bincount(ring, weights=distances)
    return running_means(np.repeat(sums / counts, counts))


def running_means(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mean of the first k values, for every k: (m,)."""
    return np.cumsum(values) / np.arange(1, len(values) + 1)


def preservation_quality(
    grid_means: NDArray[np.float64], ideal_means: NDArray[np.float64], mean_distance: float
) -> float | None:
    """Return DPQ_p = ||dD_grid||_p / ||dD_ideal||_p with dD_k = max(0, (d - m_k) / d), d the mean.

    The m_k are (m,), averaged over photos, in order of nearness on the grid and in the feature
    space. Both norms vanish, and the result is None, if all photos are equally far from each other.
    """
    if mean_distance == 0 or not len(grid_means):
        return None
    grid, ideal = (
        np.linalg.norm(np.maximum(0.0, 1 - means / mean_distance), POWER)
        for means in (grid_means, ideal_means)
    )
    # With equal distances what is left is rounding.
    return float(grid / ideal) if ideal > len(ideal_means) * np.finfo(np.float64).eps else None
