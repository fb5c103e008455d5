"""What runs when something has changed."""

import json

import dagster as dg

from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import shown
from assets.methods.photos.source import list_source, listing_digest
from assets.resources.collections import PARTITIONS_NAME
from assets.resources.photos import Photos
from assets.resources.tracking import Tracking
from orchestration.dead_runs import fail_dead_runs, kill_processes_of_ended_runs
from orchestration.jobs import JOBS, PHOTO_MAP
from orchestration.run_queue import NIGHTLY


@dg.sensor(
    job=JOBS["photo_map"],
    minimum_interval_seconds=60,
    description="Maps a collection when files of its source were added, removed or changed.",
)
def new_images(context: dg.SensorEvaluationContext, photos: Photos) -> dg.SensorResult:
    """Compare each source's listing with the last one, whose digest is in the cursor.

    The requests have no run keys: Dagster uses a key once, but a listing that comes back, because a
    photo was added and removed again, has to start a run, too.
    """
    seen = json.loads(context.cursor) if context.cursor else {}
    digests = {}
    requests = []
    for name in context.instance.get_dynamic_partitions(PARTITIONS_NAME):
        try:
            collection = photos.collection(name)
            digest = listing_digest(
                list_source(collection.source, follow_links=collection.follow_links)
            )
        except UserError as error:
            # One source out of reach must not keep the others from being looked at.
            context.log.warning(f"{name} was not looked at: {shown(str(error))}")
            if name in seen:
                digests[name] = seen[name]
            continue
        digests[name] = digest
        if digest != seen.get(name):
            run_config = collection.run_config(PHOTO_MAP)
            requests.append(dg.RunRequest(run_config=run_config, partition_key=name, tags=NIGHTLY))
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(digests))


def _finish_runs(context: dg.RunStatusSensorContext, tracking: Tracking) -> None:
    """Report to MLflow how a run ended: an asset cannot see its process die or its check fail."""
    tracking.finish_runs(context.dagster_run.run_id, context.dagster_run.status)


# The names are older than the rest: by them Dagster knows whether somebody switched a sensor off.
finish_failed_runs = dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.FAILURE,
    name="settle_failed_runs",
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Gives the MLflow runs of a failed run their final status.",
)(_finish_runs)
finish_canceled_runs = dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.CANCELED,
    name="settle_canceled_runs",
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Gives the MLflow runs of a cancelled run their final status.",
)(_finish_runs)


@dg.sensor(
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports runs whose process was killed as failed, so that they hold up no other, "
    "and ends processes whose run is over.",
)
def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Bring the runs of this machine into line with its processes."""
    dead = fail_dead_runs(context.instance)
    killed = kill_processes_of_ended_runs(context.instance)
    return dg.SkipReason(f"{len(dead)} runs had died, {len(killed)} processes had outlived theirs.")
