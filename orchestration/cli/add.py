"""`tessera add`: remembers a source as a collection."""

import click

from assets.methods.common.errors import UserError
from assets.methods.photos.source import list_source
from assets.resources.collections import DEMO_SOURCE, CollectionRegistry, collection_for
from assets.resources.home import home_folder
from orchestration.cli.options import path_or_url
from orchestration.instance import open_instance, register


@click.command("add")
@click.argument("name")
@click.argument("source", type=path_or_url)
def command(name: str, source: str) -> None:
    """Remember SOURCE as the collection NAME.

    Dagster's page then shows it, and the nightly run maps it. A manifest that names no file that is
    there is refused.

    Example: tessera add holiday photos
    """
    collection = collection_for(name, source)
    what = "the demo's files" if source == DEMO_SOURCE else _files_of(source)
    before = CollectionRegistry(home_folder()).find(name)
    with open_instance() as instance:
        register(instance, collection)
    moved = f" (was at {before.source})" if before and before.source != source else ""
    click.echo(f"{name}: {what} at {source}{moved}")


def _files_of(source: str) -> str:
    """Return the number of files in words. Raises UserError if all that is named is missing."""
    listing = list_source(source)
    if not listing.rejects:
        return f"{len(listing.files):,} files"
    first = listing.rejects[0]
    missing = f"for example {first.uri}: {first.detail.removesuffix('.')}"
    if not listing.files:
        n_missing = len(listing.rejects)
        raise UserError(
            f"None of the {n_missing:,} files that {source} names can be read; {missing}."
        )
    return (
        f"{len(listing.files):,} files and {len(listing.rejects):,} that cannot be read ({missing})"
    )
