"""How models that knew the positive class before a training rank the labelled photos."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from assets.methods.common.shown_text import printable
from assets.methods.evaluation.evaluate import (
    LEAST_OF_EACH_CLASS,
    EvaluationSettings,
    fewest_of_a_class,
    in_order_of_score,
)
from assets.methods.evaluation.intervals import Estimate, area_under_roc
from assets.methods.evaluation.swapped_labels import SPLITS, Reference
from assets.methods.photos.labels import LabelledData
from assets.results.evaluation import EvaluatedModel
from assets.values import REFERENCE_COLUMNS

# Photos of each class in a split other than test. The AUC of so many is known to about 0.02, and
# what is swapped is seen in far fewer.
LARGEST_SAMPLE = 500


def reference_sample(data: LabelledData) -> LabelledData:
    """Return all photos of the split test, and at most 500 of each class of the other splits.

    The photos are in the order of their image_ids, which are digests: the first are as good a
    sample as any, and the same one each time.
    """
    images = data.images.sort_values("image_id")
    place = images.groupby(["split", "label"]).cumcount()
    kept = images[(images.split == "test") | (place < LARGEST_SAMPLE)]
    return dataclasses.replace(data, images=kept.reset_index(drop=True))


def rank_reference(
    name: str,
    data: LabelledData,
    candidate: EvaluatedModel,
    evaluate: Callable[[LabelledData, str], EvaluatedModel],
) -> Reference:
    """Return the AUC of a reference in each split and slice, and what the new version makes of it.

    Args:
        name: of the reference, as ``Reference`` takes it.
        data: the labelled photos.
        candidate: the new version, evaluated on the split test.
        evaluate: evaluates the reference on labelled photos and a split, as ``evaluate_model``.
    """
    sample = reference_sample(data)
    scores = evaluate(sample, "all").scores
    confidence = EvaluationSettings().confidence
    splits = {
        split: auc
        for split in SPLITS
        if (auc := _auc(_rows(scores, scores.split == split), confidence)) is not None
    }
    return Reference(
        name,
        splits,
        _slice_aucs(scores, sample, 1 - confidence),
        _agreement(candidate.scores, scores[scores.split == "test"], confidence),
    )


def references_table(references: Sequence[Reference]) -> pd.DataFrame:
    """Return model, place (a split or a slice), auc, auc_low and auc_high, one row a place."""
    rows: list[dict[str, Any]] = [
        {"model": one.name, "place": place, **auc.named("auc")}
        for one in references
        for place, auc in [*one.splits.items(), *one.slices.items()]
    ]
    return pd.DataFrame(rows) if rows else pd.DataFrame(REFERENCE_COLUMNS)


Rows = tuple[np.ndarray, np.ndarray]  # (n,) bool, whether each is positive; (n,) scores


def _rows(scores: pd.DataFrame, chosen: pd.Series) -> Rows:
    rows = scores[chosen]
    return rows.is_positive.to_numpy(bool), rows.score.to_numpy(np.float64)


def _auc(rows: Rows, confidence: float) -> Estimate | None:
    """Return the AUC as ``evaluate_scores`` does, or None if there are too few rows of a class."""
    if fewest_of_a_class(rows[0]) < LEAST_OF_EACH_CLASS:
        return None
    # A sum depends on the order of its terms by a rounding.
    return area_under_roc(*in_order_of_score(*rows), confidence)


def _slice_aucs(scores: pd.DataFrame, data: LabelledData, error: float) -> dict[str, Estimate]:
    """Return the AUC of each slice. All intervals together hold the truth but for ``error``."""
    slices = dict(_slices(scores, data))
    # Bonferroni's correction: looking at a hundred slices would find some by chance.
    found = {name: _auc(rows, 1 - error / len(slices)) for name, rows in slices.items()}
    return {name: auc for name, auc in found.items() if auc is not None}


def _slices(scores: pd.DataFrame, data: LabelledData) -> Iterator[tuple[str, Rows]]:
    """Yield the slices that have enough photos of both classes, with their rows."""
    values = data.images.set_index("image_id").loc[scores.image_id]
    for column in data.slice_columns:
        of_photo = values[column].reset_index(drop=True)
        for value in sorted(of_photo.dropna().unique()):
            rows = _rows(scores, (of_photo == value).fillna(False).to_numpy(bool))
            if fewest_of_a_class(rows[0]) >= LEAST_OF_EACH_CLASS:
                yield printable(f"{column} is {value}"), rows


def _agreement(
    candidate: pd.DataFrame, reference: pd.DataFrame, confidence: float
) -> Estimate | None:
    """Return how well the new version tells the half that the reference scores higher."""
    both = candidate[["image_id", "score"]].merge(reference[["image_id", "score"]], on="image_id")
    is_higher = (both.score_y > both.score_y.median()).to_numpy()
    return _auc((is_higher, both.score_x.to_numpy(np.float64)), confidence)
