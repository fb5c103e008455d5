"""Refinement time against the number of photos, and what it does for DPQ16.

Synthetic photos: random Fourier features of points in the plane, with noise; the layout to refine
is the assignment of those points. Run: python bench/refinement.py [n ...]
"""

import sys
import time

import numpy as np

from assets.methods.layout.assignment.assignment import assign
from assets.methods.layout.grid import choose_grid, points_to_cells
from assets.methods.layout.quality import layout_quality
from assets.methods.layout.refinement import refine

DIMENSIONS = 1_280
NOISE = 0.5


def synthetic_photos(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return points (n, 2) and unit vectors (n, DIMENSIONS) that are smooth in them, plus noise."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(size=(n, 2))
    frequencies = rng.normal(scale=8.0, size=(2, DIMENSIONS))
    phases = rng.uniform(0, 2 * np.pi, DIMENSIONS)
    vectors = np.cos(points @ frequencies + phases).astype(np.float32)
    vectors += NOISE * rng.standard_normal(vectors.shape, dtype=np.float32)
    return points, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    sizes = [int(argument) for argument in sys.argv[1:]] or [1_000, 10_000, 100_000]
    print(f"{'photos':>8} {'refine s':>9} {'quality s':>10} {'swaps':>9}   DPQ16 before -> after")
    for n in sizes:
        points, vectors = synthetic_photos(n)
        grid = choose_grid(n)
        placed = assign(points_to_cells(points, grid), grid)
        before = layout_quality(placed.row, placed.col, vectors)
        started = time.perf_counter()
        refined = refine(placed.row, placed.col, vectors, grid)
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        after = layout_quality(refined.row, refined.col, vectors)
        print(
            f"{n:>8,} {seconds:>9.1f} {time.perf_counter() - started:>10.1f} {refined.swaps:>9,}"
            f"   {before.dpq16:.4f} -> {after.dpq16:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
