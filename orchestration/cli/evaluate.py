"""From a labelled manifest to metrics, tables and pictures on disk, and a summary."""

import json
import time
from pathlib import Path
from typing import Any

import click
import pandas as pd

from assets.config import (
    NsfwEvaluationConfig,
)
from assets.methods.common.errors import UserError
from assets.methods.common.files import write_whole
from assets.methods.photos.labels import LabelledData
from assets.results.evaluation import csv_bytes, evaluation_files
from assets.values import NsfwEvaluation
from orchestration.cli.collection_runs import (
    Options,
    check_classifier,
    given,
    run_collection,
    whole_path,
)
from orchestration.cli.labelled_collections import (
    check_manifest,
    label_config,
    labelled_collection,
    tell_findings,
)
from orchestration.cli.outputs import check_output_folder
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


def evaluate_manifest(
    name: str, source: str, out: Path, options: Options, debug: bool
) -> FinishedRun:
    """Evaluate models on a labelled manifest, write what was found into ``out``, and sum it up.

    Raises UserError for a manifest, a setting, a model or a folder that cannot be used.
    """
    begun = time.monotonic()
    collection = labelled_collection(name, source, "nsfw_evaluation", _settings(options), options)
    check_output_folder(out)
    check_manifest(collection)
    positive = label_config(collection).positive
    for model in NsfwEvaluationConfig(**collection.settings.get("nsfw_evaluation", {})).models:
        try:
            check_classifier(model, positive, options)
        except UserError as error:
            raise UserError(f"{model} cannot be evaluated: {error}") from error
    outputs, run = run_collection("evaluation", collection, options, debug)
    data = outputs.read(LabelledData, "labelled_images", name)
    value = outputs.read(NsfwEvaluation, "nsfw_evaluation", name)
    files = evaluation_files(value)
    files["findings.csv"] = csv_bytes(data.findings)
    files["report.json"] = json.dumps(_report(value, run), indent=2).encode()
    for file, content in files.items():
        write_whole(out / file, content)
    _summarise(value, time.monotonic() - begun)
    tell_findings(data)
    for file in ("evaluation.png", "metrics.csv", "findings.csv"):
        click.echo(f"  {click.format_filename(str(out / file))}")
    return run


def _settings(options: Options) -> dict[str, Any]:
    settings = given(options, "split", "threshold", "prevalence", "worst", wanted_recall="recall")
    if options.get("model"):
        settings["models"] = [whole_path(model) for model in options["model"]]
    if options.get("sharp"):
        settings["sharp"] = True
    return settings


def _report(value: NsfwEvaluation, run: FinishedRun) -> dict[str, Any]:
    return {
        "dagster_run": run.run_id,
        "positive": value.positive,
        **value.settings,
        "fingerprints": dict(zip(value.models, value.fingerprints, strict=True)),
        "metrics": {
            model: {row.metric: _numbers(row) for row in rows.itertuples()}
            for model, rows in value.metrics.groupby("model", sort=False)
        },
        "notes": value.notes,
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
            f"{model}: {n:,} images, {n_positive:,} of them {value.positive} (split "
            f"{settings['split']}, threshold {settings['threshold']:g}, 95 % intervals)"
        )
        for words, name in SHOWN:
            if name in metrics.index:
                one: Any = metrics.loc[name]
                middle, low, high = (_digits(one[end]) for end in ("value", "low", "high"))
                click.echo(f"  {words:<26}{middle}  {low} to {high}")
    for note in value.notes:
        click.echo(note)
    click.echo(f"Evaluated in {seconds:.0f} s.")


def _digits(number: float) -> str:
    """Write a number so that a small one, such as a threshold, can be used again."""
    return f"{number:.4f}" if number == 0 or number >= 0.01 else f"{number:.3g}"
