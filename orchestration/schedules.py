"""What runs at fixed times."""

from collections.abc import Iterable, Iterator

import dagster as dg

from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import shown
from assets.resources.collections import PARTITIONS_NAME
from assets.resources.photos import Photos
from orchestration.housekeeping.job import house_keeping
from orchestration.jobs import ASSETS_OF, JOBS, MODERATION, PHOTO_MAP
from orchestration.notices.missed_nights import schedules_that_are_on
from orchestration.run_queue import NIGHTLY, PRIORITY_TAG


@dg.schedule(
    job=JOBS["photo_map"],
    cron_schedule="0 3 * * *",
    description="Maps every collection at 03:00 UTC, with the settings of its last map.",
)
def nightly(context: dg.ScheduleEvaluationContext, photos: Photos) -> Iterator[dg.RunRequest]:
    """Request a map of each collection."""
    names = context.instance.get_dynamic_partitions(PARTITIONS_NAME)
    yield from _requests(context, photos, names, PHOTO_MAP)


@dg.schedule(
    job=JOBS["moderation"],
    cron_schedule="0 4 * * *",
    description="Scores, at 04:00 UTC, the new images of every collection that has been scored "
    "before, and examines the images with the highest scores.",
)
def nightly_moderation(
    context: dg.ScheduleEvaluationContext, photos: Photos
) -> Iterator[dg.RunRequest]:
    """Request the scores of each collection that has been scored before."""
    scored = context.instance.get_materialized_partitions(dg.AssetKey("nsfw_scores"))
    known = context.instance.get_dynamic_partitions(PARTITIONS_NAME)
    names = [name for name in known if name in scored]
    yield from _requests(context, photos, names, MODERATION)


@dg.schedule(
    job=JOBS["map_quality"],
    cron_schedule="0 8 * * 0",
    description="Compares, on Sundays at 08:00 UTC, the map of every collection with one made "
    "anew, and tells the share of its quality.",
)
def weekly(context: dg.ScheduleEvaluationContext, photos: Photos) -> Iterator[dg.RunRequest]:
    """Request the comparison of each collection that has a map."""
    mapped = context.instance.get_materialized_partitions(dg.AssetKey("grid_assignment"))
    known = context.instance.get_dynamic_partitions(PARTITIONS_NAME)
    names = [name for name in known if name in mapped]
    yield from _requests(context, photos, names, ASSETS_OF["map_quality"])


nightly_gc = dg.ScheduleDefinition(
    name="nightly_gc",
    job=house_keeping,
    cron_schedule="0 6 * * *",
    tags=NIGHTLY,
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Removes, at 06:00 UTC, values, caches and runs beyond the newest of each "
    "collection, as `tessera gc` does.",
)


@dg.schedule(
    job=JOBS["health_report"],
    cron_schedule="0 7 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Materialises health at 07:00 UTC, if a schedule of the night is switched on.",
)
def health_after_the_night(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Request the asset that shows what became of each collection."""
    if not schedules_that_are_on(context.instance):
        return dg.SkipReason("No schedule of the night is switched on.")
    return dg.RunRequest(tags={PRIORITY_TAG: NIGHTLY[PRIORITY_TAG]})


def _requests(
    context: dg.ScheduleEvaluationContext,
    photos: Photos,
    names: Iterable[str],
    assets: tuple[str, ...],
) -> Iterator[dg.RunRequest]:
    night = context.scheduled_execution_time.date().isoformat()
    for name in names:
        try:
            collection = photos.registered(name)
        except UserError as error:
            # A partition that somebody added in the UI must not keep the others from their map.
            context.log.warning(f"{name} was left out: {shown(str(error))}")
            continue
        yield dg.RunRequest(
            f"{name}:{night}",
            run_config=collection.run_config(assets),
            partition_key=name,
            tags=NIGHTLY,
        )
