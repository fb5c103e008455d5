"""`tessera list`: lists the collections."""

import click

from assets.methods.common.shown_text import shown_uri
from assets.resources.collections import CollectionRegistry
from assets.resources.home import home_folder


@click.command("list")
def command() -> None:
    """List the collections and their sources, with a tab between the two."""
    for collection in CollectionRegistry(home_folder()).all():
        click.echo(f"{collection.name}\t{shown_uri(collection.source)}")
