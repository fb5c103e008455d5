"""t-SNE (van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 9, 2008).

By openTSNE (Policar, Strazar and Zupan, Journal of Statistical Software 109, 2024). With CUDA,
neighbours and gradients are computed there.
"""

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from assets.methods.common.progress import Progress, silent
from assets.methods.layout.pca import initial_points
from assets.methods.layout.tsne_on_device import TsneGradient, nearest_neighbours_on

# The first third of the iterations pulls neighbours together, as in openTSNE's 250 of 750.
EXAGGERATION = 12.0
EXAGGERATED_SHARE = 1 / 3
_BARNES_HUT_PHOTOS = 10_000  # from here on interpolation with FFT is faster than Barnes-Hut
_THREADED_PHOTOS = 2_048  # below, threads save under a second, and cost many when cores are shared
_PROGRESS_EVERY = 25  # iterations


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
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    n, k = len(components), int(3 * perplexity)
    threads = 1 if n < _THREADED_PHOTOS else -1
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
    embedding = TSNEEmbedding(initial_points(components, seed), affinities, n_jobs=threads)
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
