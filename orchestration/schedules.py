"""What runs by the clock."""

from collections.abc import Iterator

import dagster as dg

from assets.resources.collections import PARTITIONS_NAME
from assets.resources.photos import Photos
from orchestration.jobs import photo_map_job


@dg.schedule(
    job=photo_map_job,
    cron_schedule="0 3 * * *",
    description="Every collection, at 03:00 UTC, with the settings it was last mapped with.",
)
def nightly(context: dg.ScheduleEvaluationContext, photos: Photos) -> Iterator[dg.RunRequest]:
    """Ask for a run of each collection."""
    night = context.scheduled_execution_time.date().isoformat()
    for name in context.instance.get_dynamic_partitions(PARTITIONS_NAME):
        run_config = photos.registered(name).run_config()
        yield dg.RunRequest(f"{name}:{night}", run_config=run_config, partition_key=name)
