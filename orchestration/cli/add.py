"""`tessera add`: remembers a source as a collection."""

import click

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

    Dagster's page then shows it, and the nightly run maps it.

    Example: tessera add holiday photos
    """
    collection = collection_for(name, source)
    n_files = "the demo's" if source == DEMO_SOURCE else f"{len(list_source(source).files):,}"
    before = CollectionRegistry(home_folder()).find(name)
    with open_instance() as instance:
        register(instance, collection)
    moved = f" (was at {before.source})" if before and before.source != source else ""
    click.echo(f"{name}: {n_files} files at {source}{moved}")
