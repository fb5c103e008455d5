"""What `evaluate` and `train` have in common: a labelled manifest, and what is told of its rows."""

from typing import Any

import click

from assets.config import LabelledImagesConfig, catalogue_settings, check_settings
from assets.methods.photos.labels import LabelledData, check_labels
from assets.methods.photos.source import read_manifest
from assets.resources.collections import Collection, collection_for
from orchestration.cli.collection_runs import Options, given


def labelled_collection(
    name: str, source: str, asset: str, settings: dict[str, Any], options: Options
) -> Collection:
    """Return the collection of a manifest, with what this call asks of its labels and of ``asset``.

    What the call leaves out of these two is as by default, whatever the last one said. Raises
    UserError for a setting that cannot be.
    """
    given_settings = {
        "raw_images": given(options, "allow_private_addresses"),
        "labelled_images": given(options, "negative", "positive"),
        asset: settings,
    }
    collection = collection_for(name, source).with_settings(
        {key: values for key, values in given_settings.items() if values},
        {"labelled_images", asset},
    )
    check_settings(collection.settings)
    return collection


def label_config(collection: Collection) -> LabelledImagesConfig:
    """Return the two classes of a collection, and how its images are split."""
    return LabelledImagesConfig(**collection.settings.get("labelled_images", {}))


def check_manifest(collection: Collection) -> None:
    """Raise UserError, before hours of decoding, for a manifest that cannot be used."""
    reading = catalogue_settings(collection.settings)
    rows = read_manifest(collection.source, reading.fetch)
    check_labels(rows, label_config(collection).settings(reading.near_distance))


def tell_findings(data: LabelledData) -> None:
    """Say which rows of the manifest were left out, by reason."""
    findings = data.findings
    for reason, rows in findings.groupby("reason"):
        kept = "" if rows.left_out.all() else ", kept all the same"
        first = rows.iloc[0]
        click.echo(
            f"{len(rows):,} row{'s' * (len(rows) > 1)}: {reason}{kept}; for example row "
            f"{first.row}: {first.detail}"
        )
