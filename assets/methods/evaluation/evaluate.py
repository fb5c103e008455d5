"""How well scores tell positives from negatives on a labelled set, each metric with its interval.

The rows are taken for a random sample of what the model will meet. Where positives were collected
on purpose, precision, F1 and average precision hold for the set's mixture only, and
``precision_at_prevalence`` is the metric to read.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from assets.methods.common.errors import UserError
from assets.methods.evaluation.calibration import (
    TEMPERATURES,
    expected_calibration_error,
    fit_temperature,
    reliability_table,
    scale,
    scale_cross_fitted,
)
from assets.methods.evaluation.intervals import (
    Estimate,
    Flags,
    Floats,
    area_under_roc,
    average_precision,
    f1_score,
    format_estimate,
    precision_at_prevalence,
    proportion,
    threshold_at_recall,
    wilson_interval,
)
from assets.methods.evaluation.swapped_labels import is_below_chance

# The interval of a recall of 5 in 5 begins at 0.57; with fewer it tells too little.
LEAST_OF_EACH_CLASS = 5

# The numbers of a slice's rows.
SLICE_COUNTS = (
    *("n", "n_positive", "n_negative", "n_flagged"),
    *("true_positives", "false_positives"),
)
# The rates of a slice, and the numbers that each is the ratio of.
SLICE_RATES = {
    "recall": ("true_positives", "n_positive"),
    "precision": ("true_positives", "n_flagged"),
    "false_positive_rate": ("false_positives", "n_negative"),
}

_LONGEST_CURVE = 1_000


@dataclass(frozen=True)
class EvaluationSettings:
    """How scores are evaluated.

    Attributes:
        threshold: rows whose score is as high or higher are flagged.
        wanted_recall: a threshold is looked for that reaches it.
        prevalence: the share of positives where the model will work.
        confidence: of all intervals.
        bins: of the calibration error and of the reliability tables.
        seed: of the draws for the calibration error's interval, and of the halves of cross-fitting.

    Raises:
        UserError: a number is out of its range.
    """

    threshold: float = 0.5
    wanted_recall: float = 0.95
    prevalence: float = 0.01
    confidence: float = 0.95
    bins: int = 15
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise UserError(f"The threshold is {self.threshold}: choose one from 0 to 1.")
        for name in ("wanted_recall", "prevalence", "confidence"):
            if not 0 < getattr(self, name) < 1:
                words = name.replace("_", " ")
                raise UserError(
                    f"The {words} is {getattr(self, name)}: choose a number above 0 and below 1."
                )
        if not 1 <= self.bins <= 1_000:
            raise UserError(f"{self.bins} bins were asked for: choose 1 to 1,000.")
        if self.seed < 0:
            raise UserError(f"The seed is {self.seed}: it has to be 0 or more.")


@dataclass(frozen=True)
class Evaluation:
    """Metrics, curves and slices of scores. Metrics that do not exist are absent; notes say why.

    Attributes:
        settings: how the scores were evaluated.
        n: number of rows.
        n_positive: number of positive rows.
        metrics: by name: precision, recall, f1, false_positive_rate, precision_at_prevalence (all
            at the threshold), threshold_at_recall (the highest that reaches the wanted recall),
            auc, average_precision, and the expected calibration error ece_before and ece_after
            temperature scaling.
        temperature: by which logits are divided.
        roc: threshold, false_positive_rate, true_positive_rate, thresholds falling; the point
            (0, 0), where nothing is flagged, is left out. About 1,000 points at most.
        precision_recall: threshold, recall, precision, likewise.
        reliability_before: as ``reliability_table`` returns it.
        reliability_after: the same for scaled scores.
        slices: slice and value, one row for each value; its numbers of rows n, n_positive,
            n_negative and n_flagged, true_positives and false_positives; and recall, precision and
            false_positive_rate at the threshold, with the ends of each interval, such as
            recall_low and recall_high. They are missing where there is no positive, no flagged and
            no negative row.
        notes: sentences.
    """

    settings: EvaluationSettings
    n: int
    n_positive: int
    metrics: dict[str, Estimate]
    temperature: float
    roc: pd.DataFrame
    precision_recall: pd.DataFrame
    reliability_before: pd.DataFrame
    reliability_after: pd.DataFrame
    slices: pd.DataFrame
    notes: tuple[str, ...]

    def flat_metrics(self) -> dict[str, float]:
        """Return all numbers by name, such as auc, auc_low and auc_high."""
        flat: dict[str, float] = {
            "n": self.n,
            "n_positive": self.n_positive,
            "temperature": self.temperature,
        }
        for name, metric in self.metrics.items():
            flat |= metric.named(name)
        return flat


def evaluate_scores(
    is_positive: Flags,
    scores: Floats,
    settings: EvaluationSettings | None = None,
    slices: pd.DataFrame | None = None,
    calibration: tuple[Flags, Floats] | None = None,
) -> Evaluation:
    """Evaluate scores on a labelled set.

    The temperature is fitted on ``calibration``, other rows with their scores. Without it, or where
    a class has too few rows there, each half of the set, drawn with the seed, is scaled by the
    temperature of the other half, and the temperature of the whole set is reported.

    Args:
        is_positive: (n,), the labels.
        scores: (n,), P(positive).
        settings: how to evaluate; the defaults if None.
        slices: n rows in the order of the labels; each column, such as the source, cuts the set
            into slices, and a row whose value is missing is in none of them.
        calibration: labels and scores to fit the temperature on.

    Returns:
        The same for the same rows, whatever their order.

    Raises:
        UserError: a class has fewer than five rows, or scores are no probabilities.
        ValueError: the arguments do not have the same number of rows.
    """
    settings = settings or EvaluationSettings()
    if len(is_positive) != len(scores) or (slices is not None and len(slices) != len(scores)):
        raise ValueError("labels, scores and slices have to have the same number of rows")
    _check_probabilities(scores)
    _check_classes(is_positive)
    is_flagged = scores >= settings.threshold
    slice_table = _slice_table(is_positive, is_flagged, slices, settings.confidence)
    # A sum depends on the order of its terms by a rounding.
    is_positive, scores = in_order_of_score(is_positive, scores)
    scaled, temperature, fit_notes = _scaled(is_positive, scores, calibration, settings.seed)
    at_threshold, threshold_notes = _metrics_at_threshold(is_positive, scores, settings)
    confidence, bins = settings.confidence, settings.bins
    auc = area_under_roc(is_positive, scores, confidence)
    metrics = at_threshold | {
        "threshold_at_recall": threshold_at_recall(
            scores[is_positive], settings.wanted_recall, confidence
        ),
        "auc": auc,
        "average_precision": average_precision(is_positive, scores, confidence),
        "ece_before": expected_calibration_error(
            is_positive, scores, bins, confidence, settings.seed
        ),
        "ece_after": expected_calibration_error(
            is_positive, scaled, bins, confidence, settings.seed
        ),
    }
    return Evaluation(
        settings=settings,
        n=len(scores),
        n_positive=int(is_positive.sum()),
        metrics=metrics,
        temperature=temperature,
        roc=_roc(is_positive, scores),
        precision_recall=_precision_recall(is_positive, scores),
        reliability_before=reliability_table(is_positive, scores, bins, confidence),
        reliability_after=reliability_table(is_positive, scaled, bins, confidence),
        slices=slice_table,
        notes=_rank_notes(auc, calibration, confidence) + threshold_notes + fit_notes,
    )


def _check_probabilities(scores: Floats) -> None:
    # Not (scores < 0) | (scores > 1), which NaN would pass.
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    if wrong.size:
        raise UserError(
            f"{wrong.size:,} of {len(scores):,} scores are no probability, such as "
            f"{scores[wrong[0]]}: give P(positive), from 0 to 1, for every row."
        )


def _check_classes(is_positive: Flags) -> None:
    n_positive = int(is_positive.sum())
    for name, count in (("positive", n_positive), ("negative", len(is_positive) - n_positive)):
        if count < LEAST_OF_EACH_CLASS:
            raise UserError(
                f"The labelled set has {count} {name} rows of {len(is_positive):,}: label "
                f"{LEAST_OF_EACH_CLASS} of each class at least, and some hundreds for narrow "
                "intervals."
            )


def in_order_of_score(is_positive: Flags, scores: Floats) -> tuple[Flags, Floats]:
    """Return the rows with the lowest score first; among equal scores the negatives first."""
    order = np.lexsort((is_positive, scores))
    return is_positive[order], scores[order].astype(np.float64)


def _scaled(
    is_positive: Flags, scores: Floats, calibration: tuple[Flags, Floats] | None, seed: int
) -> tuple[Floats, float, tuple[str, ...]]:
    """Return the scaled scores (n,), the temperature, and notes."""
    notes: tuple[str, ...] = ()
    if calibration is not None:
        _check_probabilities(calibration[1])
        fewest = fewest_of_a_class(calibration[0])
        if fewest >= LEAST_OF_EACH_CLASS:
            temperature = fit_temperature(*in_order_of_score(*calibration))
            notes = _note_on_end(temperature, "The temperature, fitted on the calibration set,")
            return scale(scores, temperature), temperature, notes
        notes = (
            f"The calibration set has {fewest} rows of one class, fewer than "
            f"{LEAST_OF_EACH_CLASS}: the temperature was fitted on the halves of the set itself.",
        )
    scaled, of_halves = scale_cross_fitted(is_positive, scores, seed)
    temperature = fit_temperature(is_positive, scores)
    on_end = _note_on_end(temperature, "The temperature")
    for of_half in of_halves:
        on_end = on_end or _note_on_end(of_half, "The temperature of one half of the set")
    return scaled, temperature, notes + on_end


def _note_on_end(temperature: float, what: str) -> tuple[str, ...]:
    """Return a note if a temperature is an end of the range."""
    lowest, highest = TEMPERATURES
    if temperature == lowest:
        return (
            f"{what} is {lowest:g}, the lowest that is tried: these scores fit best when they are "
            "made as certain as possible, as where none is on the wrong side of 0.5. Scaled scores "
            "are close to 0 or 1 then, more certain than so few errors can show: do not use them.",
        )
    if temperature == highest:
        return (
            f"{what} is {highest:g}, the highest that is tried: these scores fit best when they "
            "tell nothing, as where they are on the wrong side of 0.5 as often as on the right "
            "one. All scaled scores are close to 0.5 then: do not use them.",
        )
    return ()


def _rank_notes(
    auc: Estimate, calibration: tuple[Flags, Floats] | None, confidence: float
) -> tuple[str, ...]:
    """Return notes on rows that are surely ranked worse than chance."""
    notes = []
    if is_below_chance(auc):
        notes.append(
            f"Labels swapped? The model ranks worse than chance (AUC {format_estimate(auc)}): look "
            "at some photos of each label."
        )
    if calibration is not None and fewest_of_a_class(calibration[0]) >= LEAST_OF_EACH_CLASS:
        other = area_under_roc(*in_order_of_score(*calibration), confidence)
        if is_below_chance(other) and not is_below_chance(auc):
            notes.append(
                "Labels of the calibration set swapped? The model ranks it worse than chance (AUC "
                f"{format_estimate(other)}), and so the temperature means nothing."
            )
    return tuple(notes)


def fewest_of_a_class(is_positive: Flags) -> int:
    """Return the number of positive or of negative rows, whichever is smaller."""
    n_positive = int(is_positive.sum())
    return min(n_positive, len(is_positive) - n_positive)


def _metrics_at_threshold(
    is_positive: Flags, scores: Floats, settings: EvaluationSettings
) -> tuple[dict[str, Estimate], tuple[str, ...]]:
    confidence = settings.confidence
    is_flagged = scores >= settings.threshold
    n_positive = int(is_positive.sum())
    n_negative = len(is_positive) - n_positive
    true_positives = int((is_flagged & is_positive).sum())
    false_positives = int((is_flagged & ~is_positive).sum())
    recall = proportion(true_positives, n_positive, confidence)
    false_positive_rate = proportion(false_positives, n_negative, confidence)
    metrics = {
        "recall": recall,
        "f1": f1_score(true_positives, false_positives, n_positive - true_positives, confidence),
        "false_positive_rate": false_positive_rate,
    }
    n_flagged = true_positives + false_positives
    if n_flagged == 0:
        return metrics, (
            f"No score reaches the threshold of {settings.threshold}: without a flagged row there "
            "is no precision, in the set or at another prevalence.",
        )
    metrics["precision"] = proportion(true_positives, n_flagged, confidence)
    metrics["precision_at_prevalence"] = precision_at_prevalence(
        recall, false_positive_rate, settings.prevalence
    )
    return metrics, ()


def _roc(is_positive: Flags, scores: Floats) -> pd.DataFrame:
    from sklearn.metrics import roc_curve

    false_positive_rate, true_positive_rate, thresholds = roc_curve(is_positive, scores)
    table = pd.DataFrame(
        {
            "threshold": thresholds,
            "false_positive_rate": false_positive_rate,
            "true_positive_rate": true_positive_rate,
        }
    )[1:]
    # Moderation works at low rates of false positives, so that steps are even in their logarithm.
    decades = np.log10(table["false_positive_rate"].to_numpy() + 1 / len(scores))
    return _thinned(table, decades / np.log10(len(scores)), table["true_positive_rate"].to_numpy())


def _precision_recall(is_positive: Flags, scores: Floats) -> pd.DataFrame:
    from sklearn.metrics import precision_recall_curve

    precision, recall, thresholds = precision_recall_curve(
        is_positive, scores, drop_intermediate=True
    )
    # The last point has no threshold: scikit-learn adds it at recall 0 and precision 1.
    table = pd.DataFrame(
        {"threshold": thresholds, "recall": recall[:-1], "precision": precision[:-1]}
    )[::-1]
    return _thinned(table, table["recall"].to_numpy(), table["precision"].to_numpy())


def _thinned(table: pd.DataFrame, x: Floats, y: Floats) -> pd.DataFrame:
    """Keep about a thousand rows, evenly along the curve through (x, y), with both ends."""
    if len(table) > _LONGEST_CURVE:
        length = np.append(0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
        even = np.linspace(0, length[-1], _LONGEST_CURVE)
        kept = np.unique(np.searchsorted(length, even).clip(max=len(table) - 1))
        table = table.iloc[kept]
    return table.reset_index(drop=True)


def _slice_table(
    is_positive: Flags, is_flagged: Flags, slices: pd.DataFrame | None, confidence: float
) -> pd.DataFrame:
    columns = [] if slices is None else [slices[name] for name in slices]
    table = pd.concat(
        [_EMPTY_COUNTS, *(_count(values, is_positive, is_flagged) for values in columns)],
        ignore_index=True,
    )
    for name, (successes, trials) in SLICE_RATES.items():
        known = table[trials] > 0
        counted = table.loc[known, [successes, trials]].to_numpy()
        low, high = wilson_interval(counted[:, 0], counted[:, 1], confidence)
        found = {name: counted[:, 0] / counted[:, 1], f"{name}_low": low, f"{name}_high": high}
        for column, values in found.items():
            table[column] = pd.Series(values, table.index[known]).reindex(table.index)
    return table


_EMPTY_COUNTS = pd.DataFrame(
    {
        "slice": pd.Series(dtype=str),
        "value": pd.Series(dtype=str),
        **{name: pd.Series(dtype=np.int64) for name in SLICE_COUNTS},
    }
)


def _count(values: pd.Series, is_positive: Flags, is_flagged: Flags) -> pd.DataFrame:
    """Count the rows of each value, in the order of the values' text."""
    known = values.notna().to_numpy()
    names, place = np.unique(values[known].astype(str).to_numpy(dtype=str), return_inverse=True)
    is_positive, is_flagged = is_positive[known], is_flagged[known]
    counted = (
        np.ones(len(place), dtype=bool),
        is_positive,
        ~is_positive,
        is_flagged,
        is_flagged & is_positive,
        is_flagged & ~is_positive,
    )
    return pd.DataFrame(
        {
            "slice": str(values.name),
            "value": names.astype(object),
            **{
                name: np.bincount(place[chosen], minlength=len(names))
                for name, chosen in zip(SLICE_COUNTS, counted, strict=True)
            },
        }
    )
