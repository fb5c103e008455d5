"""The nearest neighbours of every vector, found exactly and the same way whatever the machine."""

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits


def nearest_neighbours(
    vectors: NDArray[np.floating], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the ``k`` nearest other vectors of each of n, nearest first.

    Two arrays (n, k): their indices and their Euclidean distances. The search runs on one thread,
    because scikit-learn resolves ties differently for different numbers of threads.

    Raises:
        ValueError: ``k`` is not between 1 and n - 1.
    """
    from sklearn.neighbors import NearestNeighbors

    if not 1 <= k < len(vectors):
        raise ValueError(f"{len(vectors)} vectors have no {k} nearest neighbours")
    with threadpool_limits(limits=1):
        index = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(vectors)
        distances, indices = index.kneighbors()
    return indices, distances
