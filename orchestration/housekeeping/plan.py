"""What `tessera gc` removes from a home, in the order in which it goes."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import dagster as dg
from filelock import FileLock, Timeout

from assets.methods.common.errors import UserError
from assets.methods.common.sqlite_files import compact, size_of
from assets.resources.mlflow_database import database_of
from assets.resources.mlflow_runs import (
    TrackedFamily,
    artifact_folders,
    delete_runs,
    old_families,
)
from assets.resources.tracking import Tracking
from orchestration.databases import INDEX
from orchestration.dead_runs import UNFINISHED
from orchestration.housekeeping.caches import old_marks, unused_caches
from orchestration.housekeeping.dagster_history import lost_logs, old_runs
from orchestration.housekeeping.removals import Item, Removal
from orchestration.housekeeping.stored_values import leftovers, old_maps, old_values

# The newest runs and values of each collection that are kept.
KEEP = 30
# A database with this much free room is written anew without it.
_MOST_FREE_BYTES = 2**20
_SECONDS_TO_COMPACT = 5.0


def plan_removals(
    home: Path, instance: dg.DagsterInstance, tracking: Tracking, keep: int
) -> list[Removal]:
    """Return what goes beyond the newest ``keep`` of each collection.

    Raises TrackingError when MLflow cannot be asked.
    """
    found = [
        *leftovers(home, keep),
        old_values(home, keep),
        old_maps(home, keep),
        tracked_runs(tracking, old_families(tracking, keep)),
        old_runs(home, instance, keep),
        lost_logs(home, instance),
        *unused_caches(home, keep),
        old_marks(home, keep),
    ]
    return [one for one in found if one.items]


def tracked_runs(tracking: Tracking, families: Sequence[TrackedFamily]) -> Removal:
    """Return the removal of runs of MLflow, with those of their assets."""
    run_ids = [run_id for family in families for run_id in family.run_ids]
    items = tuple(Item(run_id, tuple(artifact_folders(tracking, run_id))) for run_id in run_ids)
    return Removal("MLflow run", items, partial(delete_runs, tracking, run_ids))


def carry_out(removals: Iterable[Removal]) -> Iterator[Removal]:
    """Remove what was planned; yield each kind once it is gone."""
    for removal in removals:
        removal.remove()
        yield removal


def check_nobody_is_at_work(
    home: Path, instance: dg.DagsterInstance, own_run: str | None = None
) -> None:
    """Raise UserError if a run, or a command that has a collection, is at work on the home."""
    runs = [
        run.run_id
        for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        if run.run_id != own_run
    ]
    if runs:
        raise UserError(f"The run {runs[0]} is at work on the home: wait for it to end.")
    for file in sorted((home / "locks").glob("*.lock")):
        lock = FileLock(file, timeout=0)
        try:
            with lock:
                continue
        except Timeout as error:
            raise UserError(f"A tessera is at work on {file.stem}: wait for it to end.") from error


def compact_databases(home: Path) -> None:
    """Give back the room of what was deleted in the databases, unless somebody holds them."""
    for database in (database_of(home), home / INDEX):
        if size_of(database) > 0:
            compact(database, _MOST_FREE_BYTES, _SECONDS_TO_COMPACT)
