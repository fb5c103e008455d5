"""Dagster's records of runs beyond the last ones of each collection.

Never removed: a run that has not ended, one that a visualization waits for, and one by which
Dagster knows that an asset was materialised or a check evaluated.
"""

import sqlite3
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import dagster as dg

from assets.methods.common.files import remove
from assets.methods.common.sqlite_files import size_of, table_names
from assets.steps import MADE_IN
from orchestration.dagster_records import metadata_of
from orchestration.databases import INDEX, LONGEST_LOCKED
from orchestration.dead_runs import FINISHED
from orchestration.housekeeping.removals import Item, Removal
from orchestration.run_queue import PARTITION_TAG

# What the steps of a run have read, handed over and were about to do, and in which process. Values
# that were made stand with their assets, too.
_WORKINGS = (
    "ASSET_CHECK_EVALUATION_PLANNED",
    "ASSET_MATERIALIZATION",
    "ASSET_MATERIALIZATION_PLANNED",
    "ENGINE_EVENT",
    "HANDLED_OUTPUT",
    "LOADED_INPUT",
    "RESOURCE_INIT_STARTED",
    "RESOURCE_INIT_SUCCESS",
    "STEP_INPUT",
    "STEP_OUTPUT",
)
# Dagster makes a database for each run. Most of its tables and indexes are empty, a page each.
_SMALL_PAGE = 512
_SECONDS_TO_COMPACT = 2.0


def old_runs(home: Path, instance: dg.DagsterInstance, keep: int) -> Removal:
    """Return the runs of each collection, or job without one, but the newest ``keep``."""
    groups = defaultdict[tuple[str, str], list[dg.DagsterRun]](list)
    # The newest comes first.
    for run in instance.get_runs(dg.RunsFilter(statuses=FINISHED)):
        name = run.tags.get(PARTITION_TAG, "")
        groups[name, "" if name else run.job_name].append(run)
    needed = _needed(home, instance)
    old = [run for runs in groups.values() for run in runs[keep:] if run.run_id not in needed]
    return _removal(home, instance, "Dagster run", [run.run_id for run in old])


def runs_of_collection(home: Path, instance: dg.DagsterInstance, name: str) -> Removal:
    """Return all runs of a collection."""
    runs = instance.get_run_ids(dg.RunsFilter(tags={PARTITION_TAG: name}))
    return _removal(home, instance, "Dagster run", list(runs))


def one_run(home: Path, instance: dg.DagsterInstance, run_id: str) -> Removal:
    """Return a single run."""
    return _removal(home, instance, "Dagster run", [run_id])


def compact_log(home: Path, run_id: str, is_short: bool) -> None:
    """Give back the room that is empty in the log of a run that has ended well.

    One that ``is_short`` keeps the beginning and end of the run and of each step, verdicts and
    messages. What Dagster knows of assets and checks is in another database. If somebody else is
    at the log, it may stay as it is.
    """
    log = home / "history" / "runs" / f"{run_id}.db"
    if size_of(log) == 0:
        return
    connection = sqlite3.connect(log, timeout=_SECONDS_TO_COMPACT, isolation_level=None)
    with closing(connection), suppress(sqlite3.OperationalError):
        if is_short:
            marks = ", ".join("?" * len(_WORKINGS))
            connection.execute(
                f"DELETE FROM event_logs WHERE dagster_event_type IN ({marks})",  # noqa: S608
                _WORKINGS,
            )
        # The size of pages can only be changed while there is no write-ahead log.
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute(f"PRAGMA page_size = {_SMALL_PAGE}")
        connection.execute("VACUUM")
        connection.execute("PRAGMA journal_mode = WAL")


def lost_logs(home: Path, instance: dg.DagsterInstance) -> Removal:
    """Return the logs of runs that Dagster does not know, as a removal that was killed leaves."""
    places = [*(home / "history" / "runs").glob("*.db"), *(home / "storage").glob("*")]
    known = set(instance.get_run_ids())
    lost = sorted({place.stem for place in places if _is_run_id(place.stem)} - known)
    return _removal(home, instance, "log of a lost run", lost)


def _removal(home: Path, instance: dg.DagsterInstance, kind: str, run_ids: list[str]) -> Removal:
    items = tuple(Item(run_id, tuple(_places(home, run_id))) for run_id in run_ids)
    return Removal(kind, items, partial(_delete, home, instance, run_ids))


def _delete(home: Path, instance: dg.DagsterInstance, run_ids: Iterable[str]) -> None:
    for run_id in run_ids:
        if instance.has_run(run_id):
            instance.delete_run(run_id)
        for place in _places(home, run_id):
            remove(place)
    _forget_checks(home / INDEX, run_ids)


def _places(home: Path, run_id: str) -> Iterator[Path]:
    """Yield the files of a run, which Dagster leaves."""
    yield from sorted((home / "history" / "runs").glob(f"{run_id}.db*"))
    if (home / "storage" / run_id).exists():
        yield home / "storage" / run_id


def _forget_checks(index: Path, run_ids: Iterable[str]) -> None:
    """Remove the evaluations of checks, which Dagster leaves when their run is deleted."""
    if size_of(index) == 0:
        return
    with closing(sqlite3.connect(index, timeout=LONGEST_LOCKED)) as connection, connection:
        if "asset_check_executions" in table_names(connection):
            connection.executemany(
                "DELETE FROM asset_check_executions WHERE run_id = ?",
                [(run_id,) for run_id in run_ids],
            )


def _needed(home: Path, instance: dg.DagsterInstance) -> set[str]:
    return (
        _of_materializations(instance)
        | _of_checks(home / INDEX, instance)
        | _of_visualizations(home / "serve" / "visualizations.sqlite")
    )


def _of_materializations(instance: dg.DagsterInstance) -> set[str]:
    """Return the runs that materialised what is the latest of each asset and partition.

    Also those that the latest refers to, as it has not changed since.
    """
    found = set[str]()
    for key in instance.all_asset_keys():
        latest = instance.get_latest_storage_id_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION
        )
        ids = list(latest.values())
        if ids:
            wanted = dg.AssetRecordsFilter(key, storage_ids=ids)
            records = instance.fetch_materializations(wanted, limit=len(ids)).records
            found |= {record.run_id for record in records}
            made_in = [metadata_of(record).get(MADE_IN) for record in records]
            found |= {str(one.value) for one in made_in if one is not None}
        newest = instance.fetch_materializations(key, limit=1).records
        found |= {record.run_id for record in newest}
    return found


def _of_checks(index: Path, instance: dg.DagsterInstance) -> set[str]:
    """Return the runs of the latest evaluation of each check, for each collection."""
    if size_of(index) == 0:
        return set()
    with closing(sqlite3.connect(index, timeout=LONGEST_LOCKED)) as connection:
        if "asset_check_executions" not in table_names(connection):
            return set()
        rows = connection.execute(
            "SELECT asset_key, check_name, run_id FROM asset_check_executions "
            "WHERE evaluation_event IS NOT NULL ORDER BY id"
        ).fetchall()
    collections = {run.run_id: run.tags.get(PARTITION_TAG, "") for run in instance.get_runs()}
    # Later ones replace earlier ones.
    latest = {(asset, check, collections.get(run_id)): run_id for asset, check, run_id in rows}
    return set(latest.values())


def _of_visualizations(database: Path) -> set[str]:
    """Return the runs of visualizations for which something is left to do."""
    if size_of(database) == 0:
        return set()
    with closing(sqlite3.connect(database, timeout=LONGEST_LOCKED)) as connection:
        rows = connection.execute(
            "SELECT id, run_id FROM visualizations WHERE is_open OR state = 'pending'"
        ).fetchall()
    return {run_id for row in rows for run_id in row}


def _is_run_id(name: str) -> bool:
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False
