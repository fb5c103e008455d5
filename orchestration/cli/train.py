"""`tessera train`: from labelled photos to a new version of the NSFW model, and a summary."""

import time

import click

from assets.config import LabelledImagesConfig, NsfwTrainingConfig, config_of
from assets.methods.common.shown_text import printable, shown
from assets.methods.evaluation.swapped_labels import CHANCE
from assets.methods.photos.labels import LabelledData
from assets.methods.training.starting_network import check_start
from assets.resources.collections import Collection
from assets.resources.home import home_folder
from assets.resources.photos import TRAININGS
from assets.resources.registry import CHAMPION, MODEL
from assets.results.training import CHAMPION_OF_BEFORE, NEW
from assets.values import NsfwTraining
from orchestration.cli.common.collection_runs import (
    exit_for_checks,
    exit_unless_shown,
    name_for,
    run_collection,
)
from orchestration.cli.common.options import (
    Options,
    allow_private_addresses,
    device_options,
    label_options,
    pass_options,
    path_or_name,
    path_or_url,
    setting,
    strict_tracking,
)
from orchestration.cli.inputs.labelled_collections import labelled_collection, report_findings
from orchestration.cli.promote import USERS_OF_CHAMPION


@click.command("train")
@click.argument("source", type=path_or_url)
@label_options
@setting("--base", NsfwTrainingConfig, type=path_or_name, metavar="NETWORK")
@setting("--pretrained/--from-scratch", NsfwTrainingConfig)
@setting("--train", NsfwTrainingConfig, field="trained")
@setting("--input-side", NsfwTrainingConfig)
@setting("--epochs", NsfwTrainingConfig)
@setting("--patience", NsfwTrainingConfig)
@setting("--batch-size", NsfwTrainingConfig)
@setting("--learning-rate", NsfwTrainingConfig)
@setting("--class-weights", NsfwTrainingConfig)
@setting("--augmentation", NsfwTrainingConfig)
@setting("--seed", NsfwTrainingConfig)
@device_options
@allow_private_addresses
@strict_tracking
@pass_options
def command(options: Options, source: str, name: str | None) -> None:
    """Train a new version of the NSFW model on SOURCE. The same call goes on after an interrupt.

    SOURCE is a manifest or a folder. A manifest is a CSV or Parquet file with the columns `uri` and
    `label`, and `split` (train, validation or test) if the splits are given. A folder has a folder
    for each class, or folders train, validation and test that have them. The new version becomes
    the champion, which all commands use, if it is better than chance on the test split and neither
    its AUC nor the lower bound of its AUC is below the champion's. Otherwise it becomes the
    challenger.

    Example: tessera train labels.csv
    """
    begun = time.monotonic()
    name = name or name_for(source)
    collection = labelled_collection(name, source, "nsfw_training", options)
    _check_base(collection)
    outputs, run = run_collection("training", collection, options)
    exit_unless_shown(outputs, run, "nsfw_training", name)
    data = outputs.read(LabelledData, "labelled_images", name)
    result = outputs.read(NsfwTraining, "nsfw_training", name)
    report_findings(data)
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
    report_version(result, name)
    click.echo(f"Done in {time.monotonic() - begun:.0f} s.")
    exit_for_checks(run, name)


def report_version(result: NsfwTraining, name: str) -> None:
    """Report the outcome of a training of the collection ``name``, and how to use its result."""
    if not result.version:
        path = home_folder() / TRAININGS / name / result.weights
        click.echo(f"not registered: {shown(result.reason)}")
        click.echo(printable(f"  {path}"))
        return
    # Not the path: the next training of the collection writes to the same file.
    click.echo(f"version {result.version} is {result.alias}: {shown(result.reason)}")
    click.echo(f"  --model models:/{MODEL}/{result.version}")
    compared = result.comparison.set_index("model")
    if result.label_doubt and result.alias != CHAMPION and compared.auc_low[NEW] > CHANCE:
        click.echo(f"if the labels are right: tessera promote {result.version}")
    before = compared.version[CHAMPION_OF_BEFORE]
    if result.alias == CHAMPION and before not in ("", result.version):
        click.echo(f"{USERS_OF_CHAMPION} now use it; to go back: tessera promote {before}")


def _check_base(collection: Collection) -> None:
    """Refuse a network that is not there, or cannot be trained so, before hours of decoding."""
    training = config_of(NsfwTrainingConfig, collection.settings)
    labels = config_of(LabelledImagesConfig, collection.settings)
    check_start(
        training.base,
        training.pretrained,
        training.input_side,
        training.trained == "head",
        (labels.negative, labels.positive),
    )
