"""`tessera key`: makes, lists and revokes the keys of the HTTP service."""

import click

from assets.methods.common.errors import UserError
from assets.resources.collections import INPUTS_SOURCE, Collection, CollectionRegistry
from assets.resources.home import home_folder
from orchestration.api.keys import Key, KeyLimits, KeyRing


@click.group("key")
def command() -> None:
    """Make, list and revoke the keys of the HTTP service."""


@command.command("new", short_help="Make a key and print it.")
@click.argument("collection")
@click.option(
    "--rate",
    type=click.FloatRange(0.001),
    default=KeyLimits.requests_per_second,
    help="Largest number of requests per second.",
)
@click.option(
    "--megabytes",
    type=click.FloatRange(0, min_open=True),
    default=KeyLimits.request_megabytes,
    help="Largest size of a request in megabytes.",
)
@click.option(
    "--inputs",
    type=click.IntRange(0),
    default=KeyLimits.inputs,
    help="Largest number of images that are stored.",
)
def new(collection: str, rate: float, megabytes: float, inputs: int) -> None:
    """Make a key for the images of COLLECTION and print it as the last line, this one time.

    Example: tessera key new shop --rate 50
    """
    app = Collection(collection, INPUTS_SOURCE)
    known = CollectionRegistry(home_folder()).find(collection)
    if known and known.source != app.source:
        raise UserError(
            f"The collection {collection!r} has the source {known.source}, and photos cannot be "
            "posted to it: choose another name."
        )
    key, text = key_ring().new_key(app.name, KeyLimits(rate, megabytes, inputs))
    click.echo(f"Key {key.id} of the app {collection}; only now is it shown:")
    click.echo(text)


@command.command("list", short_help="List the keys.")
def list_() -> None:
    """List the keys from the oldest to the newest, with tabs between id, app, limits and dates.

    What a client sends as its key is not shown.
    """
    keys = key_ring().all()
    for key in keys:
        click.echo("\t".join([key.id, key.app, _limits(key.limits), _history(key)]))
    if not keys:
        click.echo("There are no keys: `tessera key new COLLECTION` makes one.", err=True)


@command.command("revoke", short_help="Revoke a key.")
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Revoke the key KEY_ID at once. `tessera key list` shows the ids."""
    key = key_ring().revoke(key_id)
    click.echo(f"Key {key.id} of the app {key.app} is revoked.")


def key_ring() -> KeyRing:
    """Return the keys below the home."""
    return KeyRing(home_folder() / "keys")


def _limits(limits: KeyLimits) -> str:
    return (
        f"{limits.requests_per_second:,g} requests/s, {limits.request_megabytes:,g} MB a request, "
        f"{limits.inputs:,} inputs"
    )


def _history(key: Key) -> str:
    made = f"made {key.created_at[:10]}"
    return f"{made}, revoked {key.revoked_at[:10]}" if key.revoked_at else made
