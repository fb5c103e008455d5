"""Where the points of a projection start before they are optimised."""

import numpy as np
from numpy.typing import NDArray

from assets.methods.layout.first_two import pca

_DEVIATION = 1e-4  # of the first coordinate; t-SNE converges poorly from larger starts
_JITTER = 0.01  # of that deviation, so that copies of one photo do not start in one point


def initial_points(components: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return the first two of the principal components (n, c), made small and jittered: (n, 2).

    Starting from PCA keeps the global arrangement (Kobak and Berens, "The art of using t-SNE for
    single-cell transcriptomics", Nature Communications 10, 2019). The vectors may not all be equal.
    """
    points = pca(components)
    points *= _DEVIATION / points[:, 0].std()
    jitter = np.random.default_rng(seed).normal(size=points.shape)
    return points + _DEVIATION * _JITTER * jitter
