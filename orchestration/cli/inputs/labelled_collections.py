"""What `evaluate` and `train` share: labelled photos, and which of their rows are left out."""

import click

from assets.config import LabelledImagesConfig, catalogue_settings, check_settings, config_of
from assets.methods.common.shown_text import printable, printable_uri, shown
from assets.methods.photos.labels import LabelledData, check_labels
from assets.methods.photos.selection import read_corrections
from assets.methods.photos.source import read_labels
from assets.resources.collections import Collection, collection_for
from orchestration.cli.common.options import Options


def labelled_collection(name: str, source: str, asset: str, options: Options) -> Collection:
    """Return the collection of a source, with its labels and ``asset`` as this call sets them.

    What the call leaves out of these two has its default, whatever the last call said. Raises
    UserError, before hours of decoding, for a setting or a source that cannot be used.
    """
    assets = {"labelled_images", asset}
    collection = collection_for(name, source).with_settings(options.settings, assets)
    check_settings(collection.settings)
    reading = catalogue_settings(collection.settings)
    labels = config_of(LabelledImagesConfig, collection.settings)
    corrections = read_corrections(labels.corrections)
    rows = read_labels(
        collection.source, reading.fetch, collection.follow_links, need_labels=not corrections
    )
    check_labels(rows, labels.settings(reading.near_distance), corrections.values())
    return collection


def report_findings(data: LabelledData) -> None:
    """Say which rows were left out, by reason, and what was done with columns and splits."""
    for note in data.notes:
        click.echo(printable(note))
    findings = data.findings
    for reason, rows in findings.groupby("reason"):
        kept = "" if rows.left_out.all() else ", kept all the same"
        first = rows.iloc[0]
        click.echo(
            f"{len(rows):,} row{'s' * (len(rows) > 1)}: {reason}{kept}; for example row "
            f"{first.row}, {printable_uri(first.uri)}: {shown(first.detail)}"
        )
