"""Collections: names for sources of photos, each in a small file below the home."""

import csv
import hashlib
import io
import logging
import re
from collections.abc import Container, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from assets.methods.common.checksums import (
    DamagedFileError,
    read_checked_json,
    write_checked_json,
)
from assets.methods.common.errors import UserError
from assets.methods.common.files import set_aside, write_whole
from assets.methods.common.shown_text import without_secrets
from assets.resources.home import home_folder

_log = logging.getLogger(__name__)

# These two sources are made when they are needed: see `Photos.collection`.
DEMO_SOURCE = "demo:"
INPUTS_SOURCE = "inputs:"

# Collections that are older than the field followed all links, and no photo may drop out of a map.
BEFORE_FOLLOW_LINKS = {"follow_links": True}

# Settings of a single run, which a collection does not remember.
OF_ONE_RUN = {"fresh", "from_map", "apart"}

PARTITIONS_NAME = "collections"
# Names are used as folder names and partition keys, so they have to be safe as both.
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Collection:
    """A name for a source of photos: a folder, an fsspec URL, or a manifest.

    ``settings`` are those of the last run, by asset: the nightly run uses them again. A setting
    that is missing has its default. ``follow_links`` is for links that lead out of a folder.
    ``stale_hours`` after its source has changed, somebody is told that it was not refreshed: 0 for
    never, None for the setting of all collections.

    Raises:
        UserError: the name cannot be that of a folder.
    """

    name: str
    source: str
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    follow_links: bool = False
    stale_hours: float | None = None

    def __post_init__(self) -> None:
        if not NAME_PATTERN.fullmatch(self.name):
            raise UserError(
                f"{self.name!r} cannot name a collection: use up to 64 letters, digits, dots, "
                "dashes and underscores, the first a letter or a digit."
            )

    def run_config(self, assets: Container[str]) -> dict[str, Any]:
        """Return the settings of ``assets`` as a run that materialises them takes them."""
        return {
            "ops": {
                asset: {"config": values}
                for asset, values in self.settings.items()
                if asset in assets
            }
        }

    def with_settings(
        self, settings: dict[str, dict[str, Any]], assets: Container[str]
    ) -> "Collection":
        """Return the collection with these settings of ``assets``; those of others stay.

        A setting of another asset replaces only what it had under the same name.
        """
        others = {name: values for name, values in self.settings.items() if name not in assets}
        merged = {name: others.get(name, {}) | values for name, values in settings.items()}
        return replace(self, settings=others | merged)


class CollectionRegistry:
    """The collections below one home, and a copy of each, from which a damaged one is restored."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "collections"
        self._copies = home / "collections-backup"

    def add(self, collection: Collection) -> None:
        """Store a collection, and replace an older one with the same name.

        Settings of a single run are left out.
        """
        name, entries = collection.name, asdict(collection)
        entries["settings"] = {
            asset: {key: value for key, value in values.items() if key not in OF_ONE_RUN}
            for asset, values in collection.settings.items()
        }
        write_checked_json(self._path(name), entries, name)
        write_checked_json(self._copy(name), entries, name)

    def get(self, name: str) -> Collection:
        """Return the collection called ``name``; raises UserError when there is none.

        One whose file is damaged or gone is restored from its copy with a warning.
        """
        # An invalid name could be a path that leads out of the folder.
        is_name = NAME_PATTERN.fullmatch(name) is not None
        if not is_name or not (self._path(name).exists() or self._copy(name).exists()):
            raise UserError(
                f"There is no collection {name!r}: add it with `tessera add {name} SOURCE`."
            )
        try:
            collection, had_checksum = _read(self._path(name), name)
        except (FileNotFoundError, DamagedFileError) as error:
            collection = self._restored(name, error)
        else:
            if not had_checksum or not self._copy(name).exists():
                # It is of a home that is older than the copies.
                self.add(collection)
        return _following(collection, self._folder.parent)

    def _restored(self, name: str, fault: FileNotFoundError | DamagedFileError) -> Collection:
        path = self._path(name)
        try:
            collection, _ = _read(self._copy(name), name)
        except (FileNotFoundError, DamagedFileError):
            raise UserError(
                f"The file {path} of the collection {name} is damaged, and so is its copy: add the "
                f"collection again with `tessera add {name} SOURCE`."
            ) from fault
        if isinstance(fault, DamagedFileError):
            set_aside(path, str(fault))
        _log.warning("Restored the collection %s from %s", name, self._copy(name))
        self.add(collection)
        return collection

    def find(self, name: str) -> Collection | None:
        """Return the collection called ``name``, or None."""
        try:
            return self.get(name)
        except UserError:
            return None

    def remove(self, name: str) -> None:
        """Forget the collection called ``name``."""
        self._copy(name).unlink(missing_ok=True)
        self._path(name).unlink(missing_ok=True)

    def all(self) -> list[Collection]:
        """Return every collection, in the order of their names."""
        names = {
            path.name.removesuffix(".json")
            for folder in (self._folder, self._copies)
            for path in folder.glob("[!.]*.json")
        }
        # Another process may have removed one.
        return [known for known in map(self.find, sorted(names)) if known is not None]

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _copy(self, name: str) -> Path:
        return self._copies / f"{name}.json"


def _read(path: Path, name: str) -> tuple[Collection, bool]:
    """Return a collection, and whether its file has a checksum.

    Raises FileNotFoundError and DamagedFileError.
    """
    entries, had_checksum = read_checked_json(path, name)
    try:
        collection = Collection(**BEFORE_FOLLOW_LINKS | entries)
    except (TypeError, UserError) as error:
        raise DamagedFileError("does not have the content that was written") from error
    if collection.name != name:
        raise DamagedFileError("is that of another collection")
    return collection, had_checksum


def _following(collection: Collection, home: Path) -> Collection:
    """Return the collection with its list of photos in this home, if the home has been moved."""
    source = Path(collection.source)
    here = home / "files" / source.name
    if source == here or source.parent.name != "files" or source.exists() or not here.exists():
        return collection
    return replace(collection, source=str(here))


def manifest_of_files(uris: Iterable[str]) -> Path:
    """Write a manifest of files into the home, for a collection that consists of them.

    The same uris, in any order, have the same manifest.
    """
    content = io.StringIO()
    # Not every version of Python puts a lone carriage return into quotation marks.
    rows = csv.writer(content, lineterminator="\n", quoting=csv.QUOTE_ALL)
    rows.writerows([["uri"], *([uri] for uri in sorted(set(uris)))])
    data = content.getvalue().encode()
    path = (home_folder() / "files" / f"{_manifest_name(data)}.csv").absolute()
    write_whole(path, data)
    return path


def check_manifest(source: str, home: Path) -> None:
    """Raise UserError if ``source`` is a damaged manifest of `manifest_of_files`."""
    path = Path(source)
    if path.parent != home / "files":
        return
    try:
        is_whole = _manifest_name(path.read_bytes()) == path.stem
    except FileNotFoundError:
        is_whole = False
    if not is_whole:
        raise UserError(
            f"The list of photos {path} is damaged or missing: give the command the photos again."
        )


def _manifest_name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def collection_for(name: str, source: str, follow_links: bool | None = None) -> Collection:
    """Return the collection called ``name`` with this source, and its settings if it is known.

    ``follow_links`` None leaves it as it is for a collection that is known, and off for a new one.
    Raises UserError when the collection holds the photos posted to the HTTP service, and the source
    is another one.
    """
    before = CollectionRegistry(home_folder()).find(name)
    if before is not None and before.source == INPUTS_SOURCE != source:
        raise UserError(
            f"{name} holds what is posted to the HTTP service: choose another name for "
            f"{without_secrets(source)}."
        )
    known = before or Collection(name, source)
    follows = known.follow_links if follow_links is None else follow_links
    return replace(known, source=source, follow_links=follows)
