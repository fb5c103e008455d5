"""t-SNE (van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 9, 2008).

By openTSNE (Policar, Strazar and Zupan, Journal of Statistical Software 109, 2024). With CUDA,
neighbours and gradients are computed there.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from assets.methods.common.progress import Progress, silent
from assets.methods.layout.pca import initial_points
from assets.methods.layout.tsne_on_device import TsneGradient, nearest_neighbours_on

if TYPE_CHECKING:
    from openTSNE import TSNEEmbedding

# The first third of the iterations pulls neighbours together, as in openTSNE's 250 of 750.
EXAGGERATION = 12.0
EXAGGERATED_SHARE = 1 / 3
_BARNES_HUT_PHOTOS = 10_000  # from here on interpolation with FFT is faster than Barnes-Hut
_THREADED_PHOTOS = 2_048  # below, threads save under a second, and cost many when cores are shared
_PROGRESS_EVERY = 25  # iterations
# A projection that goes on from known points: blocks of iterations, after each of which they are
# taken back to where they were, and in the second half only half the way.
_BLOCKS, _BLOCK_ITERATIONS = 10, 10
_HELD_SHARE = 0.5
_LARGEST_STEP = 1.0
_JITTER = 1e-3  # of the spread of the points, so that a new copy does not start on its original


def tsne(
    components: NDArray[np.float64],
    *,
    perplexity: float,
    iterations: int,
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
) -> NDArray[np.float64]:
    """Project principal components (n, c) to points (n, 2); needs 1 < perplexity <= (n - 1) / 3.

    The bytes of the result do not depend on the number of threads.
    """
    n = len(components)
    embedding = _embedding(initial_points(components, seed), components, perplexity, device)
    exaggerated = round(iterations * EXAGGERATED_SHARE)
    for start, stop, exaggeration, momentum in (
        (0, exaggerated, EXAGGERATION, 0.5),
        (exaggerated, iterations, 1.0, 0.8),
    ):
        embedding.optimize(
            stop - start,
            exaggeration=exaggeration,
            momentum=momentum,
            inplace=True,
            negative_gradient_method=_gradient(n, device),
            callbacks=lambda done, *_, start=start: progress(start + done, iterations),
            callbacks_every_iters=_PROGRESS_EVERY,
        )
    progress(iterations, iterations)
    return np.array(embedding, dtype=np.float64)


def continued_tsne(
    components: NDArray[np.float64],
    start: NDArray[np.float64],
    known: NDArray[np.bool_],
    *,
    perplexity: float,
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
) -> NDArray[np.float64]:
    """Go on from the points ``start`` (n, 2), of which the ``known`` ones (n,) are held loosely.

    At least one is known. Otherwise as ``tsne``, in a few iterations without exaggeration: new
    points find their place among the known ones, which then give way a little.
    """
    jitter = np.random.default_rng(seed).normal(size=start.shape) * _JITTER * start[known].std()
    points = np.where(known[:, np.newaxis], start, start + jitter)
    embedding = _embedding(points, components, perplexity, device)
    iterations = _BLOCKS * _BLOCK_ITERATIONS
    gradient = _gradient(len(components), device)
    for block in range(_BLOCKS):
        embedding.optimize(
            _BLOCK_ITERATIONS,
            exaggeration=1.0,
            momentum=0.5,
            max_step_norm=_LARGEST_STEP,
            inplace=True,
            negative_gradient_method=gradient,
        )
        back = _HELD_SHARE if block >= _BLOCKS // 2 else 1.0
        embedding[known] += back * (start[known] - embedding[known])
        progress((block + 1) * _BLOCK_ITERATIONS, iterations)
    return np.array(embedding, dtype=np.float64)


def _embedding(
    points: NDArray[np.float64],
    components: NDArray[np.float64],
    perplexity: float,
    device: str,
) -> "TSNEEmbedding":
    """Return points (n, 2) with the affinities of their components (n, c), to be optimised."""
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    k = int(3 * perplexity)
    threads = 1 if len(components) < _THREADED_PHOTOS else -1
    indices, distances = (
        nearest_neighbours(components, k)
        if device == "cpu"
        else nearest_neighbours_on(device, components, k)
    )
    affinities = PerplexityBasedNN(
        perplexity=perplexity,
        knn_index=PrecomputedNeighbors(indices, distances),
        n_jobs=threads,
    )
    return TSNEEmbedding(points, affinities, n_jobs=threads)


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


def _gradient(n: int, device: str) -> str | TsneGradient:
    """Return how openTSNE computes the gradient for n points."""
    if device != "cpu":
        return TsneGradient(device)
    return "bh" if n < _BARNES_HUT_PHOTOS else "fft"
