"""`tessera evaluate`: from labelled photos to metrics, tables and figures, and a summary."""

import time
from pathlib import Path
from typing import Any

import click
import pandas as pd

from assets.config import LabelledImagesConfig, NsfwEvaluationConfig, config_of
from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import printable, shown
from assets.methods.common.tables import csv_bytes
from assets.methods.photos.labels import LabelledData
from assets.results.evaluation import evaluation_files
from assets.values import NsfwEvaluation
from orchestration.cli.collection_runs import (
    check_classifier,
    exit_for_checks,
    name_for,
    run_collection,
)
from orchestration.cli.labelled_collections import labelled_collection, report_findings
from orchestration.cli.options import (
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
from orchestration.cli.result_folders import write_results
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
@setting("--split", NsfwEvaluationConfig)
@setting("--threshold", NsfwEvaluationConfig)
@setting("--recall", NsfwEvaluationConfig, field="wanted_recall")
@setting("--prevalence", NsfwEvaluationConfig)
@setting("--worst", NsfwEvaluationConfig)
@setting("--sharp", NsfwEvaluationConfig)
@run_options
@pass_options
def command(options: Options, source: str, out: Path, name: str | None) -> None:
    """Evaluate models on SOURCE: precision, recall, curves and calibration, with 95 % intervals.

    SOURCE is a labelled manifest or a folder of classes, as for train. Other columns of a manifest
    divide the images into slices, and each slice gets its own false-positive rate. Give --model
    several times to compare models.

    Example: tessera evaluate labels.csv --out evaluated
    """
    begun = time.monotonic()
    name = name or name_for(source)
    check_output_folder(out, source)
    collection = labelled_collection(name, source, "nsfw_evaluation", options)
    positive = config_of(LabelledImagesConfig, collection.settings).positive
    for model in config_of(NsfwEvaluationConfig, collection.settings).models:
        try:
            check_classifier(model, positive, options)
        except UserError as error:
            raise UserError(f"{model} cannot be evaluated: {error}") from error
    outputs, run = run_collection("evaluation", collection, options)
    data = outputs.read(LabelledData, "labelled_images", name)
    value = outputs.read(NsfwEvaluation, "nsfw_evaluation", name)
    files = evaluation_files(value)
    files["findings.csv"] = csv_bytes(data.findings)
    write_results(out, files, _report(value, data, run))
    _summarise(value, time.monotonic() - begun)
    report_findings(data)
    for file in ("evaluation.png", "metrics.csv", "findings.csv"):
        click.echo(printable(f"  {out / file}"))
    exit_for_checks(run)


def _report(value: NsfwEvaluation, data: LabelledData, run: FinishedRun) -> dict[str, Any]:
    return {
        "dagster_run": run.run_id,
        "not_tracked": run.not_tracked,
        "positive": value.positive,
        **value.settings,
        "fingerprints": dict(zip(value.models, value.fingerprints, strict=True)),
        "metrics": {
            model: {row.metric: _numbers(row) for row in rows.itertuples()}
            for model, rows in value.metrics.groupby("model", sort=False)
        },
        "notes": [*data.notes, *value.notes],
        "findings": {reason: int(n) for reason, n in data.findings.reason.value_counts().items()},
        "checks": {check.check_name: check.passed for check in run.checks},
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
            f"{printable(value.positive)} (split "
            f"{settings['split']}, threshold {settings['threshold']:g}, 95 % intervals)"
        )
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
