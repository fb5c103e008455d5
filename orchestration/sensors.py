"""What runs when something has changed."""

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from assets.config import check_settings
from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import shown
from assets.resources.collections import PARTITIONS_NAME, CollectionRegistry
from assets.resources.home import home_folder
from assets.resources.outages import TrackingError
from assets.resources.photos import Photos
from assets.resources.tracking import Tracking
from orchestration.dead_runs import fail_dead_runs, kill_processes_of_ended_runs
from orchestration.housekeeping.unchanged_runs import shorten_record
from orchestration.instance import open_instance
from orchestration.jobs import JOBS, PHOTO_MAP
from orchestration.map_requests import LISTING_TAG, MOST_TRIES, Answer, decide
from orchestration.notices.round import Round, Rounds, go_round
from orchestration.notices.settings import NoticeSettings
from orchestration.run_queue import KEEP_SETTINGS_TAG, NIGHTLY, PARTITION_TAG
from orchestration.source_looks import SourceLooks, listing_of

_log = logging.getLogger("tessera")
_LOOKS = SourceLooks()
_LOOKS_FOR_NOTICES = SourceLooks()
# Until an evaluation ends, whether its round has or not.
_SECONDS_FOR_NOTICES = 2.0


@dg.sensor(
    job=JOBS["photo_map"],
    minimum_interval_seconds=60,
    description="Maps a collection when files of its source were added, removed or changed. A run "
    f"that failed is asked for again, up to {MOST_TRIES} times with longer and longer pauses.",
)
def new_images(context: dg.SensorEvaluationContext, photos: Photos) -> dg.SensorResult:
    """Compare each source's listing with the one that was mapped last.

    The cursor has the digest of that one by collection. It moves on when a listing is mapped, and
    not when a run is asked for, so that a run that fails is asked for again. The requests have no
    run keys: Dagster uses a key once, but a listing that comes back, because a photo was added and
    removed again, has to start a run, too.
    """
    mapped = json.loads(context.cursor) if context.cursor else {}
    known, requests = {}, []
    digest_of = _LOOKS.round()
    for name in context.instance.get_dynamic_partitions(PARTITIONS_NAME):
        if name in mapped:
            known[name] = mapped[name]
        try:
            digest = digest_of(name, partial(listing_of, photos, name))
            answer = None if digest is None else _answer(context, name, digest, mapped.get(name))
            if answer is Answer.ASK:
                requests.append(_request(photos, name, str(digest)))
        except Exception as error:
            # One source out of reach must not keep the others from being looked at.
            context.log.warning(f"{name} was not looked at: {shown(str(error))}")
            continue
        if digest is None:
            context.log.warning(f"{name} was not looked at: listing its source takes long.")
        elif answer is Answer.MAPPED:
            known[name] = digest
        elif answer in (Answer.GIVEN_UP, Answer.CANCELLED):
            context.log.warning(
                f"{name} is not mapped: {answer.value}. It is asked for again when its source "
                "changes."
            )
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(known))


def _answer(
    context: dg.SensorEvaluationContext, name: str, digest: str, mapped: str | None
) -> Answer:
    return Answer.MAPPED if digest == mapped else decide(context.instance, name, digest)


def _request(photos: Photos, name: str, digest: str) -> dg.RunRequest:
    return dg.RunRequest(
        run_config=photos.registered(name).run_config(PHOTO_MAP),
        partition_key=name,
        tags={**NIGHTLY, LISTING_TAG: digest},
    )


def _finish_runs(context: dg.RunStatusSensorContext, tracking: Tracking) -> None:
    """Report to MLflow how a run ended: an asset cannot see its process die or its check fail."""
    try:
        tracking.finish_runs(context.dagster_run.run_id, context.dagster_run.status)
    except TrackingError as error:
        run_id = context.dagster_run.run_id
        context.log.warning(f"MLflow does not know how the run {run_id} ended: {error}")


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


@dg.asset_sensor(
    asset_key=dg.AssetKey("nsfw_training"),
    job=JOBS["model"],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks up the champion again after a training.",
)
def trained_model(
    context: dg.SensorEvaluationContext, asset_event: dg.EventLogEntry
) -> dg.RunRequest:
    """Materialise nsfw_model, which a training may have replaced."""
    return dg.RunRequest(run_key=context.cursor)


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=f"Keeps the settings of a run that has the tag {KEEP_SETTINGS_TAG}=true for the "
    "runs of its collection that follow.",
)
def kept_settings(context: dg.RunStatusSensorContext, photos: Photos) -> None:
    """Store the settings of the launchpad in the collection, if the run is marked for it."""
    run = context.dagster_run
    name = run.tags.get(PARTITION_TAG)
    if name is None or run.tags.get(KEEP_SETTINGS_TAG) != "true":
        return
    ops: Any = run.run_config.get("ops", {})
    settings = {asset: op["config"] for asset, op in ops.items() if "config" in op}
    try:
        check_settings(settings)
        kept = photos.registered(name).with_settings(settings, settings.keys())
        CollectionRegistry(Path(photos.home)).add(kept)
    except UserError as error:
        context.log.warning(f"The settings of {name} were not kept: {shown(str(error))}")


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Of runs of a collection in a row in which nothing has changed, keeps the record "
    "of the last one.",
)
def unchanged_runs(context: dg.RunStatusSensorContext, photos: Photos, tracking: Tracking) -> None:
    """Let a run in which nothing has changed take the place of the one before."""
    shorten_record(Path(photos.home), context.instance, tracking, context.dagster_run.run_id)


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


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks for runs and checks that failed, nights that did not start, collections "
    "that are stale and sources that are out of reach, and tells webhooks and mail addresses once "
    "when one of them begins and once when it is over.",
)
def notices(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Go round, in a thread: the daemon evaluates its sensors one after the other."""
    return dg.SkipReason(_ROUNDS.go(_SECONDS_FOR_NOTICES))


def _go_round() -> Round:
    settings = NoticeSettings.from_environment()
    # The instance of an evaluation is closed when it ends.
    with open_instance() as instance:
        one = go_round(instance, home_folder(), settings, _LOOKS_FOR_NOTICES)
    for name, delivered in one.delivered.items():
        if delivered.why:
            _log.warning("Notices are waiting for the receiver %s: %s", name, delivered.why)
    return one


_ROUNDS = Rounds(_go_round)
