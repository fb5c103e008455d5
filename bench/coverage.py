"""How often the 95 % intervals hold the truth, in simulated score sets whose truth is known.

Run: python bench/coverage.py. It prints the tables of docs/intervals.md in about ten minutes.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm, rankdata

from assets.methods.evaluation.intervals import area_under_roc, average_precision, proportion

Scores = NDArray[np.float64]

N_SETS = 1_000
N_BOOTSTRAPPED = 200
N_RESAMPLES = 400
CONFIDENCE = 0.95
Z = norm.ppf((1 + CONFIDENCE) / 2)
# A positive in fifty that scores as negatives do: a wrong label, or one that the model cannot see.
MISSED = 0.02


def main() -> None:
    show_area()
    show_steps()
    show_average_precision()
    show_precision()


def show_area() -> None:
    """Print the coverage of three intervals of the AUC, the lowest and the highest of AUCs."""
    print("\n| positives | negatives | scores | this interval | DeLong | Newcombe, method 5 |")
    print("|---|---|---|---|---|---|")
    for n_positive, ratio in product((20, 100, 400), (1, 10)):
        kinds = {"same spread": (1.0, 0.0), "positives spread twice": (2.0, 0.0)}
        kinds |= {"negatives spread twice": (0.5, 0.0), "one positive in 50 missed": (1.0, MISSED)}
        for kind, (spread, missed) in kinds.items():
            found = np.array(
                [
                    area_coverage(n_positive, ratio * n_positive, area, spread, missed)
                    for area in (0.7, 0.9, 0.95, 0.99)
                    # With those that are missed an AUC of 0.99 is the highest there is.
                    if not (missed and area == 0.99)
                ]
            )
            ranges = (f"{held.min():.1f} to {held.max():.1f}" for held in 100 * found.T)
            cells = (n_positive, ratio * n_positive, kind, *ranges)
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def area_coverage(
    n_positive: int, n_negative: int, area: float, spread: float, missed: float
) -> tuple[float, float, float]:
    """Return the shares of sets in which ours, DeLong's and Newcombe's interval hold the AUC."""
    rng = np.random.default_rng(0)
    # P(a positive scores above a negative), where scores are normal.
    apart = np.hypot(1, spread) * norm.ppf((area - missed / 2) / (1 - missed))
    is_positive = np.arange(n_positive + n_negative) < n_positive
    ours, values, variances = 0, [], []
    for _ in range(N_SETS):
        scores = rng.standard_normal(len(is_positive))
        seen = is_positive & (rng.random(len(is_positive)) >= missed)
        scores[seen] = spread * scores[seen] + apart
        found = area_under_roc(is_positive, scores, CONFIDENCE)
        ours += found.low <= area <= found.high
        values.append(found.value)
        variances.append(delong_variance(scores[:n_positive], scores[n_positive:]))
    errors = np.abs(np.array(values) - area)
    delong = (errors <= Z * np.sqrt(variances)).mean()
    newcombe = (errors <= Z * np.sqrt(newcombe_variance(area, n_positive, n_negative))).mean()
    return ours / N_SETS, delong, newcombe


def delong_variance(positive: Scores, negative: Scores) -> float:
    """Return DeLong's variance of the AUC, of scores without ties; Sun & Xu 2014."""
    ranks = rankdata(np.append(positive, negative))
    above = (ranks[: len(positive)] - rankdata(positive)) / len(negative)
    below = 1 - (ranks[len(positive) :] - rankdata(negative)) / len(positive)
    return above.var(ddof=1) / len(positive) + below.var(ddof=1) / len(negative)


def newcombe_variance(area: float, n_positive: int, n_negative: int) -> float:
    """Return the variance of an AUC by method 5 of Newcombe, Statistics in Medicine 25, 2006.

    Its interval holds all AUCs from which the one found is no further than Z standard deviations.
    """
    n = (n_positive + n_negative) / 2 - 1
    spread = 1 + n * (1 - area) / (2 - area) + n * area / (1 + area)
    return area * (1 - area) * spread / (n_positive * n_negative)


def show_steps() -> None:
    """Print how often putting one pair into the right order lowers the low end."""
    rng, steps = np.random.default_rng(0), []
    for n, apart in 20 * [*product((30, 100, 200), (2.0, 2.5, 3.3, 3.9))]:
        is_positive, scores = np.arange(2 * n) < n, rng.standard_normal(2 * n)
        scores[:n] += apart
        lows = [area_under_roc(is_positive, scores, CONFIDENCE).low]
        while len(wrong := np.argwhere(scores[:n, None] < scores[n:])):
            pair = rng.choice(wrong) + np.array([0, n])
            scores[pair] = scores[pair[::-1]]
            lows.append(area_under_roc(is_positive, scores, CONFIDENCE).low)
        steps += [*np.diff(lows)]
    falls = -np.array(steps)
    print(f"\n{len(falls):,} steps: {(falls > 0).mean():.4f} fell, by {falls.max():.4f} at most")


def show_average_precision() -> None:
    print("\n| rows | positive | scores | this interval | percentiles of a bootstrap |")
    print("|---|---|---|---|---|")
    kinds = {"same spread": 1, "positives spread twice": 2, "negatives spread twice": 0.5}
    for (n, prevalence), (kind, spread) in product(
        ((200, 0.2), (1_000, 0.3), (2_000, 0.02)), kinds.items()
    ):
        found = np.array(
            [average_precision_coverage(n, prevalence, apart, spread) for apart in (1, 2, 3)]
        )
        ranges = (f"{held.min():.1f} to {held.max():.1f}" for held in 100 * found.T)
        cells = (f"{n:,}", f"{100 * prevalence:.0f} %", kind, *ranges)
        print("| " + " | ".join(cells) + " |", flush=True)


def average_precision_coverage(
    n: int, prevalence: float, apart: float, spread: float
) -> tuple[float, float]:
    """Return the shares of sets whose interval, ours and a bootstrap's, holds the precision."""

    def at(score: float) -> float:
        flagged = prevalence * norm.sf(score, apart, spread), (1 - prevalence) * norm.sf(score)
        return flagged[0] / sum(flagged) * norm.pdf(score, apart, spread)

    truth, _ = quad(at, -8, apart + 8 * spread, points=[0, apart], limit=200)
    rng = np.random.default_rng(1)
    ours = bootstrapped = 0
    for number, (is_positive, scores) in enumerate(random_sets(n, prevalence, apart, spread)):
        found = average_precision(is_positive, scores, CONFIDENCE)
        ours += found.low <= truth <= found.high
        if number < N_BOOTSTRAPPED:
            low, high = bootstrap(rng, is_positive[np.argsort(-scores)])
            bootstrapped += low <= truth <= high
    return ours / N_SETS, bootstrapped / N_BOOTSTRAPPED


def random_sets(
    n: int, prevalence: float, apart: float, spread: float
) -> Iterator[tuple[NDArray[np.bool_], Scores]]:
    rng = np.random.default_rng(0)
    for _ in range(N_SETS):
        is_positive = rng.random(n) < prevalence
        scores = rng.standard_normal(n)
        yield is_positive, np.where(is_positive, spread * scores + apart, scores)


def bootstrap(rng: np.random.Generator, is_positive: NDArray[np.bool_]) -> Scores:
    """Return percentiles of the average precision of resamples of rows, the best row first."""
    counts = np.zeros((N_RESAMPLES, len(is_positive)))
    for rows in (np.flatnonzero(is_positive), np.flatnonzero(~is_positive)):
        drawn = rng.choice(rows, (N_RESAMPLES, len(rows)))
        np.add.at(counts, (np.arange(N_RESAMPLES)[:, np.newaxis], drawn), 1)
    hits = counts * is_positive
    precision = hits.cumsum(axis=1) / np.maximum(counts.cumsum(axis=1), 1)
    values = (hits * precision).sum(axis=1) / is_positive.sum()
    return np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])


def show_precision() -> None:
    """Print the coverage of precision at the threshold half-way between the classes."""
    print("\n| rows | positive | AUC | random rows | a fixed number of each class |")
    print("|---|---|---|---|---|")
    for n, prevalence, area in ((200, 0.2, 0.9), (1_000, 0.3, 0.85), (2_000, 0.02, 0.95)):
        random, filled = (
            100 * precision_coverage(n, prevalence, area, is_random) for is_random in (True, False)
        )
        print(f"| {n:,} | {100 * prevalence:.0f} % | {area} | {random:.1f} | {filled:.1f} |")


def precision_coverage(n: int, prevalence: float, area: float, is_random: bool) -> float:
    """Return how often the interval holds the precision; rows are random, or positives counted."""
    rng, held, known = np.random.default_rng(0), 0, 0
    apart = np.sqrt(2) * norm.ppf(area)
    recall, false_positive_rate = norm.sf(-apart / 2), norm.sf(apart / 2)
    hits, alarms = prevalence * recall, (1 - prevalence) * false_positive_rate
    for _ in range(10 * N_SETS):
        n_positive = rng.binomial(n, prevalence) if is_random else round(prevalence * n)
        true = rng.binomial(n_positive, recall)
        flagged = true + rng.binomial(n - n_positive, false_positive_rate)
        if flagged:
            known += 1
            found = proportion(true, flagged, CONFIDENCE)
            held += found.low <= hits / (hits + alarms) <= found.high
    return held / known


if __name__ == "__main__":
    main()
