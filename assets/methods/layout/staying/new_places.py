"""Where new photos belong on a map that stays: beside the old ones that they look like."""

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

NEIGHBOURS = 3  # old photos that a new one is placed by
# Weights are powers of the similarity, so that a near-copy decides alone.
_POWER = 8
_LEAST_SIMILARITY = 1e-3
_BLOCK_VALUES = 8_000_000  # similarities held at a time


def nearest_known(
    vectors: NDArray[np.floating], known: NDArray[np.bool_], k: int = NEIGHBOURS
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the ``k`` known vectors most similar to each one that is not known, and similarities.

    Args:
        vectors: (n, d), of unit length.
        known: (n,) bool, m of them False.
        k: how many; fewer where there are fewer known ones.

    Returns:
        Indices into ``vectors`` and cosines, (m, k), the most similar first.
    """
    old, new = np.flatnonzero(known), np.flatnonzero(~known)
    k = min(k, len(old))
    indices = np.empty((len(new), k), dtype=np.int64)
    similarities = np.empty((len(new), k))
    others = vectors[old].T
    at_once = max(1, _BLOCK_VALUES // len(old))
    with threadpool_limits(limits=1):
        for start in range(0, len(new), at_once):
            block = slice(start, start + at_once)
            found = vectors[new[block]] @ others
            nearest = _largest(found, k)
            indices[block] = old[nearest]
            similarities[block] = np.take_along_axis(found, nearest, axis=1)
    return indices, similarities


def _largest(values: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Return where the ``k`` largest values of each row (m, n) are; equals in their order."""
    largest = np.empty((len(values), k), dtype=np.int64)
    for row, least in enumerate(np.partition(values, -k, axis=1)[:, -k]):
        found = np.flatnonzero(values[row] >= least)
        largest[row] = found[np.argsort(-values[row, found], kind="stable")[:k]]
    return largest


def placed(
    places: NDArray[np.number], vectors: NDArray[np.floating], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return ``places`` (n, 2) with those of photos that are not ``known`` replaced.

    A new photo belongs to the mean place of the known photos most like it, weighted by similarity.
    At least one photo has to be known.
    """
    result = np.array(places, dtype=np.float64)
    if known.all():
        return result
    indices, similarities = nearest_known(vectors, known)
    weights = np.maximum(similarities, _LEAST_SIMILARITY) ** _POWER
    weights /= weights.sum(axis=1, keepdims=True)
    result[~known] = np.einsum("mk,mkc->mc", weights, result[indices])
    return result
