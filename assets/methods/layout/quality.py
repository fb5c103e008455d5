"""How well a grid of photos keeps alike what is alike in the feature space.

Distance preservation quality (DPQ) is of Barthel, Hezel, Jung and Schall, "Improved Evaluation and
Generation of Grid Layouts Using Distance Preservation Quality and Linear Assignment Sorting",
Computer Graphics Forum 42, 2023, section 4. Trustworthiness is of Venna and Kaski, "Neighborhood
preservation in nonlinear projection methods: an experimental study", ICANN 2001. Neighbourhood
purity is the share of photos side by side that have the same label.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

NEIGHBOURS = 8  # k: as many as there are cells around a cell
POWER = 16  # p of DPQ's norm: large, so that the nearest neighbours count most
SAMPLED_ABOVE = 4_000  # photos; with more, a sample of them is looked at
_SAMPLED_PAIRS = 20_000_000  # photos in the sample times all photos, which bounds the time
_BLOCK_VALUES = 8_000_000  # numbers in double precision held at a time
_MOST_EMPTY_RINGS = 8  # for each photo: counting them is faster than sorting the photos
_SAME = 1e-6  # unit vectors nearer than this are copies: rounding leaves about 1e-8
# One of each two opposite directions: every pair of adjacent cells is met once.
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


@dataclass(frozen=True)
class LayoutQuality:
    """Metrics of a layout; None where one is not defined (too few photos, or all of them equal).

    Attributes:
        dpq16: distance preservation quality with p = 16; 1 is the best conceivable.
        random_dpq16: the same for a random placement of the photos in the same cells.
        trustworthiness: of the grid at k nearest cells; 1 if all of them are feature neighbours.
        points_trustworthiness: of the points before they were assigned; None without points.
        neighbours_kept: share of the k nearest cells that hold one of the k nearest by features.
        neighbourhood_purity: share of adjacent photos of the same label; None without labels.
        random_purity: what a random placement has in expectation; None without labels.
        k: the number of neighbours: ``NEIGHBOURS``, or less if there are few photos.
        n_sampled: photos whose surroundings were looked at.
    """

    dpq16: float | None
    random_dpq16: float | None
    trustworthiness: float | None
    points_trustworthiness: float | None
    neighbours_kept: float | None
    neighbourhood_purity: float | None
    random_purity: float | None
    k: int
    n_sampled: int


def layout_quality(
    row: NDArray[np.integer],
    col: NDArray[np.integer],
    vectors: NDArray[np.floating],
    points: NDArray[np.floating] | None = None,
    labels: Sequence[Hashable | None] | None = None,
    seed: int = 0,
) -> LayoutQuality:
    """Measure the layout that puts the photo of ``vectors[i]`` (n, d) in cell (row[i], col[i]).

    Above ``SAMPLED_ABOVE`` photos everything but purity is averaged over a sample of them, drawn
    with ``seed``, each compared with all photos. Empty cells are no one's neighbours, and a photo
    whose label is None has no label. The metrics do not depend on the number of threads.
    """
    n = len(vectors)
    k = min(NEIGHBOURS, (n - 1) // 2)  # trustworthiness asks for less than n / 2
    places = np.stack([row, col], axis=1).astype(np.int64)
    rng = np.random.default_rng(seed)
    sample = _sample(n, rng)
    shuffled = places[rng.permutation(n)]
    ideal_means, grid_means, shuffled_means = np.zeros((3, n - 1))
    grid_excess = grid_kept = points_excess = 0.0
    for photo, distances in _distances_to_others(vectors, sample):
        ascending = np.sort(distances)
        steps = _squared_steps(places, photo)
        ideal_means += running_means(ascending)
        grid_means += means_of_nearest(distances, steps)
        shuffled_means += means_of_nearest(distances, _squared_steps(shuffled, photo))
        if not k:
            continue
        excess, kept = excess_and_kept(distances, ascending, steps, k)
        grid_excess += excess
        grid_kept += kept
        if points is not None:
            steps = _squared_steps(points, photo)
            points_excess += excess_and_kept(distances, ascending, steps, k)[0]
    m = len(sample)
    of_points = k and points is not None
    return LayoutQuality(
        dpq16=preservation_quality(grid_means / m, ideal_means / m),
        random_dpq16=preservation_quality(shuffled_means / m, ideal_means / m),
        trustworthiness=trustworthiness(grid_excess / m, n, k) if k else None,
        points_trustworthiness=trustworthiness(points_excess / m, n, k) if of_points else None,
        neighbours_kept=grid_kept / (m * k) if k else None,
        neighbourhood_purity=None if labels is None else neighbourhood_purity(row, col, labels),
        random_purity=None if labels is None else random_purity(labels),
        k=k,
        n_sampled=m,
    )


def means_of_nearest(
    distances: NDArray[np.floating], squared_steps: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return the mean of ``distances`` to the k nearest cells, for every k from 1 to m: (m,).

    Both arrays are (m,), from one photo to the m others: the distance of their features, and the
    square of the distance of their cells. Cells that are equally far share their mean.
    """
    ring: NDArray[np.integer] = squared_steps
    if ring.max(initial=0) > _MOST_EMPTY_RINGS * len(ring):
        # By rank: on a long thin grid the squares are far larger than their number.
        ring = np.unique(ring, return_inverse=True)[1]
    counts = np.bincount(ring)
    sums = np.bincount(ring, weights=distances)
    filled = counts > 0
    counts, sums = counts[filled], sums[filled]
    return running_means(np.repeat(sums / counts, counts))


def running_means(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mean of the first k values, for every k: (m,)."""
    return np.cumsum(values) / np.arange(1, len(values) + 1)


def preservation_quality(
    grid_means: NDArray[np.float64], ideal_means: NDArray[np.float64]
) -> float | None:
    """Return DPQ_p = ||dD_grid||_p / ||dD_ideal||_p with dD_k = max(0, (d - m_k) / d).

    The m_k are (m,), averaged over photos, in order of nearness on the grid and in the feature
    space; d, the mean over all pairs, is the last of them. Both norms vanish, and the result is
    None, if all photos are equally far from each other.
    """
    if not len(ideal_means) or ideal_means[-1] == 0:
        return None
    grid, ideal = (
        np.linalg.norm(np.maximum(0.0, 1 - means / ideal_means[-1]), POWER)
        for means in (grid_means, ideal_means)
    )
    # With equal distances what is left is rounding.
    return float(grid / ideal) if ideal > len(ideal_means) * np.finfo(np.float64).eps else None


def excess_and_kept(
    distances: NDArray[np.floating],
    sorted_distances: NDArray[np.floating],
    steps: NDArray[np.number],
    k: int,
) -> tuple[float, float]:
    """Look at the ``k`` nearest places of one photo among m others.

    Where several photos tie for the k-th nearest place, as on every grid, each counts with the
    share that a random choice among them would give it.

    Args:
        distances: (m,), of the features.
        sorted_distances: the same in rising order.
        steps: (m,), any rising function of the distances of the places.
        k: how many places.

    Returns:
        The sum of max(0, r - k) over the photos there, r being a photo's rank in the feature space
        (1 is nearest; copies share the best rank); and how many of them are among the k nearest in
        the feature space.
    """
    farthest = np.partition(steps, k - 1)[k - 1]
    inside = np.flatnonzero(steps < farthest)
    tied = np.flatnonzero(steps == farthest)
    weights = np.ones(len(inside) + len(tied))
    weights[len(inside) :] = (k - len(inside)) / len(tied)
    ranks = 1 + np.searchsorted(sorted_distances, distances[np.concatenate([inside, tied])])
    return float(weights @ np.maximum(0, ranks - k)), float(weights @ (ranks <= k))


def trustworthiness(mean_excess: float, n: int, k: int) -> float:
    """Return the trustworthiness of a layout of ``n`` photos from the mean excess over its photos.

    1 is the best; ``k`` has to be less than n / 2, or the measure can fall below 0.
    """
    return 1.0 - 2.0 * mean_excess / (k * (2 * n - 3 * k - 1))


def points_trustworthiness(
    points: NDArray[np.floating],
    vectors: NDArray[np.floating],
    photos: NDArray[np.int64],
) -> float | None:
    """Return the trustworthiness of points (n, 2) of vectors (n, d) around some of the photos.

    The k nearest points of each of ``photos`` (m,), their numbers, are looked for among all n. None
    for no photos, or fewer than three in all.
    """
    n = len(vectors)
    k = min(NEIGHBOURS, (n - 1) // 2)
    if not k or not len(photos):
        return None
    excess = 0.0
    for photo, distances in _distances_to_others(vectors, photos):
        steps = _squared_steps(points, photo)
        excess += excess_and_kept(distances, np.sort(distances), steps, k)[0]
    return trustworthiness(excess / len(photos), n, k)


def neighbourhood_purity(
    row: NDArray[np.integer], col: NDArray[np.integer], labels: Sequence[Hashable | None]
) -> float | None:
    """Return the share of adjacent pairs of labelled photos that have the same label.

    Each cell has up to 8 adjacent ones. None if no two labelled photos are adjacent.
    """
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    nothing = -1
    grid = np.full((row.max() + 3, col.max() + 3), nothing)
    # A margin of one cell, so that shifting does not wrap around.
    grid[row + 1, col + 1] = [nothing if label is None else numbers[label] for label in labels]
    same = pairs = 0
    for direction in _DIRECTIONS:
        other = np.roll(grid, direction, axis=(0, 1))
        both = (grid != nothing) & (other != nothing)
        pairs += int(np.count_nonzero(both))
        same += int(np.count_nonzero(both & (grid == other)))
    return same / pairs if pairs else None


def random_purity(labels: Sequence[Hashable | None]) -> float | None:
    """Return the purity that placing the photos at random has in expectation.

    It is the chance that two labelled photos have the same label; None for fewer than two.
    """
    counts = Counter(label for label in labels if label is not None)
    n = counts.total()
    return sum(c * (c - 1) for c in counts.values()) / (n * (n - 1)) if n > 1 else None


def _sample(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if n <= SAMPLED_ABOVE:
        return np.arange(n)
    size = min(SAMPLED_ABOVE, max(1, _SAMPLED_PAIRS // n))
    return np.sort(rng.choice(n, size, replace=False))


def _squared_steps(places: NDArray[Any], photo: int) -> NDArray[Any]:
    """Return the squared distance of every other place (n - 1,) from that of ``photo``."""
    first, second = (places - places[photo]).T
    return np.delete(first * first + second * second, photo)


def _distances_to_others(
    vectors: NDArray[np.floating], sample: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield each photo of the sample with its Euclidean distances (n - 1,) to all others."""
    photos_at_once = max(1, _BLOCK_VALUES // len(vectors))
    for start in range(0, len(sample), photos_at_once):
        block = sample[start : start + photos_at_once]
        for photo, distances in zip(block, _distances(vectors[block], vectors), strict=True):
            yield int(photo), np.delete(distances, photo)


def _distances(some: NDArray[np.floating], vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the Euclidean distances (m, n), with copies exactly 0 apart."""
    some = some.astype(np.float64)
    squared = np.empty((len(some), len(vectors)))
    at_once = max(1, _BLOCK_VALUES // vectors.shape[1])
    with threadpool_limits(limits=1):
        for start in range(0, len(vectors), at_once):
            others = vectors[start : start + at_once].astype(np.float64)
            squared[:, start : start + at_once] = (
                np.square(some).sum(axis=1)[:, np.newaxis]
                + np.square(others).sum(axis=1)
                - 2 * some @ others.T
            )
    squared[squared < _SAME**2] = 0.0
    return np.sqrt(squared)
