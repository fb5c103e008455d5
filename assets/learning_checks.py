"""What has to hold of labels, of a trained version and of an evaluation before they are trusted."""

import dagster as dg

from assets.methods.cataloguing import Catalogue
from assets.methods.labelled_data import LabelledData, class_counts
from assets.resources.models import Models
from assets.resources.registry import CHAMPION
from assets.trainings import CHAMPION_OF_BEFORE, NEW
from assets.values import NsfwEvaluation, NsfwTraining

# A few rows that cannot be used are normal; many mean that the manifest is not what it seems.
MANY_LEFT_OUT = 0.05


@dg.asset_check(asset="labelled_images", additional_ins={"raw_images": dg.AssetIn()}, blocking=True)
def no_image_is_in_two_splits(
    raw_images: Catalogue, labelled_images: LabelledData
) -> dg.AssetCheckResult:
    """Each image has one row, and neither it nor a copy that the catalogue knows is in two splits.

    What the catalogue marked as duplicates is looked at, not the groups that the splits were made
    of.
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
    )


@dg.asset_check(asset="labelled_images")
def few_rows_are_left_out(labelled_images: LabelledData) -> dg.AssetCheckResult:
    """Most rows of the manifest can be used, and every split has both classes."""
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
        metadata={"reasons": findings.reason.value_counts().to_dict()},
    )


@dg.asset_check(asset="nsfw_training", blocking=True)
def champion_is_no_worse(
    nsfw_training: NsfwTraining, models: dg.ResourceParam[Models]
) -> dg.AssetCheckResult:
    """A new version has the alias `champion` only if its AUC's lower bound is not below.

    The registry is asked, not the asset.
    """
    low = nsfw_training.comparison.set_index("model").auc_low
    is_no_worse = bool(low[NEW] >= low[CHAMPION_OF_BEFORE])
    champion = models.champion()
    serves_it = champion.description.fingerprint == nsfw_training.fingerprint
    claims_it = nsfw_training.alias == CHAMPION
    return dg.AssetCheckResult(
        passed=serves_it == claims_it and (is_no_worse or not serves_it),
        description=f"{'champion' if serves_it else 'not champion'}: {nsfw_training.reason}",
    )


@dg.asset_check(asset="nsfw_evaluation")
def figures_lie_in_their_intervals(nsfw_evaluation: NsfwEvaluation) -> dg.AssetCheckResult:
    """Every figure is finite and within its interval; rates are in [0, 1]."""
    figures = nsfw_evaluation.figures.dropna(subset=["low", "high"])
    slices = nsfw_evaluation.slices.drop(columns="value").rename(
        columns={"false_positive_rate": "value"}
    )
    faults = 0
    for table in (figures, slices):
        numbers = table[["low", "value", "high"]].to_numpy(dtype=float)
        is_ordered = (numbers[:, 0] <= numbers[:, 1]) & (numbers[:, 1] <= numbers[:, 2])
        faults += int(
            (~(is_ordered & (numbers >= 0).all(axis=1) & (numbers <= 1).all(axis=1))).sum()
        )
    return dg.AssetCheckResult(
        passed=faults == 0 and len(figures) > 0,
        description=f"{len(figures) + len(slices):,} figures, {faults:,} outside their interval",
    )


@dg.asset_check(asset="nsfw_evaluation")
def auc_follows_from_the_scores(nsfw_evaluation: NsfwEvaluation) -> dg.AssetCheckResult:
    """The AUC is that of the scores that are kept, computed once more by ranks; chance is 0.5."""
    from scipy.stats import rankdata

    figures = nsfw_evaluation.figures
    aucs = figures[figures.figure == "auc"].set_index("model")
    worst, below = 0.0, []
    for model, rows in nsfw_evaluation.scores.groupby("model"):
        is_positive = (rows.label == nsfw_evaluation.positive).to_numpy()
        n, n_positive = len(rows), int(is_positive.sum())
        ranks = rankdata(rows.score)[is_positive].sum()
        auc = (ranks - n_positive * (n_positive + 1) / 2) / (n_positive * (n - n_positive))
        worst = max(worst, abs(auc - aucs.value[model]))
        if aucs.high[model] < 0.5:
            below.append(model)
    return dg.AssetCheckResult(
        passed=bool(worst <= 1e-9) and not below,
        severity=dg.AssetCheckSeverity.ERROR if worst > 1e-9 else dg.AssetCheckSeverity.WARN,
        description=f"largest difference {worst:.1e}"
        + "".join(f"; {model} ranks worse than chance" for model in below),
    )
