"""The inputs of an app: the photos that were posted to it, and what is known of each.

Any number of threads and processes may use one store side by side.
"""

import csv
import io
import json
import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assets.methods.common.errors import UserError
from assets.methods.common.files import write_whole
from assets.methods.common.sqlite_files import damage_named, table_names
from assets.methods.common.timestamps import now
from assets.methods.photos.decode import image_id
from assets.resources.database import Database

# The file, in the folder of an app.
DATABASE = "inputs.sqlite"
# The codes of the HTTP contract for the state of an input; every other code is a failure.
DONE = 30000
PENDING = 30001

_LABEL_ABOVE = 0.5
_FILES_AT_ONCE = 500
# 0 may be stored as -0.0, and larger numbers as 1e+16.
_NEVER_WRITTEN_WITH_EXPONENT = 1e15

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
CREATE TABLE IF NOT EXISTS owner (app TEXT NOT NULL);
"""


@dataclass(frozen=True)
class InputImage:
    """A photo that can be decoded: the bytes of its file, and its size, upright, in px."""

    data: bytes = field(repr=False)
    format: str
    width: int
    height: int


@dataclass(frozen=True)
class NewInput:
    """An input to store.

    Attributes:
        id: None to have one made.
        picture: None if it has to be downloaded from ``url``: the input is pending until then.
        allow_duplicate: whether to store it if its ``url``, or the photo there, is stored already.
        crop: top, left, bottom, right, as shares of the height and the width.
        concepts: labels, each with its value from 0 to 1.
        metadata: any values that can be written as JSON.
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
    """An input that is done, pending, or failed for the reason in ``detail``.

    ``number`` is its place in the order of arrival and is never used again. Its format, its size
    (px) and its image_id, which names its file, are None unless it is done. ``label`` is the
    concept with the highest value, empty if none is above one half.
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
    """The part of an input that is done which a map needs."""

    id: str
    image_id: str
    label: str


@dataclass(frozen=True)
class DuplicateInput:
    """An input was not stored because of an ``existing`` one; ``detail`` says what they share."""

    existing: StoredInput
    detail: str


@dataclass(frozen=True)
class StoreFull:
    """An input was not stored, as the store holds its ``limit`` of inputs already."""

    limit: int


@dataclass(frozen=True)
class InputCounts:
    """The numbers of inputs that are done, pending and failed."""

    done: int
    pending: int
    failed: int


def _holds_inputs(database: Path) -> bool:
    """Whether a database has the table of the inputs. Raises UserError if it is damaged."""
    if not database.exists():
        return False
    with damage_named(database), closing(sqlite3.connect(database, timeout=60)) as connection:
        return "inputs" in table_names(connection)


class InputStore:
    """The store below ``folder``, which is made if it is missing. Close it after use.

    Raises UserError if its database is damaged, or is missing where photos are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        database = self._folder / DATABASE
        # A new database would be silent about the inputs, and files without inputs are removed.
        if any((self._folder / "files").glob("??/*")) and not _holds_inputs(database):
            raise UserError(
                f"The database {database} holds no inputs, although there are photos in "
                f"{self._folder / 'files'}: put a backup of the database in its place, or move the "
                "photos away to begin anew."
            )
        self._database = Database(database, _SCHEMA, "NORMAL")
        self._check_owner(database)

    def _check_owner(self, database: Path) -> None:
        """Raise UserError if the database is that of another app."""
        with self._database.transaction() as connection:
            row = connection.execute("SELECT app FROM owner").fetchone()
            if row is None:
                # It is new, or older than the table.
                connection.execute("INSERT INTO owner VALUES (?)", (self._folder.name,))
        if row is not None and row[0] != self._folder.name:
            self._database.close()
            raise UserError(
                f"The database {database} is that of the app {row[0]}: put a backup of the right "
                "one in its place."
            )

    def add(
        self, inputs: Sequence[NewInput], limit: int
    ) -> list[StoredInput | DuplicateInput | StoreFull]:
        """Store inputs; return for each of them what was stored, or why it was not.

        An id, a URL or a photo is stored once, even if several threads or processes add it at the
        same time. A failed input is replaced by a new one with its id. ``limit`` is the largest
        number of inputs in the store.
        """
        outcomes: list[StoredInput | DuplicateInput | StoreFull] = []
        with self._changes() as connection:
            (n_stored,) = connection.execute("SELECT COUNT(*) FROM inputs").fetchone()
            for new in inputs:
                known = None if new.id is None else _first(connection, "id = ?", new.id)
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
        """Give a pending input its picture; return None if it was deleted or is not pending.

        A duplicate stays pending: the caller decides whether it is kept as a failure.
        """
        with self._changes() as connection:
            waiting = _first(connection, "number = ?", number)
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
            return _first(connection, "number = ?", number)

    def mark_failed(self, number: int, code: int, detail: str) -> None:
        """Record why a pending input failed, if it is still there."""
        with self._changes() as connection:
            connection.execute(
                "UPDATE inputs SET code = ?, detail = ?, modified_at = ?"
                " WHERE number = ? AND code = ?",
                (code, detail, now(), number, PENDING),
            )

    @contextmanager
    def editing(self) -> Iterator["InputEditor"]:
        """Yield an editor; nobody else changes the store meanwhile, and all changes are one."""
        with self._changes() as connection:
            yield InputEditor(connection)

    def withdraw(self, numbers: Iterable[int]) -> None:
        """Delete inputs by their numbers."""
        self._delete("number", list(numbers))

    def delete(self, ids: Sequence[str]) -> set[str]:
        """Delete inputs, and files that no other input has; return the ids that were found."""
        return self._delete("id", list(ids))

    def delete_all(self) -> None:
        """Delete every input and every file."""
        with self._changes() as connection:
            connection.execute("DELETE FROM inputs")
        self.sweep()

    def sweep(self) -> None:
        """Remove files that no input has, as a process that is killed can leave some."""
        known = {photo.image_id for photo in self.done()}
        files = (self._folder / "files").glob("??/*")
        self._remove_unused([path for path in files if path.name not in known])

    def find(self, identifier: str) -> StoredInput | None:
        """Return the input with this id, or None."""
        with self._database.reading() as connection:
            return _first(connection, "id = ?", identifier)

    def find_all(self, ids: Sequence[str]) -> dict[str, StoredInput]:
        """Return the inputs with these ids by their ids, without those that are not there."""
        with self._database.reading() as connection:
            found = _select(connection, f"id {_IN_LIST}", json.dumps(list(ids)))
        return {stored.id: stored for stored in found}

    def page(self, number: int, per_page: int) -> list[StoredInput]:
        """Return page ``number``, from 1, of all inputs, the oldest first."""
        # The index is smaller than the table, so earlier pages are skipped faster in it.
        numbers = "SELECT number FROM inputs INDEXED BY inputs_in_order ORDER BY number"
        with self._database.reading() as connection:
            return _select(
                connection,
                f"number IN ({numbers} LIMIT ? OFFSET ?)",
                per_page,
                (number - 1) * per_page,
            )

    def counts(self) -> InputCounts:
        """Count the inputs that are done, pending and failed."""
        with self._database.reading() as connection:
            found = dict(
                connection.execute("SELECT code, COUNT(*) FROM inputs GROUP BY code").fetchall()
            )
        done, pending = found.pop(DONE, 0), found.pop(PENDING, 0)
        return InputCounts(done, pending, sum(found.values()))

    def has_done(self) -> bool:
        """Return whether any input is done."""
        with self._database.reading() as connection:
            found = connection.execute("SELECT 1 FROM inputs WHERE code = ? LIMIT 1", (DONE,))
            return found.fetchone() is not None

    def done(self, ids: Sequence[str] | None = None) -> list[InputPhoto]:
        """Return the inputs that are done, all or those with these ids, the oldest first."""
        with self._database.reading() as connection:
            if ids is None:
                found = connection.execute(_DONE, (DONE,))
            else:
                found = connection.execute(_DONE_AMONG, (json.dumps(list(ids)), DONE))
            return [InputPhoto(*row) for row in found]

    def ids_of_images(self, image_ids: Sequence[str]) -> dict[str, str]:
        """Return the id of the oldest input that is done for each image_id that has one."""
        with self._database.reading() as connection:
            found = connection.execute(_DONE_IMAGES, (json.dumps(list(image_ids)), DONE))
            ids: dict[str, str] = {}
            for identifier, image in found:
                ids.setdefault(image, identifier)
        return ids

    def candidates(
        self,
        url: str | None = None,
        concepts: Iterable[str] = (),
        metadata: Iterable[dict[str, Any]] = (),
    ) -> Iterator[StoredInput]:
        """Yield the inputs that are done and may match a search, the oldest first.

        All with this url, if it is given, with these concepts, and with metadata that contain these
        are among them, and some that have the same words or digits elsewhere.
        """
        texts = {json.dumps(name) for name in concepts}
        for one in metadata:
            texts.update(_texts_in_json(one))
        wanted = {"done": DONE, "url": url, "texts": json.dumps(sorted(texts))}
        with self._database.reading() as connection:
            for row in connection.execute(_CANDIDATES, wanted):
                yield _stored(row)

    def pending(self) -> list[StoredInput]:
        """Return the inputs whose download has not ended, the oldest first."""
        with self._database.reading() as connection:
            return _select(connection, "code = ?", PENDING)

    def revision(self) -> int:
        """Return a number that changes with every change of the store."""
        with self._database.reading() as connection:
            (value,) = connection.execute("SELECT value FROM revision").fetchone()
        return int(value)

    def path(self, image_id: str) -> Path:
        """Return the path of a file by its image_id."""
        return self._folder / "files" / image_id[:2] / image_id

    def write_manifest(self, path: Path, ids: Sequence[str] | None = None) -> list[InputPhoto]:
        """Write a manifest of the inputs that are done, all or those with these ids; return them.

        Its columns are uri, which is the path of the file from the manifest's folder, and label.
        """
        text = io.StringIO(newline="")
        rows = csv.writer(text)
        rows.writerow(["uri", "label"])
        photos = self.done(ids)
        # A home may be moved or copied.
        rows.writerows(
            [os.path.relpath(self.path(photo.image_id), path.parent), photo.label]
            for photo in photos
        )
        write_whole(path, text.getvalue().encode())
        return photos

    def close(self) -> None:
        """Close the store, after any change that another thread is making."""
        self._database.close()

    @contextmanager
    def _changes(self) -> Iterator[sqlite3.Connection]:
        with self._database.transaction() as connection:
            yield connection
            connection.execute("UPDATE revision SET value = value + 1")

    def _insert(self, connection: sqlite3.Connection, new: NewInput) -> StoredInput:
        values: dict[str, str | int | None] = {
            "id": new.id or uuid.uuid4().hex,
            "url": new.url,
            "allow_duplicate": new.allow_duplicate,
            "crop": _json(new.crop),
            "concepts": _json(new.concepts),
            "metadata": _json(new.metadata),
            "now": now(),
            "label": _label(new.concepts),
        }
        if new.picture is None:
            values |= dict.fromkeys(("image_id", "format", "width", "height")) | {"code": PENDING}
        else:
            identity = image_id(new.picture.data)
            self._write_file(identity, new.picture.data)
            size = {"width": new.picture.width, "height": new.picture.height}
            values |= {"image_id": identity, "format": new.picture.format, **size, "code": DONE}
        cursor = connection.execute(_INSERT, values)
        (stored,) = _select(connection, "number = ?", cursor.lastrowid)
        return stored

    def _write_file(self, identity: str, data: bytes) -> None:
        path = self.path(identity)
        if not path.is_file():
            write_whole(path, data)

    def _delete(self, column: str, values: list[Any]) -> set[str]:
        wanted = (json.dumps(values),)
        found = f"FROM inputs WHERE {column} {_IN_LIST}"
        with self._changes() as connection:
            rows = connection.execute(f"SELECT id, image_id {found}", wanted).fetchall()
            connection.execute(f"DELETE {found}", wanted)
        self._remove_unused([self.path(row["image_id"]) for row in rows if row["image_id"]])
        return {row["id"] for row in rows}

    def _remove_unused(self, paths: Sequence[Path]) -> None:
        """Remove the files that no input has, while no other thread or process writes any."""
        for start in range(0, len(paths), _FILES_AT_ONCE):
            with self._database.transaction() as connection:
                for path in paths[start : start + _FILES_AT_ONCE]:
                    if _first(connection, "image_id = ?", path.name) is None:
                        path.unlink(missing_ok=True)


class InputEditor:
    """Changes what is known of inputs; `InputStore.editing` yields it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, identifier: str) -> StoredInput | None:
        """Return the input with this id, or None."""
        return _first(self._connection, "id = ?", identifier)

    def write(
        self, number: int, concepts: tuple[tuple[str, float], ...], metadata: dict[str, Any]
    ) -> StoredInput:
        """Replace the concepts and the metadata of an input, by its number; return it."""
        self._connection.execute(
            "UPDATE inputs SET concepts = ?, metadata = ?, label = ?, modified_at = ?"
            " WHERE number = ?",
            (_json(concepts), _json(metadata), _label(concepts), now(), number),
        )
        (stored,) = _select(self._connection, "number = ?", number)
        return stored


# Replaces the failed input with this id, if there is one.
_INSERT = (
    "INSERT OR REPLACE INTO inputs VALUES (NULL, :id, :image_id, :url, :allow_duplicate, :crop,"
    " :concepts, :metadata, :now, :now, :code, NULL, :format, :width, :height, :label)"
)
# One parameter for a list of any length, in JSON.
_IN_LIST = "IN (SELECT value FROM json_each(?))"
_DONE = "SELECT id, image_id, label FROM inputs WHERE code = ? ORDER BY number"
# With the plus, SQLite finds the ids by their index, instead of reading all inputs that are done.
_DONE_AMONG = (
    f"SELECT id, image_id, label FROM inputs WHERE id {_IN_LIST} AND +code = ? ORDER BY number"  # noqa: S608
)
_DONE_IMAGES = (
    f"SELECT id, image_id FROM inputs WHERE image_id {_IN_LIST} AND +code = ? ORDER BY number"  # noqa: S608
)

# A text that is nowhere in the JSON spares reading it. With the plus, the order is the table's.
_CANDIDATES = """
SELECT * FROM inputs WHERE +code = :done AND (:url IS NULL OR url = :url)
AND NOT EXISTS (
    SELECT 1 FROM json_each(:texts)
    WHERE NOT instr(coalesce(concepts, '') || coalesce(metadata, ''), value)
) ORDER BY number
"""


def _select(
    connection: sqlite3.Connection, condition: str, *values: str | int | None
) -> list[StoredInput]:
    """Return the inputs for which a condition of SQL holds, the oldest first."""
    select = f"SELECT * FROM inputs WHERE {condition} ORDER BY number"  # noqa: S608
    return [_stored(row) for row in connection.execute(select, values)]


def _first(
    connection: sqlite3.Connection, condition: str, *values: str | int
) -> StoredInput | None:
    select = f"SELECT * FROM inputs WHERE {condition} ORDER BY number LIMIT 1"  # noqa: S608
    row = connection.execute(select, values).fetchone()
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
    existing = _first(connection, "url = ? AND code IN (?, ?)", url, DONE, PENDING)
    if existing is None:
        return None
    return DuplicateInput(
        existing,
        f"Input {existing.id} has the same url; allow_duplicate_url stores it once more.",
    )


def _same_picture(connection: sqlite3.Connection, identity: str) -> DuplicateInput | None:
    existing = _first(connection, "image_id = ?", identity)
    if existing is None:
        return None
    return DuplicateInput(existing, f"Input {existing.id} has the same picture, byte for byte.")


def _stored(row: sqlite3.Row) -> StoredInput:
    values = {
        "allow_duplicate": bool(row["allow_duplicate"]),
        "crop": tuple(json.loads(row["crop"])) if row["crop"] else None,
        "concepts": tuple(tuple(concept) for concept in json.loads(row["concepts"] or "[]")),
        "metadata": json.loads(row["metadata"] or "{}"),
    }
    return StoredInput(**dict(row) | values)


def _json(value: Any) -> str | None:
    return json.dumps(value) if value else None


def _texts_in_json(wanted: Any) -> Iterator[str]:
    """Yield texts that the JSON of everything which contains a value contains, as stored."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            yield f"{json.dumps(key)}: {_scalar_in_json(value)}"
            yield from _texts_in_json(value)
    elif isinstance(wanted, list):
        for value in wanted:
            yield _scalar_in_json(value)
            yield from _texts_in_json(value)


def _scalar_in_json(value: Any) -> str:
    """Return how the JSON of everything that equals a value begins; "" if it may vary."""
    if isinstance(value, str | bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | float) and 0 < abs(value) < _NEVER_WRITTEN_WITH_EXPONENT:
        return json.dumps(int(value) if value == int(value) else value)
    return ""


def _label(concepts: tuple[tuple[str, float], ...]) -> str:
    name, value = max(concepts, key=lambda concept: concept[1], default=("", 0.0))
    return name if value > _LABEL_ABOVE else ""
