"""The inputs of an app: the pictures that were posted, by content, and what is known of each.

Any number of threads and processes may use one store side by side.
"""

import csv
import io
import json
import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from assets.methods.common.files import write_whole
from assets.methods.common.timestamps import now
from assets.methods.photos.decode import image_id

# What became of an input, numbered as the HTTP contract numbers it; other numbers are failures.
DONE = 30000
PENDING = 30001

_LABEL_ABOVE = 0.5
_FILES_AT_ONCE = 500

_SCHEMA = """
CREATE TABLE IF NOT EXISTS inputs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    image_id TEXT,
    url TEXT,
    allow_duplicate INTEGER NOT NULL,
    crop TEXT,
    concepts TEXT,
    metadata TEXT,
    created_at TEXT NOT NULL,
    modified_at TEXT NOT NULL,
    code INTEGER NOT NULL,
    detail TEXT,
    format TEXT,
    width INTEGER,
    height INTEGER,
    label TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS inputs_in_order ON inputs (number);
CREATE INDEX IF NOT EXISTS inputs_by_image ON inputs (image_id);
CREATE INDEX IF NOT EXISTS inputs_by_url ON inputs (url);
CREATE INDEX IF NOT EXISTS inputs_by_code ON inputs (code);
CREATE TABLE IF NOT EXISTS revision (value INTEGER NOT NULL);
INSERT INTO revision SELECT 0 WHERE NOT EXISTS (SELECT * FROM revision);
"""


@dataclass(frozen=True)
class InputImage:
    """A picture that was decoded: its file, and its size, upright, in px."""

    data: bytes = field(repr=False)
    format: str
    width: int
    height: int


@dataclass(frozen=True)
class NewInput:
    """What an input is stored with.

    Attributes:
        id: its own, or None for a new one.
        picture: None while its ``url`` has yet to be downloaded: the input is pending.
        allow_duplicate: store it although its ``url``, or what that leads to, is stored already.
        crop: top, left, bottom, right, as shares of the height and the width.
        concepts: labels, each with its value from 0 to 1.
        metadata: what can be written as JSON.
    """

    id: str | None = None
    picture: InputImage | None = None
    url: str | None = None
    allow_duplicate: bool = False
    crop: tuple[float, float, float, float] | None = None
    concepts: tuple[tuple[str, float], ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredInput:
    """An input: done, pending, or failed for the reason in ``detail``.

    ``number`` is its place in the order of arrival and never given twice. Format, size (px) and
    image_id, the name of its file, are None unless it is done. ``label`` is the concept with the
    highest value, empty if none is above one half.
    """

    number: int
    id: str
    image_id: str | None
    url: str | None
    allow_duplicate: bool
    crop: tuple[float, float, float, float] | None
    concepts: tuple[tuple[str, float], ...]
    metadata: dict[str, Any]
    created_at: str
    modified_at: str
    code: int
    detail: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    label: str = ""


@dataclass(frozen=True)
class InputPhoto:
    """What a map needs to know of an input that is done."""

    id: str
    image_id: str
    label: str


@dataclass(frozen=True)
class DuplicateInput:
    """An input was not stored, as another is there already; ``detail`` says what they share."""

    existing: StoredInput
    detail: str


@dataclass(frozen=True)
class StoreFull:
    """An input was not stored, as there are ``limit`` already."""

    limit: int


@dataclass(frozen=True)
class InputCounts:
    """How many inputs are done, pending and failed."""

    done: int
    pending: int
    failed: int


class InputStore:
    """The store below ``folder``, which is made if need be; to be closed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._writing = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = self._connect()
        # SQLite does not wait for another process while it changes to WAL.
        with FileLock(folder / "inputs.lock"):
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._writer.executescript(_SCHEMA)
        self._writer.execute("PRAGMA synchronous = NORMAL")

    def add(
        self, inputs: Sequence[NewInput], limit: int
    ) -> list[StoredInput | DuplicateInput | StoreFull]:
        """Store inputs; return, in their order, what was stored or why it was not.

        An id, an address or a picture is stored once, whoever else posts it at the same time. An
        input that failed gives way to another with its id. ``limit`` is the number of inputs that
        the store may hold.
        """
        outcomes: list[StoredInput | DuplicateInput | StoreFull] = []
        with self._changes() as connection:
            (n_stored,) = connection.execute("SELECT COUNT(*) FROM inputs").fetchone()
            for new in inputs:
                known = None if new.id is None else _one(connection, "id", new.id)
                duplicate = _duplicate(connection, new, known)
                if duplicate is not None:
                    outcomes.append(duplicate)
                elif known is None and n_stored >= limit:
                    outcomes.append(StoreFull(limit))
                else:
                    outcomes.append(self._insert(connection, new))
                    n_stored += known is None
        return outcomes

    def mark_done(self, number: int, picture: InputImage) -> StoredInput | DuplicateInput | None:
        """Give a pending input its picture; None if it is not there, or not pending, any more.

        A duplicate stays pending: whether it is kept as a failure is the caller's to say.
        """
        with self._changes() as connection:
            waiting = _one(connection, "number", number)
            if waiting is None or waiting.code != PENDING:
                return None
            identity = image_id(picture.data)
            duplicate = None if waiting.allow_duplicate else _same_picture(connection, identity)
            if duplicate is not None:
                return duplicate
            self._write_file(identity, picture.data)
            connection.execute(
                "UPDATE inputs SET image_id = ?, format = ?, width = ?, height = ?, code = ?,"
                " modified_at = ? WHERE number = ?",
                (identity, picture.format, picture.width, picture.height, DONE, now(), number),
            )
            return _one(connection, "number", number)

    def mark_failed(self, number: int, code: int, detail: str) -> None:
        """Note why a pending input failed, if it is still there."""
        with self._changes() as connection:
            connection.execute(
                "UPDATE inputs SET code = ?, detail = ?, modified_at = ?"
                " WHERE number = ? AND code = ?",
                (code, detail, now(), number, PENDING),
            )

    def withdraw(self, numbers: Iterable[int]) -> None:
        """Forget inputs by their numbers, as if they had never come."""
        self._delete(
            "SELECT number, id, image_id FROM inputs"
            " WHERE number IN (SELECT value FROM json_each(?))",
            list(numbers),
        )

    def delete(self, ids: Sequence[str]) -> set[str]:
        """Delete inputs, and files that no other input has; return the ids of those there were."""
        return self._delete(
            "SELECT number, id, image_id FROM inputs WHERE id IN (SELECT value FROM json_each(?))",
            list(ids),
        )

    def delete_all(self) -> None:
        """Delete every input and every file."""
        with self._changes() as connection:
            connection.execute("DELETE FROM inputs")
        self.sweep()

    def sweep(self) -> None:
        """Remove files that no input has: a process may have been killed before it removed them."""
        known = {photo.image_id for photo in self.done()}
        files = (self._folder / "files").glob("??/*")
        self._remove_unused([path for path in files if path.name not in known])

    def find(self, identifier: str) -> StoredInput | None:
        """Return the input with this id, or None."""
        with self._reading() as connection:
            return _one(connection, "id", identifier)

    def find_all(self, ids: Sequence[str]) -> dict[str, StoredInput]:
        """Return those of the inputs with these ids that there are, by their ids."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT * FROM inputs WHERE id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(ids)),),
            ).fetchall()
        return {stored.id: stored for stored in map(_stored, rows)}

    def page(self, number: int, per_page: int) -> list[StoredInput]:
        """Return page ``number``, from 1, of all inputs, the oldest first."""
        with self._reading() as connection:
            rows = connection.execute(
                # Passes over what comes before in an index, where a hundred rows share a page.
                "SELECT * FROM inputs WHERE number IN (SELECT number FROM inputs"
                " INDEXED BY inputs_in_order ORDER BY number LIMIT ? OFFSET ?) ORDER BY number",
                (per_page, (number - 1) * per_page),
            ).fetchall()
        return [_stored(row) for row in rows]

    def counts(self) -> InputCounts:
        """Return how many inputs there are of each kind."""
        with self._reading() as connection:
            found = dict(
                connection.execute("SELECT code, COUNT(*) FROM inputs GROUP BY code").fetchall()
            )
        done, pending = found.pop(DONE, 0), found.pop(PENDING, 0)
        return InputCounts(done, pending, sum(found.values()))

    def has_done(self) -> bool:
        """Whether any input is done."""
        with self._reading() as connection:
            found = connection.execute("SELECT 1 FROM inputs WHERE code = ? LIMIT 1", (DONE,))
            return found.fetchone() is not None

    def done(self, ids: Sequence[str] | None = None) -> list[InputPhoto]:
        """Return the inputs that are done, all or those with these ids, the oldest first."""
        with self._reading() as connection:
            if ids is None:
                found = connection.execute(_DONE, (DONE,))
            else:
                found = connection.execute(_DONE_AMONG, (json.dumps(list(ids)), DONE))
            return [InputPhoto(*row) for row in found.fetchall()]

    def pending(self) -> list[StoredInput]:
        """Return the inputs whose download has not ended, the oldest first."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT * FROM inputs WHERE code = ? ORDER BY number", (PENDING,)
            ).fetchall()
        return [_stored(row) for row in rows]

    def revision(self) -> int:
        """Return a number that is another one after every change."""
        with self._reading() as connection:
            (value,) = connection.execute("SELECT value FROM revision").fetchone()
        return int(value)

    def path(self, image_id: str) -> Path:
        """Where the file of an input that is done is kept."""
        return self._folder / "files" / image_id[:2] / image_id

    def write_manifest(self, path: Path, ids: Sequence[str] | None = None) -> list[InputPhoto]:
        """Write the inputs that are done, all or these, as a manifest; return them.

        Its columns are uri, the path of the file, and label.
        """
        text = io.StringIO(newline="")
        rows = csv.writer(text)
        rows.writerow(["uri", "label"])
        photos = self.done(ids)
        rows.writerows([self.path(photo.image_id), photo.label] for photo in photos)
        write_whole(path, text.getvalue().encode())
        return photos

    def close(self) -> None:
        """Close the store, once no other thread is in the middle of a change."""
        with self._writing:
            self._writer.close()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self._folder / "inputs.sqlite",
            timeout=60,
            isolation_level=None,
            check_same_thread=False,
        )

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own: it takes no turn with the writer, nor with other readers."""
        with closing(self._connect()) as connection:
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """The one connection that writes, no other process writing meanwhile."""
        with self._writing:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")

    @contextmanager
    def _changes(self) -> Iterator[sqlite3.Connection]:
        with self._transaction() as connection:
            yield connection
            connection.execute("UPDATE revision SET value = value + 1")

    def _insert(self, connection: sqlite3.Connection, new: NewInput) -> StoredInput:
        identity = None
        facts: tuple[str | int | None, ...] = (None, None, None)
        if new.picture is not None:
            identity = image_id(new.picture.data)
            facts = (new.picture.format, new.picture.width, new.picture.height)
            self._write_file(identity, new.picture.data)
        moment = now()
        # Replaces the failed input with this id, if there is one.
        cursor = connection.execute(
            "INSERT OR REPLACE INTO inputs"
            " VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                new.id or uuid.uuid4().hex,
                identity,
                new.url,
                new.allow_duplicate,
                _json(new.crop),
                _json(new.concepts),
                _json(new.metadata),
                moment,
                moment,
                PENDING if identity is None else DONE,
                None,
                *facts,
                _label(new.concepts),
            ),
        )
        stored = _one(connection, "number", cursor.lastrowid)
        assert stored is not None  # noqa: S101 - it was inserted in this transaction
        return stored

    def _write_file(self, identity: str, data: bytes) -> None:
        path = self.path(identity)
        if not path.is_file():
            write_whole(path, data)

    def _delete(self, select: str, wanted: list[Any]) -> set[str]:
        with self._changes() as connection:
            rows = connection.execute(select, (json.dumps(wanted),)).fetchall()
            connection.executemany(
                "DELETE FROM inputs WHERE number = ?", [(number,) for number, _, _ in rows]
            )
        self._remove_unused([self.path(identity) for _, _, identity in rows if identity])
        return {identifier for _, identifier, _ in rows}

    def _remove_unused(self, paths: Sequence[Path]) -> None:
        """Remove files unless an input has them, while no other writes any."""
        for start in range(0, len(paths), _FILES_AT_ONCE):
            with self._transaction() as connection:
                for path in paths[start : start + _FILES_AT_ONCE]:
                    if _one(connection, "image_id", path.name) is None:
                        path.unlink(missing_ok=True)


_DONE = "SELECT id, image_id, label FROM inputs WHERE code = ? ORDER BY number"
# The plus keeps the planner from going through all that are done.
_DONE_AMONG = (
    "SELECT id, image_id, label FROM inputs WHERE id IN (SELECT value FROM json_each(?))"
    " AND +code = ? ORDER BY number"
)
_SELECTS = {
    column: f"SELECT * FROM inputs WHERE {column} = ? ORDER BY number LIMIT 1"  # noqa: S608
    for column in ("number", "id", "image_id")
}


def _one(
    connection: sqlite3.Connection, column: str, value: str | int | None
) -> StoredInput | None:
    """The first input with this value in this column."""
    row = connection.execute(_SELECTS[column], (value,)).fetchone()
    return None if row is None else _stored(row)


def _duplicate(
    connection: sqlite3.Connection, new: NewInput, known: StoredInput | None
) -> DuplicateInput | None:
    if known is not None and known.code in (DONE, PENDING):
        return DuplicateInput(known, f"There is an input with the id {known.id} already.")
    if new.url is not None:
        return None if new.allow_duplicate else _same_url(connection, new.url)
    return None if new.picture is None else _same_picture(connection, image_id(new.picture.data))


def _same_url(connection: sqlite3.Connection, url: str) -> DuplicateInput | None:
    row = connection.execute(
        "SELECT * FROM inputs WHERE url = ? AND code IN (?, ?) ORDER BY number LIMIT 1",
        (url, DONE, PENDING),
    ).fetchone()
    if row is None:
        return None
    existing = _stored(row)
    return DuplicateInput(
        existing,
        f"Input {existing.id} has the same url; allow_duplicate_url stores it once more.",
    )


def _same_picture(connection: sqlite3.Connection, identity: str) -> DuplicateInput | None:
    existing = _one(connection, "image_id", identity)
    if existing is None:
        return None
    return DuplicateInput(existing, f"Input {existing.id} has the same picture, byte for byte.")


def _stored(row: tuple[Any, ...]) -> StoredInput:
    number, identifier, image, url, allow_duplicate, crop, concepts, metadata, *others = row
    return StoredInput(
        number,
        identifier,
        image,
        url,
        bool(allow_duplicate),
        tuple(json.loads(crop)) if crop else None,
        tuple((name, value) for name, value in json.loads(concepts)) if concepts else (),
        json.loads(metadata) if metadata else {},
        *others,
    )


def _json(value: Any) -> str | None:
    return json.dumps(value) if value else None


def _label(concepts: tuple[tuple[str, float], ...]) -> str:
    name, value = max(concepts, key=lambda concept: concept[1], default=("", 0.0))
    return name if value > _LABEL_ABOVE else ""
