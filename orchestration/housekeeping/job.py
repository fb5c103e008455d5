"""The job that keeps a home small, as `tessera gc` does."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import shown
from assets.resources.outages import TrackingError
from assets.resources.tracking import Tracking
from orchestration.housekeeping.plan import (
    KEEP,
    carry_out,
    check_nobody_is_at_work,
    compact_databases,
    plan_removals,
)
from orchestration.housekeeping.removals import freed_bytes, places_of

_MOST_TRIES, _SECONDS_BETWEEN = 4, 1800


class HouseKeepingConfig(dg.Config):
    """How much of the past is kept."""

    keep: int = Field(
        default=KEEP,
        ge=1,
        description="Number of the newest runs and values of each collection that are kept.",
    )


@dg.op(retry_policy=dg.RetryPolicy(max_retries=_MOST_TRIES - 1, delay=_SECONDS_BETWEEN))
def remove_what_is_old(
    context: dg.OpExecutionContext, config: HouseKeepingConfig, tracking: Tracking
) -> None:
    """Remove values, caches and runs beyond the newest; tried again while others are at work."""
    home = Path(tracking.home)
    try:
        check_nobody_is_at_work(home, context.instance, context.run_id)
        planned = plan_removals(home, context.instance, tracking, config.keep)
        n_bytes = freed_bytes(places_of(planned))
        for removal in carry_out(planned):
            context.log.info(f"{removal.kind}: {len(removal.items):,} removed")
    except (UserError, TrackingError) as error:
        raise dg.Failure(shown(str(error))) from error
    compact_databases(home)
    n_items = sum(len(one.items) for one in planned)
    context.add_output_metadata({"removed": n_items, "megabytes": round(n_bytes / 2**20, 1)})


@dg.job(
    description="Remove values, caches, and runs of Dagster and MLflow beyond the newest of each "
    "collection. Current values, registered models and pictures that were given out stay."
)
def house_keeping() -> None:
    """Remove what is old."""
    remove_what_is_old()
