"""MLflow's runs beyond the last ones of each collection, and their removal for good.

MLflow's own call only marks a run as deleted, and its `mlflow gc` also empties what somebody else
has thrown away. In the database of the home, runs are removed row by row; on a server they are
marked as deleted, and its `mlflow gc` removes them.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.methods.common.files import remove
from assets.methods.common.sqlite_files import table_names
from assets.resources.mlflow_database import (
    LONGEST_LOCKED,
    database_of,
    parents_in,
    runs_tagged,
)
from assets.resources.tracking import DAGSTER_RUN, PARENT_TAG, Tracking

_PARTITION, _JOB = "dagster.partition", "dagster.job"
_PAGE = 1000


@dataclass(frozen=True)
class TrackedFamily:
    """The run of MLflow for a Dagster run, and those of its assets; the parent comes first."""

    run_ids: tuple[str, ...]
    partition: str


def old_families(tracking: Tracking, keep: int) -> list[TrackedFamily]:
    """Return the families of each collection, or job without one, but the newest ``keep``.

    Never those that are at work, or that a registered version of a model came from. Raises
    TrackingError.
    """
    groups = defaultdict[tuple[str, str], list[TrackedFamily]](list)
    with tracking.asking():
        for parent, family in _families(tracking):
            job = "" if family.partition else parent.data.tags.get(_JOB, "")
            groups[family.partition, job].append(family)
        needed = _needed(tracking)
    old = [one for families in groups.values() for one in families[keep:]]
    return [one for one in old if needed.isdisjoint(one.run_ids)]


def families_of(tracking: Tracking, partition: str) -> list[TrackedFamily]:
    """Return the families of a collection, but for those that are needed. Raises TrackingError."""
    with tracking.asking():
        found = [family for _, family in _families(tracking) if family.partition == partition]
        needed = _needed(tracking)
    return [one for one in found if needed.isdisjoint(one.run_ids)]


def families_of_run(tracking: Tracking, dagster_run_id: str) -> list[TrackedFamily]:
    """Return the family of a run of Dagster, unless it is needed. Raises TrackingError."""
    with tracking.asking():
        if tracking.tracking_uri:
            query = f"tags.`{DAGSTER_RUN}` = '{dagster_run_id}'"
            found = tracking.client.search_runs([tracking.experiment_id], query)
            run_ids = tuple(str(run.info.run_id) for run in found)
        else:
            run_ids = tuple(runs_tagged(Path(tracking.home), DAGSTER_RUN, dagster_run_id))
        needed = _needed(tracking) if run_ids else set()
    return [TrackedFamily(run_ids, "")] if run_ids and needed.isdisjoint(run_ids) else []


def parents_of(tracking: Tracking, run_ids: Sequence[str]) -> list[str]:
    """Return the parent of each of these runs that there is. Raises TrackingError."""
    listed = ", ".join(f"'{run_id}'" for run_id in run_ids)
    with tracking.asking():
        if not tracking.tracking_uri:
            return list(parents_in(Path(tracking.home), run_ids).values())
        query = f"attributes.run_id IN ({listed})"
        found = tracking.client.search_runs([tracking.experiment_id], query)
    return [str(run.data.tags.get(PARENT_TAG, run.info.run_id)) for run in found]


def artifact_folders(tracking: Tracking, run_id: str) -> list[Path]:
    """Return the folder of a run's artifacts, if there is one below the home."""
    artifacts = tracking.local_artifacts(run_id)
    return [artifacts.parent] if artifacts is not None and artifacts.parent.is_dir() else []


def delete_runs(tracking: Tracking, run_ids: Sequence[str]) -> None:
    """Remove runs and their artifacts; on a server, mark them as deleted. Raises TrackingError.

    The last come first: a family whose parent is there is found again by a repeat.
    """
    if not run_ids:
        return
    run_ids = run_ids[::-1]
    with tracking.asking():
        if tracking.tracking_uri:
            for run_id in run_ids:
                tracking.client.delete_run(run_id)
            return
        # The artifacts first: a run without them is found again, artifacts without a run are not.
        for run_id in run_ids:
            for folder in artifact_folders(tracking, run_id):
                remove(folder)
        _ = tracking.client
        _delete_rows(database_of(Path(tracking.home)), run_ids)


def _families(tracking: Tracking) -> Iterator[tuple[Any, TrackedFamily]]:
    """Yield the parents of Dagster's runs, the newest first, each with its family."""
    runs = list(_all_runs(tracking))
    children = defaultdict[str, list[str]](list)
    for run in runs:
        children[run.data.tags.get(PARENT_TAG, "")].append(run.info.run_id)
    for run in runs:
        tags = run.data.tags
        if PARENT_TAG not in tags and DAGSTER_RUN in tags:
            own = run.info.run_id
            yield run, TrackedFamily((own, *children[own]), tags.get(_PARTITION, ""))


def _all_runs(tracking: Tracking) -> Iterator[Any]:
    token = None
    while True:
        page = tracking.client.search_runs(
            [tracking.experiment_id],
            max_results=_PAGE,
            order_by=["attributes.start_time DESC", "attributes.run_id"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _needed(tracking: Tracking) -> set[str]:
    """Return the runs that are at work, or that a registered version came from."""
    running = [run.info.run_id for run in tracking.running()]
    versions = list[Any]()
    token = None
    while True:
        page = tracking.client.search_model_versions(max_results=_PAGE, page_token=token)
        versions += page
        token = page.token
        if not token:
            return {*running, *(version.run_id for version in versions if version.run_id)}


def _delete_rows(database: Path, run_ids: Sequence[str]) -> None:
    """Delete runs and all that belongs to them, each run in one transaction."""
    with closing(
        sqlite3.connect(database, timeout=LONGEST_LOCKED, isolation_level=None)
    ) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        belonging = [
            (table, column)
            for table in sorted(table_names(connection) - {"runs"})
            for _, _, of, column, _, _, on_delete, _ in connection.execute(
                f"PRAGMA foreign_key_list({table})"
            )
            # SQLite sees to what has an action of its own.
            if of == "runs" and on_delete == "NO ACTION"
        ]
        for run_id in run_ids:
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                for table, column in belonging:
                    connection.execute(
                        f"DELETE FROM {table} WHERE {column} = ?",  # noqa: S608
                        (run_id,),
                    )
                connection.execute("DELETE FROM runs WHERE run_uuid = ?", (run_id,))
