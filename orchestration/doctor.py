"""What is wrong with a home, and how it is mended."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import dagster as dg

from assets.methods.common.files import remove_unfinished
from assets.methods.common.shown_text import shown
from assets.methods.common.sqlite_files import fault_in
from assets.resources.collections import PARTITIONS_NAME, CollectionRegistry
from assets.resources.mlflow_database import (
    DatabaseFaultError,
    database_of,
    fault_of_database,
    prepare_database,
    set_database_aside,
)
from assets.resources.outages import TrackingError
from assets.resources.photos import inputs_databases
from assets.resources.tracking import Tracking, first_line
from orchestration.databases import faults, set_damaged_aside
from orchestration.dead_runs import dead_runs_of, fail_run


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: a sentence, and what is done or can be done about it.

    ``repair`` mends it; None where only a person can.
    """

    what: str
    advice: str
    repair: Callable[[], object] | None = None


def damaged_databases(home: Path) -> Iterator[Finding]:
    """Find databases of Dagster that SQLite cannot read; nothing else can be looked at then."""
    for database, fault in faults(home):
        yield Finding(
            f"Dagster's database {database} is damaged ({fault}).",
            "It is set aside and made anew. Past runs are no longer listed, and schedules and "
            "sensors have to be switched on again; collections, maps, scores and caches stay.",
            partial(set_damaged_aside, home, database),
        )


def findings(home: Path, instance: dg.DagsterInstance, tracking: Tracking) -> Iterator[Finding]:
    """Find what is wrong in a home whose databases can be read."""
    yield from _partitions(home, instance)
    yield from _dead_runs(instance)
    yield from _tracking_database(home, tracking)
    yield from _unfinished_tracking(instance, tracking)
    yield from _damaged_inputs(home)
    yield from _left_files(home)


def _partitions(home: Path, instance: dg.DagsterInstance) -> Iterator[Finding]:
    registry = CollectionRegistry(home)
    partitions = instance.get_dynamic_partitions(PARTITIONS_NAME)
    for name in partitions:
        if registry.find(name) is None:
            yield Finding(
                f"The partition {name} has no collection that can be read.",
                f"It is deleted; `tessera add {name} SOURCE` makes it again.",
                partial(instance.delete_dynamic_partition, PARTITIONS_NAME, name),
            )
    for collection in registry.all():
        if collection.name not in partitions:
            yield Finding(
                f"The collection {collection.name} is no partition in Dagster.",
                "It is made one.",
                partial(instance.add_dynamic_partitions, PARTITIONS_NAME, [collection.name]),
            )


def _dead_runs(instance: dg.DagsterInstance) -> Iterator[Finding]:
    for run in dead_runs_of(instance):
        yield Finding(
            f"The process of the run {run.run_id} is gone; Dagster calls it {run.status.value}.",
            "It is reported as failed.",
            partial(fail_run, instance, run),
        )


def _tracking_database(home: Path, tracking: Tracking) -> Iterator[Finding]:
    """Find out whether MLflow's database below the home can be used, if it is what is used."""
    if tracking.tracking_uri:
        return
    fault = fault_of_database(home)
    if fault is None:
        try:
            prepare_database(home)
        except DatabaseFaultError as error:
            fault = error.fault
        except Exception as error:
            # MLflow and its libraries have a kind of their own for each fault.
            why = str(error) if isinstance(error, TrackingError) else first_line(error)
            yield Finding(f"MLflow cannot be asked: {why}.", "Runs are not tracked meanwhile.")
    if fault is not None:
        yield Finding(
            f"MLflow's database {database_of(home)} is damaged ({fault}).",
            "It is set aside and made anew. MLflow's list of runs and the older versions of the "
            "NSFW model are lost; the champion becomes version 1. Results, caches and the figures "
            "in mlflow-artifacts stay.",
            partial(_remake_tracking, home),
        )


def _remake_tracking(home: Path) -> None:
    set_database_aside(home)
    prepare_database(home)


def _unfinished_tracking(instance: dg.DagsterInstance, tracking: Tracking) -> Iterator[Finding]:
    """Find runs that MLflow calls RUNNING, and that have ended."""
    try:
        left = tracking.left_runs(instance)
    except TrackingError:
        # That is a verdict or a finding of its own.
        return
    for run, status in left:
        yield Finding(
            f"MLflow calls the run {shown(run.info.run_name)} RUNNING, which has ended.",
            f"It becomes {status}.",
            partial(tracking.client.set_terminated, run.info.run_id, status=status),
        )


def _damaged_inputs(home: Path) -> Iterator[Finding]:
    """Find databases of the photos that were posted to the HTTP service that are damaged."""
    for database in inputs_databases(home):
        with closing(sqlite3.connect(database, timeout=60)) as connection:
            fault = fault_in(connection)
        if fault is not None:
            yield Finding(
                f"The database {database} is damaged ({fault}), and nothing can make it anew.",
                "Put a backup in its place, or save what is left with the command .recover of "
                "sqlite3.",
            )


def _left_files(home: Path) -> Iterator[Finding]:
    left = remove_unfinished(home, only_look=True)
    if left:
        yield Finding(
            f"{len(left):,} unfinished files of killed processes lie in the home, such as "
            f"{left[0]}.",
            "They are removed.",
            partial(remove_unfinished, home),
        )
