"""Evaluate 428,271 simulated scores of three models, with intervals, slices and the figure.

Run: python bench/evaluation.py [FOLDER for the figure]. The exit code is 1 when it takes more than
60 seconds or 2 GB of memory.
"""

import resource
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from assets.methods.evaluation.evaluate import evaluate_scores
from assets.methods.evaluation.figure import draw_evaluation

N = 428_271
PREVALENCE = 0.05
MODELS = {"weak": 1.5, "middling": 2.5, "strong": 3.5}  # standard deviations between the classes
MOST_SECONDS = 60
MOST_GIGABYTES = 2


def main() -> int:
    rng = np.random.default_rng(0)
    is_positive = rng.random(N) < PREVALENCE
    sources = [f"source {number}" for number in range(40)]
    slices = pd.DataFrame(
        {"source": rng.choice(sources, N), "size": rng.choice(["small", "large"], N)}
    )
    scores = {
        name: expit(1.5 * (rng.standard_normal(N) + apart * is_positive - apart)).astype(np.float32)
        for name, apart in MODELS.items()
    }
    started = time.perf_counter()
    evaluations = {}
    for name, given in scores.items():
        began = time.perf_counter()
        evaluations[name] = found = evaluate_scores(is_positive, given, slices=slices)
        print(f"{name:>10}: {time.perf_counter() - began:5.1f} s for {N:,} scores")
        for metric, estimate in found.metrics.items():
            print(f"{metric:>26} {estimate.value:.5f} ({estimate.low:.5f} - {estimate.high:.5f})")
    began = time.perf_counter()
    figure = draw_evaluation(evaluations)
    print(f"{'figure':>10}: {time.perf_counter() - began:5.1f} s")
    seconds = time.perf_counter() - started
    if len(sys.argv) > 1:
        figure.save(Path(sys.argv[1]) / "evaluation.png")
    # Linux counts in KiB.
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(
        f"all {len(MODELS)} models: {seconds:.1f} s, allowed {MOST_SECONDS}; "
        f"peak memory {gigabytes:.2f} GB, allowed {MOST_GIGABYTES}"
    )
    return int(seconds > MOST_SECONDS or gigabytes > MOST_GIGABYTES)


if __name__ == "__main__":
    sys.exit(main())
