"""The store of photos on disk: the records of files and photos, and the working copies.

Any number of processes can use one store at the same time.
"""

import io
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock
from PIL import Image

from assets.methods.common.files import write_whole
from assets.methods.photos.animation import ANIMATED_FORMATS, Animation, Frame, frame_id
from assets.methods.photos.decode import VERDICT_VERSION, DecodedPhoto
from assets.methods.photos.rejects import Reason, Rejected

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    uri TEXT NOT NULL,
    settings TEXT NOT NULL,
    stamp TEXT,
    image_id TEXT,
    reason TEXT,
    detail TEXT,
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
    PRIMARY KEY (image_id, settings)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS frame_counts (
    image_id TEXT NOT NULL PRIMARY KEY,
    n_frames INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (
    image_id TEXT NOT NULL PRIMARY KEY,
    note TEXT NOT NULL
) WITHOUT ROWID;
"""


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
        """Read the working copy, RGB and decoded. Raises FileNotFoundError."""
        return read_working_copy(self.working_copy_path(image_id))

    def keep_frame(self, image_id: str, frame: Frame, working_copy: Image.Image) -> None:
        """Store the working copy, RGB, of an animation's frame."""
        path = self.working_copy_path(frame_id(image_id, frame.number))
        write_whole(path, encode_working_copy(working_copy))

    def keep_animation(self, image_id: str, animation: Animation) -> None:
        """Store what is known of an animation, once its frames are stored."""
        path = self._frames_folder(image_id) / "animation.json"
        write_whole(path, json.dumps(asdict(animation)).encode())

    def animations(self, image_ids: Iterable[str]) -> dict[str, Animation]:
        """Return what is known of those of the photos that are animations, by image_id."""
        # Collections of a million photos have few animations: one look at the folder finds them.
        stored = {folder.name for folder in (self.folder / "frames").glob("*/*")}
        found = {one: self.animation(one) for one in image_ids if one in stored}
        return {image_id: one for image_id, one in found.items() if one is not None}

    def animation(self, image_id: str) -> Animation | None:
        """Return what is known of an animation; None for other photos."""
        try:
            stored = json.loads((self._frames_folder(image_id) / "animation.json").read_bytes())
        except FileNotFoundError:
            return None
        return Animation(**{**stored, "kept": tuple(Frame(**frame) for frame in stored["kept"])})

    def shown_ids(self, image_ids: Iterable[str]) -> dict[str, str]:
        """Return the ids under which what is computed of the working copies is stored.

        They are the image_ids; of an animation, the `frame_id` of the frame that the map shows.
        """
        ids = list(image_ids)
        animations = self.animations(ids).items()
        return {one: one for one in ids} | {
            one: frame_id(one, animation.shown) for one, animation in animations
        }

    def _frames_folder(self, image_id: str) -> Path:
        return self.folder / "frames" / image_id[:2] / image_id

    @contextmanager
    def records(self, settings: str) -> Iterator["Records"]:
        """Yield the records for ``settings``, the fingerprint of `CatalogueSettings`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "photos.sqlite"
        connection = sqlite3.connect(
            path, timeout=60, isolation_level=None, check_same_thread=False
        )
        with closing(Records(self, connection, settings)) as records:
            # SQLite does not wait for another process while it changes to WAL.
            with FileLock(self.folder / "photos.lock"):
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_SCHEMA)
                _forget_old_verdicts(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            yield records


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
        row = self._row("SELECT stamp, image_id, reason, detail FROM files", "uri", uri)
        if row is None:
            return None
        stamp, image_id, reason, detail = row
        if image_id is None:
            return KnownFile(stamp, Rejected(Reason(reason), detail))
        image = self.image(image_id)
        return KnownFile(stamp, image) if image is not None else None

    def image(self, image_id: str) -> KnownImage | None:
        """Return the record of a photo; None if it is new or its working copy has gone."""
        row = self._row(
            "SELECT image_id, width, height, format, n_bytes, taken_at, phash FROM images",
            "image_id",
            image_id,
        )
        if row is None or not self.store.working_copy_path(image_id).is_file():
            return None
        note = self._value("SELECT note FROM notes WHERE image_id = ?", image_id)
        return replace(KnownImage(*row), note=note)

    def has_frames(self, image: KnownImage, wanted: int | None) -> bool:
        """Whether all is stored that is scored when ``wanted`` frames of animations are.

        It is so of a photo that is no animation, if the file was looked at for frames.
        """
        if image.format not in ANIMATED_FORMATS:
            return True
        with self._lock:
            row = self._connection.execute(
                "SELECT n_frames FROM frame_counts WHERE image_id = ?", (image.image_id,)
            ).fetchone()
        if row is None or row[0] == 1:
            return row is not None
        animation = self.store.animation(image.image_id)
        return animation is not None and animation.has(wanted)

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
        write_whole(self.store.working_copy_path(image_id), encode_working_copy(photo.working_copy))
        facts = (photo.width, photo.height, photo.format, n_bytes, photo.taken_at, photo.phash)
        if photo.note is not None:
            self._insert("notes", image_id, photo.note)
        self._insert("images", image_id, self._settings, *facts)
        return KnownImage(image_id, *facts, photo.note)

    def close(self) -> None:
        """Close the records, after any operation of another thread."""
        with self._lock:
            self._connection.close()

    def _row(self, select: str, key: str, value: str) -> tuple[Any, ...] | None:
        with self._lock:
            found: tuple[Any, ...] | None = self._connection.execute(
                f"{select} WHERE {key} = ? AND settings = ?", (value, self._settings)
            ).fetchone()
        return found

    def _value(self, select: str, key: str) -> Any:
        with self._lock:
            row = self._connection.execute(select, (key,)).fetchone()
        return None if row is None else row[0]

    def _insert(self, table: str, *values: str | int | None) -> None:
        marks = ", ".join("?" * len(values))
        with self._lock:
            self._connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", values)  # noqa: S608
