"""Damage to files of SQLite: recognised, set aside or named."""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assets.methods.common.errors import UserError

_log = logging.getLogger(__name__)

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_EXTENDED_BITS = 8


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether an error means a damaged file, and not a locked one or a full disk."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code % (1 << _EXTENDED_BITS) in _DAMAGE


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
