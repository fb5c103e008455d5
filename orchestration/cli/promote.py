"""`tessera promote`: makes a version the champion, whatever was measured of it."""

from contextlib import suppress

import click

from assets.config import NsfwScoresConfig
from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import shown
from assets.methods.evaluation.promotion import answered_classes, missing_classes
from assets.resources.models import Models
from assets.resources.registry import CHAMPION, MODEL, RegisteredModel
from assets.resources.tracking import Tracking, first_line
from orchestration.definitions import build_resources
from orchestration.instance import prepare_home

USERS_OF_CHAMPION = "score, explain, deconv, evaluate and the nightly runs"


@click.command("promote")
@click.argument("version", type=click.IntRange(1), metavar="VERSION")
@click.option(
    "--force",
    is_flag=True,
    help="Promote a version that does not know the class that the champion is asked for.",
)
def command(version: int, force: bool) -> None:
    """Make the version with the number VERSION of the NSFW model the champion.

    The champion is what all commands use. To undo a training, promote the version that was the
    champion before. A version that does not know the class that the champion is asked for is
    refused.

    Example: tessera promote 1
    """
    from mlflow.exceptions import MlflowException

    prepare_home()
    resources = build_resources(strict_tracking=True)
    models: Models = resources["models"]
    tracking: Tracking = resources["tracking"]
    try:
        champion = None
        # A champion that cannot be used is a reason to promote another.
        with suppress(UserError):
            # In an empty registry this makes version 1 of the packaged model.
            champion = models.champion()
        before = str(tracking.client.get_model_version_by_alias(MODEL, CHAMPION).version)
        uri = f"models:/{MODEL}/{version}"
        registered = models.registry.version_at(uri)
        if registered is None:
            raise UserError(
                f"{uri} is a model that Tessera did not register, so it can be named for one run "
                "but not stand for the NSFW model."
            )
        missing = _missing_classes(registered, champion)
        if missing and not force:
            raise UserError(_refusal(registered, before, missing))
        verdict = models.registry.verdict_on(registered.version)
        models.registry.set_alias(CHAMPION, registered.version)
        # From now on it is also the one last seen, for when the registry is down.
        models.champion()
    except (MlflowException, OSError) as error:
        raise UserError(f"The model registry could not be reached: {first_line(error)}") from error
    was = (
        "It was so before." if before == registered.version else f"Before it was version {before}."
    )
    click.echo(f"version {registered.version} is champion: {USERS_OF_CHAMPION} use it. {was}")
    if NsfwScoresConfig().class_name in missing:
        click.echo(
            f"  It does not know {NsfwScoresConfig().class_name}: name another class, such as "
            f"{shown(registered.description.class_names[-1])}, where a command takes one."
        )
    alias, _, reason = verdict.partition(": ")
    if alias and alias != CHAMPION:
        click.echo(f"  After its training it became {alias}: {shown(reason)}")


def _missing_classes(version: RegisteredModel, champion: RegisteredModel | None) -> tuple[str, ...]:
    """Return the classes that the champion is asked for and that ``version`` does not know."""
    asked = NsfwScoresConfig().class_name
    known = champion.description.class_names if champion else (asked,)
    return missing_classes(version.description.class_names, answered_classes(known, asked))


def _refusal(version: RegisteredModel, champion: str, missing: tuple[str, ...]) -> str:
    known = " and ".join(version.description.class_names)
    return (
        f"Version {version.version} knows {known} but not {' or '.join(missing)}, which version "
        f"{champion}, the champion, is asked for: choose a version that does, or promote it all "
        "the same with --force."
    )
