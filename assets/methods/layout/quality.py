"""How well a grid of photos keeps alike what is alike in the feature space: the metrics in one."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from assets.methods.layout.distance_preservation import (
    means_of_nearest,
    preservation_quality,
    running_means,
)
from assets.methods.layout.neighbourhood_purity import neighbourhood_purity, random_purity
from assets.methods.layout.trustworthiness import neighbourhood, trustworthiness

NEIGHBOURS = 8  # k: as many as there are cells around a cell
SAMPLED_ABOVE = 4_000  # photos; with more, a sample of them is looked at
_SAMPLED_PAIRS = 20_000_000  # photos in the sample times all photos, which bounds the time
_BLOCK_VALUES = 8_000_000  # numbers in double precision held at a time
_SAME = 1e-6  # unit vectors nearer than this are copies: rounding leaves about 1e-8


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
    places = np.stack([row, col], axis=1).astype(np.int64)
    rng = np.random.default_rng(seed)
    sample = _sample(n, rng)
    sums = _Sums(n, _neighbours(n))
    shuffled = places[rng.permutation(n)]
    for photo, distances in _distances_to_others(vectors, sample):
        sums.add(
            distances,
            _squared_steps(places, photo),
            _squared_steps(shuffled, photo),
            None if points is None else _squared_steps(points, photo),
        )
    return LayoutQuality(
        dpq16=sums.quality(sums.grid_means),
        random_dpq16=sums.quality(sums.shuffled_means),
        trustworthiness=sums.trustworthiness(sums.grid_excess),
        points_trustworthiness=None if points is None else sums.trustworthiness(sums.points_excess),
        neighbours_kept=sums.neighbours_kept(),
        neighbourhood_purity=None if labels is None else neighbourhood_purity(row, col, labels),
        random_purity=None if labels is None else random_purity(labels),
        k=sums.k,
        n_sampled=len(sample),
    )


@dataclass
class _Sums:
    """What is summed over the photos of the sample, and the metrics that follow from it."""

    n: int
    k: int
    photos: int = 0
    grid_means: NDArray[np.float64] = field(init=False)
    shuffled_means: NDArray[np.float64] = field(init=False)
    ideal_means: NDArray[np.float64] = field(init=False)
    grid_excess: float = 0.0
    grid_kept: float = 0.0
    points_excess: float = 0.0

    def __post_init__(self) -> None:
        self.grid_means, self.shuffled_means, self.ideal_means = np.zeros((3, self.n - 1))

    def add(
        self,
        distances: NDArray[np.float64],
        grid_steps: NDArray[Any],
        shuffled_steps: NDArray[Any],
        point_steps: NDArray[Any] | None,
    ) -> None:
        """Add a photo, given the distances of its features and places from the n - 1 others."""
        ascending = np.sort(distances)
        self.photos += 1
        self.ideal_means += running_means(ascending)
        self.grid_means += means_of_nearest(distances, grid_steps)
        self.shuffled_means += means_of_nearest(distances, shuffled_steps)
        if not self.k:
            return
        on_grid = neighbourhood(distances, ascending, grid_steps, self.k)
        self.grid_excess += on_grid.excess
        self.grid_kept += on_grid.kept
        if point_steps is not None:
            self.points_excess += neighbourhood(distances, ascending, point_steps, self.k).excess

    def quality(self, means: NDArray[np.float64]) -> float | None:
        """Return the distance preservation quality of the summed ``means``."""
        if self.n < 2:
            return None
        # The mean over all of a photo's neighbours is the mean over its pairs.
        mean_distance = float(self.ideal_means[-1] / self.photos)
        return preservation_quality(
            means / self.photos, self.ideal_means / self.photos, mean_distance
        )

    def trustworthiness(self, excess: float) -> float | None:
        """Return the trustworthiness that the summed ``excess`` amounts to."""
        return trustworthiness(excess / self.photos, self.n, self.k) if self.k else None

    def neighbours_kept(self) -> float | None:
        """Return the share of neighbours kept."""
        return self.grid_kept / (self.photos * self.k) if self.k else None


def _neighbours(n: int) -> int:
    """Return k: less than n / 2, as trustworthiness asks; 0 if no neighbourhood is small enough."""
    return min(NEIGHBOURS, (n - 1) // 2)


def _sample(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if n <= SAMPLED_ABOVE:
        return np.arange(n)
    size = min(SAMPLED_ABOVE, max(1, _SAMPLED_PAIRS // n))
    return np.sort(rng.choice(n, size, replace=False))


def _squared_steps(places: NDArray[Any], photo: int) -> NDArray[Any]:
    """Return the squared distance of every other place (n - 1,) from that of ``photo``."""
    steps = np.square(places - places[photo]).sum(axis=1)
    return np.delete(steps, photo)


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
