"""Dagster's databases below the home: made whole, checked, upgraded and replaced.

Dagster makes each of them in steps, in place: a process that is killed meanwhile leaves one that
nothing can work with. So they are made in a folder beside and renamed into place.
"""

import json
import logging
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stdout
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import dagster as dg
from filelock import FileLock

from assets.methods.common.errors import UserError
from assets.methods.common.files import write_whole, written_whole
from assets.methods.common.sqlite_files import (
    copy_database,
    fault_in,
    renamed_corrupt,
    size_of,
    table_names,
)

_log = logging.getLogger("tessera")

# The events of all runs, by which Dagster knows what was materialised.
INDEX = "history/runs/index.db"
# By the path below the home, the tables that hold what was done. What else is there is made anew.
DATABASES = {
    "history/runs.db": ("runs", "bulk_actions"),
    INDEX: ("event_logs", "asset_keys"),
    "schedules/schedules.db": ("jobs", "job_ticks"),
}
# Written once all of them are whole: {"dagster": the version that they were checked with}.
MARK = "dagster-databases.json"
# Seconds that somebody else may hold one.
LONGEST_LOCKED = 60.0
_BEING_MADE = ".databases-"


def prepare_databases(
    home: Path, partitions_name: str, partitions: Callable[[], list[str]]
) -> None:
    """Make Dagster's databases where they are missing or half-made, and upgrade older ones.

    A half-made database, in which nothing was ever stored, is set aside and made anew.

    Args:
        home: holds them.
        partitions_name: of the dynamic partitions that a new database is given.
        partitions: their keys; called if a database is to be made.

    Raises:
        UserError: a database belongs to a newer Dagster, or is damaged.
    """
    if _is_prepared(home):
        return
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "dagster-databases.lock"):
        if _is_prepared(home):
            return
        # What a process has left that was killed here.
        for left in home.glob(f"{_BEING_MADE}*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=home, prefix=_BEING_MADE) as beside:
            # Dagster warns of a folder without settings.
            Path(beside, "dagster.yaml").touch()
            with dg.DagsterInstance.local_temp(beside) as fresh:
                fresh.add_dynamic_partitions(partitions_name, partitions())
            older = [
                home / name for name in DATABASES if _adopt_or_make(home / name, Path(beside, name))
            ]
        if older:
            _upgrade(home, older)
        write_whole(home / MARK, json.dumps({"dagster": version("dagster")}).encode())


def faults(home: Path) -> Iterator[tuple[Path, str]]:
    """Yield the databases that are damaged, and what SQLite says of each."""
    for name in DATABASES:
        fault = _fault(home / name)
        if fault:
            yield home / name, fault


def set_damaged_aside(home: Path, database: Path) -> Path:
    """Set a damaged database aside, so that it is made anew; return where it is then.

    The runs that it knew are no longer listed. Collections, their results and caches stay.
    """
    (home / MARK).unlink(missing_ok=True)
    return renamed_corrupt(database)


def _is_prepared(home: Path) -> bool:
    """Whether all were whole once, with this Dagster, and none has gone or was emptied since."""
    try:
        known = json.loads((home / MARK).read_bytes())
    except (OSError, ValueError):
        return False
    return known == {"dagster": version("dagster")} and all(
        size_of(home / name) > 0 for name in DATABASES
    )


def _adopt_or_make(database: Path, template: Path) -> bool:
    """Put a whole database into place if there is none; return if it is of an older schema."""
    if size_of(database) > 0:
        fault = _fault(database)
        if fault:
            raise UserError(damaged(database, fault))
        if _shape(database) == _shape(template):
            return False
        if _holds_anything(database):
            return True
        aside = renamed_corrupt(database)
        _log.warning(
            "%s was half made by a process that was killed. Moved it to %s", database, aside.name
        )
    elif database.exists():
        database.unlink()
    # What SQLite has not yet written into the file itself.
    _fold_log_in(template)
    with written_whole(database) as beside:
        shutil.copyfile(template, beside)
    return False


def damaged(database: Path, fault: str) -> str:
    """Return the sentence about a database that SQLite cannot read."""
    return (
        f"Dagster's database {database} is damaged ({fault}): `tessera doctor --repair` sets it "
        "aside and makes a new one. Maps, scores and caches stay; its list of past runs is lost."
    )


def _upgrade(home: Path, older: list[Path]) -> None:
    """Bring databases of another version of Dagster to this one's schema, after a backup."""
    backup = home / "backups" / f"dagster-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    for database in older:
        with written_whole(backup / database.relative_to(home)) as copy:
            copy_database(database, copy, LONGEST_LOCKED)
    _log.warning("Upgrading Dagster's databases in %s; a backup is in %s", home, backup)
    try:
        # It prints how far it is.
        with redirect_stdout(sys.stderr), dg.DagsterInstance.get() as instance:
            instance.upgrade()
    except Exception as error:
        # Alembic has a kind of its own for each fault.
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"Dagster's databases in {home} could not be brought to the version that is installed "
            f"({reason}): they may be of a newer one. A backup is in {backup}."
        ) from error


def _shape(database: Path) -> tuple[set[str], set[str]]:
    """Return the names of the tables, and the revisions and indexes that Dagster has noted."""
    with closing(_connect(database)) as connection:
        tables = table_names(connection)
        notes = set[str]()
        for table, column in (("alembic_version", "version_num"), ("secondary_indexes", "name")):
            if table in tables:
                rows = connection.execute(f"SELECT {column} FROM {table}")  # noqa: S608
                notes |= {str(one) for (one,) in rows}
    return tables, notes


def _holds_anything(database: Path) -> bool:
    (tables,) = [
        names for name, names in DATABASES.items() if database.as_posix().endswith(f"/{name}")
    ]
    with closing(_connect(database)) as connection:
        there = table_names(connection)
        return any(
            connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None  # noqa: S608
            for table in tables
            if table in there
        )


def _fault(database: Path) -> str | None:
    """Return what SQLite finds wrong in a database; None if nothing is, or there is none.

    Raises UserError if it cannot be looked at, as when another program holds it.
    """
    if size_of(database) == 0:
        return None
    try:
        with closing(_connect(database)) as connection:
            return fault_in(connection)
    except sqlite3.DatabaseError as error:
        raise UserError(
            f"Dagster's database {database} cannot be used now ({error}): end the program that "
            "holds it, or make room on its disk."
        ) from error


def _connect(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(database, timeout=LONGEST_LOCKED)


def _fold_log_in(database: Path) -> None:
    with closing(_connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
