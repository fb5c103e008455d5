"""The evaluation of models on labelled images: how it is computed, stored and shown."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
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
    SLICE_RATES,
    Evaluation,
    EvaluationSettings,
    evaluate_scores,
)
from assets.methods.evaluation.intervals import format_to_four_decimals
from assets.methods.evaluation.worst_errors import draw_worst_errors, worst_errors
from assets.methods.models.classifier import Classifier, check_class
from assets.methods.models.provenance import Provenance
from assets.methods.models.scoring import score_unseen
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.animation import frame_id, frame_of
from assets.methods.photos.labels import LabelledData, class_counts
from assets.methods.plotting.blurring import with_blurred
from assets.methods.plotting.foot import with_foot
from assets.resources.tracking import TrackedRun
from assets.results.photo_map import png
from assets.values import NsfwEvaluation

# The prefix of a model's metrics and artifacts in MLflow, because its own name may be a URL.
MODEL_NAME = "model_{}"
# Slices beyond these are in slices.csv alone.
_MOST_TRACKED_SLICES = 20
_LONGEST_METRIC_NAME = 60
# Those beyond are counted instead of named.
_FEW_CLASSES = 6


@dataclass(frozen=True)
class EvaluatedModel:
    """A model, the labelled images with its scores, and the evaluation of the scores.

    ``scores`` has image_id, uri, label, split, is_positive, score, the sum of the probabilities of
    ``class_names``, and frame: of an animation, the number from 0 of the frame with this score.
    ``version`` is empty where it is not known, or there are none.
    """

    name: str
    fingerprint: str
    scores: pd.DataFrame
    evaluation: Evaluation
    class_names: tuple[str, ...]
    version: str = ""

    @property
    def class_name(self) -> str:
        """The classes in words, such as "cat + dog"."""
        return _added_up(self.class_names)

    @property
    def origin(self) -> dict[str, str]:
        """The columns that every table begins with."""
        return {"model": self.name, "class": self.class_name}


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
    classes: Sequence[str] = (),
    version: str = "",
) -> EvaluatedModel:
    """Score the images of a split, and evaluate the scores.

    ``split`` is "test", where the temperature is fitted on the validation images, or "all".
    ``ids_of`` are as for ``score_unseen``: the score of an animation is the highest of its frames,
    as it is in `NsfwScores`. ``classes`` and what is raised are those of ``classes_of``; and as
    ``evaluate_scores`` raises.
    """
    positive = data.class_names[1]
    class_names = classes_of(name, classifier.class_names, positive, classes)
    splits = ("test", "validation") if split == "test" else ("train", "validation", "test")
    images = data.images[data.images.split.isin(splits)].reset_index(drop=True)
    is_positive = (images.label == positive).astype(bool)
    is_tested = (images.split == "test") if split == "test" else pd.Series(True, images.index)
    _check_enough(data, split)
    found = score_unseen(
        list(images.image_id), load_image, classifier, class_names, store, progress, ids_of
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
    return EvaluatedModel(
        name,
        found.fingerprint,
        tested.reset_index(drop=True),
        evaluation,
        class_names,
        version,
    )


def classes_of(
    model: str, known: Sequence[str], positive: str, given: Sequence[str]
) -> tuple[str, ...]:
    """Return the classes of a model whose probabilities add up to its score.

    Args:
        model: the model's name.
        known: all its classes.
        positive: the label of the positive images.
        given: the classes that stand for it; none if the model calls it so, too.

    Raises:
        UserError: the model does not have one of them, or the positive class where none are given.
    """
    for name in given:
        try:
            check_class(known, name)
        except UserError as error:
            raise UserError(f"{model} cannot be evaluated: {error}") from error
    if not given and positive not in known:
        few = " and ".join(f"'{name}'" for name in known)
        few = few if len(known) <= _FEW_CLASSES else f"{len(known):,} others"
        raise UserError(
            f"{model} cannot be evaluated: it has no class {positive} but {few}, so name each of "
            f"its classes that stands for {positive} by --class '{model}=CLASS', or in Dagster in "
            "the setting classes; several add up."
        )
    return tuple(dict.fromkeys(given)) or (positive,)


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


def scores_in_words(models: Sequence[EvaluatedModel], positive: str) -> str:
    """Say which label is positive, and which classes of the models stand for it."""
    others = [
        f"{model.name}: {score_in_words(model.class_names, positive)}"
        for model in models
        if model.class_names != (positive,)
    ]
    return "; ".join([f"Positive are the images labelled {positive}", *others]) + "."


def score_in_words(class_names: Sequence[str], positive: str) -> str:
    """Return what the score of a model is, such as "P(cat) + P(dog) for animal"."""
    words = _added_up([f"P({name})" for name in class_names])
    return words if [*class_names] == [positive] else f"{words} for {positive}"


def _added_up(words: Sequence[str]) -> str:
    n_more = len(words) - _FEW_CLASSES
    shown = list(words[:_FEW_CLASSES])
    return " + ".join([*shown, f"{n_more:,} more"] if n_more > 0 else shown)


def _with_version(model: EvaluatedModel) -> str:
    return f"{model.name}, version {model.version}" if model.version else model.name


def _is_path(model: str) -> bool:
    return model.endswith(".safetensors") and Path(model).is_absolute()


def evaluation_value(
    models: Sequence[EvaluatedModel],
    figure: Image.Image,
    load_image: Callable[[str], Image.Image],
    positive: str,
    config: NsfwEvaluationConfig,
    made: Sequence[Provenance] = (),
    blurred: Collection[str] = (),
    *,
    blur: bool = True,
) -> NsfwEvaluation:
    """Return the evaluations and their ``figure`` as the value of the asset.

    ``made`` is the origin of each model's scores, in the order of ``models``. Sheets of errors are
    sharp where the configuration wants it, or if ``blur`` is off; photos of ``blurred``, by their
    image_id, are grey and blurred on all.
    """
    origins = [one.parts() for one in made]
    sheets = {}
    for number, model in enumerate(models, 1):
        errors = worst_errors(model.scores, config.threshold, config.worst)
        title = (
            f"Worst errors of {_with_version(model)}",
            f"{score_in_words(model.class_names, positive)}, flagged from {config.threshold:g}",
        )
        scored = with_blurred(_load_scored(load_image, model.scores), blurred)
        sheet = draw_worst_errors(scored, errors, positive, title, blur=blur and not config.sharp)
        foot, origin = (made[number - 1].lines(), origins[number - 1]) if made else ([], {})
        sheets[MODEL_NAME.format(number)] = png(with_foot(sheet, foot), origin)
    return NsfwEvaluation(
        positive=positive,
        models=[model.name for model in models],
        fingerprints=[model.fingerprint for model in models],
        metrics=pd.concat([_metrics(model) for model in models], ignore_index=True),
        slices=_by_model(models, lambda one: one.slices),
        curves=_by_model(models, _curves),
        reliability=_by_model(models, _reliability),
        scores=pd.concat(
            [model.scores.drop(columns="is_positive").assign(**model.origin) for model in models],
            ignore_index=True,
        ),
        figure=png(figure, {"models": origins} if origins else {}),
        worst=sheets,
        notes=[f"{model.name}: {note}" for model in models for note in model.evaluation.notes],
        settings=config.model_dump(),
        provenance=origins,
        classes=tuple(list(model.class_names) for model in models),
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
        metrics = model.evaluation.flat_metrics() | slice_metrics(model.evaluation.slices)
        run.metrics({f"{prefix}{name}": metric for name, metric in metrics.items()})
    for name, data in evaluation_files(value).items():
        run.file(name, data)


def slice_metrics(slices: pd.DataFrame) -> dict[str, float]:
    """Return the rates of the largest slices and the ends of their intervals, by names for MLflow.

    A name is such as ``slice.source.web.recall``; MLflow takes letters, digits and a few other
    characters. Values whose names would be the same are left out, as are rates that do not exist.
    """
    largest = slices.nlargest(_MOST_TRACKED_SLICES, "n")
    rows = largest.to_dict("records")
    names = [f"slice.{_metric_name(row['slice'])}.{_metric_name(row['value'])}" for row in rows]
    rates = [f"{rate}{end}" for rate in SLICE_RATES for end in ("", "_low", "_high")]
    return {
        f"{name}.{rate}": row[rate]
        for name, row in zip(names, rows, strict=True)
        for rate in rates
        if names.count(name) == 1 and pd.notna(row[rate])
    }


def _metric_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_ -]", "_", text)[:_LONGEST_METRIC_NAME]


def evaluation_files(value: NsfwEvaluation) -> dict[str, bytes]:
    """Return the files of an evaluation by their names."""
    names = ("metrics", "slices", "curves", "reliability", "scores")
    tables = {name: getattr(value, name) for name in names}
    tables["worst_errors"] = _worst_table(value)
    files = {f"{name}.csv": csv_bytes(_with_origin(one, value)) for name, one in tables.items()}
    files["evaluation.png"] = value.figure.data
    for number, name in enumerate(sheet_names(value), 1):
        files[name] = value.worst[MODEL_NAME.format(number)].data
    return files


def _with_origin(table: pd.DataFrame, value: NsfwEvaluation) -> pd.DataFrame:
    """Return a table of models with the origin of their scores in each row.

    The table's own columns stay as they are, such as the threshold of each point of a curve.
    """
    if not value.provenance:
        return table
    origins = pd.DataFrame(value.provenance).drop(columns=table.columns, errors="ignore")
    return table.merge(origins.assign(model=value.models), on="model", how="left")


def sheet_names(value: NsfwEvaluation) -> list[str]:
    """Return the names of the files of the worst errors, in the order of the models."""
    if len(value.models) == 1:
        return ["worst_errors.png"]
    numbers = range(1, len(value.models) + 1)
    return [f"worst_errors_{MODEL_NAME.format(number)}.png" for number in numbers]


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
            known = rows[["image_id", "uri", "label", "class"]]
            parts.append(numbered.merge(known, on="image_id"))
    columns = ["model", "class", "error", "number", "score", "label", "uri", "image_id"]
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
            f"{prefix}class": model.class_name,
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
        {**model.origin, "metric": name, **vars(metric)}
        for name, metric in evaluation.metrics.items()
    ]
    counts = {
        "n": evaluation.n,
        "n_positive": evaluation.n_positive,
        "temperature": evaluation.temperature,
    }
    rows += [
        {**model.origin, "metric": name, "value": float(value), "low": None, "high": None}
        for name, value in counts.items()
    ]
    return pd.DataFrame(rows).astype({"low": "float64", "high": "float64"})


def _by_model(
    models: Sequence[EvaluatedModel], table: Callable[[Evaluation], pd.DataFrame]
) -> pd.DataFrame:
    parts = [table(model.evaluation).assign(**model.origin) for model in models]
    joined = pd.concat(parts, ignore_index=True)
    origin = list(models[0].origin)
    return joined[[*origin, *(name for name in joined if name not in origin)]]


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
