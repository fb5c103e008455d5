"""MLflow's database below the home: made whole, checked, upgraded, and brought along when it moves.

MLflow makes it in 70 steps, in place: a process that is killed meanwhile leaves one that nothing
can work with. And it stores absolute addresses of files, which a home that is moved or copied has
to leave behind: a copy would write into the original.
"""

import json
import logging
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from assets.methods.common.files import write_whole, written_whole
from assets.methods.common.sqlite_files import (
    copy_database,
    fault_in,
    is_damage,
    is_locked,
    logs_of,
    primary_code,
    renamed_corrupt,
    size_of,
    table_names,
)
from assets.resources.outages import TrackingError

_log = logging.getLogger("tessera")

ARTIFACTS = "mlflow-artifacts"
# Written once the database is whole: what it is then.
MARK = "mlflow-database.json"
BACKUPS = "backups"
# Seconds that somebody else may hold the database, and that the making of one may take.
LONGEST_LOCKED, LONGEST_MADE = 5.0, 120.0
# Where MLflow stores addresses of files, by table; not each version has all of them.
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)
_BEING_MADE = ".mlflow-"


@dataclass(frozen=True)
class _Shape:
    """Which MLflow made a database, and what it has at least."""

    mlflow: str
    revision: str | None
    tables: int


class DatabaseFaultError(TrackingError):
    """The database is damaged; ``fault`` says how."""

    def __init__(self, database: Path, fault: str) -> None:
        super().__init__(
            f"{database} is damaged ({fault}): `tessera doctor --repair` sets it aside and makes a "
            "new one"
        )
        self.fault = fault


def database_of(home: Path) -> Path:
    """Return where MLflow's database is."""
    return home / "mlflow.db"


def prepare_database(home: Path) -> None:
    """Make the database where there is none, mend or upgrade it, and let it follow its home.

    Raises:
        TrackingError: it is damaged, locked, or of a newer MLflow.
    """
    home.mkdir(parents=True, exist_ok=True)
    with _faults_told(home):
        if _is_prepared(home):
            return
        with FileLock(home / "mlflow.lock", timeout=LONGEST_MADE):
            if not _is_prepared(home):
                _prepare(home)


def check_not_locked(database: Path) -> None:
    """Raise TrackingError if somebody holds the database for longer than a few seconds.

    MLflow would wait for 20 seconds in each request, or for two minutes in the first one.
    """
    if size_of(database) == 0:
        return
    with _faults_told(database.parent), closing(_connect(database)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()


def fault_of_database(home: Path) -> str | None:
    """Return what SQLite finds wrong in the database; None if nothing is, or there is none."""
    if size_of(database_of(home)) == 0:
        return None
    try:
        with closing(_connect(database_of(home))) as connection:
            return fault_in(connection)
    except sqlite3.DatabaseError:
        # Another program holds it, or the disk is full: that is said when it is asked.
        return None


def set_database_aside(home: Path) -> Path:
    """Rename the database, so that it is made anew; return where it is then."""
    database = database_of(home)
    (home / MARK).unlink(missing_ok=True)
    return renamed_corrupt(database)


def parents_in(home: Path, run_ids: Sequence[str]) -> dict[str, str]:
    """Return the parent of each of these runs that there is, or the run itself if it has none.

    It asks the database itself: to import MLflow takes seconds.
    """
    marks = ", ".join("?" * len(run_ids))
    query = (
        "SELECT r.run_uuid, coalesce(t.value, r.run_uuid) FROM runs r LEFT JOIN tags t "  # noqa: S608
        "ON t.run_uuid = r.run_uuid AND t.key = 'mlflow.parentRunId' "
        f"WHERE r.lifecycle_stage = 'active' AND r.run_uuid IN ({marks})"
    )
    return dict(_rows(home, query, run_ids))


def has_runs_at_work(home: Path) -> bool:
    """Whether a run is said to be at work."""
    query = "SELECT 1 FROM runs WHERE lifecycle_stage = 'active' AND status = ? LIMIT 1"
    return bool(_rows(home, query, ["RUNNING"]))


def runs_tagged(home: Path, key: str, value: str) -> list[str]:
    """Return the runs with a tag, the newest first."""
    query = (
        "SELECT r.run_uuid FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid "
        "WHERE r.lifecycle_stage = 'active' AND t.key = ? AND t.value = ? "
        "ORDER BY r.start_time DESC, r.run_uuid"
    )
    return [run_id for (run_id,) in _rows(home, query, (key, value))]


def _rows(home: Path, query: str, values: Sequence[str]) -> list[Any]:
    database = database_of(home)
    if size_of(database) == 0:
        return []
    with _faults_told(home), closing(_connect(database)) as connection:
        return connection.execute(query, tuple(values)).fetchall()


def keep_quiet() -> None:
    """Keep MLflow, once it is imported, from logging each step, and faults that we tell of."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _is_prepared(home: Path) -> bool:
    """Whether it was whole once, with this MLflow and below this home, and still is so."""
    database = database_of(home)
    if size_of(database) == 0:
        return False
    try:
        mark = _Shape(**json.loads((home / MARK).read_bytes()))
    except (OSError, ValueError, TypeError):
        return False
    with closing(_connect(database)) as connection:
        there = _shape(connection)
        if there.mlflow != mark.mlflow or there.revision != mark.revision:
            return False
        if there.tables < mark.tables:
            raise DatabaseFaultError(database, "tables are missing")
        return not _former_homes(home, connection)


def _prepare(home: Path) -> None:
    database = database_of(home)
    for left in home.glob(f"{_BEING_MADE}*"):
        shutil.rmtree(left, ignore_errors=True)
    if size_of(database) == 0:
        if (home / MARK).exists():
            _log.warning("%s was empty or gone: MLflow's list of runs begins anew", database)
        _make(home)
    else:
        _mend_or_upgrade(home)
    with closing(_connect(database)) as connection:
        for former in _former_homes(home, connection):
            _follow(home, former, connection)
        shape = _shape(connection)
    write_whole(home / MARK, json.dumps(asdict(shape)).encode())


def _make(home: Path) -> None:
    """Let MLflow make a database beside, and put it into place whole."""
    database = database_of(home)
    with tempfile.TemporaryDirectory(dir=home, prefix=_BEING_MADE) as beside:
        made = Path(beside, database.name)
        _let_mlflow_make(made)
        _put_into_place(made, database)


def _let_mlflow_make(database: Path) -> None:
    from mlflow import MlflowClient

    keep_quiet()
    MlflowClient(f"sqlite:///{database}").search_experiments(max_results=1)


def _put_into_place(made: Path, database: Path) -> None:
    with written_whole(database) as beside:
        _copy(made, beside)
        # SQLite would apply what an older database has left to the new one.
        for log in logs_of(database):
            log.unlink()


def _mend_or_upgrade(home: Path) -> None:
    import mlflow
    from alembic.script import ScriptDirectory

    database = database_of(home)
    with closing(_connect(database)) as connection:
        revision = _shape(connection).revision
        holds_anything = _holds_anything(connection)
    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    if revision == scripts.get_current_head():
        return
    if not holds_anything:
        aside = set_database_aside(home)
        _log.warning(
            "%s was half made by a process that was killed. Moved it to %s", database, aside.name
        )
        _make(home)
    elif revision is None:
        raise DatabaseFaultError(database, "it does not say of which version it is")
    elif revision not in {script.revision for script in scripts.walk_revisions()}:
        raise TrackingError(
            f"{database} was made by a newer MLflow than {version('mlflow')}, which is installed: "
            "install the newer one, or use another TESSERA_HOME"
        )
    else:
        _upgrade(home)


def _upgrade(home: Path) -> None:
    """Bring a database of an older MLflow to the schema of this one, beside, after a backup."""
    import mlflow.db

    keep_quiet()
    database = database_of(home)
    backup = home / BACKUPS / f"mlflow-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.db"
    _back_up(database, backup)
    _log.warning("Upgrading %s to MLflow %s; a backup is %s", database, version("mlflow"), backup)
    with tempfile.TemporaryDirectory(dir=home, prefix=_BEING_MADE) as beside:
        upgraded = Path(beside, database.name)
        _copy(database, upgraded)
        try:
            # It prints how far it is.
            with redirect_stdout(sys.stderr):
                mlflow.db.commands.main(["upgrade", f"sqlite:///{upgraded}"], standalone_mode=False)
        except Exception as error:
            # Alembic has a kind of its own for each fault.
            reason = str(error).strip().partition("\n")[0]
            raise TrackingError(
                f"{database} cannot be upgraded to MLflow {version('mlflow')} ({reason}): move it "
                "away, and a new one is made"
            ) from error
        # In one transaction, and in the same file, which others may have open.
        _copy(upgraded, database)


def _former_homes(home: Path, connection: sqlite3.Connection) -> list[Path]:
    """Return the folders, other than the home, that experiments say to be below.

    They are known by the name of the folder of artifacts. Another path of the same folder is none.
    """
    former = []
    for (location,) in connection.execute("SELECT DISTINCT artifact_location FROM experiments"):
        address = urlsplit(location or "")
        if address.scheme not in ("", "file") or not address.path.endswith(f"/{ARTIFACTS}"):
            continue
        path = Path(unquote(address.path) if address.scheme else location)
        if path.parent != home and not _is_same_folder(path.parent, home):
            former.append(path.parent)
    return former


def _follow(home: Path, former: Path, connection: sqlite3.Connection) -> None:
    """Let all addresses of files below a former home name this one, after a backup."""
    backup = home / BACKUPS / "mlflow-before-the-home-moved.db"
    _back_up(database_of(home), backup)
    pairs = [
        ((former / ARTIFACTS).as_uri(), (home / ARTIFACTS).as_uri()),
        (str(former / ARTIFACTS), str(home / ARTIFACTS)),
    ]
    n_changed = 0
    connection.execute("BEGIN IMMEDIATE")
    for table, column in ADDRESSES:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        if column not in columns:
            continue
        for old, new in pairs:
            n_changed += connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
            ).rowcount
    connection.commit()
    _log.warning(
        "The home %s was moved or copied from %s: %s addresses of files in mlflow.db follow it; a "
        "backup is %s",
        home,
        former,
        f"{n_changed:,}",
        backup,
    )


@contextmanager
def _faults_told(home: Path) -> Iterator[None]:
    """Say in a sentence what SQLite cannot do with the database."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        database = database_of(home)
        # A missing table is an error of no kind of its own.
        if is_damage(error) or primary_code(error) == sqlite3.SQLITE_ERROR:
            raise DatabaseFaultError(database, str(error)) from error
        why = "is locked by another program" if is_locked(error) else f"cannot be used ({error})"
        raise TrackingError(f"{database} {why}") from error


def _shape(connection: sqlite3.Connection) -> _Shape:
    tables = table_names(connection)
    revision = None
    if "alembic_version" in tables:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        revision = None if row is None else str(row[0])
    return _Shape(version("mlflow"), revision, len(tables))


def _holds_anything(connection: sqlite3.Connection) -> bool:
    tables = table_names(connection)
    return any(
        connection.execute(f"SELECT 1 FROM {table} {where} LIMIT 1").fetchone() is not None  # noqa: S608
        for table, where in (
            ("runs", ""),
            ("registered_models", ""),
            ("experiments", "WHERE experiment_id <> 0"),
        )
        if table in tables
    )


def _back_up(database: Path, backup: Path) -> None:
    with written_whole(backup) as beside:
        _copy(database, beside)


def _copy(database: Path, copy: Path) -> None:
    copy_database(database, copy, LONGEST_LOCKED)


def _connect(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(database, timeout=LONGEST_LOCKED, isolation_level=None)


def _is_same_folder(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
