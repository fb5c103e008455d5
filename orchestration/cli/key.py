"""`tessera key`: makes, lists and revokes the keys of the HTTP service."""

from typing import Any

import click

from assets.methods.common.errors import UserError
from assets.resources.collections import INPUTS_SOURCE, Collection, CollectionRegistry
from assets.resources.home import home_folder
from orchestration.api.keys import Key, KeyLimits, KeyRing


def key_ring() -> KeyRing:
    """Return the keys below the home."""
    return KeyRing(home_folder() / "keys")


def new_key(
    collection: str, rate: float | None, megabytes: float | None, inputs: int | None
) -> None:
    """Make a key for the app ``collection``, and print it as the last line.

    ``rate`` is in requests a second, ``megabytes`` of a request, ``inputs`` the most that are
    stored; None is the default.

    Raises:
        UserError: the name is none for a collection, it is one with a source of its own, or a limit
            makes no sense.
    """
    _check_app(Collection(collection, INPUTS_SOURCE))
    chosen: dict[str, Any] = {
        "requests_per_second": rate,
        "request_megabytes": megabytes,
        "inputs": inputs,
    }
    limits = KeyLimits(**{name: limit for name, limit in chosen.items() if limit is not None})
    key, text = key_ring().new_key(collection, limits)
    click.echo(f"Key {key.id} of the app {collection}; only now is it shown:")
    click.echo(text)


def list_keys() -> None:
    """Print the keys, a line each, the oldest first; tabs are between id, app, limits and times."""
    keys = key_ring().all()
    for key in keys:
        click.echo("\t".join([key.id, key.app, _limits(key.limits), _history(key)]))
    if not keys:
        click.echo("There are no keys: `tessera key new COLLECTION` makes one.", err=True)


def revoke_key(key_id: str) -> None:
    """Revoke a key; raises UserError if there is none with this id."""
    key = key_ring().revoke(key_id)
    click.echo(f"Key {key.id} of the app {key.app} is revoked.")


def _check_app(app: Collection) -> None:
    known = CollectionRegistry(home_folder()).find(app.name)
    if known and known.source != app.source:
        raise UserError(
            f"The collection {app.name!r} has the source {known.source}, and photos cannot be "
            "posted to it: choose another name."
        )


def _limits(limits: KeyLimits) -> str:
    return (
        f"{limits.requests_per_second:,g} requests/s, {limits.request_megabytes:,g} MB a request, "
        f"{limits.inputs:,} inputs"
    )


def _history(key: Key) -> str:
    made = f"made {key.created_at[:10]}"
    return f"{made}, revoked {key.revoked_at[:10]}" if key.revoked_at else made
