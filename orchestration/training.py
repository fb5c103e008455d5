"""From a labelled manifest to a new version of the NSFW model, and a summary."""

import time
from typing import Any

import click

from assets.methods.labelled_data import LabelledData
from assets.methods.sources import read_manifest
from assets.methods.starting_network import check_start
from assets.resources.collections import Collection
from assets.resources.home import home_folder
from assets.settings import (
    LabelledImagesConfig,
    NsfwTrainingConfig,
    catalogue_settings,
    check_settings,
)
from assets.values import NsfwTraining
from orchestration.collection_runs import (
    Options,
    collection_for,
    given,
    given_file,
    run_collection,
)
from orchestration.evaluating import label_settings, tell_findings
from orchestration.runs import FinishedRun


def train_on_manifest(name: str, source: str, options: Options, debug: bool) -> FinishedRun:
    """Train on a labelled manifest, register the result, and say what became of it.

    Raises UserError for a manifest or a setting that cannot be used.
    """
    begun = time.monotonic()
    settings = {**label_settings(options), "nsfw_training": _settings(options)}
    settings = {asset: values for asset, values in settings.items() if values}
    collection = collection_for(name, source).with_settings(
        settings, {"labelled_images", "nsfw_training"}
    )
    check_settings(collection.settings)
    read_manifest(source, catalogue_settings(collection.settings).fetch)
    _check_base(collection)
    outputs, run = run_collection("training", collection, options, debug)
    data = outputs.read(LabelledData, "labelled_images", name)
    result = outputs.read(NsfwTraining, "nsfw_training", name)
    tell_findings(data)
    best = result.history.set_index("epoch").loc[result.best_epoch]
    click.echo(
        f"Trained for {len(result.history)} epochs; the best was epoch {result.best_epoch}, with a "
        f"validation loss of {best.validation_loss:.4f} and an AUC of {best.validation_auc:.4f}"
    )
    for row in result.comparison.dropna(subset="auc").itertuples():
        click.echo(
            f"  {row.model:<19}AUC {row.auc:.4f}  {row.auc_low:.4f} to {row.auc_high:.4f}"
            "  on the split test"
        )
    version = f"version {result.version} is {result.alias}" if result.version else "not registered"
    click.echo(f"{version}: {result.reason}")
    path = home_folder() / "trainings" / name / result.weights
    click.echo(f"  {click.format_filename(str(path))}")
    click.echo(f"Done in {time.monotonic() - begun:.0f} s.")
    return run


def _check_base(collection: Collection) -> None:
    """Refuse a network that is not there, or cannot be trained so, before hours of decoding."""
    training = NsfwTrainingConfig(**collection.settings.get("nsfw_training", {}))
    labels = LabelledImagesConfig(**collection.settings.get("labelled_images", {}))
    check_start(
        training.base,
        training.pretrained,
        training.input_side,
        training.trained == "head",
        (labels.negative, labels.positive),
    )


def _settings(options: Options) -> dict[str, Any]:
    settings = given(
        options,
        "trained", "input_side", "epochs", "learning_rate", "class_weights", "augmentation",
        "patience", "seed", batch_size="images_a_step",
    )  # fmt: skip
    if options.get("from_scratch"):
        settings["pretrained"] = False
    return settings | given_file(options, "base")
