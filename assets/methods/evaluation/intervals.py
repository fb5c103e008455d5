"""Confidence intervals of a classifier's metrics, from its scores on a labelled set.

The rows of the set are taken for a random sample: how many of them are positive is chance too.
Every interval is a closed form, and none has zero width where a metric happens to be 0 or 1.
docs/intervals.md tells how often they hold the truth, and which others were rejected.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Floats = NDArray[np.floating]

# Trials that the interval of the AUC adds to what a set shows. With fewer it holds the truth too
# seldom where 20 rows of a class show few errors, with more too often where positives are rare.
_ADDED_TRIALS = 0.2
# A lower variance is zero but for rounding.
_LEAST_VARIANCE = 1e-20
# A metric whose interval ends below it is written with significant digits.
_SMALL = 1e-3


@dataclass(frozen=True)
class Estimate:
    """A metric and the ends of its confidence interval, low <= value <= high."""

    value: float
    low: float
    high: float

    def named(self, name: str) -> dict[str, float]:
        """Return the metric by its name, and the ends beside it: auc, auc_low and auc_high."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


def format_estimate(estimate: Estimate) -> str:
    """Write a metric and its interval, with no more digits than the interval's width allows."""
    value, low, high = estimate.value, estimate.low, estimate.high
    if 0 < high < _SMALL:
        # A threshold may be small, and is written to be used.
        return f"{value:.2g} ({low:.2g}–{high:.2g})"
    digits = int(np.clip(np.ceil(-np.log10(max(high - low, 1e-9))), 2, 4))
    return f"{value:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def format_to_four_decimals(estimate: Estimate) -> str:
    """Write a metric and its interval so that those of two models can be told apart."""
    return f"{estimate.value:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"


def wilson_interval(
    successes: NDArray[np.integer], trials: NDArray[np.integer], confidence: float
) -> tuple[Floats, Floats]:
    """Return the ends, (n,) each, of Wilson's score intervals of successes / trials.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA
    22, 1927; recommended by Brown, Cai & DasGupta, "Interval estimation for a binomial
    proportion", Statistical Science 16, 2001. ``trials`` are at least one.
    """
    share = np.asarray(successes) / np.asarray(trials)
    low, high = _wilson(share, np.asarray(trials), _normal_quantile(confidence))
    # At shares of 0 and 1 an end is the share itself, but for a rounding.
    return np.clip(low, 0, share), np.clip(high, share, 1)


def proportion(successes: int, trials: int, confidence: float) -> Estimate:
    """Return a proportion, such as recall, with Wilson's interval; ``trials`` is at least one."""
    low, high = wilson_interval(np.array(successes), np.array(trials), confidence)
    return Estimate(successes / trials, float(low), float(high))


def f1_score(
    true_positives: int, false_positives: int, false_negatives: int, confidence: float
) -> Estimate:
    """Return F1, from the proportion J of true positives among the rows that are no true negative.

    F1 = 2 J / (1 + J) grows with J (Hand, Christen & Kirielle, "F*: an interpretable transformation
    of the F-measure", Machine Learning 110, 2021), so that the ends of Wilson's interval of J give
    those of F1. At least one row is no true negative.
    """
    trials = true_positives + false_positives + false_negatives
    jaccard = proportion(true_positives, trials, confidence)
    return Estimate(
        *(2 * share / (1 + share) for share in (jaccard.value, jaccard.low, jaccard.high))
    )


def precision_at_prevalence(
    recall: Estimate, false_positive_rate: Estimate, prevalence: float
) -> Estimate:
    """Return the precision among rows of which a share of ``prevalence`` is positive.

    It grows with the ratio of recall to false-positive rate. The ratio's interval follows from
    theirs on the scale of logarithms (Zou & Donner, "Construction of confidence limits about effect
    measures", Statistics in Medicine 27, 2008, section 2). One of the two is above zero.
    """
    ratio, low, high = _ratio(recall, false_positive_rate)
    odds = (1 - prevalence) / prevalence
    value, low, high = (0.0 if one == 0 else 1 / (1 + odds / one) for one in (ratio, low, high))
    return Estimate(value, low, high)


def area_under_roc(is_positive: Flags, scores: Floats, confidence: float) -> Estimate:
    """Return the AUC with Wilson's interval on DeLong's effective trials.

    The AUC is the share of pairs whose positive scores higher; equal scores count half. DeLong's
    variance (DeLong, DeLong & Clarke-Pearson, Biometrics 44, 1988) by the algorithm of Sun & Xu
    ("Fast implementation of DeLong's algorithm", IEEE Signal Processing Letters 21, 2014) is that
    of a proportion in a number of trials, the effective trials. The interval is Wilson's for them.

    A set of few errors shows too little of the variance. So each end is that of a set with 0.2
    trials more that speak for it, as Agresti & Coull add trials ("Approximate is better than
    exact", American Statistician 52, 1998). Until errors are seen, a row of the rarer class counts
    as two trials: one that scores as the other class does loses half of its comparisons. No ranking
    has a higher low end than the perfect one.

    Args:
        is_positive: (n,), both classes occur.
        scores: (n,) finite.
        confidence: such as 0.95.
    """
    won, lost_to = _comparisons(is_positive, scores)
    n_positive, n_negative = len(won), len(lost_to)
    # Counts of halves are exact, so that rankings of the same AUC have the same to the last bit.
    value = float(won.sum() / (n_positive * n_negative))
    variance = _variance_of_mean(won / n_negative) + _variance_of_mean(lost_to / n_positive)
    low, high, perfect = (
        _low_end(*given, 2 * min(n_positive, n_negative), _normal_quantile(confidence))
        for given in ((value, variance), (1 - value, variance), (1.0, 0.0))
    )
    return _estimate(value, min(low, perfect), 1 - min(high, perfect))


def average_precision(is_positive: Flags, scores: Floats, confidence: float) -> Estimate:
    """Return the average precision, the sum of precision times the recall gained at each score.

    Its variance is that of the infinitesimal jackknife (Efron, "The jackknife, the bootstrap
    and other resampling plans", 1982, chapter 6). The interval is Wilson's for the number of trials
    in which a proportion has this variance, with Student's quantile.

    Args:
        is_positive: (n,), at least two positives.
        scores: (n,) finite.
        confidence: such as 0.95.
    """
    from scipy.stats import t as student

    value, variance = _average_precision(is_positive, scores)
    n_positive = int(is_positive.sum())
    quantile = float(student.ppf((1 + confidence) / 2, n_positive - 1))
    trials = value * (1 - value) / variance if variance > _LEAST_VARIANCE else n_positive
    low, high = _wilson(np.array(value), np.array(trials), quantile)
    return _estimate(value, float(low), float(high))


def threshold_at_recall(positive_scores: Floats, recall: float, confidence: float) -> Estimate:
    """Return the highest threshold that flags a share of ``recall`` of the positives.

    It is a quantile of their scores, and its interval ends at two of these (Conover, "Practical
    nonparametric statistics", section 3.2), or at 0 or 1 where there are too few.

    Args:
        positive_scores: (n,) in [0, 1]; those at or above a threshold are flagged.
        recall: above 0 and below 1.
        confidence: such as 0.95.
    """
    from scipy.stats import quantile_test

    ordered = np.sort(positive_scores.astype(np.float64))
    # 0.55 * 100 is a little above 55.
    flagged = math.ceil(recall * len(ordered) - 1e-9)
    value = ordered[len(ordered) - max(flagged, 1)]
    found = quantile_test(ordered, p=1 - recall).confidence_interval(confidence)
    low, high = (
        np.where(np.isnan(end), edge, end) for end, edge in zip(found, (0, 1), strict=True)
    )
    return Estimate(float(value), min(float(low), value), max(float(high), value))


def _normal_quantile(confidence: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + confidence) / 2))


def _wilson(share: Floats, trials: NDArray[np.number], quantile: float) -> tuple[Floats, Floats]:
    shrinkage = 1 + quantile**2 / trials
    centre = (share + quantile**2 / (2 * trials)) / shrinkage
    reach = (
        quantile / shrinkage * np.sqrt(share * (1 - share) / trials + quantile**2 / (4 * trials**2))
    )
    return centre - reach, centre + reach


def _estimate(value: float, low: float, high: float) -> Estimate:
    """Return the estimate with 0 <= low <= value <= high <= 1, which roundings may break."""
    value = min(max(value, 0.0), 1.0)
    return Estimate(value, min(max(low, 0.0), value), max(min(high, 1.0), value))


def _ratio(over: Estimate, under: Estimate) -> tuple[float, float, float]:
    if under.value == 0:
        return math.inf, over.low / under.high, math.inf
    if over.value == 0:
        return 0.0, 0.0, over.high / under.low
    ratio = over.value / under.value
    fall = math.hypot(math.log(over.value / over.low), math.log(under.high / under.value))
    rise = math.hypot(math.log(over.high / over.value), math.log(under.value / under.low))
    return ratio, ratio * math.exp(-fall), ratio * math.exp(rise)


def _comparisons(is_positive: Flags, scores: Floats) -> tuple[Floats, Floats]:
    """Return how many negatives are below each positive, and positives above each negative."""
    from scipy.stats import rankdata

    # SciPy 1.18 gives scores of float32 ranks of float32.
    scores = scores.astype(np.float64)
    ranks = rankdata(scores)
    positive, negative = scores[is_positive], scores[~is_positive]
    won = ranks[is_positive] - rankdata(positive)
    lost_to = len(positive) - (ranks[~is_positive] - rankdata(negative))
    return won, lost_to


def _variance_of_mean(values: Floats) -> float:
    # One row has no variance.
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0


def _low_end(value: float, variance: float, errorless: int, quantile: float) -> float:
    """Return the low end of an AUC's interval; a set without errors has ``errorless`` trials."""
    added = _ADDED_TRIALS / errorless
    # Where all scores are equal there is no variance either.
    trials = (
        (value * (1 - value) + added) / (variance + added / errorless)
        if variance > _LEAST_VARIANCE
        else errorless
    )
    return float(_wilson(np.array(value / (1 + added)), np.array(trials), quantile)[0])


def _average_precision(is_positive: Flags, scores: Floats) -> tuple[float, float]:
    """Return the average precision and its variance.

    A row of score s adds to it, through the precision at each positive's score of s or below, and
    if it is a positive through the precision at its own; that is the derivative by its weight.
    """
    _, group = np.unique(-scores, return_inverse=True)
    positives = np.bincount(group, is_positive)
    negatives = np.bincount(group) - positives
    flagged = np.cumsum(positives + negatives)
    precision = np.cumsum(positives) / flagged
    n_positive = positives.sum()
    value = float((positives * precision).sum() / n_positive)
    gained = np.cumsum((positives / flagged)[::-1])[::-1]
    lost = np.cumsum((positives * precision / flagged)[::-1])[::-1]
    of_positives = precision - value + gained - lost
    squares = (positives * of_positives**2 + negatives * lost**2).sum()
    return value, float(squares / (n_positive * (n_positive - 1)))
