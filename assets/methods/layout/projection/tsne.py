"""t-SNE (van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 9, 2008).

By openTSNE (Policar, Strazar and Zupan, Journal of Statistical Software 109, 2024). With CUDA,
neighbours and gradients are computed there.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from assets.methods.common.progress import Progress, silent
from assets.methods.layout.projection.pca import initial_points
from assets.methods.layout.projection.tsne_on_device import TsneGradient, nearest_neighbours_on

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
# The same of new points alone, for each of which the sum of its affinities is 1.
_INSERTING_ITERATIONS, _LARGEST_GRADIENT = 100, 0.25
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
    points: NDArray[np.float64],
    known: NDArray[np.bool_],
    *,
    perplexity: float,
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
) -> NDArray[np.float64]:
    """Go on from the ``points`` (n, 2) of the ``known`` ones (n,); the others are not read.

    At least one is known. Each new point starts where the known one lies whose components are
    nearest, and finds its place among them. Up to 10,000 known points, and on CUDA, these are held
    loosely. Beyond they stay where they are, and new points know of no other new ones, so that the
    time grows with the number of the new ones alone. Otherwise as ``tsne``, in a few iterations
    without exaggeration.
    """
    if known.all():
        return points
    n_known = int(np.count_nonzero(known))
    is_large = device == "cpu" and n_known >= _BARNES_HUT_PHOTOS
    k = min(int(3 * perplexity), n_known) if is_large else 1
    nearest, distances = known_neighbours(components, known, k)
    start = points.copy()
    start[~known] = points[nearest[:, 0]]
    if is_large:
        start[~known] = _inserted(start, known, nearest, distances, perplexity)
        progress(len(points), len(points))
        return start
    jitter = np.random.default_rng(seed).normal(size=start.shape) * _JITTER * start[known].std()
    start[~known] += jitter[~known]
    # openTSNE moves the mean to the origin in each iteration, and so new points off the known ones.
    middle = start.mean(axis=0)
    embedding = _embedding(start - middle, components, perplexity, device)
    _loosen(embedding, known, _gradient(len(points), device), progress)
    return np.array(embedding, dtype=np.float64) + middle


def _loosen(
    embedding: "TSNEEmbedding",
    known: NDArray[np.bool_],
    gradient: str | TsneGradient,
    progress: Progress,
) -> None:
    """Let new points of an embedding (n, 2) find their place; the ``known`` ones give way at last.

    After each block of iterations these are taken back to where they were.
    """
    before = np.array(embedding[known])
    iterations = _BLOCKS * _BLOCK_ITERATIONS
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
        embedding[known] += back * (before - embedding[known])
        progress((block + 1) * _BLOCK_ITERATIONS, iterations)


def _inserted(
    start: NDArray[np.float64],
    known: NDArray[np.bool_],
    nearest: NDArray[np.int64],
    distances: NDArray[np.float64],
    perplexity: float,
) -> NDArray[np.float64]:
    """Return where the m new points of ``start`` (n, 2) come to lie among the ``known`` ones (n,).

    ``nearest`` and ``distances`` (m, k) are those of ``known_neighbours``. openTSNE's ``transform``
    does the same, but looks for the neighbours itself.
    """
    from openTSNE import PartialTSNEEmbedding, TSNEEmbedding
    from openTSNE.affinity import PrecomputedAffinities, joint_probabilities_nn
    from scipy.sparse import csr_matrix

    old = start[known]
    middle = (old.max(axis=0) + old.min(axis=0)) / 2  # openTSNE moves it to the origin
    # The known points do not move, and so need no affinities.
    none = PrecomputedAffinities(csr_matrix((len(old), len(old))), normalize=False)
    held = TSNEEmbedding(old - middle, none, negative_gradient_method="fft", n_jobs=1)
    among_old = np.cumsum(known) - 1
    affinities = joint_probabilities_nn(
        among_old[nearest],
        distances,
        [perplexity],
        symmetrize=False,
        normalization="point-wise",
        n_reference_samples=len(old),
    )
    embedding = PartialTSNEEmbedding(
        start[~known] - middle, held, affinities, **held.gradient_descent_params
    )
    embedding.optimize(
        _INSERTING_ITERATIONS,
        learning_rate=1.0,
        exaggeration=1.0,
        momentum=0.8,
        max_grad_norm=_LARGEST_GRADIENT,
        inplace=True,
    )
    return np.array(embedding, dtype=np.float64) + middle


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


def known_neighbours(
    vectors: NDArray[np.floating], known: NDArray[np.bool_], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the ``k`` nearest known vectors of each of m that are not ``known`` (n,).

    Two arrays (m, k) as those of ``nearest_neighbours``.
    """
    from sklearn.neighbors import NearestNeighbors

    with threadpool_limits(limits=1):
        index = NearestNeighbors(algorithm="brute").fit(vectors[known])
        distances, indices = index.kneighbors(vectors[~known], k)
    return np.flatnonzero(known)[indices], distances


def _gradient(n: int, device: str) -> str | TsneGradient:
    """Return how openTSNE computes the gradient for n points."""
    if device != "cpu":
        return TsneGradient(device)
    return "bh" if n < _BARNES_HUT_PHOTOS else "fft"
