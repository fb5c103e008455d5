"""Assignment of clustered points: seconds, proven gap, and SciPy's solver beside it as the peer.

The project promises these cases; the exit code is 1 when a promise is broken.
Run: python bench/assignment.py [--no-peer]
"""

import sys
import time
from dataclasses import dataclass

import numpy as np

from assets.methods.layout.assignment.assignment import Assignment, assign
from assets.methods.layout.assignment.dense_assignment import costs_of_cells
from assets.methods.layout.grid import GridShape, choose_grid, points_to_cells


@dataclass(frozen=True)
class Case:
    """A number of photos, and the limits on two cores; a gap of None is no limit."""

    n: int
    seconds: float
    gap: float | None
    certify: bool = False


CASES = (
    Case(1_024, 6, 1e-6),
    Case(4_096, 6, 1e-6),
    Case(10_000, 6, 1e-6),
    Case(100_000, 20, None),
    Case(100_000, 120, 1e-4, certify=True),
)
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

    costs = costs_of_cells(points, grid, "squared")
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


def is_kept(case: Case, result: Assignment, seconds: float) -> bool:
    gap_is_kept = case.gap is None or (result.gap is not None and result.gap <= case.gap)
    return gap_is_kept and seconds <= case.seconds


def main() -> int:
    print(f"{'photos':<18} {'solver':<18} {'seconds':>8} {'mean cost':>12} {'gap':>9}  certified")
    broken = 0
    for case in CASES:
        n, certify = case.n, case.certify
        grid = choose_grid(n)
        points = points_to_cells(clustered_points(n), grid)
        started = time.perf_counter()
        result = assign(points, grid, certify=certify)
        seconds = time.perf_counter() - started
        report(f"{n:,}" + (" certify" if certify else ""), result, seconds)
        if not is_kept(case, result, seconds):
            broken += 1
            print(f"{'':<18} promised: {case.seconds:g} s, gap {case.gap}", flush=True)
        if n == PEER_PHOTOS and "--no-peer" not in sys.argv:
            peer, cost = peer_seconds_and_cost(points, grid)
            print(
                f"{'':<18} {'scipy (peer)':<18} {peer:>8.2f} {cost / n:>12.4f}"
                f"            {peer / seconds:.0f} times the time",
                flush=True,
            )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
