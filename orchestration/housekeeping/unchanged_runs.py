"""Runs in which nothing has changed: a short record of the last one in a row is enough.

The whole record of a run takes about a megabyte in Dagster's and MLflow's databases. A collection
that is mapped every night, and to which nobody adds a photo, would fill them with copies of one.
"""

from pathlib import Path

import dagster as dg

from assets.io_managers import UNCHANGED
from assets.methods.common.sqlite_files import compact, size_of
from assets.resources.mlflow_database import database_of
from assets.resources.mlflow_runs import delete_runs, families_of_run, parents_of
from assets.resources.outages import TrackingError
from assets.resources.progress import FOLLOWED_TAG
from assets.resources.tracking import MLFLOW_TAG, Tracking
from assets.steps import MLFLOW_RUN
from orchestration.dagster_records import events_of
from orchestration.databases import INDEX
from orchestration.housekeeping.dagster_history import compact_log, one_run
from orchestration.run_queue import PARTITION_TAG

# "true" for a run that succeeded and left every value as it was.
UNCHANGED_TAG = "tessera/unchanged"
# A larger database uses the room for the next runs, until `tessera gc` gives it back.
_LARGEST_TO_COMPACT, _LEAST_TO_COMPACT = 8 * 2**20, 8 * 2**10
_SECONDS_TO_COMPACT = 2.0


def shorten_record(
    home: Path, instance: dg.DagsterInstance, tracking: Tracking, run_id: str
) -> str | None:
    """Shorten the record of a run that has left every value of its collection as it was.

    That of the run before is removed, if it tells nothing else: by the same job, with the same
    settings, and with the same verdicts of all checks. Returns the id of the run that was removed.
    Of another run that has succeeded, nothing goes but empty room.
    """
    run = instance.get_run_by_id(run_id)
    if run is None or run.status is not dg.DagsterRunStatus.SUCCESS or UNCHANGED_TAG in run.tags:
        return None
    if not _is_unchanged(instance, run):
        compact_log(home, run_id, is_short=False)
        return None
    instance.add_run_tags(run_id, {UNCHANGED_TAG: "true"})
    former = _run_before(instance, run)
    is_repeated = former is not None and _tells_the_same(instance, former, run)
    try:
        _forget_tracked(instance, tracking, run)
        if former is not None and is_repeated:
            _delete_family(tracking, former)
    except TrackingError:
        # Then MLflow has both, and so has Dagster.
        is_repeated = False
    if former is not None and is_repeated:
        one_run(home, instance, former.run_id).remove()
    compact_log(home, run_id, is_short=True)
    for database in (database_of(home), home / INDEX):
        if 0 < size_of(database) <= _LARGEST_TO_COMPACT:
            compact(database, _LEAST_TO_COMPACT, _SECONDS_TO_COMPACT)
    return former.run_id if former is not None and is_repeated else None


def _forget_tracked(instance: dg.DagsterInstance, tracking: Tracking, run: dg.DagsterRun) -> None:
    """Remove from MLflow what it has of a run, if all is in the runs that made the values.

    The assets name those (`as_before`). Raises TrackingError.
    """
    named = {one.metadata.get(MLFLOW_RUN) for one in _materializations(instance, run)}
    makers = {str(one.value) for one in named if one is not None}
    if None in named or not makers.isdisjoint(_family(tracking, run)):
        return
    parents = parents_of(tracking, sorted(makers))
    if len(parents) == len(makers):
        instance.add_run_tags(run.run_id, {MLFLOW_TAG: parents[0]})
        _delete_family(tracking, run)


def _family(tracking: Tracking, run: dg.DagsterRun) -> list[str]:
    families = families_of_run(tracking, run.run_id)
    return [run_id for family in families for run_id in family.run_ids]


def _delete_family(tracking: Tracking, run: dg.DagsterRun) -> None:
    # On a server, it would only be hidden.
    if not tracking.tracking_uri:
        delete_runs(tracking, _family(tracking, run))


def _run_before(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun | None:
    name = run.tags.get(PARTITION_TAG)
    if name is None:
        return None
    runs = instance.get_runs(dg.RunsFilter(tags={PARTITION_TAG: name}), limit=2)
    # The newest comes first. If another has begun meanwhile, that one will see to it.
    return runs[1] if len(runs) > 1 and runs[0].run_id == run.run_id else None


def _is_unchanged(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    if FOLLOWED_TAG in run.tags:
        return False
    made = [one.metadata.get(UNCHANGED) for one in _materializations(instance, run)]
    return bool(made) and all(one is not None and one.value is True for one in made)


def _materializations(
    instance: dg.DagsterInstance, run: dg.DagsterRun
) -> list[dg.AssetMaterialization]:
    events = events_of(instance, run.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
    return [event.step_materialization_data.materialization for event in events]


def _tells_the_same(
    instance: dg.DagsterInstance, former: dg.DagsterRun, run: dg.DagsterRun
) -> bool:
    return (
        former.status is run.status
        and former.tags.get(UNCHANGED_TAG) == "true"
        and former.job_name == run.job_name
        and former.run_config == run.run_config
        and _verdicts(instance, former) == _verdicts(instance, run)
    )


def _verdicts(instance: dg.DagsterInstance, run: dg.DagsterRun) -> set[tuple[str, bool]]:
    evaluations = [
        event.asset_check_evaluation_data
        for event in events_of(instance, run.run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    ]
    return {(str(one.asset_check_key), one.passed) for one in evaluations}
