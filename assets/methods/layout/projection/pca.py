"""Principal component analysis: of vectors, as points in the plane, and as the start of others.

The components are the directions along which vectors differ most.
"""

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

_BLOCK_ROWS = 4_096  # rows held in double precision at a time
_DEVIATION = 1e-4  # of the first coordinate; t-SNE converges poorly from larger starts
_NO_LENGTH = 1e-6  # of the longest component: what is shorter is rounding
_JITTER = 0.01  # of that deviation, so that copies of one photo do not start in one point


def principal_components(vectors: NDArray[np.floating], most: int) -> NDArray[np.float64]:
    """Project vectors (n, d) on their first principal components: (n, min(most, n, d)).

    The coordinates come in order of falling variance, centred on zero; each component points
    where its largest coordinate (in absolute value, the first of equals) is positive. The bytes do
    not depend on the number of threads: matrix products and the eigendecomposition run on one.
    """
    # SciPy has to be loaded before its BLAS can be limited.
    from scipy.linalg import eigh

    n, dimensions = vectors.shape
    kept = min(most, n, dimensions)
    with threadpool_limits(limits=1):
        mean = vectors.mean(axis=0, dtype=np.float64)
        if n <= dimensions:
            centred = vectors - mean
            gram = centred @ centred.T
            values, directions = eigh(gram, subset_by_index=(n - kept, n - 1))
            scores = directions * np.sqrt(np.maximum(values, 0.0))
        else:
            scatter = _scatter(vectors, mean)
            _, directions = eigh(scatter, subset_by_index=(dimensions - kept, dimensions - 1))
            scores = np.concatenate([(block - mean) @ directions for block in _blocks(vectors)])
    return _with_fixed_signs(scores[:, ::-1])


def principal_axes(
    vectors: NDArray[np.floating], most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean (d,) of vectors (n, d), and their first principal axes (d, k).

    ``on_axes`` gives the principal components of these vectors, and of others that were not among
    them. k is at most ``most``, n and d, and fewer where the vectors vary along fewer
    axes; it is 0 where they are all equal. The bytes do not depend on the number of threads.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    components = principal_components(vectors, most)
    lengths = np.linalg.norm(components, axis=0)
    varies = lengths > _NO_LENGTH * lengths.max(initial=0.0)
    directions = components[:, varies] / lengths[varies]
    axes = np.zeros((vectors.shape[1], directions.shape[1]))
    with threadpool_limits(limits=1):
        for start, block in zip(range(0, len(vectors), _BLOCK_ROWS), _blocks(vectors), strict=True):
            axes += (block - mean).T @ directions[start : start + _BLOCK_ROWS]
    return mean, axes / lengths[varies]


def on_axes(
    vectors: NDArray[np.floating], mean: NDArray[np.float64], axes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ``(vectors - mean) @ axes``, (n, k); the bytes depend on no number of threads."""
    with threadpool_limits(limits=1):
        return np.concatenate([(block - mean) @ axes for block in _blocks(vectors)])


def first_two(components: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the first two of the principal components (n, c) as points (n, 2).

    Where there is only one, as there is for a single photo, the second is zero.
    """
    points = np.zeros((len(components), 2))
    points[:, : components.shape[1]] = components[:, :2]
    return points


def initial_points(components: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return the points (n, 2) from which principal components (n, c) are projected.

    They are the first two components, made small and jittered, which keeps the global arrangement
    (Kobak and Berens, "The art of using t-SNE for single-cell transcriptomics", Nature
    Communications 10, 2019). The vectors may not all be equal.
    """
    points = first_two(components)
    points *= _DEVIATION / points[:, 0].std()
    jitter = np.random.default_rng(seed).normal(size=points.shape)
    return points + _DEVIATION * _JITTER * jitter


def _blocks(vectors: NDArray[np.floating]) -> list[NDArray[np.floating]]:
    return [vectors[start : start + _BLOCK_ROWS] for start in range(0, len(vectors), _BLOCK_ROWS)]


def _scatter(vectors: NDArray[np.floating], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.zeros((len(mean), len(mean)))
    for block in _blocks(vectors):
        centred = block - mean
        total += centred.T @ centred
    return total


def _with_fixed_signs(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = np.abs(scores).argmax(axis=0)
    signs = np.where(scores[largest, np.arange(scores.shape[1])] < 0, -1.0, 1.0)
    return np.ascontiguousarray(scores * signs)
