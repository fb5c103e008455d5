"""Visualizations of homes of 0.1, whose states stood in the tags of their runs."""

import json
from collections.abc import Iterable
from contextlib import suppress

import dagster as dg

from assets.methods.common.timestamps import timestamp
from orchestration.api.visualizations.map_runs import DIGEST, PHOTOS, MapRuns
from orchestration.api.visualizations.run_follower import MOST_INTERRUPTS
from orchestration.api.visualizations.visualization_store import VisualizationStore
from orchestration.run_queue import APP_TAG

# A run that waited for the service of 0.1, which Dagster's queue does not touch.
_WAITING = dg.DagsterRunStatus.MANAGED
_STATE, _CLOSED = "tessera/state", "closed"
_CANCELLED, _DELETED, _YES = "tessera/cancelled", "tessera/deleted", "yes"
_ADD = """
INSERT OR IGNORE INTO visualizations
    (id, app, digest, n_photos, created_at, run_config, run_id, turn, state, reason, folder,
    is_submitted, n_deaths, n_interrupts)
VALUES (:id, :app, :digest, :n_photos, :created_at, :run_config, :run_id, 0, :state, :reason,
    :folder, :is_submitted, :n_deaths, :n_interrupts)
"""


def import_former(instance: dg.DagsterInstance, store: VisualizationStore) -> None:
    """Write down the visualizations of an older home, once; those that wait are submitted anew."""
    with store.transaction() as connection:
        (is_done,) = connection.execute("PRAGMA user_version").fetchone()
        if is_done:
            return
        runs = MapRuns(instance)
        for record in reversed(instance.get_run_records()):
            run = record.dagster_run
            is_root = run.root_run_id in (None, run.run_id)
            if is_root and {APP_TAG, DIGEST, PHOTOS} <= run.tags.keys():
                connection.execute(_ADD, _row(runs, record))
        connection.execute("PRAGMA user_version = 1")


def _row(runs: MapRuns, record: dg.RunRecord) -> dict[str, object]:
    root = record.dagster_run
    family = runs.runs_of(root.run_id)
    for run in family:
        if run.status is _WAITING:
            with suppress(Exception):
                runs.instance.report_run_canceled(run, "Dagster's queue has another in its place.")
    marks = {tag for tag in (_CANCELLED, _DELETED) if _is_marked(runs.instance, root, tag)}
    is_closed = family[-1].tags.get(_STATE) == _CLOSED
    row = {
        "id": root.run_id,
        "app": root.tags[APP_TAG],
        "digest": root.tags[DIGEST],
        "n_photos": int(root.tags[PHOTOS]),
        "created_at": timestamp(record.create_timestamp),
        "run_config": json.dumps(root.run_config),
        "run_id": family[-1].run_id,
        "is_submitted": 1,
        # What has failed for good stays so.
        "n_deaths": int(is_closed or len(family) > 1),
        "n_interrupts": MOST_INTERRUPTS if is_closed else 0,
        "reason": None,
        "folder": None,
    }
    return row | _state(runs, family, marks)


def _state(runs: MapRuns, family: list[dg.DagsterRun], marks: Iterable[str]) -> dict[str, object]:
    if _DELETED in marks:
        return {"state": "deleted"}
    if _CANCELLED in marks:
        return {"state": "cancelled", "reason": "Cancelled."}
    ready = [run for run in family if run.status is dg.DagsterRunStatus.SUCCESS]
    if ready:
        folder = runs.folder(ready[-1])
        return {"state": "ready", "folder": None if folder is None else str(folder)}
    if family[-1].status is _WAITING:
        # A run has one id and one end, so that another takes the place of the one that waited.
        another = dg.DagsterRun(family[-1].job_name).run_id
        return {"state": "pending", "run_id": another, "is_submitted": 0}
    return {"state": "pending"}


def _is_marked(instance: dg.DagsterInstance, root: dg.DagsterRun, tag: str) -> bool:
    marked = dg.RunsFilter(run_ids=[root.run_id], tags={tag: _YES})
    return bool(instance.get_run_ids(marked, limit=1))
