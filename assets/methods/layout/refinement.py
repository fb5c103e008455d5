"""Rearrange photos in their cells so that photos that look alike lie side by side.

The assignment keeps photos near their points, which only approximate the features. Three steps
start from there:

1. Groups of cells are assigned to their photos anew, by what lies around each cell: first by wide
   surroundings, then by ever nearer ones. This is linear assignment sorting and its fast form
   (Barthel, Hezel, Jung and Schall, Computer Graphics Forum 42, 2023, sections 5 and 6).
2. A hill-climb of swaps lowers the squared feature distance between photos at most two cells apart.
3. Swaps lower the distances that distance preservation quality weighs (the same paper, section 4),
   at first also where one costs a little: simulated annealing. It needs the distances between all
   photos, so that large collections do without.

A map on which photos are held near where they were has been arranged before: it does without the
first step, and is annealed for longer. Should that not have made it better, only the swaps count
that cost nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from assets.methods.common.progress import Progress, silent
from assets.methods.layout.grid import GridShape
from assets.methods.layout.projection.pca import principal_components
from assets.methods.layout.quality import POWER

RADIUS = 2  # cells: the neighbourhood is 5 x 5
# Standard deviations, in cells, of the Gaussian weights of the neighbourhood, one for each climb;
# the last one's objective is reported. Wider ones before (2 and 1.5), once groups were assigned,
# change DPQ16 within the noise of seeds, gain 0.002 of trustworthiness on photos, and take 40 %
# more time.
_WIDTHS = (1.0, 0.7)
_MOST_PASSES = 8  # over all photos per climb; most climbs settle after 3 to 6
_SETTLED = 1e-3  # swaps per photo in a pass, at or below which a climb is over
_COMPONENTS = 256  # of the features: DPQ16 loses 0.005 with 128 and gains nothing with 512
_PAIRS_A_PASS = 5_000_000  # bounds the time: all pairs up to about 1,100 photos
_LEAST_REACH = 3  # cells: the nearest 48 are tried however many photos there are
_LEAST_GAIN = 1e-4  # of the mean squared feature distance; above the rounding of float32
# Of the groups that are assigned anew. The surroundings of a cell are a Gaussian mean whose width
# falls from the first to that of the last climb.
_FIRST_WIDTH = 5.0  # cells; 8 gains nothing, and with 2 random colours lose 0.008 of DPQ16
_DECAY = 0.9
_SWEEPS = 3  # over all cells at each width
_SWEPT_OFTEN = 20_000  # photos; more get one sweep
_GROUP = 128  # cells; an assignment's time grows with the cube
_TILE_PER_WIDTH = 6  # a group lies in a tile of so many widths a side, within the following limits
_LEAST_TILE, _LARGEST_TILE = 12, 32
_GROUP_COMPONENTS = 64  # of the features
_GAUSSIAN_REACH = 3.0  # widths
# Of the annealing. A swap may cost an exponential random number with the mean of a heat, in what
# a photo costs on average; twice the first heat would scatter photos again.
_ANNEALED_PHOTOS = 4_096  # their distances take 64 MiB, their costs in all cells as much
_HEATS = tuple(0.0065 * 0.97**step for step in range(45))  # one pass each
# The same where known photos are held. The bound keeps this heat from scattering photos, and passes
# are short. With 0.010 or 0.024 DPQ16 is 0.005 lower, and 1,200 passes gain 0.002.
_HELD_HEATS = tuple(0.016 * 0.1 ** (step / 400) for step in range(400))
_ROWS_AT_ONCE = 4  # of cells, whose surroundings are added up while the processor has them at hand
_BLOCK_ROWS = 512  # of distances, computed at a time in double precision
_SAME = 1e-5  # features nearer than this, at unit spread, are copies
_NO_MASS = 1e-6  # what is left by rounding around a cell without neighbours
_DRAWN = 65_521  # random numbers a pass at most, taken in turn
_ANNEALED_GAIN = 1e-6  # of the mean distance; above the rounding of float32
_COLD_PASSES = 8  # at most, after the heats


@dataclass(frozen=True)
class Anchors:
    """Where photos were before, so that the refinement leaves them about there.

    Attributes:
        cells: (n, 2) int, the row and the column of each photo before, in the grid of now. Those of
            photos that were not there are not read.
        known: (n,) bool, whether a photo was there before.
        max_move: rows and columns that a known photo may be away from its anchor at most. One that
            is farther away already may only come nearer.
        price: of a known photo that is not in its old cell, in the unit of the squared feature
            distances, whose mean over any two photos is 2.
    """

    cells: NDArray[np.integer]
    known: NDArray[np.bool_]
    max_move: int
    price: float


@dataclass(frozen=True)
class Refinement:
    """A refined layout and what it changed.

    Attributes:
        row, col: (n,) int32, the same cells as before in another order.
        swaps: exchanges of two photos that were made.
        moved: photos that ended in another cell.
        objective_before, objective_after: the weighted mean squared feature distance between photos
            at most ``RADIUS`` cells apart, relative to that of any two photos; 0 with no such pair.
    """

    row: NDArray[np.int32]
    col: NDArray[np.int32]
    swaps: int
    moved: int
    objective_before: float
    objective_after: float


def refine(
    row: NDArray[np.integer],
    col: NDArray[np.integer],
    vectors: NDArray[np.floating],
    grid: GridShape,
    *,
    anchors: Anchors | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Refinement:
    """Refine the layout that puts the photo of ``vectors[i]`` (n, d) in cell (row[i], col[i]).

    Occupied cells stay occupied and empty ones empty. Each photo is offered the places of all
    photos within a reach that shrinks from the whole grid at a thousand photos to three cells at a
    hundred thousand, so that the time grows with n and not its square. ``anchors`` hold known
    photos near where they were. ``seed`` draws the groups, and the order in which photos have their
    turn. The objective never rises unless photos are held: should all steps together not have
    lowered it, the layout is returned as it came.
    """
    features = _unit_spread(principal_components(vectors, _COMPONENTS))
    anchors = anchors or _no_anchors(len(features))
    is_held = bool(anchors.known.any())
    layout = _Layout(row.astype(np.int32), col.astype(np.int32), features, grid, anchors)
    before = layout.objective(_gaussian(_WIDTHS[-1]))
    reach = _reach(len(features), grid)
    rng = np.random.default_rng(seed)
    steps = len(_WIDTHS) + 2
    if not is_held:
        layout.reassign(rng)
    progress(1, steps)
    swaps = 0
    for climb, width in enumerate(_WIDTHS):
        swaps += layout.climb(_gaussian(width), reach, rng)
        progress(climb + 2, steps)
    if len(features) <= _ANNEALED_PHOTOS:
        heats = _HELD_HEATS if is_held else _HEATS
        swaps += layout.anneal(_relative_distances(features), heats, reach, rng)
    progress(steps, steps)
    after = layout.objective(_gaussian(_WIDTHS[-1]))
    if not is_held and after >= before - _LEAST_GAIN * abs(before):
        return Refinement(row.astype(np.int32), col.astype(np.int32), 0, 0, before, before)
    moved = int(np.count_nonzero((layout.row != row) | (layout.col != col)))
    return Refinement(layout.row, layout.col, swaps, moved, before, after)


class _Layout:
    """Photos in cells, which ``reassign``, ``climb`` and ``anneal`` rearrange."""

    def __init__(
        self,
        row: NDArray[np.int32],
        col: NDArray[np.int32],
        features: NDArray[np.float32],
        grid: GridShape,
        anchors: Anchors,
    ) -> None:
        self.row, self.col, self.features, self.anchors = row, col, features, anchors
        self.squared_length = np.square(features).sum(axis=1)
        self.photo_at = np.full((grid.rows, grid.columns), -1, dtype=np.int32)
        self.photo_at[row, col] = np.arange(len(row))

    def climb(self, kernel: NDArray[np.float32], reach: int, rng: np.random.Generator) -> int:
        """Swap while swaps within ``reach`` lower the objective; return the number of swaps."""
        from assets.methods.layout.refinement_kernel import swap_pass

        surround, mass = self._surround(kernel)
        places = self.anchors.cells.astype(np.int32)
        swaps = 0
        for _ in range(_MOST_PASSES):
            order = rng.permutation(len(self.row))
            made = swap_pass(
                self.photo_at,
                self.row,
                self.col,
                self.features,
                self.squared_length,
                kernel,
                surround,
                mass,
                order,
                reach,
                _LEAST_GAIN,
                places,
                self.anchors.known,
                self.anchors.max_move,
                self.anchors.price,
            )
            swaps += made
            if made <= _SETTLED * len(self.row):
                break
        return swaps

    def reassign(self, rng: np.random.Generator) -> None:
        """Assign groups of cells to their photos anew, by ever nearer surroundings."""
        from assets.methods.layout.refinement_kernel import reassign_groups

        features = np.ascontiguousarray(self.features[:, :_GROUP_COMPONENTS])
        # As in the last climb, which decides by how much a group has to gain.
        mass = _gaussian(_WIDTHS[-1]).sum()
        width = _FIRST_WIDTH
        while width >= _WIDTHS[-1]:
            side = min(_LARGEST_TILE, max(_LEAST_TILE, round(_TILE_PER_WIDTH * width)))
            for _ in range(_SWEEPS if len(features) <= _SWEPT_OFTEN else 1):
                cells, starts = self._groups(side, rng)
                reassign_groups(
                    self.photo_at,
                    self.row,
                    self.col,
                    features,
                    mass * self._surroundings(features, width),
                    cells,
                    starts,
                    _LEAST_GAIN,
                )
            width *= _DECAY

    def _groups(
        self, side: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Part the occupied cells at random into groups that each lie in a tile of ``side`` cells.

        Returns the numbers of the cells (n,), counted by rows, group by group; and where each group
        starts, with n at the end. The tiles lie elsewhere each time.
        """
        columns = self.photo_at.shape[1]
        shuffled = rng.permutation(len(self.row))
        row, col = self.row[shuffled].astype(np.int64), self.col[shuffled].astype(np.int64)
        down, right = rng.integers(0, side, size=2)
        tile = (row + down) // side * (columns // side + 2) + (col + right) // side
        by_tile = np.argsort(tile, kind="stable")
        tile = tile[by_tile]
        nth_in_tile = np.arange(len(tile)) - np.searchsorted(tile, tile)
        starts = np.flatnonzero(nth_in_tile % _GROUP == 0)
        return (row * columns + col)[by_tile], np.append(starts, len(tile))

    def _surroundings(self, features: NDArray[np.float32], width: float) -> NDArray[np.float32]:
        """Return the Gaussian mean of the features around each cell, without the cell's own."""
        from scipy.ndimage import gaussian_filter

        def blur(values: NDArray[np.float32]) -> NDArray[np.float32]:
            blurred: NDArray[np.float32] = gaussian_filter(
                values, width, axes=(0, 1), mode="constant", truncate=_GAUSSIAN_REACH
            )
            return blurred

        grid = np.zeros((*self.photo_at.shape, features.shape[1] + 1), dtype=np.float32)
        grid[self.row, self.col, :-1] = features
        grid[self.row, self.col, -1] = 1
        lone = np.zeros((2 * int(_GAUSSIAN_REACH * width) + 3,) * 2, dtype=np.float32)
        middle = len(lone) // 2
        lone[middle, middle] = 1
        around = blur(grid) - blur(lone)[middle, middle] * grid
        mass = around[..., -1:]
        return np.divide(
            around[..., :-1], mass, out=np.zeros_like(around[..., :-1]), where=mass > _NO_MASS
        )

    def anneal(
        self,
        distances: NDArray[np.float32],
        heats: Sequence[float],
        reach: int,
        rng: np.random.Generator,
    ) -> int:
        """Swap, at first also where it costs a little; return the number of swaps.

        ``distances`` (n, n) are those between photos; their mean is 1.
        """
        from assets.methods.layout.refinement_kernel import anneal_pass, costs_of_cells

        n = len(self.row)
        kernel = self._preserving_kernel(distances)
        occupied = (self.photo_at >= 0).astype(np.float32)[..., np.newaxis]
        mass = _weighted_neighbours(occupied, kernel)[..., 0]
        # A photo at the edge, with few neighbours, counts as much as one in the middle.
        share = np.divide(1, mass, out=np.zeros_like(mass), where=mass > 0)
        costs = costs_of_cells(self.row, self.col, distances, kernel, share)
        level = float(costs[self.row, self.col, np.arange(n)].mean(dtype=np.float64))
        if level == 0:
            return 0
        # From squared distances, of mean 2, over the climb's neighbourhood to distances, of mean 1.
        price = self.anchors.price / (4 * level * float(_gaussian(_WIDTHS[-1]).sum()))
        anchored = self.anchors.cells.astype(np.int32)
        drawn = min(_DRAWN, n * n)

        def swap(heats: Sequence[float]) -> int:
            swaps = 0
            for heat in (*heats, *[0.0] * _COLD_PASSES):
                tolerated = heat * level * rng.standard_exponential(drawn) - _ANNEALED_GAIN
                made = anneal_pass(
                    self.photo_at,
                    self.row,
                    self.col,
                    distances,
                    costs,
                    kernel,
                    share,
                    rng.permutation(n),
                    reach,
                    tolerated.astype(np.float32),
                    anchored,
                    self.anchors.known,
                    self.anchors.max_move,
                    price,
                )
                swaps += made
                if heat == 0 and made <= _SETTLED * n:
                    break
            return swaps

        def paid() -> float:
            own = costs[self.row, self.col, np.arange(n)].sum(dtype=np.float64)
            return float(own) / 2 + price * self._strayed()

        if not self.anchors.known.any():
            return swap(heats)
        # A map that has hardly changed may be better than all that comes of heating it.
        swaps = swap([])
        cold, paid_cold = (self.row.copy(), self.col.copy(), self.photo_at.copy()), paid()
        heated = swap(heats)
        if paid() < paid_cold:
            return swaps + heated
        self.row, self.col, self.photo_at = cold
        return swaps

    def _strayed(self) -> int:
        """Return how many known photos are not in the cells of their anchors."""
        cells = np.stack([self.row, self.col], axis=1)
        return int((cells != self.anchors.cells).any(axis=1)[self.anchors.known].sum())

    def _preserving_kernel(self, distances: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the mean distance to each of the cells around (5, 5) is worth in DPQ16.

        With m_k the mean distance to the k nearest cells, of which all equally far share
        one mean, the numerator of DPQ16 falls with m_k by (1 - m_k)^15, and m_k grows with each of
        its k distances by 1 / k. Up to the 24 cells around. The weights add up to 1 or are all 0.
        """
        rings = np.add.outer(*[np.square(np.arange(-RADIUS, RADIUS + 1))] * 2)
        squares, sizes = np.unique(rings[rings > 0], return_counts=True)
        means = [self._mean_at(distances, np.argwhere(rings == square)) for square in squares]
        k = np.arange(1, sizes.sum() + 1)
        m = np.cumsum(np.repeat(means, sizes)) / k
        slopes = np.maximum(0.0, 1 - m) ** (POWER - 1) / k
        worth = np.cumsum(slopes[::-1])[::-1]  # of the k-th distance: it is in m_k and all later
        kernel = np.zeros(rings.shape)
        for square, part in zip(squares, np.split(worth, np.cumsum(sizes)[:-1]), strict=True):
            kernel[rings == square] = part.mean()
        return (kernel / (kernel.sum() or 1.0)).astype(np.float32)

    def _mean_at(self, distances: NDArray[np.float32], offsets: NDArray[np.int64]) -> float:
        """Return the mean distance over pairs of photos, 1 with no such pair.

        The ``offsets`` (m, 2) from one to the other are counted from ``RADIUS`` rows and columns
        before it.
        """
        padded = np.pad(self.photo_at, RADIUS, constant_values=-1)
        total, pairs = 0.0, 0
        for row_step, col_step in offsets:
            other = padded[self.row + row_step, self.col + col_step]
            there = np.flatnonzero(other >= 0)
            total += float(distances[there, other[there]].sum(dtype=np.float64))
            pairs += len(there)
        return total / pairs if pairs else 1.0

    def objective(self, kernel: NDArray[np.float32]) -> float:
        """Return the weighted mean of |x_i - x_j|^2 over pairs (i, j) of the neighbourhood, halved.

        The sum over ordered pairs is 2 sum_i (m_i |x_i|^2 - x_i . s_i), with m the mass and s the
        surround of the cell of i; unit spread makes the mean over any two photos 2.
        """
        surround, mass = self._surround(kernel)
        weights = mass[self.row, self.col].astype(np.float64)
        if not weights.sum():
            return 0.0
        own = weights @ self.squared_length
        shared = np.einsum("nd,nd->", self.features, surround[self.row, self.col], dtype=np.float64)
        return float((own - shared) / weights.sum())

    def _surround(
        self, kernel: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the weighted sums of the features, and of 1, over the cells around each cell."""
        rows, columns = self.photo_at.shape
        values = np.zeros((rows, columns, self.features.shape[1] + 1), dtype=np.float32)
        values[self.row, self.col, :-1] = self.features
        values[self.row, self.col, -1] = 1
        total = _weighted_neighbours(values, kernel)
        return np.ascontiguousarray(total[..., :-1]), np.ascontiguousarray(total[..., -1])


def _weighted_neighbours(
    values: NDArray[np.float32], kernel: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the sums of the values (rows, columns, d) around each cell, weighed by the kernel."""
    rows, columns, _ = values.shape
    padded = np.pad(values, ((RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0)))
    total = np.zeros_like(values)
    for top in range(0, rows, _ROWS_AT_ONCE):
        some = total[top : top + _ROWS_AT_ONCE]
        for (u, v), weight in np.ndenumerate(kernel):
            some += weight * padded[top + u : top + u + len(some), v : v + columns]
    return total


def _relative_distances(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the distances (n, n) between features (n, d), divided by their mean if it is above 0.

    The bytes do not depend on the number of threads.
    """
    n = len(features)
    distances = np.empty((n, n), dtype=np.float32)
    exact = features.astype(np.float64)
    lengths = np.square(exact).sum(axis=1)
    with threadpool_limits(limits=1):
        for start in range(0, n, _BLOCK_ROWS):
            some = slice(start, start + _BLOCK_ROWS)
            squared = lengths[some, np.newaxis] + lengths - 2 * exact[some] @ exact.T
            squared[squared < _SAME**2] = 0
            distances[some] = np.sqrt(squared)
    np.fill_diagonal(distances, 0)
    mean = distances.sum(dtype=np.float64) / max(1, n * (n - 1))
    return distances / np.float32(mean) if mean > 0 else distances


def _no_anchors(n: int) -> Anchors:
    return Anchors(np.zeros((n, 2), dtype=np.int32), np.zeros(n, dtype=np.bool_), 0, 0.0)


def _unit_spread(components: NDArray[np.float64]) -> NDArray[np.float32]:
    """Scale centred components (n, c) to a mean squared length of 1, unless all are zero."""
    spread = np.sqrt(np.square(components).sum(axis=1).mean())
    return (components / spread if spread > 0 else components).astype(np.float32)


def _gaussian(width: float) -> NDArray[np.float32]:
    """Return Gaussian weights (5, 5) of the cells around a cell, which itself weighs nothing."""
    steps = np.square(np.arange(-RADIUS, RADIUS + 1))
    weights = np.exp(-np.add.outer(steps, steps) / (2 * width**2))
    weights[RADIUS, RADIUS] = 0
    return weights.astype(np.float32)


def _reach(n: int, grid: GridShape) -> int:
    """Return how far, in cells, a photo may go in one swap."""
    if n * n <= _PAIRS_A_PASS:
        return max(grid.columns, grid.rows)
    return max(_LEAST_REACH, int((np.sqrt(_PAIRS_A_PASS / n) - 1) / 2))
