"""`tessera promote`: makes a version the champion, whatever was measured of it."""

from contextlib import suppress

import click

from assets.methods.common.errors import UserError
from assets.resources.models import Models
from assets.resources.outages import TrackingError
from assets.resources.registry import CHAMPION, MODEL
from assets.resources.tracking import Tracking
from orchestration.definitions import build_resources
from orchestration.instance import prepare_home

USERS_OF_CHAMPION = "score, explain, deconv, evaluate and the nightly runs"


@click.command("promote")
@click.argument("version", type=click.IntRange(1), metavar="VERSION")
def command(version: int) -> None:
    """Make the version with the number VERSION of the NSFW model the champion.

    The champion is what all commands use. To undo a training, promote the version that was the
    champion before.

    Example: tessera promote 1
    """
    prepare_home()
    resources = build_resources(strict_tracking=True)
    models: Models = resources["models"]
    tracking: Tracking = resources["tracking"]
    try:
        # A champion that cannot be used is a reason to promote another.
        with suppress(UserError):
            # In an empty registry this makes version 1 of the packaged model.
            models.champion()
        with tracking.asking():
            before = str(tracking.client.get_model_version_by_alias(MODEL, CHAMPION).version)
        uri = f"models:/{MODEL}/{version}"
        registered = models.registry.version_at(uri)
        if registered is None:
            raise UserError(
                f"{uri} is a model that Tessera did not register, so it can be named for one run "
                "but not stand for the NSFW model."
            )
        with tracking.asking():
            models.registry.set_alias(CHAMPION, registered.version)
        # From now on it is also the one last seen, for when the registry is down.
        models.champion()
    except TrackingError as error:
        raise UserError(f"The model registry could not be reached: {error}") from error
    was = (
        "It was so before." if before == registered.version else f"Before it was version {before}."
    )
    click.echo(f"version {registered.version} is champion: {USERS_OF_CHAMPION} use it. {was}")
