"""Assignment of clustered points: seconds, proven gap, and SciPy's solver beside it as the peer.

The cases are those that the project promises: 4,096 and 10,000 photos certified within 6 s,
100,000 within 20 s as they come, and with a proven gap of 1e-4 within 2 minutes.
Run: python bench/assignment.py [--no-peer]
"""

import sys
import time

import numpy as np

from assets.methods.assignment import Assignment, assign
from assets.methods.grid import GridShape, choose_grid, points_to_cells

CASES = ((1_024, False), (4_096, False), (10_000, False), (100_000, False), (100_000, True))
PEER_PHOTOS = 4_096


def clustered_points(n: int, seed: int = 0) -> np.ndarray:
    """Return n points (n, 2) of twenty Gaussian clusters of unequal size and width."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, 20, size=(20, 2))
    widths = rng.uniform(0.3, 1.5, size=20)
    cluster = rng.choice(20, size=n, p=rng.dirichlet(np.full(20, 2.0)))
    return centres[cluster] + widths[cluster, np.newaxis] * rng.normal(size=(n, 2))


def peer_seconds_and_cost(points: np.ndarray, grid: GridShape) -> tuple[float, float]:
    """Return the seconds and the cost of scipy.optimize.linear_sum_assignment."""
    from scipy.optimize import linear_sum_assignment

    row, col = np.divmod(np.arange(grid.cells), grid.columns)
    costs = np.square(points[:, :1] - col) + np.square(points[:, 1:] - row)
    started = time.perf_counter()
    chosen = linear_sum_assignment(costs)
    return time.perf_counter() - started, float(costs[chosen].sum())


def report(name: str, result: Assignment, seconds: float) -> None:
    gap = "-" if result.gap is None else f"{result.gap:.1e}"
    print(
        f"{name:<18} {result.solver:<18} {seconds:>8.2f} {result.cost / len(result.row):>12.4f} "
        f"{gap:>9}  {'yes' if result.certified else 'no'}",
        flush=True,
    )


def main() -> None:
    print(f"{'photos':<18} {'solver':<18} {'seconds':>8} {'mean cost':>12} {'gap':>9}  certified")
    for n, certify in CASES:
        grid = choose_grid(n)
        points = points_to_cells(clustered_points(n), grid)
        started = time.perf_counter()
        result = assign(points, grid, certify=certify)
        seconds = time.perf_counter() - started
        report(f"{n:,}" + (" certify" if certify else ""), result, seconds)
        if n == PEER_PHOTOS and "--no-peer" not in sys.argv:
            peer, cost = peer_seconds_and_cost(points, grid)
            print(
                f"{'':<18} {'scipy (peer)':<18} {peer:>8.2f} {cost / n:>12.4f}"
                f"            {peer / seconds:.0f} times the time",
                flush=True,
            )


if __name__ == "__main__":
    main()
