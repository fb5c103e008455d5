"""Principal component analysis: the directions along which vectors differ most."""

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

_BLOCK_ROWS = 4_096  # rows held in double precision at a time


def reduce(vectors: NDArray[np.floating], components: int = 50) -> NDArray[np.float64]:
    """Project vectors (n, d) on their first principal components: (n, min(components, n, d)).

    The coordinates come in order of falling variance, centred on zero; each component points
    where its largest coordinate (in absolute value, the first of equals) is positive. The bytes do
    not depend on the number of threads: matrix products and the eigendecomposition run on one.
    """
    # SciPy has to be loaded before its BLAS can be limited.
    from scipy.linalg import eigh

    n, dimensions = vectors.shape
    kept = min(components, n, dimensions)
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
