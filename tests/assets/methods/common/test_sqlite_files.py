import sqlite3
from contextlib import closing

import pytest

from assets.methods.common.sqlite_files import (
    copy_database,
    fault_in,
    is_damage,
    is_locked,
    renamed_corrupt,
    size_of,
    table_names,
)


def error_of(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("told")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "damaged", "locked"),
    [
        (sqlite3.SQLITE_CORRUPT, True, False),
        (sqlite3.SQLITE_NOTADB, True, False),
        (sqlite3.SQLITE_CORRUPT_INDEX, True, False),
        (sqlite3.SQLITE_BUSY, False, True),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, False, True),
        (sqlite3.SQLITE_BUSY_RECOVERY, False, True),
        (sqlite3.SQLITE_FULL, False, False),
        (sqlite3.SQLITE_IOERR, False, False),
    ],
)
def test_a_lock_and_a_full_disk_are_no_damage(code, damaged, locked):
    assert (is_damage(error_of(code)), is_locked(error_of(code))) == (damaged, locked)


def test_a_database_is_copied_with_what_its_log_holds_and_looked_into(tmp_path):
    source, copy = tmp_path / "source.db", tmp_path / "copy.db"
    with closing(sqlite3.connect(source, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE birds (name TEXT)")
        copy_database(source, copy, timeout=5)
    with closing(sqlite3.connect(copy)) as connection:
        assert table_names(connection) == {"birds"}
        assert fault_in(connection) is None
    assert size_of(copy) > 0
    assert size_of(tmp_path / "none.db") == 0


def test_a_database_is_renamed_with_its_logs_and_no_earlier_one_is_replaced(tmp_path):
    database, names = tmp_path / "runs.db", []
    for number in range(2):
        database.write_bytes(bytes([number]))
        (tmp_path / "runs.db-wal").write_bytes(bytes([number, number]))
        names.append(renamed_corrupt(database).name)
    assert names == ["runs.db.corrupt", "runs.db.corrupt-2"]
    assert (tmp_path / "runs.db.corrupt-wal").read_bytes() == b"\0\0"
    assert (tmp_path / "runs.db.corrupt-2-wal").read_bytes() == b"\1\1"
    assert not database.exists()
