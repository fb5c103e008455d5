"""Files of SQLite: damage recognised, set aside or named; copied, and looked into."""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from assets.methods.common.errors import UserError

_log = logging.getLogger(__name__)

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_EXTENDED_BITS = 8
# What the names of files end in that SQLite puts beside a database.
_LOG_ENDS = ("-journal", "-wal", "-shm")


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error means a damaged file, and not a locked one or a full disk."""
    return primary_code(error) in _DAMAGE


def is_locked(error: sqlite3.Error) -> bool:
    """Whether an error means that another program holds the file."""
    return primary_code(error) in _LOCKED


def primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's code of an error without its extension; 0 for an error of Python's own."""
    return int(getattr(error, "sqlite_errorcode", 0)) % (1 << _EXTENDED_BITS)


def size_of(database: Path) -> int:
    """Return the size of a file in bytes; 0 if there is none."""
    try:
        return database.stat().st_size
    except FileNotFoundError:
        return 0


def table_names(connection: sqlite3.Connection) -> set[str]:
    """Return the names of the tables of a database."""
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {str(name) for (name,) in found}


def copy_database(source: Path, target: Path, timeout: float) -> None:
    """Copy a database, what its log holds included, to a file that others may have open.

    ``timeout`` is the seconds that each file may be held by another program.
    """
    with (
        closing(sqlite3.connect(source, timeout=timeout)) as read,
        closing(sqlite3.connect(target, timeout=timeout, isolation_level=None)) as written,
    ):
        read.backup(written)


def compact(database: Path, least_bytes: int, timeout: float) -> None:
    """Give back the room of what was deleted from a database, unless another program holds it.

    ``least_bytes`` is the free room below which it is left as it is; ``timeout`` is in seconds.
    """
    with closing(sqlite3.connect(database, timeout=timeout, isolation_level=None)) as connection:
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        (page,) = connection.execute("PRAGMA page_size").fetchone()
        try:
            if free * page > least_bytes:
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:
            if not is_locked(error):
                raise


def logs_of(database: Path) -> list[Path]:
    """Return the files beside a database in which SQLite keeps what is not yet in it."""
    logs = [database.with_name(database.name + end) for end in _LOG_ENDS]
    return [log for log in logs if log.exists()]


def is_log(file: Path) -> bool:
    """Whether a file is one of ``logs_of`` a database."""
    return any(
        file.with_name(file.name.removesuffix(end)).exists()
        for end in _LOG_ENDS
        if file.name.endswith(end)
    )


def renamed_corrupt(database: Path) -> Path:
    """Rename a database and its logs, and return where it is then.

    An earlier one that was renamed so keeps its name.
    """
    aside, number = database.with_name(f"{database.name}.corrupt"), 1
    while aside.exists():
        number += 1
        aside = database.with_name(f"{database.name}.corrupt-{number}")
    logs = logs_of(database)
    database.replace(aside)
    for log in logs:
        log.replace(aside.with_name(aside.name + log.name.removeprefix(database.name)))
    return aside


def fault_in(connection: sqlite3.Connection) -> str | None:
    """Return what SQLite finds wrong in a whole database; None if nothing is."""
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return str(error)
        raise
    return None if found == "ok" else str(found)


def set_database_aside(path: Path, consequence: str) -> None:
    """Rename a damaged database and its log to ``.corrupt``, and warn with the consequence."""
    aside = path.with_suffix(".corrupt")
    _log.warning("Moved %s, which is damaged, to %s: %s", path, aside.name, consequence)
    for end in ("", "-wal", "-shm"):
        # Another process may have moved it first, or there is no log.
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + end).replace(aside.with_name(aside.name + end))


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn an error over a damaged database, which cannot be made anew, into a UserError."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            raise UserError(
                f"The database {path} is damaged ({error}), and nothing can make it anew: put a "
                "backup in its place, or save what is left with the command .recover of sqlite3."
            ) from error
        raise
