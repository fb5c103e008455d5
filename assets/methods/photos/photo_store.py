"""The store of photos on disk: the records of files and photos, and the working copies.

Any number of processes can use one store at the same time.
"""

import io
import logging
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock
from PIL import Image

from assets.methods.common.checksums import (
    DamagedFileError,
    read_checked_json,
    read_sealed,
    seal,
    write_checked_json,
    write_sealed,
)
from assets.methods.common.errors import UserError
from assets.methods.common.files import remove, set_aside
from assets.methods.common.sqlite_files import fault_in, set_database_aside, table_names
from assets.methods.photos.animation import ANIMATED_FORMATS, Animation, Frame, frame_id
from assets.methods.photos.decode import VERDICT_VERSION, DecodedPhoto
from assets.methods.photos.rejects import Reason, Rejected

_log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    uri TEXT NOT NULL,
    settings TEXT NOT NULL,
    stamp TEXT,
    image_id TEXT,
    reason TEXT,
    detail TEXT,
    checksum INTEGER,
    PRIMARY KEY (uri, settings)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS images (
    image_id TEXT NOT NULL,
    settings TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    format TEXT NOT NULL,
    n_bytes INTEGER NOT NULL,
    taken_at TEXT,
    phash TEXT NOT NULL,
    checksum INTEGER,
    PRIMARY KEY (image_id, settings)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS frame_counts (
    image_id TEXT NOT NULL PRIMARY KEY,
    n_frames INTEGER NOT NULL,
    checksum INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (
    image_id TEXT NOT NULL PRIMARY KEY,
    note TEXT NOT NULL,
    checksum INTEGER
) WITHOUT ROWID;
"""
_DAMAGED: tuple[Any, ...] = ()
_TABLES = ("files", "images", "frame_counts", "notes")
_JPEG_BEGINS, _JPEG_ENDS = b"\xff\xd8", b"\xff\xd9"
_DECODED_AGAIN = "photos are decoded again as their collections are mapped or scored"


class LostWorkingCopyError(UserError, FileNotFoundError):
    """The working copy of a photo is missing, or was damaged and has been set aside."""

    def __init__(self, image_id: str) -> None:
        super().__init__(
            f"The working copy of the photo {image_id} is missing or was damaged: map or score its "
            "collection again, which decodes the photo again."
        )


@dataclass(frozen=True)
class KnownImage:
    """The record of a photo; sizes in px (upright) and bytes; ``note`` as in `DecodedPhoto`."""

    image_id: str
    width: int
    height: int
    format: str
    n_bytes: int
    taken_at: str | None
    phash: str
    note: str | None = None


@dataclass(frozen=True)
class KnownFile:
    """The record of a file with this ``stamp``: its photo, or why it was rejected."""

    stamp: str | None
    verdict: KnownImage | Rejected


def encode_working_copy(image: Image.Image) -> bytes:
    """Encode a working copy, RGB, as the JPEG that is stored."""
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=95, subsampling="4:4:4")
    return encoded.getvalue()


def read_working_copy(file: Path | BinaryIO) -> Image.Image:
    """Read a stored working copy, RGB and decoded. Raises FileNotFoundError."""
    with Image.open(file, formats=["JPEG"]) as image:
        return image.convert("RGB")


def as_stored(image: Image.Image) -> Image.Image:
    """Return a working copy, RGB, as it is after it was stored and read."""
    return read_working_copy(io.BytesIO(encode_working_copy(image)))


@dataclass(frozen=True)
class PhotoStore:
    """The store below ``folder``, which need not exist yet."""

    folder: Path

    def working_copy_path(self, image_id: str) -> Path:
        """Return the path of the working copy of a photo, or of a frame by its `frame_id`."""
        image_id, _, number = image_id.partition("-")
        if number:
            return self._frames_folder(image_id) / f"{number}.jpg"
        return self.folder / "working_copies" / image_id[:2] / f"{image_id}.jpg"

    def open_working_copy(self, image_id: str) -> Image.Image:
        """Read the working copy, RGB and decoded. One that is damaged is set aside.

        Raises:
            LostWorkingCopyError: it is damaged, or missing.
        """
        path = self.working_copy_path(image_id)
        try:
            content, was_sealed = _read_jpeg(path, image_id)
            image = read_working_copy(io.BytesIO(content))
        except FileNotFoundError as error:
            raise LostWorkingCopyError(image_id) from error
        except (DamagedFileError, OSError, ValueError) as error:
            set_aside(path, f"cannot be read ({error})")
            raise LostWorkingCopyError(image_id) from error
        if not was_sealed:
            seal(path, content, image_id)
        return image

    def has_working_copy(self, image_id: str) -> bool:
        """Whether the working copy is there and whole; one that is damaged is set aside."""
        path = self.working_copy_path(image_id)
        try:
            _read_jpeg(path, image_id)
        except FileNotFoundError:
            return False
        except DamagedFileError as error:
            set_aside(path, f"{error}; the photo is decoded again")
            return False
        return True

    def keep_working_copy(self, image_id: str, working_copy: Image.Image) -> None:
        """Store the working copy, RGB, of a photo, or of a frame by its `frame_id`."""
        path = self.working_copy_path(image_id)
        write_sealed(path, encode_working_copy(working_copy), image_id)

    def keep_frame(self, image_id: str, frame: Frame, working_copy: Image.Image) -> None:
        """Store the working copy, RGB, of an animation's frame."""
        self.keep_working_copy(frame_id(image_id, frame.number), working_copy)

    def keep_animation(self, image_id: str, animation: Animation) -> None:
        """Store what is known of an animation, once its frames are stored."""
        write_checked_json(self._animation_path(image_id), asdict(animation), image_id)

    def animations(self, image_ids: Iterable[str]) -> dict[str, Animation]:
        """Return what is known of those of the photos that are animations, by image_id."""
        # Collections of a million photos have few animations: one look at the folder finds them.
        stored = {folder.name for folder in (self.folder / "frames").glob("*/*")}
        found = {one: self.animation(one) for one in image_ids if one in stored}
        return {image_id: one for image_id, one in found.items() if one is not None}

    def animation(self, image_id: str) -> Animation | None:
        """Return what is known of an animation; None for other photos.

        Raises:
            LostWorkingCopyError: it was damaged, and has been set aside.
        """
        path = self._animation_path(image_id)
        try:
            stored, _ = read_checked_json(path, image_id)
            kept = tuple(Frame(**frame) for frame in stored["kept"])
            return Animation(**{**stored, "kept": kept})
        except FileNotFoundError:
            return None
        except (DamagedFileError, KeyError, TypeError) as error:
            set_aside(path, "does not have the content that was written")
            raise LostWorkingCopyError(image_id) from error

    def shown_ids(self, image_ids: Iterable[str]) -> dict[str, str]:
        """Return the ids under which what is computed of the working copies is stored.

        They are the image_ids; of an animation, the `frame_id` of the frame that the map shows.
        """
        ids = list(image_ids)
        animations = self.animations(ids).items()
        return {one: one for one in ids} | {
            one: frame_id(one, animation.shown) for one, animation in animations
        }

    def image_ids(self) -> set[str]:
        """Return the image_ids of the photos that anything is stored of."""
        copies = (self.folder / "working_copies").glob("*/[!.]*.jpg")
        frames = (self.folder / "frames").glob("*/[!.]*")
        return {copy.stem for copy in copies} | {folder.name for folder in frames}

    def places(self, image_id: str) -> list[Path]:
        """Return the file and the folder, as far as they are there, that hold a photo's pixels."""
        both = self.working_copy_path(image_id), self._frames_folder(image_id)
        return [place for place in both if place.exists()]

    def forget(self, image_ids: Iterable[str]) -> None:
        """Remove all that is stored of photos; of one that is met again, all is made anew."""
        ids = [(image_id,) for image_id in image_ids]
        # The records first: what is stored without one is found again, and removed by a repeat.
        if (self.folder / "photos.sqlite").exists():
            with FileLock(self.folder / "photos.lock"):
                connection = self._open_database()
            with closing(connection):
                connection.execute("BEGIN IMMEDIATE")
                with connection:
                    for table in _TABLES:
                        connection.executemany(
                            f"DELETE FROM {table} WHERE image_id = ?",  # noqa: S608
                            ids,
                        )
        for (image_id,) in ids:
            for place in self.places(image_id):
                remove(place)

    def _frames_folder(self, image_id: str) -> Path:
        return self.folder / "frames" / image_id[:2] / image_id

    def _animation_path(self, image_id: str) -> Path:
        return self._frames_folder(image_id) / "animation.json"

    @contextmanager
    def records(self, settings: str) -> Iterator["Records"]:
        """Yield the records for ``settings``, the fingerprint of `CatalogueSettings`.

        A damaged database is set aside with a warning, and photos are decoded again.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # SQLite does not wait for another process while it changes to WAL.
        with FileLock(self.folder / "photos.lock"):
            connection = self._open_database()
        with closing(Records(self, connection, settings)) as records:
            connection.execute("PRAGMA synchronous = NORMAL")
            yield records

    def _open_database(self) -> sqlite3.Connection:
        path = self.folder / "photos.sqlite"
        connection = _connect(path)
        try:
            fault = fault_in(connection)
            if fault is not None:
                connection.close()
                set_database_aside(path, _DECODED_AGAIN)
                connection = _connect(path)
            elif (
                "images" not in table_names(connection)
                and (self.folder / "working_copies").exists()
            ):
                _log.warning("%s held no records of photos: %s", path, _DECODED_AGAIN)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
            _add_checksums(connection)
            _forget_old_verdicts(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)


def _read_jpeg(path: Path, image_id: str) -> tuple[bytes, bool]:
    """Return the content of a stored JPEG, and whether it had a seal.

    Raises FileNotFoundError and DamagedFileError.
    """
    content, was_sealed = read_sealed(path, image_id)
    # One that is older than the seals, or was cut, can be judged by its ends alone.
    if not (content.startswith(_JPEG_BEGINS) and content.endswith(_JPEG_ENDS)):
        raise DamagedFileError("is not whole")
    return content, was_sealed


def _add_checksums(connection: sqlite3.Connection) -> None:
    """Give the rows of a database that is older than the checksums theirs."""
    for table in _TABLES:
        columns = [str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")]
        if "checksum" in columns:
            continue
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            rows = connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
            connection.execute(f"ALTER TABLE {table} ADD COLUMN checksum INTEGER")
            marks = ", ".join("?" * (len(columns) + 1))
            connection.executemany(
                f"INSERT OR REPLACE INTO {table} VALUES ({marks})",  # noqa: S608
                ((*row, _checksum(row)) for row in rows),
            )


def _checksum(values: tuple[Any, ...]) -> int:
    return zlib.crc32(repr(values).encode())


def _forget_old_verdicts(connection: sqlite3.Connection) -> None:
    """Forget which files an earlier version refused, so that each of them is tried once more."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < VERDICT_VERSION:
        connection.execute("DELETE FROM files WHERE image_id IS NULL")
        connection.execute(f"PRAGMA user_version = {VERDICT_VERSION}")


class Records:
    """The records of files and photos for one fingerprint of settings; safe among threads."""

    def __init__(self, store: PhotoStore, connection: sqlite3.Connection, settings: str):
        self.store = store
        self._connection = connection
        self._settings = settings
        self._lock = threading.Lock()

    def file(self, uri: str) -> KnownFile | None:
        """Return the record of a file; None if it is new or its working copy has gone."""
        row = self._row("files", uri=uri, settings=self._settings)
        if not row:
            return None
        _, _, stamp, image_id, reason, detail = row
        if image_id is None:
            return KnownFile(stamp, Rejected(Reason(reason), detail))
        image = self.image(image_id)
        return KnownFile(stamp, image) if image is not None else None

    def image(self, image_id: str) -> KnownImage | None:
        """Return the record of a photo; None if it is new or its working copy has gone."""
        row = self._row("images", image_id=image_id, settings=self._settings)
        note = self._row("notes", image_id=image_id)
        if not row or note == _DAMAGED or not self.store.has_working_copy(image_id):
            return None
        return replace(KnownImage(image_id, *row[2:]), note=None if note is None else note[1])

    def has_frames(self, image: KnownImage, wanted: int | None) -> bool:
        """Whether all is stored that is scored when ``wanted`` frames of animations are.

        It is so of a photo that is no animation, if the file was looked at for frames.
        """
        if image.format not in ANIMATED_FORMATS:
            return True
        row = self._row("frame_counts", image_id=image.image_id)
        if not row or row[1] == 1:
            return bool(row)
        # A damaged animation is decoded again.
        with suppress(LostWorkingCopyError):
            animation = self.store.animation(image.image_id)
            return (
                animation is not None
                and animation.has(wanted)
                and all(
                    self.store.has_working_copy(frame_id(image.image_id, frame.number))
                    for frame in animation.chosen(wanted)
                )
            )
        return False

    def keep_frame_count(self, image_id: str, n_frames: int) -> None:
        """Store how many frames a photo has, once they are stored."""
        self._insert("frame_counts", image_id, n_frames)

    def keep_file(self, uri: str, known: KnownFile) -> None:
        """Store the record of a file."""
        verdict = known.verdict
        if isinstance(verdict, Rejected):
            columns = (None, verdict.reason.value, verdict.detail)
            self._insert("files", uri, self._settings, known.stamp, *columns)
        else:
            self._insert("files", uri, self._settings, known.stamp, verdict.image_id, None, None)

    def keep_image(self, image_id: str, n_bytes: int, photo: DecodedPhoto) -> KnownImage:
        """Store a decoded photo: first its working copy, then its record."""
        self.store.keep_working_copy(image_id, photo.working_copy)
        facts = (photo.width, photo.height, photo.format, n_bytes, photo.taken_at, photo.phash)
        if photo.note is not None:
            self._insert("notes", image_id, photo.note)
        self._insert("images", image_id, self._settings, *facts)
        return KnownImage(image_id, *facts, photo.note)

    def close(self) -> None:
        """Close the records, after any operation of another thread."""
        with self._lock:
            self._connection.close()

    def _row(self, table: str, **keys: str) -> tuple[Any, ...] | None:
        """Return the row with these keys without its checksum.

        It is None if there is none, and ``_DAMAGED`` if it has another checksum.
        """
        where = " AND ".join(f"{column} = ?" for column in keys)
        with self._lock:
            row = self._connection.execute(
                f"SELECT * FROM {table} WHERE {where}",  # noqa: S608
                tuple(keys.values()),
            ).fetchone()
        if row is None:
            return None
        *values, checksum = row
        if _checksum(tuple(values)) != checksum:
            _log.warning(
                "The record of %s in the table %s of %s is damaged: the photo is read again",
                next(iter(keys.values())),
                table,
                self.store.folder / "photos.sqlite",
            )
            return _DAMAGED
        return tuple(values)

    def _insert(self, table: str, *values: str | int | None) -> None:
        marks = ", ".join("?" * (len(values) + 1))
        with self._lock:
            self._connection.execute(
                f"INSERT OR REPLACE INTO {table} VALUES ({marks})",  # noqa: S608
                (*values, _checksum(values)),
            )
