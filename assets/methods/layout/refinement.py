"""Swap the cells of photos so that photos that look alike lie side by side.

The assignment keeps photos near their points, which only approximate the features. A hill-climb
from there lowers the squared feature distance between photos at most two cells apart, nearer cells
weighing more.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.progress import Progress, silent
from assets.methods.layout.grid import GridShape
from assets.methods.layout.pca import principal_components

RADIUS = 2  # cells: the neighbourhood is 5 x 5
# Standard deviations, in cells, of the Gaussian weights of the neighbourhood, one for each climb.
# Wide ones first bring groups together; the last one's objective is reported. On 1,000 photos,
# over four seeds, the sequence reaches a DPQ16 of 0.597 and a trustworthiness of 0.894, the last
# alone 0.587 and 0.874.
_WIDTHS = (2.0, 1.5, 1.0, 0.7)
_MOST_PASSES = 8  # over all photos per climb; most climbs settle after 3 to 6
_SETTLED = 1e-3  # swaps per photo in a pass, at or below which a climb is over
_COMPONENTS = 256  # of the features: DPQ16 loses 0.005 with 128 and gains nothing with 512
_PAIRS_A_PASS = 5_000_000  # bounds the time: all pairs up to about 1,100 photos
_LEAST_REACH = 3  # cells: the nearest 48 are tried however many photos there are
_LEAST_GAIN = 1e-4  # of the mean squared feature distance; above the rounding of float32
_FIRST_WIDTH = 4.0
_DECAY = 0.9
_SWEEPS = 3
_GROUP = 96
_TILE = 32
_TRUNCATE = 3.0
_GROUP_COMPONENTS = 64
_ANNEALED_PHOTOS = 4_096
_TOLERATED = 65_521
_HEATS = tuple(0.0065 * 0.97**k for k in range(45))


@dataclass(frozen=True)
class Anchors:
    """Where photos were before, so that the refinement leaves them about there.

    Attributes:
        cells: (n, 2) int, the row and the column of each photo before, in the grid of now. Those of
            photos that were not there are not read.
        known: (n,) bool, whether a photo was there before.
        max_move: rows and columns that a known photo may be away from its anchor at most. One that
            is farther away already may only come nearer.
        price: of a known photo's squared distance in cells from its anchor, in the unit of the
            squared feature distances, whose mean over any two photos is 2.
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
    hundred thousand, so that the time grows with n and not its square. ``anchors`` keep photos near
    where they were. ``seed`` draws the order in which photos have their turn. The objective, with
    what the anchors add to it, never rises: should the climbs together have raised it, the layout
    is returned as it came.
    """
    features = _unit_spread(principal_components(vectors, _COMPONENTS))
    anchors = anchors or _no_anchors(len(features))
    layout = _Layout(row.astype(np.int32), col.astype(np.int32), features, grid, anchors)
    before, whole_before = layout.objective(_gaussian(_WIDTHS[-1]))
    reach = _reach(len(features), grid)
    rng = np.random.default_rng(seed)
    steps = len(_WIDTHS) + 2
    layout.reassign(rng)
    progress(1, steps)
    swaps = 0
    for climb, width in enumerate(_WIDTHS):
        swaps += layout.climb(_gaussian(width), reach, rng)
        progress(climb + 2, steps)
    if len(features) <= _ANNEALED_PHOTOS:
        swaps += layout.anneal(distances_between(features), rng)
    progress(steps, steps)
    after, whole_after = layout.objective(_gaussian(_WIDTHS[-1]))
    if whole_after > whole_before:
        return Refinement(row.astype(np.int32), col.astype(np.int32), 0, 0, before, before)
    moved = int(np.count_nonzero((layout.row != row) | (layout.col != col)))
    return Refinement(layout.row, layout.col, swaps, moved, before, after)


class _Layout:
    """Photos in cells, which ``climb`` rearranges."""

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
        """Assign groups of photos to their cells anew, by ever nearer surroundings."""
        from assets.methods.layout.refinement_kernel import reassign_groups

        features = np.ascontiguousarray(self.features[:, :_GROUP_COMPONENTS])
        scale = float(_gaussian(_WIDTHS[-1]).sum())  # which makes the price mean what it does there
        width = _FIRST_WIDTH
        while width >= _WIDTHS[-1]:
            for _ in range(_SWEEPS):
                cells, starts = self._groups(rng)
                reassign_groups(
                    self.photo_at,
                    self.row,
                    self.col,
                    features,
                    self._blurred(features, width) * np.float32(scale),
                    cells,
                    starts,
                    self.anchors.cells.astype(np.int32),
                    self.anchors.known,
                    self.anchors.max_move,
                    self.anchors.price,
                )
            width *= _DECAY

    def _groups(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Part the occupied cells at random into groups that each lie within one tile.

        Returns the numbers of the cells, group by group, and where each group starts and the last
        one ends. The tiles lie elsewhere each time.
        """
        rows, columns = self.photo_at.shape
        shuffled = rng.permutation(len(self.row))
        row, col = self.row[shuffled].astype(np.int64), self.col[shuffled].astype(np.int64)
        down, right = rng.integers(0, _TILE, size=2) if max(rows, columns) > _TILE else (0, 0)
        tile = (row + down) // _TILE * (columns // _TILE + 2) + (col + right) // _TILE
        by_tile = np.argsort(tile, kind="stable")
        tile = tile[by_tile]
        first = np.searchsorted(tile, tile)
        group = (np.arange(len(tile)) - first) // _GROUP
        is_start = np.ones(len(tile), dtype=np.bool_)
        is_start[1:] = (np.diff(tile) != 0) | (np.diff(group) != 0)
        starts = np.append(np.flatnonzero(is_start), len(tile))
        return (row * columns + col)[by_tile], starts

    def _blurred(self, features: NDArray[np.float32], width: float) -> NDArray[np.float32]:
        """Return the Gaussian mean of the features around each cell, without its own."""
        from scipy.ndimage import gaussian_filter

        grid = np.zeros((*self.photo_at.shape, features.shape[1] + 1), dtype=np.float32)
        grid[self.row, self.col, :-1] = features
        grid[self.row, self.col, -1] = 1
        impulse = np.zeros((3, 3), dtype=np.float32)
        impulse[1, 1] = 1
        own = gaussian_filter(impulse, width, mode="constant", truncate=_TRUNCATE)[1, 1]
        around = gaussian_filter(
            grid, (width, width, 0), mode="constant", truncate=_TRUNCATE
        ) - own * grid
        mass = np.maximum(around[..., -1:], np.finfo(np.float32).tiny)
        return np.ascontiguousarray(around[..., :-1] / mass)

    def anneal(self, distances: NDArray[np.float32], rng: np.random.Generator) -> int:
        """Swap, at first also where it costs a little; return the number of swaps."""
        from assets.methods.layout.refinement_kernel import anneal_pass, costs_of_cells

        kernel = self._preserving(distances)
        occupied = self.photo_at >= 0
        mass = _weighted_neighbours(occupied[..., np.newaxis].astype(np.float32), kernel)[..., 0]
        share = np.divide(1, mass, out=np.zeros_like(mass), where=mass > 0)
        costs = costs_of_cells(self.row, self.col, distances, kernel, share)
        n = len(self.row)
        photos = np.arange(n)
        level = float(costs[self.row, self.col, photos].mean(dtype=np.float64))
        price = self.anchors.price / (4 * level * float(_gaussian(_WIDTHS[-1]).sum())) if level else 0.
        swaps = 0
        for heat in (*_HEATS, *([0.0] * _MOST_PASSES)):
            tolerated = (heat * level * rng.standard_exponential(_TOLERATED)).astype(np.float32)
            made = anneal_pass(
                self.photo_at, self.row, self.col, distances, costs, kernel, share,
                rng.permutation(n), max(self.photo_at.shape),
                tolerated - np.float32(_LEAST_GAIN/100),
                self.anchors.cells.astype(np.int32), self.anchors.known, self.anchors.max_move, price,
            )
            swaps += made
            if not heat and made <= _SETTLED * n:
                break
        return swaps

    def _preserving(self, distances: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the weights (5, 5) by which the distances to the cells around decide DPQ16."""
        steps = np.add.outer(np.square(np.arange(-RADIUS, RADIUS + 1)), np.square(np.arange(-RADIUS, RADIUS + 1)))
        rings = [int(r) for r in np.unique(steps) if r]
        sizes, means = [], []
        rows, columns = self.photo_at.shape
        for ring in rings:
            offs = np.argwhere(steps == ring) - RADIUS
            sizes.append(len(offs)); vals = []
            for u, v in offs:
                if u < 0 or (u == 0 and v < 0): continue
                a = self.photo_at[max(0,-u):rows-max(0,u), max(0,-v):columns-max(0,v)]
                b = self.photo_at[max(0,u):rows-max(0,-u), max(0,v):columns-max(0,-v)]
                both = (a >= 0) & (b >= 0)
                vals.append(distances[a[both], b[both]])
            vals = np.concatenate(vals)
            means.append(vals.mean(dtype=np.float64) if len(vals) else 1.0)
        per_k = np.repeat(means, sizes)
        k = np.arange(1, len(per_k) + 1)
        running = np.cumsum(per_k) / k
        c = np.maximum(0, 1 - running) ** 15
        tail = np.cumsum((c / k)[::-1])[::-1]
        ends = np.cumsum(sizes)
        kernel = np.zeros(steps.shape)
        for ring, e, sz in zip(rings, ends, sizes):
            kernel[steps == ring] = tail[e - sz:e].mean()
        return (kernel / kernel.sum() if kernel.sum() else kernel).astype(np.float32)

    def objective(self, kernel: NDArray[np.float32]) -> tuple[float, float]:
        """Return the weighted mean of |x_i - x_j|^2 over pairs (i, j) of the neighbourhood, halved.

        The sum over ordered pairs is 2 sum_i (m_i |x_i|^2 - x_i . s_i), with m the mass and s the
        surround of the cell of i; unit spread makes the mean over any two photos 2. The second
        number is the same with the price of the anchors.
        """
        surround, mass = self._surround(kernel)
        weights = mass[self.row, self.col].astype(np.float64)
        if not weights.sum():
            return 0.0, 0.0
        own = weights @ self.squared_length
        shared = np.einsum("nd,nd->", self.features, surround[self.row, self.col], dtype=np.float64)
        paid = self.anchors.price * float(self._strayed().sum())
        total = weights.sum()
        return float((own - shared) / total), float((own - shared + paid) / total)

    def _strayed(self) -> NDArray[np.int64]:
        """Return the squared distance in cells of each known photo from its anchor."""
        cells = np.stack([self.row, self.col], axis=1)[self.anchors.known]
        return np.square(cells.astype(np.int64) - self.anchors.cells[self.anchors.known]).sum(
            axis=1
        )

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
    for (u, v), weight in np.ndenumerate(kernel):
        total += weight * padded[u : u + rows, v : v + columns]
    return total


def distances_between(features):
    from scipy.spatial.distance import cdist
    f = features.astype(np.float64)
    d = cdist(f, f)
    n = len(f)
    mean = d.sum() / max(1, n * (n - 1))
    return (d / mean if mean > 0 else d).astype(np.float32)


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
