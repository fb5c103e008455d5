"""`tessera add`: remembers a source as a collection."""

from dataclasses import replace

import click

from assets.config import catalogue_settings
from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import printable_uri, shown, shown_uri
from assets.methods.photos.rejects import Reason
from assets.methods.photos.source import list_source
from assets.resources.collections import (
    DEMO_SOURCE,
    Collection,
    CollectionRegistry,
    collection_for,
)
from assets.resources.home import home_folder
from orchestration.cli.common.options import (
    Options,
    allow_private_addresses,
    follow_links_option,
    pass_options,
    path_or_url,
)
from orchestration.instance import open_instance, register


@click.command("add")
@click.argument("name")
@click.argument("source", type=path_or_url)
@follow_links_option
@allow_private_addresses
@click.option(
    "--stale-hours",
    type=click.FloatRange(0),
    help="Hours after a change of the source within which the collection is to be mapped again: "
    "after that it is stale, and notices tell of it. 0 is for never.",
    show_default="as before; TESSERA_NOTICE_STALE_HOURS for a new collection",
)
@pass_options
def command(
    options: Options,
    name: str,
    source: str,
    follow_links: bool | None,
    stale_hours: float | None,
) -> None:
    """Remember SOURCE as the collection NAME.

    Dagster's page then shows it, and the nightly run maps it. A manifest that names no file that is
    there is refused.

    Example: tessera add holiday photos
    """
    collection = collection_for(name, source, follow_links)
    collection = collection.with_settings(options.settings, ())
    if stale_hours is not None:
        collection = replace(collection, stale_hours=stale_hours)
    found = "the demo's files" if source == DEMO_SOURCE else _found(collection)
    before = CollectionRegistry(home_folder()).find(name)
    with open_instance() as instance:
        register(instance, collection)
    moved = f" (was at {shown_uri(before.source)})" if before and before.source != source else ""
    click.echo(f"{name}: {found} at {shown_uri(source)}{moved}")


def _found(collection: Collection) -> str:
    """Return the number of files in words. Raises UserError if all that is named is missing."""
    limits = catalogue_settings(collection.settings).fetch
    listing = list_source(collection.source, limits, collection.follow_links)
    links = [one for one in listing.rejects if one.reason == Reason.NOT_FOLLOWED]
    missing = [one for one in listing.rejects if one.reason != Reason.NOT_FOLLOWED]
    example = ""
    if missing:
        detail = missing[0].detail.removesuffix(".")
        example = f"for example {printable_uri(missing[0].uri)}: {shown(detail)}"
    if missing and not listing.files:
        raise UserError(
            f"None of the {len(missing):,} files that {shown_uri(collection.source)} names can be "
            f"read; {example}."
        )
    found = f"{len(listing.files):,} files"
    if missing:
        found += f" and {len(missing):,} that cannot be read ({example})"
    if links:
        found += f" (links out of the folder that are not followed: {len(links):,})"
    return found
