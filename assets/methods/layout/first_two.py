"""PCA as a projection: the first two principal components are the coordinates."""

import numpy as np
from numpy.typing import NDArray


def pca(components: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the first two of the principal components (n, c) as points (n, 2).

    A component that is lacking (a single photo has only one) is zero.
    """
    points = np.zeros((len(components), 2))
    points[:, : components.shape[1]] = components[:, :2]
    return points
