"""What runs by the clock."""

from collections.abc import Iterator

import dagster as dg

from assets.resources.collections import PARTITIONS_NAME
from orchestration.jobs import photo_map_job


@dg.schedule(
    job=photo_map_job,
    cron_schedule="0 3 * * *",
    description="Every collection, at three at night. What is known already is not done again.",
)
def nightly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    """Ask for a run of each collection."""
    night = context.scheduled_execution_time.date().isoformat()
    for name in context.instance.get_dynamic_partitions(PARTITIONS_NAME):
        yield dg.RunRequest(run_key=f"{name}:{night}", partition_key=name)
