"""Checks of labels, of a trained version and of an evaluation."""

import dagster as dg
import numpy as np
import pandas as pd

from assets.checks.collection_checks import check_of, finite
from assets.methods.evaluation.evaluate import SLICE_RATES
from assets.methods.evaluation.swapped_labels import CHANCE
from assets.methods.photos.catalogue import Catalogue
from assets.methods.photos.labels import LabelledData, LabelReason, class_counts
from assets.resources.models import Models
from assets.resources.registry import CHAMPION
from assets.results.training import CHAMPION_OF_BEFORE, NEW
from assets.values import NsfwEvaluation, NsfwTraining

# What Dagster takes of this file.
CHECKS: list[dg.AssetChecksDefinition] = []
# The share of rows that may be left out; more mean that the manifest is not what it seems.
MANY_LEFT_OUT = 0.05
# Metrics without an interval: counts, and the temperature of the calibration.
WITHOUT_INTERVAL = ("n", "n_positive", "temperature")


@check_of(CHECKS, "labelled_images", "raw_images", blocking=True)
def no_image_is_in_two_splits(
    raw_images: Catalogue, labelled_images: LabelledData
) -> dg.AssetCheckResult:
    """Each image has one row, and no image and its duplicate are in two splits.

    The duplicates are those that the catalogue marked, not the groups that the splits were made of.
    """
    images = labelled_images.images
    twice = int(images.image_id.duplicated().sum())
    split_of = dict(zip(images.image_id, images.split, strict=True))
    pairs = raw_images.images.dropna(subset="duplicate_of")
    straddling = sum(
        one in split_of and other in split_of and split_of[one] != split_of[other]
        for one, other in zip(pairs.image_id, pairs.duplicate_of, strict=True)
    )
    return dg.AssetCheckResult(
        passed=twice == 0 and straddling == 0,
        description=f"{len(images):,} images, {twice:,} twice, {straddling:,} pairs of copies in "
        "two splits",
        metadata={"images": len(images), "twice": twice, "straddling": straddling},
    )


@check_of(CHECKS, "labelled_images")
def few_rows_are_left_out(labelled_images: LabelledData) -> dg.AssetCheckResult:
    """At most 5 % of the manifest's rows are left out, and every split has both classes."""
    findings = labelled_images.findings
    left_out = findings[findings.left_out & (findings.reason != "duplicate")].row.nunique()
    n_rows = len(labelled_images.images) + findings[findings.left_out].row.nunique()
    empty = [
        f"{split} has no {name}"
        for split, counts in class_counts(labelled_images).iterrows()
        for name, count in counts.items()
        if count == 0
    ]
    return dg.AssetCheckResult(
        passed=left_out <= MANY_LEFT_OUT * n_rows and not empty,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{left_out:,} of {n_rows:,} rows are left out (a few: up to "
        f"{MANY_LEFT_OUT:.0%})" + "".join(f"; {fault}" for fault in empty),
        metadata={
            "rows": n_rows,
            "left_out": left_out,
            "reasons": findings.reason.value_counts().to_dict(),
        },
    )


@check_of(CHECKS, "labelled_images")
def labels_do_not_contradict(labelled_images: LabelledData) -> dg.AssetCheckResult:
    """No photo has both labels; photos that look nearly alike may, as a detail may decide."""
    reasons = labelled_images.findings.reason.value_counts()
    n_rows, n_near = (
        int(reasons.get(reason.value, 0))
        for reason in (LabelReason.LABEL_CONFLICT, LabelReason.NEAR_DUPLICATE_CONFLICT)
    )
    return dg.AssetCheckResult(
        passed=n_rows == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{n_rows:,} rows are left out, as their photos have both labels; {n_near:,} "
        "rows are kept whose photos look nearly like one with the other label",
        metadata={"rows": n_rows, "near": n_near},
    )


@check_of(CHECKS, "nsfw_training", blocking=True)
def champion_is_no_worse(
    nsfw_training: NsfwTraining, models: dg.ResourceParam[Models]
) -> dg.AssetCheckResult:
    """A new version is champion only if its AUC and its lower bound are not below the champion's.

    The registry says which version is champion, not the asset. When the registry is down, the check
    only warns.
    """
    compared = nsfw_training.comparison.set_index("model")[["auc", "auc_low"]]
    is_no_worse = bool((compared.loc[NEW] >= compared.loc[CHAMPION_OF_BEFORE]).all())
    before = float(compared.auc.astype(float)[CHAMPION_OF_BEFORE])
    champion = models.champion()
    claims_it = nsfw_training.alias == CHAMPION
    if champion.unreachable:
        return dg.AssetCheckResult(
            passed=not claims_it,
            severity=dg.AssetCheckSeverity.WARN,
            description=champion.unreachable,
        )
    serves_it = champion.description.fingerprint == nsfw_training.fingerprint
    is_sound = not serves_it or (claims_it and is_no_worse)
    # Another training, or a person, may have promoted another version since.
    since = " Another version is champion by now." if claims_it and not serves_it else ""
    return dg.AssetCheckResult(
        passed=is_sound and not since,
        severity=dg.AssetCheckSeverity.WARN if since else dg.AssetCheckSeverity.ERROR,
        description=f"{'champion' if serves_it else 'not champion'}: {nsfw_training.reason}{since}",
        metadata={
            # A champion that does not have the positive class has no AUC.
            **finite(auc=float(compared.auc[NEW]), auc_before=before),
        },
    )


@check_of(CHECKS, "nsfw_training")
def labels_are_not_swapped(nsfw_training: NsfwTraining) -> dg.AssetCheckResult:
    """No model that knew the class before, nor the new version, is surely worse than chance."""
    references = nsfw_training.references
    if nsfw_training.label_doubt:
        told = nsfw_training.label_doubt
    elif references.empty:
        told = "no model knew the class before, so nothing was compared"
    else:
        names = " and ".join(references.model.unique())
        told = f"{names}: {len(references):,} splits and slices, none surely worse than chance"
    return dg.AssetCheckResult(
        passed=not nsfw_training.label_doubt,
        severity=dg.AssetCheckSeverity.WARN,
        description=told,
        metadata={"compared": len(nsfw_training.references)},
    )


@check_of(CHECKS, "nsfw_evaluation")
def figures_lie_in_their_intervals(nsfw_evaluation: NsfwEvaluation) -> dg.AssetCheckResult:
    """Every metric is finite, in [0, 1] and inside its interval; those without one are positive."""
    is_bare = nsfw_evaluation.metrics.metric.isin(WITHOUT_INTERVAL)
    metrics = nsfw_evaluation.metrics[~is_bare]
    intervals = [metrics[["low", "value", "high"]], *_slice_rates(nsfw_evaluation.slices)]
    # Comparisons with NaN are false, so NaN counts as a fault.
    bare = nsfw_evaluation.metrics.value[is_bare].to_numpy(dtype=float)
    faults = int((~((bare > 0) & (bare < np.inf))).sum())
    for table in intervals:
        numbers = table.to_numpy(dtype=float)
        is_ordered = (numbers[:, 0] <= numbers[:, 1]) & (numbers[:, 1] <= numbers[:, 2])
        faults += int((~(is_ordered & ((numbers >= 0) & (numbers <= 1)).all(axis=1))).sum())
    return dg.AssetCheckResult(
        passed=faults == 0 and len(metrics) > 0,
        description=f"{len(bare) + sum(map(len, intervals)):,} metrics, {faults:,} not finite or "
        "outside their interval",
        metadata={"metrics": len(bare) + sum(map(len, intervals)), "faults": faults},
    )


def _slice_rates(slices: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the low end, the value and the high end of each rate where it has to exist."""
    return [
        slices.loc[slices[counted] > 0, [f"{rate}_low", rate, f"{rate}_high"]]
        for rate, (_, counted) in SLICE_RATES.items()
        # An older home has false-positive rates alone.
        if rate in slices
    ]


@check_of(CHECKS, "nsfw_evaluation")
def auc_follows_from_the_scores(nsfw_evaluation: NsfwEvaluation) -> dg.AssetCheckResult:
    """The AUC equals the one computed from the stored scores by ranks, and is not below chance."""
    metrics, scores = nsfw_evaluation.metrics, nsfw_evaluation.scores
    aucs = metrics[metrics.metric == "auc"].set_index("model").reindex(nsfw_evaluation.models)
    by_ranks = [
        _auc(rows.score, rows.label == nsfw_evaluation.positive)
        for rows in (scores[scores.model == model] for model in nsfw_evaluation.models)
    ]
    # NumPy's maximum is NaN where one of the numbers is; Python's is not.
    worst = float(np.max(np.abs(aucs.value.to_numpy() - by_ranks)))
    is_same = worst <= 1e-9
    below = aucs.index[aucs.high < CHANCE]
    return dg.AssetCheckResult(
        passed=is_same and below.empty,
        severity=dg.AssetCheckSeverity.WARN if is_same else dg.AssetCheckSeverity.ERROR,
        description=f"largest difference {worst:.1e}"
        + "".join(f"; {model} ranks worse than chance: labels swapped?" for model in below),
        metadata={
            "models": len(aucs),
            "below_chance": len(below),
            **finite(largest_difference=worst),
        },
    )


def _auc(scores: pd.Series, is_positive: pd.Series) -> float:
    """Return the area under the ROC curve, NaN where a class is missing."""
    from scipy.stats import rankdata

    n, n_positive = len(scores), int(is_positive.sum())
    if n_positive in (0, n):
        return np.nan
    # SciPy 1.18 gives scores of float32 ranks of float32, whose sums are not exact.
    rank_sum = rankdata(scores.astype(np.float64))[is_positive.to_numpy(dtype=bool)].sum()
    return float((rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * (n - n_positive)))
