"""The solvers of the assignment side by side: seconds, cost, proven gap, and how the time grows.

Points are the twenty clusters of bench/assignment.py. The seconds are those of this thread, so that
other work on the machine does not count; each solver runs once for a small grid before. The exact
ones have to find the same cost to 1e-9; the exit code is 1 if they do not.

Run: python -m bench.solvers [PHOTOS ...]
"""

import math
import sys
import time
from typing import get_args

from assets.methods.layout.assignment.assignment import Solver, assign, promised_gap
from assets.methods.layout.assignment.dense_assignment import Cost
from assets.methods.layout.grid import choose_grid, points_to_cells
from bench.assignment import clustered_points

PHOTOS = (256, 529, 1_024, 2_025)
SOLVERS = tuple(solver for solver in get_args(Solver) if solver != "auto")
SAME_COST = 1e-9


def measure(solver: Solver, cost: Cost, n: int) -> tuple[float, float, float, bool]:
    """Return seconds, cost and gap, and whether the gap is what is promised."""
    grid = choose_grid(n)
    points = points_to_cells(clustered_points(n), grid)
    started = time.thread_time()
    found = assign(points, grid, solver=solver, cost=cost, time_limit_seconds=600)
    seconds = time.thread_time() - started
    assert found.gap is not None
    is_kept = found.gap <= promised_gap(found.solver, cost, n, found.cost)
    return seconds, found.cost, found.gap, is_kept


def main() -> int:
    sizes = tuple(int(one) for one in sys.argv[1:]) or PHOTOS
    broken = 0
    print(f"{'cost':<10} {'solver':<18} {'photos':>7} {'seconds':>8} {'to least':>9} {'gap':>9}")
    for cost in get_args(Cost):
        costs: dict[int, float] = {}
        for solver in SOLVERS:
            measure(solver, cost, 100)
            times = []
            for n in sizes:
                seconds, total, gap, is_kept = measure(solver, cost, n)
                least = costs.setdefault(n, total)
                times.append(seconds)
                difference = total / least - 1
                is_same = solver == "sinkhorn" or abs(difference) <= SAME_COST
                broken += not (is_same and is_kept)
                print(
                    f"{cost:<10} {solver:<18} {n:>7,} {seconds:>8.2f} {difference:>9.1e} "
                    f"{gap:>9.1e}{'' if is_same and is_kept else '  BROKEN'}",
                    flush=True,
                )
            if len(sizes) > 1:
                growth = math.log(times[-1] / times[-2]) / math.log(sizes[-1] / sizes[-2])
                print(f"{'':<29} the time grows with the power {growth:.1f} of the photos")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
