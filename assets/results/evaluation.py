"""The evaluation of models on labelled images: how it is computed, stored and shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from assets.config import NsfwEvaluationConfig
from assets.methods.common.errors import UserError
from assets.methods.common.progress import Progress, silent
from assets.methods.common.tables import csv_bytes
from assets.methods.evaluation.evaluate import (
    LEAST_OF_EACH_CLASS,
    Evaluation,
    EvaluationSettings,
    evaluate_scores,
)
from assets.methods.evaluation.intervals import format_to_four_decimals
from assets.methods.evaluation.worst_errors import draw_worst_errors, worst_errors
from assets.methods.models.classifier import Classifier
from assets.methods.models.scoring import score_unseen
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.animation import frame_id, frame_of
from assets.methods.photos.labels import LabelledData, class_counts
from assets.resources.tracking import TrackedRun
from assets.results.photo_map import png
from assets.values import NsfwEvaluation

# The prefix of a model's metrics and artifacts in MLflow, because its own name may be a URL.
MODEL_NAME = "model_{}"


@dataclass(frozen=True)
class EvaluatedModel:
    """A model, the labelled images with its scores, and the evaluation of the scores.

    ``scores`` has image_id, uri, label, split, is_positive, score, and frame: of an animation, the
    number from 0 of the frame with this score.
    """

    name: str
    fingerprint: str
    scores: pd.DataFrame
    evaluation: Evaluation


def evaluate_model(
    name: str,
    classifier: Classifier,
    data: LabelledData,
    split: str,
    settings: EvaluationSettings,
    load_image: Callable[[str], Image.Image],
    store: VectorStore,
    progress: Progress = silent,
    ids_of: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> EvaluatedModel:
    """Score the images of a split, and evaluate the scores.

    ``split`` is "test", where the temperature is fitted on the validation images, or "all".
    ``ids_of`` are as for ``score_unseen``: the score of an animation is the highest of its frames,
    as it is in `NsfwScores`.
    Raises UserError when the classifier does not have the positive class, and as
    ``evaluate_scores`` does.
    """
    positive = data.class_names[1]
    splits = ("test", "validation") if split == "test" else ("train", "validation", "test")
    images = data.images[data.images.split.isin(splits)].reset_index(drop=True)
    is_positive = (images.label == positive).astype(bool)
    is_tested = (images.split == "test") if split == "test" else pd.Series(True, images.index)
    _check_enough(data, split)
    found = score_unseen(
        list(images.image_id), load_image, classifier, positive, store, progress, ids_of
    )
    frames = [
        None if scored == image_id else frame_of(scored)
        for image_id, scored in zip(images.image_id, found.highest_ids, strict=True)
    ]
    # In float64, as the metrics are: a threshold of 0.7 is another number in float32.
    scores = images[["image_id", "uri", "label", "split"]].assign(
        is_positive=is_positive,
        score=found.scores.astype(np.float64),
        frame=pd.array(frames, dtype="Int64"),
    )
    tested, others = scores[is_tested], scores[~is_tested]
    calibration = None
    if len(others):
        calibration = (others.is_positive.to_numpy(), others.score.to_numpy())
    evaluation = evaluate_scores(
        tested.is_positive.to_numpy(),
        tested.score.to_numpy(),
        settings,
        images.loc[is_tested, list(data.slice_columns)].reset_index(drop=True),
        calibration,
    )
    return EvaluatedModel(name, found.fingerprint, tested.reset_index(drop=True), evaluation)


def _check_enough(data: LabelledData, split: str) -> None:
    """Raise UserError if there are too few images, before hours of scoring."""
    counts, where, hint = class_counts(data), "labelled set", ""
    if split == "test":
        counts, where = counts.loc[["test"]], "split test"
        hint = ", or evaluate the images of all splits (--split all)"
    for name, count in counts.sum().items():
        if count < LEAST_OF_EACH_CLASS:
            raise UserError(
                f"The {where} has {count} images of the class {name}: label {LEAST_OF_EACH_CLASS} "
                f"of each class at least, and some hundreds for narrow intervals{hint}."
            )


def shown_names(models: Sequence[str]) -> list[str]:
    """Return names of ``models`` that fit a table.

    ``models`` are distinct, as `--model` takes them. A file is named by the last parts of its path
    that distinguish it from the others.
    """
    parts = [Path(model).parts if _is_path(model) else (model,) for model in models]
    names = list(models)
    for number, own in enumerate(parts):
        for n_kept in range(1, len(own) + 1):
            others = [other[-n_kept:] for index, other in enumerate(parts) if index != number]
            if own[-n_kept:] not in others:
                names[number] = str(PurePath(*own[-n_kept:]))
                break
    return names


def _is_path(model: str) -> bool:
    return model.endswith(".safetensors") and Path(model).is_absolute()


def evaluation_value(
    models: Sequence[EvaluatedModel],
    figure: Image.Image,
    load_image: Callable[[str], Image.Image],
    positive: str,
    config: NsfwEvaluationConfig,
) -> NsfwEvaluation:
    """Return the evaluations and their ``figure`` as the value of the asset."""
    sheets = {}
    for number, model in enumerate(models, 1):
        errors = worst_errors(model.scores, config.threshold, config.worst)
        scored = _load_scored(load_image, model.scores)
        sheet = draw_worst_errors(scored, errors, positive, blur=not config.sharp)
        sheets[MODEL_NAME.format(number)] = png(sheet)
    return NsfwEvaluation(
        positive=positive,
        models=[model.name for model in models],
        fingerprints=[model.fingerprint for model in models],
        metrics=pd.concat([_metrics(model) for model in models], ignore_index=True),
        slices=_by_model(models, lambda one: one.slices),
        curves=_by_model(models, _curves),
        reliability=_by_model(models, _reliability),
        scores=pd.concat(
            [model.scores.drop(columns="is_positive").assign(model=model.name) for model in models],
            ignore_index=True,
        ),
        figure=png(figure),
        worst=sheets,
        notes=[f"{model.name}: {note}" for model in models for note in model.evaluation.notes],
        settings=config.model_dump(),
    )


def _load_scored(
    load_image: Callable[[str], Image.Image], scores: pd.DataFrame
) -> Callable[[str], Image.Image]:
    """Return a function that loads a photo by its image_id, an animation at the frame scored."""
    frames = scores.dropna(subset="frame")
    shown = {
        image_id: frame_id(image_id, int(frame))
        for image_id, frame in zip(frames.image_id, frames.frame, strict=True)
    }
    return lambda image_id: load_image(shown.get(image_id, image_id))


def log_evaluation(
    run: TrackedRun, models: Sequence[EvaluatedModel], value: NsfwEvaluation
) -> None:
    """Log metrics, tables and images; each of several models has a prefix of its own."""
    for number, model in enumerate(models, 1):
        prefix = "" if len(models) == 1 else f"{MODEL_NAME.format(number)}."
        metrics = model.evaluation.flat_metrics()
        run.metrics({f"{prefix}{name}": metric for name, metric in metrics.items()})
    for name, data in evaluation_files(value).items():
        run.file(name, data)


def evaluation_files(value: NsfwEvaluation) -> dict[str, bytes]:
    """Return the files of an evaluation by their names."""
    tables = ("metrics", "slices", "curves", "reliability", "scores")
    files = {f"{name}.csv": csv_bytes(getattr(value, name)) for name in tables}
    files["worst_errors.csv"] = csv_bytes(_worst_table(value))
    files["evaluation.png"] = value.figure.data
    for name, sheet in value.worst.items():
        alone = len(value.models) == 1
        files["worst_errors.png" if alone else f"worst_errors_{name}.png"] = sheet.data
    return files


def _worst_table(value: NsfwEvaluation) -> pd.DataFrame:
    """Return a table of the numbers on the sheets of worst errors, and their images."""
    parts = []
    for model, rows in value.scores.groupby("model", sort=False):
        scores = rows.assign(is_positive=(rows.label == value.positive).astype(bool))
        errors = worst_errors(scores, value.settings["threshold"], value.settings["worst"])
        kinds = {
            "false positive": errors.false_positives,
            "false negative": errors.false_negatives,
        }
        for kind, worst in kinds.items():
            numbered = worst.assign(model=model, error=kind, number=range(1, len(worst) + 1))
            parts.append(numbered.merge(rows[["image_id", "uri", "label"]], on="image_id"))
    columns = ["model", "error", "number", "score", "label", "uri", "image_id"]
    return pd.concat(parts, ignore_index=True)[columns]


def evaluation_summary(models: Sequence[EvaluatedModel]) -> dict[str, Any]:
    """Return the metrics that Dagster shows; each of several models has a prefix of its own."""
    shown = ("auc", "average_precision", "precision", "recall", "f1", "ece_before", "ece_after")
    summary: dict[str, Any] = {}
    for number, model in enumerate(models, 1):
        prefix = "" if len(models) == 1 else f"{MODEL_NAME.format(number)}."
        evaluation = model.evaluation
        summary |= {
            f"{prefix}model": model.name,
            f"{prefix}images": evaluation.n,
            f"{prefix}positives": evaluation.n_positive,
        }
        summary |= {
            f"{prefix}{name}": format_to_four_decimals(metric)
            for name in shown
            if (metric := evaluation.metrics.get(name))
        }
    return summary


def label_metrics(data: LabelledData) -> dict[str, Any]:
    """Return the number of images by split and class, and of rows by finding."""
    counts = class_counts(data)
    metrics: dict[str, Any] = {
        f"{split}_{label}": int(counts.loc[split, label])
        for split in counts.index
        for label in counts.columns
    }
    reasons = data.findings.reason.value_counts()
    return {
        "images": len(data.images),
        "rows_left_out": int(data.findings.left_out.sum()),
        **metrics,
        **{f"found_{str(name).replace(' ', '_')}": int(count) for name, count in reasons.items()},
    }


def _metrics(model: EvaluatedModel) -> pd.DataFrame:
    evaluation = model.evaluation
    rows = [
        {"model": model.name, "metric": name, **vars(metric)}
        for name, metric in evaluation.metrics.items()
    ]
    counts = {
        "n": evaluation.n,
        "n_positive": evaluation.n_positive,
        "temperature": evaluation.temperature,
    }
    rows += [
        {"model": model.name, "metric": name, "value": float(value), "low": None, "high": None}
        for name, value in counts.items()
    ]
    return pd.DataFrame(rows).astype({"low": "float64", "high": "float64"})


def _by_model(
    models: Sequence[EvaluatedModel], table: Callable[[Evaluation], pd.DataFrame]
) -> pd.DataFrame:
    parts = [table(model.evaluation).assign(model=model.name) for model in models]
    joined = pd.concat(parts, ignore_index=True)
    return joined[["model", *(name for name in joined if name != "model")]]


def _curves(evaluation: Evaluation) -> pd.DataFrame:
    axes: Mapping[str, tuple[pd.DataFrame, str, str]] = {
        "roc": (evaluation.roc, "false_positive_rate", "true_positive_rate"),
        "precision_recall": (evaluation.precision_recall, "recall", "precision"),
    }
    parts = [
        table.rename(columns={x: "x", y: "y"})[["threshold", "x", "y"]].assign(curve=name)
        for name, (table, x, y) in axes.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _reliability(evaluation: Evaluation) -> pd.DataFrame:
    before = evaluation.reliability_before.assign(scaled=False)
    return pd.concat([before, evaluation.reliability_after.assign(scaled=True)], ignore_index=True)
