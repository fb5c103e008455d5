"""What runs by the clock."""

from collections.abc import Iterable, Iterator

import dagster as dg

from assets.resources.collections import PARTITIONS_NAME
from assets.resources.photos import Photos
from orchestration.jobs import MODERATION, PHOTO_MAP, moderation_job, photo_map_job


@dg.schedule(
    job=photo_map_job,
    cron_schedule="0 3 * * *",
    description="Every collection, at 03:00 UTC, with the settings it was last mapped with.",
)
def nightly(context: dg.ScheduleEvaluationContext, photos: Photos) -> Iterator[dg.RunRequest]:
    """Ask for a map of each collection."""
    names = context.instance.get_dynamic_partitions(PARTITIONS_NAME)
    yield from _requests(context, photos, names, PHOTO_MAP)


@dg.schedule(
    job=moderation_job,
    cron_schedule="0 4 * * *",
    description="Every collection that has been scored before, at 04:00 UTC: new images are "
    "scored, and the highest scores looked into.",
)
def nightly_moderation(
    context: dg.ScheduleEvaluationContext, photos: Photos
) -> Iterator[dg.RunRequest]:
    """Ask for the scores of each collection that somebody has wanted scored."""
    scored = context.instance.get_materialized_partitions(dg.AssetKey("nsfw_scores"))
    known = context.instance.get_dynamic_partitions(PARTITIONS_NAME)
    names = [name for name in known if name in scored]
    yield from _requests(context, photos, names, MODERATION)


def _requests(
    context: dg.ScheduleEvaluationContext,
    photos: Photos,
    names: Iterable[str],
    assets: tuple[str, ...],
) -> Iterator[dg.RunRequest]:
    night = context.scheduled_execution_time.date().isoformat()
    for name in names:
        run_config = photos.registered(name).run_config(assets)
        yield dg.RunRequest(f"{name}:{night}", run_config=run_config, partition_key=name)
