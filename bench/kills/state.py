"""What a home holds, so that two can be compared: its files, and the rows of its databases."""

import contextlib
import hashlib
import sqlite3
import tarfile
from pathlib import Path

from orchestration.housekeeping.backup import LAST_MEMBER

SQLITE_BEGINS = b"SQLite format 3\x00"
# In the header of a database, that its log is a journal: in memory there is no other.
_JOURNAL, _JOURNAL_FROM, _JOURNAL_TO = b"\x01\x01", 18, 20
# Locks stay, and SQLite keeps in its logs what it has not yet moved into a database.
_OF_PROCESSES = (".lock", "-wal", "-shm", "-journal")


def state_of(home: Path) -> dict[str, str]:
    """Return a digest of each file by its path, and of each database's rows; "" for a folder."""
    return {
        place.relative_to(home).as_posix(): _digest(place, home)
        for place in sorted(home.rglob("*"))
        if not place.name.endswith(_OF_PROCESSES)
    }


def state_of_backup(file: Path) -> dict[str, str]:
    """Return what ``state_of`` returns of a home that is made of a backup; {} if there is none."""
    if not file.exists():
        return {}
    found = dict[str, str]()
    with tarfile.open(file) as archive:
        for member in archive:
            content = None if member.isdir() else archive.extractfile(member)
            found[member.name] = "" if content is None else _digest_of(content.read())
    # It says when the backup was made.
    found.pop(LAST_MEMBER, None)
    return found


def difference(found: dict[str, str], expected: dict[str, str]) -> str | None:
    """Return what is different, in words; None if nothing is."""
    told = {
        "lacks": expected.keys() - found.keys(),
        "has also": found.keys() - expected.keys(),
        "differs in": {
            name for name in found.keys() & expected.keys() if found[name] != expected[name]
        },
    }
    parts = [f"{word} {', '.join(sorted(names)[:3])}" for word, names in told.items() if names]
    return "; ".join(parts) or None


def unfinished_in(folder: Path) -> list[Path]:
    """Return the files and folders that a killed process may have left."""
    return sorted(folder.rglob(".*"))


def _digest(place: Path, home: Path) -> str:
    if place.is_symlink():
        return str(place.readlink())
    if place.is_dir():
        return ""
    return _digest_of(place.read_bytes(), place, str(home))


def _digest_of(data: bytes, place: Path | None = None, home: str = "") -> str:
    """Return the digest of a file, or of a database's rows, in which ``home`` does not count.

    It lies at ``place``, or is a member of a backup.
    """
    if data.startswith(SQLITE_BEGINS):
        # One that is half unpacked is none.
        with (
            contextlib.suppress(sqlite3.DatabaseError),
            contextlib.closing(sqlite3.connect(place or ":memory:")) as connection,
        ):
            if place is None:
                connection.deserialize(data[:_JOURNAL_FROM] + _JOURNAL + data[_JOURNAL_TO:])
            rows = (row.replace(home, "") if home else row for row in connection.iterdump())
            data = "\n".join(sorted(rows)).encode()
    return hashlib.sha256(data).hexdigest()
