"""Whether scores can be read as probabilities, and the temperature that corrects them.

Source: Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", ICML 2017;
sections 2 and 4.2.
"""

import numpy as np
import pandas as pd

from assets.methods.evaluation.intervals import Estimate, Flags, Floats, wilson_interval

# Scores that are nearer to 0 or 1 have the logit of this distance, about 16 in size.
_NEAREST_TO_CERTAIN = 1e-7
# The range that is tried.
TEMPERATURES = (0.01, 100.0)
_DRAWS = 4_000


def fit_temperature(is_positive: Flags, scores: Floats) -> float:
    """Return the temperature, 0.01 to 100, that maximises the likelihood of the labels.

    Logits are divided by it. Above 1 the scores were too certain. It is exactly an end of the range
    where scores separate the classes fully at 0.5, or rank them the wrong way round, and 1 where
    all scores are 0.5. Section 4.2 for two classes; the likelihood has one maximum.

    Args:
        is_positive: (n,), both classes occur.
        scores: (n,) in [0, 1].
    """
    from scipy.optimize import minimize_scalar

    logits = _logits(scores)
    if not logits.any():
        return 1.0

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        return float((np.logaddexp(0, scaled) - is_positive * scaled).mean())

    found = minimize_scalar(
        lambda log_temperature: loss(np.exp(log_temperature)),
        bounds=np.log(TEMPERATURES),
        method="bounded",
    )
    # The search comes near an end and never reaches it. Where no row is wrong, the loss becomes 0.
    return min(*TEMPERATURES, float(np.exp(found.x)), key=loss)


def scale(scores: Floats, temperature: float) -> Floats:
    """Return the scores, (n,) in [0, 1], with their logits divided by ``temperature``."""
    from scipy.special import expit

    return expit(_logits(scores) / temperature)


def scale_cross_fitted(
    is_positive: Flags, scores: Floats, seed: int
) -> tuple[Floats, tuple[float, float]]:
    """Scale each half of the scores by the temperature that was fitted on the other half.

    The halves are drawn within each class, which has at least two rows. The order of rows does not
    matter.

    Returns:
        The scaled scores (n,), and the two temperatures.
    """
    rng = np.random.default_rng(seed)
    in_first = np.zeros(len(scores), dtype=bool)
    for rows in (np.flatnonzero(is_positive), np.flatnonzero(~is_positive)):
        drawn = rng.permutation(rows[np.argsort(scores[rows], kind="stable")])
        in_first[drawn[::2]] = True
    of_first, of_second = (
        fit_temperature(is_positive[half], scores[half]) for half in (in_first, ~in_first)
    )
    scaled = np.where(in_first, scale(scores, of_second), scale(scores, of_first))
    return scaled, (of_first, of_second)


def reliability_table(
    is_positive: Flags, scores: Floats, bins: int, confidence: float
) -> pd.DataFrame:
    """Compare the scores in bins of equal width with the share of positives among them.

    Args:
        is_positive: (n,).
        scores: (n,) in [0, 1].
        bins: their number; a bin holds its upper edge, the first one its lower edge too.
        confidence: of Wilson's interval of the share.

    Returns:
        One row for each bin that holds scores: its edges lower and upper, the number n of scores,
        their mean_score, the positive_share and the ends of its interval, low and high.
    """
    place = _bins(scores, bins)
    n = np.bincount(place, minlength=bins)
    held = np.flatnonzero(n)
    positives = np.bincount(place, is_positive, bins)[held]
    low, high = wilson_interval(positives, n[held], confidence)
    edges = np.linspace(0, 1, bins + 1)
    return pd.DataFrame(
        {
            "lower": edges[held],
            "upper": edges[held + 1],
            "n": n[held],
            "mean_score": np.bincount(place, scores, bins)[held] / n[held],
            "positive_share": positives / n[held],
            "low": low,
            "high": high,
        }
    )


def expected_calibration_error(
    is_positive: Flags, scores: Floats, bins: int, confidence: float, seed: int
) -> Estimate:
    """Return the expected calibration error, the mean distance of scores and shares of positives.

    Equation 3; for P(positive), as in Naeini, Cooper & Hauskrecht, AAAI 2015. Chance alone sets
    scores and shares apart, so the error of a sample lies above the model's. The lower end
    allows for it: it is 0 where perfectly calibrated scores would have as large an error, and else
    it is the basic bootstrap's. The higher end is the normal one, by the bootstrap's standard
    error. Percentiles of a bootstrap would always exclude the truth of a calibrated model.

    Args:
        is_positive: (n,).
        scores: (n,) in [0, 1].
        bins: their number; they have equal width.
        confidence: such as 0.95.
        seed: of the draws. The gap of a bin is drawn from a normal distribution.
    """
    from scipy.special import ndtri

    n = len(scores)
    place = _bins(scores, bins)
    surplus = is_positive - scores
    gaps = np.bincount(place, surplus, bins) / n
    value = float(np.abs(gaps).sum())
    # A bin without an error may still have one, so that it counts a row more, wrong by a half.
    squares = np.bincount(place, surplus**2, bins) + (np.bincount(place, minlength=bins) > 0) / 4
    variances = np.maximum(squares / n - gaps**2, 0) / n
    if_calibrated = np.bincount(place, scores * (1 - scores), bins) / n**2
    noise = np.random.default_rng(seed).standard_normal((_DRAWS, bins))
    quantile = (1 + confidence) / 2
    drawn = np.abs(gaps + noise * np.sqrt(variances)).sum(axis=1)
    by_chance = np.quantile(np.abs(noise * np.sqrt(if_calibrated)).sum(axis=1), quantile)
    low = 0.0 if value <= by_chance else 2 * value - float(np.quantile(drawn, quantile))
    high = value + float(ndtri(quantile) * drawn.std())
    return Estimate(value, min(max(low, 0.0), value), min(high, 1.0))


def _logits(scores: Floats) -> Floats:
    from scipy.special import logit

    clipped = np.clip(scores.astype(np.float64), _NEAREST_TO_CERTAIN, 1 - _NEAREST_TO_CERTAIN)
    return logit(clipped)


def _bins(scores: Floats, bins: int) -> np.ndarray:
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], scores)
