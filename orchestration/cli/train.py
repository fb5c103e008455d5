"""From a labelled manifest to a new version of the NSFW model, and a summary."""

import time
from typing import Any

import click

from assets.config import (
    NsfwTrainingConfig,
)
from assets.methods.photos.labels import LabelledData
from assets.methods.training.starting_network import check_start
from assets.resources.collections import Collection
from assets.resources.home import home_folder
from assets.resources.registry import CHAMPION, MODEL
from assets.results.training import CHAMPION_OF_BEFORE
from assets.values import NsfwTraining
from orchestration.cli.collection_runs import (
    Options,
    given,
    given_file,
    run_collection,
)
from orchestration.cli.labelled_collections import (
    check_manifest,
    label_config,
    labelled_collection,
    tell_findings,
)
from orchestration.cli.promote import USERS_OF_CHAMPION
from orchestration.runs import FinishedRun


def train_on_manifest(name: str, source: str, options: Options, debug: bool) -> FinishedRun:
    """Train on a labelled manifest, register the result, and say what became of it.

    Raises UserError for a manifest or a setting that cannot be used.
    """
    begun = time.monotonic()
    collection = labelled_collection(name, source, "nsfw_training", _settings(options), options)
    check_manifest(collection)
    _check_base(collection)
    outputs, run = run_collection("training", collection, options, debug)
    data = outputs.read(LabelledData, "labelled_images", name)
    result = outputs.read(NsfwTraining, "nsfw_training", name)
    tell_findings(data)
    best = result.history.set_index("epoch").loc[result.best_epoch]
    n_epochs = len(result.history)
    click.echo(
        f"Trained for {n_epochs} epoch{'s' if n_epochs > 1 else ''}; the best was epoch "
        f"{result.best_epoch}, with a validation loss of {best.validation_loss:.4f} and "
        f"an AUC of {best.validation_auc:.4f}"
    )
    for row in result.comparison.dropna(subset="auc").itertuples():
        click.echo(
            f"  {row.model:<19}AUC {row.auc:.4f}  {row.auc_low:.4f} to {row.auc_high:.4f}"
            "  on the split test"
        )
    tell_version(result, name)
    click.echo(f"Done in {time.monotonic() - begun:.0f} s.")
    return run


def tell_version(result: NsfwTraining, name: str) -> None:
    """Say what became of a training of the collection ``name``, and what can be done with it."""
    if not result.version:
        path = home_folder() / "trainings" / name / result.weights
        click.echo(f"not registered: {result.reason}")
        click.echo(f"  {click.format_filename(str(path))}")
        return
    # Not the path: the next training of the collection writes to the same file.
    click.echo(f"version {result.version} is {result.alias}: {result.reason}")
    click.echo(f"  --model models:/{MODEL}/{result.version}")
    before = result.comparison.set_index("model").version[CHAMPION_OF_BEFORE]
    if result.alias == CHAMPION and before not in ("", result.version):
        click.echo(f"{USERS_OF_CHAMPION} now use it; to go back: tessera promote {before}")


def _check_base(collection: Collection) -> None:
    """Refuse a network that is not there, or cannot be trained so, before hours of decoding."""
    training = NsfwTrainingConfig(**collection.settings.get("nsfw_training", {}))
    labels = label_config(collection)
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
