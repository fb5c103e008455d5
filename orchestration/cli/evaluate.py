"""`tessera evaluate`: from labelled photos to metrics, tables and figures, and a summary."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import pandas as pd

from assets.config import LabelledImagesConfig, NsfwEvaluationConfig, config_of
from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import printable, shown
from assets.methods.common.tables import csv_bytes
from assets.methods.evaluation.evaluate import SLICE_COUNTS, SLICE_RATES
from assets.methods.photos.labels import LabelledData
from assets.results.blurring import is_blurring
from assets.results.evaluation import (
    classes_of,
    evaluation_files,
    score_in_words,
    sheet_names,
    shown_names,
)
from assets.values import NsfwEvaluation
from orchestration.cli.common.collection_runs import (
    class_names_of,
    exit_for_checks,
    exit_unless_shown,
    name_for,
    run_collection,
)
from orchestration.cli.common.options import (
    Options,
    check_output_folder,
    label_options,
    out_option,
    pass_options,
    path_or_name,
    path_or_url,
    run_options,
    setting,
)
from orchestration.cli.common.result_folders import write_results
from orchestration.cli.inputs.labelled_collections import labelled_collection, report_findings
from orchestration.runs import FinishedRun

SHOWN = (
    ("AUC", "auc"),
    ("average precision", "average_precision"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("F1", "f1"),
    ("false-positive rate", "false_positive_rate"),
    ("precision at prevalence", "precision_at_prevalence"),
    ("threshold for the recall", "threshold_at_recall"),
    ("calibration error", "ece_before"),
    ("... after scaling", "ece_after"),
)

# What is written besides the sheets of the worst errors.
FILES = {
    "evaluation.png": "metrics, curves, reliability and slices in one figure",
    "metrics.csv": "each metric of each model, with its interval",
    "slices.csv": "recall, precision and false-positive rate of each slice",
    "scores.csv": "the score of each photo by each model",
    "curves.csv": "the points of the ROC and of precision and recall",
    "reliability.csv": "scores and shares of positives by bins, before and after scaling",
    "worst_errors.csv": "the file of each number on the sheets of the worst errors",
    "findings.csv": "rows of the source that were left out or are doubtful, and why",
    "report.json": "settings, classes, metrics, slices, notes and checks, for programs",
}


@click.command("evaluate")
@click.argument("source", type=path_or_url)
@out_option("Folder for the results.")
@label_options
@setting(
    "--model",
    NsfwEvaluationConfig,
    field="models",
    multiple=True,
    type=path_or_name,
    metavar="MODEL",
)
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="MODEL=CLASS",
    help="Class of a model that stands for the positive label. Repeat it for more models, and for "
    "several classes of a model, whose probabilities add up.",
    show_default="the class that has the name of the label",
)
@setting("--split", NsfwEvaluationConfig)
@setting("--threshold", NsfwEvaluationConfig)
@setting("--recall", NsfwEvaluationConfig, field="wanted_recall")
@setting("--prevalence", NsfwEvaluationConfig)
@setting("--worst", NsfwEvaluationConfig)
@setting("--sharp", NsfwEvaluationConfig)
@run_options
@pass_options
def command(
    options: Options, source: str, out: Path, name: str | None, classes: tuple[str, ...]
) -> None:
    """Evaluate models on SOURCE: precision, recall, curves and calibration, with 95 % intervals.

    SOURCE is a labelled manifest or a folder of classes, as for train. Other columns of a manifest
    divide the images into slices, and each slice gets its own recall, precision and false-positive
    rate. Give --model several times to compare models.

    Example: tessera evaluate labels.csv --out evaluated
    """
    begun = time.monotonic()
    name = name or name_for(source)
    check_output_folder(out, source)
    if classes:
        models = options.config(NsfwEvaluationConfig).models
        options = options.with_field(
            NsfwEvaluationConfig, "classes", parse_classes(classes, models)
        )
    collection = labelled_collection(name, source, "nsfw_evaluation", options)
    positive = config_of(LabelledImagesConfig, collection.settings).positive
    config = config_of(NsfwEvaluationConfig, collection.settings)
    for model in config.models:
        try:
            known = class_names_of(model, options)
        except UserError as error:
            raise UserError(f"{model} cannot be evaluated: {error}") from error
        classes_of(model, known, positive, config.classes.get(model, ()))
    outputs, run = run_collection("evaluation", collection, options)
    exit_unless_shown(outputs, run, "nsfw_evaluation", name)
    data = outputs.read(LabelledData, "labelled_images", name)
    value = outputs.read(NsfwEvaluation, "nsfw_evaluation", name)
    files = evaluation_files(value)
    files["findings.csv"] = csv_bytes(data.findings)
    paths = write_results(out, files, _report(value, data, run))
    _summarise(value, time.monotonic() - begun)
    report_findings(data)
    _list_files(paths, value)
    exit_for_checks(run, name)


def parse_classes(given: Sequence[str], models: Sequence[str]) -> dict[str, list[str]]:
    """Return classes by model from texts MODEL=CLASS.

    Names of models and of classes may hold equals signs: what stands before one of them has to be
    one of ``models``, as it is given or as the results call it. Raises UserError if it is none.
    """
    names = {**dict(zip(shown_names(models), models, strict=True)), **{one: one for one in models}}
    classes: dict[str, list[str]] = {}
    for text in given:
        parts = text.split("=")
        # The longest name first.
        for end in range(len(parts) - 1, 0, -1):
            before, after = "=".join(parts[:end]), "=".join(parts[end:])
            model = names.get(before) or names.get(path_or_name(before))
            if model and after:
                classes.setdefault(model, []).append(after)
                break
        else:
            raise UserError(
                f"--class {text} does not name a class of a model that is evaluated: write "
                f"{' or '.join(f'{name}=CLASS' for name in shown_names(models))}."
            )
    return classes


def _list_files(paths: Mapping[str, Path], value: NsfwEvaluation) -> None:
    is_sharp = value.settings["sharp"] or not is_blurring()
    blurred = "sharp" if is_sharp else "blurred"
    sheets = {
        name: f"the worst errors of {shown(model)}, {blurred}"
        for name, model in zip(sheet_names(value), value.models, strict=True)
    }
    words = FILES | sheets
    shown_paths = {name: printable(str(paths[name])) for name in words}
    longest = max(map(len, shown_paths.values()))
    for name, path in shown_paths.items():
        click.echo(f"  {path:<{longest}}  {words[name]}")


def _report(value: NsfwEvaluation, data: LabelledData, run: FinishedRun) -> dict[str, Any]:
    return {
        "dagster_run": run.run_id,
        "not_tracked": run.not_tracked,
        "positive": value.positive,
        **value.settings,
        "classes": dict(zip(value.models, value.classes, strict=True)),
        "fingerprints": dict(zip(value.models, value.fingerprints, strict=True)),
        "provenance": dict(zip(value.models, value.provenance, strict=True)),
        "metrics": {
            model: {row.metric: _numbers(row) for row in rows.itertuples()}
            for model, rows in value.metrics.groupby("model", sort=False)
        },
        "slices": {
            model: {
                name: _slice_numbers(of_name) for name, of_name in rows.groupby("slice", sort=False)
            }
            for model, rows in value.slices.groupby("model", sort=False)
        },
        "notes": [*data.notes, *value.notes],
        "findings": {reason: int(n) for reason, n in data.findings.reason.value_counts().items()},
        "checks": {check.check_name: check.passed for check in run.checks},
    }


def _slice_numbers(rows: pd.DataFrame) -> dict[str, Any]:
    """Return by the values of a slice its counts, and its rates with their intervals or null."""
    return {
        row["value"]: {
            **{name: int(row[name]) for name in SLICE_COUNTS},
            **{
                name: None
                if pd.isna(row[name])
                else [row[name], row[f"{name}_low"], row[f"{name}_high"]]
                for name in SLICE_RATES
            },
        }
        for row in rows.to_dict("records")
    }


def _numbers(row: Any) -> Any:
    return row.value if pd.isna(row.low) else [row.value, row.low, row.high]


def _summarise(value: NsfwEvaluation, seconds: float) -> None:
    settings = value.settings
    for model, rows in value.metrics.groupby("model", sort=False):
        metrics = rows.set_index("metric")
        n, n_positive = (int(metrics.value[name]) for name in ("n", "n_positive"))
        click.echo(
            f"{shown(str(model))}: {n:,} images, {n_positive:,} of them "
            f"{printable(value.positive)} (split {settings['split']}, threshold "
            f"{settings['threshold']:g}, 95 % intervals)"
        )
        classes = value.classes[value.models.index(str(model))]
        if classes != [value.positive]:
            words = printable(score_in_words(classes, value.positive))
            click.echo(f"  {'score':<26}{words}")
        for words, name in SHOWN:
            if name in metrics.index:
                one: Any = metrics.loc[name]
                middle, low, high = (_digits(one[end]) for end in ("value", "low", "high"))
                click.echo(f"  {words:<26}{middle}  {low} to {high}")
    for note in value.notes:
        click.echo(shown(note))
    click.echo(f"Evaluated in {seconds:.0f} s.")


def _digits(number: float) -> str:
    """Write a number so that a small one, such as a threshold, can be used again."""
    return f"{number:.4f}" if number == 0 or number >= 0.01 else f"{number:.3g}"
