"""Trustworthiness: whether those that a layout shows as neighbours are neighbours.

Venna and Kaski, "Neighborhood preservation in nonlinear projection methods: an experimental study",
ICANN 2001. Where several photos tie for the k-th nearest place, as on every grid, each counts with
the share that a random choice among them would give it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Neighbourhood:
    """What the k nearest places of one photo hold.

    Attributes:
        excess: the sum of max(0, r - k) over the photos there, r being a photo's rank in the
            feature space (1 is nearest; copies share the best rank).
        kept: how many of them are among the k nearest in the feature space.
    """

    excess: float
    kept: float


def neighbourhood(
    distances: NDArray[np.floating],
    sorted_distances: NDArray[np.floating],
    steps: NDArray[np.number],
    k: int,
) -> Neighbourhood:
    """Look at the ``k`` nearest places of one photo among m others.

    ``distances`` (m,) are those of the features, ``sorted_distances`` the same in rising order, and
    ``steps`` (m,) any rising function of the distances of the places.
    """
    farthest = np.partition(steps, k - 1)[k - 1]
    inside = np.flatnonzero(steps < farthest)
    tied = np.flatnonzero(steps == farthest)
    weights = np.ones(len(inside) + len(tied))
    weights[len(inside) :] = (k - len(inside)) / len(tied)
    ranks = 1 + np.searchsorted(sorted_distances, distances[np.concatenate([inside, tied])])
    return Neighbourhood(
        excess=float(weights @ np.maximum(0, ranks - k)), kept=float(weights @ (ranks <= k))
    )


def trustworthiness(mean_excess: float, n: int, k: int) -> float:
    """Return the trustworthiness of a layout of ``n`` photos from the mean excess over its photos.

    1 is the best; ``k`` has to be less than n / 2, or the measure can fall below 0.
    """
    return 1.0 - 2.0 * mean_excess / (k * (2 * n - 3 * k - 1))
