"""Runs that failed, and that nothing has made good since."""

import time
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.checks.collection_checks import is_failure
from orchestration.dagster_records import events_of
from orchestration.dead_runs import PROCESS_TAG
from orchestration.jobs import ASSETS_OF, JOBS
from orchestration.notices.cause import Cause, Kind
from orchestration.run_queue import (
    APP_TAG,
    MAX_RETRIES_TAG,
    PARTITION_TAG,
    SCHEDULE_TAG,
    SENSOR_TAG,
    WILL_RETRY_TAG,
)

# Older ones count if they are known to be open.
_DAYS_TO_LOOK_BACK = 7
_MOST_FAILURES = 1000
# Dagster says whether it will retry a run a moment after it has failed.
_SECONDS_TO_SAY_SO = 10.0
_PAGE = 10
_UI_JOB = "materialisation"
_FAULTS = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.ASSET_CHECK_EVALUATION}


def failed_runs(
    instance: dg.DagsterInstance, names: Collection[str], known: Iterable[Cause]
) -> Iterator[Cause]:
    """Yield the failed runs of collections with these ``names``, and of none, one a job.

    A run is made good by later ones that succeed and materialise the same assets. ``known`` are
    the causes of an earlier call that are open. A run that failed by its checks is the checks'
    cause, and that of a visualization whose photos cannot be mapped that of who asked for it.
    """
    for (name, job), record in _newest_failures(instance, known).items():
        run = record.dagster_run
        is_known = name is None or name in names
        if not is_known or _is_made_good(instance, record, name):
            continue
        steps = _steps_at_fault(instance, run)
        if steps is not None:
            yield _cause(record, name, job, steps)


def _newest_failures(
    instance: dg.DagsterInstance, known: Iterable[Cause]
) -> dict[tuple[str | None, str], dg.RunRecord]:
    """Return the newest failed run of each collection and job."""
    recent = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE],
        updated_after=datetime.now(UTC) - timedelta(days=_DAYS_TO_LOOK_BACK),
    )
    records = list(instance.get_run_records(recent, limit=_MOST_FAILURES))
    found = {record.dagster_run.run_id for record in records}
    older = {cause.run_id for cause in known if cause.run_id and cause.kind is Kind.FAILED_RUN}
    if older - found:
        records += instance.get_run_records(dg.RunsFilter(run_ids=sorted(older - found)))
    newest: dict[tuple[str | None, str], dg.RunRecord] = {}
    for record in records:
        run = record.dagster_run
        if not _may_be_retried(record):
            job = run.job_name if run.job_name in JOBS else _UI_JOB
            newest.setdefault((run.tags.get(PARTITION_TAG), job), record)
    return newest


def _may_be_retried(record: dg.RunRecord) -> bool:
    """Whether Dagster says that it will retry a run, or may still say so."""
    tags = record.dagster_run.tags
    told = tags.get(WILL_RETRY_TAG)
    if told is None and MAX_RETRIES_TAG in tags:
        return time.time() - (record.end_time or 0.0) < _SECONDS_TO_SAY_SO
    return told == "true"


def _is_made_good(instance: dg.DagsterInstance, record: dg.RunRecord, name: str | None) -> bool:
    run = record.dagster_run
    later = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.SUCCESS],
        tags=None if name is None else {PARTITION_TAG: name},
        job_name=run.job_name if name is None else None,
        created_after=record.create_timestamp,
    )
    assets = _assets_of(run)
    made: set[str] = set()
    for success in _each_run(instance, later):
        # Without a selection of its own, also one that begins in the middle makes the job whole.
        if success.job_name == run.job_name and not success.asset_selection:
            return True
        made |= _assets_of(success)
        if assets and assets <= made:
            return True
    return False


def _each_run(instance: dg.DagsterInstance, wanted: dg.RunsFilter) -> Iterator[dg.DagsterRun]:
    """Yield runs, the newest first: mostly the first few say it, and an app may have thousands."""
    cursor = None
    while page := instance.get_runs(wanted, cursor, _PAGE):
        yield from page
        cursor = page[-1].run_id


def _assets_of(run: dg.DagsterRun) -> set[str]:
    # Empty where the whole job was run.
    if run.asset_selection:
        return {key.to_user_string() for key in run.asset_selection}
    return set(ASSETS_OF.get(run.job_name, ()))


def _steps_at_fault(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str] | None:
    """Return the steps that failed otherwise than by a check.

    None if nothing but checks has failed, or if it is the fault of who asked for a visualization.
    """
    events = events_of(instance, run.run_id, _FAULTS)
    failures = [event for event in events if event.is_step_failure]
    if APP_TAG in run.tags and any(one.step_failure_data.user_failure_data for one in failures):
        return None
    of_checks = {
        event.step_key
        for event in events
        if not event.is_step_failure and is_failure(event.asset_check_evaluation_data)
    }
    steps = [str(one.step_key) for one in failures if one.step_key not in of_checks]
    return steps if steps or not failures else None


def _cause(record: dg.RunRecord, name: str | None, job: str, failed_steps: list[str]) -> Cause:
    run = record.dagster_run
    of = "" if name is None else f" for the collection {name}"
    where = f"at {failed_steps[0]}" if failed_steps else "outside of its steps"
    return Cause(
        Kind.FAILED_RUN,
        name,
        job,
        record.end_time or record.update_timestamp.timestamp(),
        f"The run of {job} {_by_whom(run)}{of} failed {where}.",
        run.run_id,
    )


def _by_whom(run: dg.DagsterRun) -> str:
    if SCHEDULE_TAG in run.tags:
        return f"by the schedule {run.tags[SCHEDULE_TAG]}"
    if SENSOR_TAG in run.tags:
        return f"by the sensor {run.tags[SENSOR_TAG]}"
    if APP_TAG in run.tags:
        return "by the HTTP service"
    if PROCESS_TAG in run.tags:
        return "from the command line"
    return "from Dagster's page"
