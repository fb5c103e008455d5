"""Runs of a collection in a row in which nothing has changed, of which the last one is enough.

The record of a run takes about a megabyte in Dagster's and MLflow's databases. A collection that is
mapped every night, and to which nobody adds a photo, would fill them with copies of one record.
"""

from pathlib import Path

import dagster as dg

from assets.io_managers import UNCHANGED
from assets.resources.mlflow_runs import delete_runs, families_of_run
from assets.resources.outages import TrackingError
from assets.resources.progress import FOLLOWED_TAG
from assets.resources.tracking import Tracking
from orchestration.dagster_records import events_of
from orchestration.housekeeping.dagster_history import one_run
from orchestration.run_queue import PARTITION_TAG

# "true" for a run that succeeded and left every value as it was.
UNCHANGED_TAG = "tessera/unchanged"


def replace_former(
    home: Path, instance: dg.DagsterInstance, tracking: Tracking, run_id: str
) -> str | None:
    """Remove the record of the run before this one, if it tells nothing else; return its id.

    Both must have left every value of their collection as it was, by the same job, with the same
    settings, and with the same verdicts of all checks.
    """
    run = instance.get_run_by_id(run_id)
    if run is None or not _is_unchanged(instance, run):
        return None
    instance.add_run_tags(run_id, {UNCHANGED_TAG: "true"})
    former = _run_before(instance, run)
    if former is None or not _tells_the_same(instance, former, run):
        return None
    try:
        if not tracking.tracking_uri:
            for family in families_of_run(tracking, former.run_id):
                delete_runs(tracking, family.run_ids)
    except TrackingError:
        # Then both records stay.
        return None
    one_run(home, instance, former.run_id).remove()
    return former.run_id


def _run_before(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun | None:
    name = run.tags.get(PARTITION_TAG)
    if name is None:
        return None
    runs = instance.get_runs(dg.RunsFilter(tags={PARTITION_TAG: name}), limit=2)
    # The newest comes first. If another has begun meanwhile, that one will see to it.
    return runs[1] if len(runs) > 1 and runs[0].run_id == run.run_id else None


def _is_unchanged(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    if run.status is not dg.DagsterRunStatus.SUCCESS or FOLLOWED_TAG in run.tags:
        return False
    made = [
        event.step_materialization_data.materialization.metadata.get(UNCHANGED)
        for event in events_of(instance, run.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
    ]
    return bool(made) and all(one is not None and one.value is True for one in made)


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
