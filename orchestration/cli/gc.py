"""`tessera gc`: removes what is beyond the last runs of each collection."""

import click

from assets.methods.common.errors import UserError
from assets.resources.outages import TrackingError
from assets.resources.tracking import Tracking
from orchestration.dead_runs import fail_dead_runs
from orchestration.definitions import build_resources
from orchestration.housekeeping.plan import (
    KEEP,
    carry_out,
    check_nobody_is_at_work,
    compact_databases,
    plan_removals,
)
from orchestration.housekeeping.removals import freed_bytes, places_of
from orchestration.instance import open_instance, prepare_home


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Only print what would be removed.")
@click.option(
    "--keep",
    type=click.IntRange(1),
    default=KEEP,
    help="Number of the newest runs, values and maps of each collection that are kept.",
)
def command(dry_run: bool, keep: int) -> None:
    """Remove values, maps, caches, and runs of Dagster and MLflow beyond the newest ones.

    Current values stay, and registered versions of models with the runs they came from, and
    pictures that the HTTP service has given out. Each line names the kind of what is removed and,
    after a tab, which one. What is removed from a cache is made anew when it is needed.

    Example: tessera gc --dry-run
    """
    home = prepare_home()
    tracking: Tracking = build_resources()["tracking"]
    with open_instance() as instance:
        if not dry_run:
            fail_dead_runs(instance)
            check_nobody_is_at_work(home, instance)
        try:
            planned = plan_removals(home, instance, tracking, keep)
            n_bytes = freed_bytes(places_of(planned))
            for removal in planned if dry_run else carry_out(planned):
                for line in removal.lines():
                    click.echo(line)
        except TrackingError as error:
            raise UserError(
                f"MLflow could not be asked, nothing more is removed: {error}"
            ) from error
    n_items = sum(len(one.items) for one in planned)
    if not dry_run:
        compact_databases(home)
    done = "would be removed" if dry_run else "removed"
    click.echo(f"{n_items:,} {done}, {n_bytes / 2**20:,.1f} MB", err=True)
