"""`tessera remove`: forgets a collection, with its values and its runs."""

from collections import Counter

import click

from assets.methods.common.errors import UserError
from assets.resources.collections import CollectionRegistry
from assets.resources.outages import TrackingError
from assets.resources.tracking import Tracking
from orchestration.cli.common.collection_runs import exclusive_lock
from orchestration.dead_runs import fail_dead_runs
from orchestration.definitions import build_resources
from orchestration.housekeeping.collection_removal import plan_collection_removal
from orchestration.housekeeping.plan import compact_databases
from orchestration.housekeeping.removals import freed_bytes, places_of
from orchestration.instance import open_instance, prepare_home
from orchestration.runs import check_not_at_work


@click.command("remove")
@click.argument("name")
@click.option(
    "--purge",
    is_flag=True,
    help="Also remove the working copies, vectors, probabilities, points and windows that no other "
    "collection uses.",
)
@click.option(
    "--mlflow",
    "with_mlflow",
    is_flag=True,
    help="Also remove its runs in MLflow, except those that registered models came from.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(name: str, purge: bool, with_mlflow: bool, yes: bool) -> None:
    """Forget the collection NAME: its entry, its stored values and its runs in Dagster.

    Its source is not touched, and neither are folders that were written with --out.

    Example: tessera remove holiday --purge
    """
    home = prepare_home()
    collection = CollectionRegistry(home).get(name)
    tracking: Tracking = build_resources()["tracking"]
    with exclusive_lock(name), open_instance() as instance:
        fail_dead_runs(instance)
        check_not_at_work(instance, name)
        try:
            planned = plan_collection_removal(
                home, instance, tracking, collection, purge, with_mlflow
            )
            n_bytes = freed_bytes(places_of(planned))
            kinds = Counter[str]()
            for removal in planned:
                kinds[removal.kind] += len(removal.items)
            for kind, count in kinds.items():
                click.echo(f"{kind}\t{count:,}")
            size = f"{n_bytes / 2**20:,.1f} MB"
            if not yes and not click.confirm(f"Remove {name} with all of this, {size}?"):
                raise UserError("Nothing was removed.")
            for removal in planned:
                removal.remove()
        except TrackingError as error:
            raise UserError(
                f"MLflow could not be asked ({error}): repeat the command when it can be."
            ) from error
    compact_databases(home)
    click.echo(f"{name} is removed, {size}")
