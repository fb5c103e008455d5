"""A file of SQLite that many threads and processes read, and that one of them writes at a time."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock

from assets.methods.common.sqlite_files import damage_named


class Database:
    """The database in the file ``place``, which is made if it is missing. Close it after use.

    Args:
        place: the file; its folder is made too.
        schema: statements that may be carried out again and again.
        synchronous: FULL if what is written has to outlast a power cut.

    Raises UserError, here and when it is read or written, if the file is damaged: what such a
    database holds cannot be made anew.
    """

    def __init__(
        self, place: Path, schema: str, synchronous: Literal["FULL", "NORMAL"] = "FULL"
    ) -> None:
        self._place = place.absolute()
        self._writing = threading.Lock()
        place.parent.mkdir(parents=True, exist_ok=True)
        self._writer = self._connect()
        # SQLite does not wait for another process while it changes to WAL.
        with damage_named(self._place), FileLock(place.with_suffix(".lock")):
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._writer.executescript(schema)
        self._writer.execute(f"PRAGMA synchronous = {synchronous}")

    def close(self) -> None:
        """Close the database, after any change that another thread is making."""
        with self._writing:
            self._writer.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a new connection, which waits neither for the writer nor for other readers."""
        with damage_named(self._place), closing(self._connect()) as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection that writes; no other thread or process writes meanwhile."""
        with damage_named(self._place), self._writing:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._place, timeout=60, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        return connection
