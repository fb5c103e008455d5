"""Collections: names for sources of photos, each in a small file below the home."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Container, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg

from assets.methods.common.errors import UserError
from assets.methods.common.files import write_whole
from assets.methods.common.shown_text import without_secrets
from assets.resources.home import home_folder

# These two sources are made when they are needed: see `Photos.collection`.
DEMO_SOURCE = "demo:"
INPUTS_SOURCE = "inputs:"

# Collections that are older than the field followed all links, and no photo may drop out of a map.
BEFORE_FOLLOW_LINKS = {"follow_links": True}

PARTITIONS_NAME = "collections"
COLLECTIONS = dg.DynamicPartitionsDefinition(name=PARTITIONS_NAME)
# Names are used as folder names and partition keys, so they have to be safe as both.
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Collection:
    """A name for a source of photos: a folder, an fsspec URL, or a manifest.

    ``settings`` are those of the last run, by asset: the nightly run uses them again. A setting
    that is missing has its default. ``follow_links`` is for links that lead out of a folder.

    Raises:
        UserError: the name cannot be that of a folder.
    """

    name: str
    source: str
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    follow_links: bool = False

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
    """The collections below one home."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "collections"

    def add(self, collection: Collection) -> None:
        """Store a collection, and replace an older one with the same name."""
        write_whole(self._path(collection.name), json.dumps(asdict(collection)).encode())

    def get(self, name: str) -> Collection:
        """Return the collection called ``name``; raises UserError when there is none."""
        try:
            # An invalid name could be a path that leads out of the folder.
            text = self._path(name).read_text() if NAME_PATTERN.fullmatch(name) else None
        except FileNotFoundError:
            text = None
        if text is None:
            raise UserError(
                f"There is no collection {name!r}: add it with `tessera add {name} SOURCE`."
            )
        try:
            return Collection(**BEFORE_FOLLOW_LINKS | json.loads(text))
        except (TypeError, ValueError) as error:
            raise UserError(
                f"The file {self._path(name)} of the collection {name} is damaged: add the "
                f"collection again with `tessera add {name} SOURCE`."
            ) from error

    def find(self, name: str) -> Collection | None:
        """Return the collection called ``name``, or None."""
        try:
            return self.get(name)
        except UserError:
            return None

    def remove(self, name: str) -> None:
        """Forget the collection called ``name``."""
        self._path(name).unlink(missing_ok=True)

    def all(self) -> list[Collection]:
        """Return every collection, in the order of their names."""
        names = [path.stem for path in sorted(self._folder.glob("[!.]*.json"))]
        # Another process may have removed one.
        return [known for known in map(self.find, names) if known is not None]

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def manifest_of_files(uris: Iterable[str]) -> Path:
    """Write a manifest of files into the home, for a collection that consists of them.

    The same uris, in any order, have the same manifest.
    """
    content = io.StringIO()
    # Not every version of Python puts a lone carriage return into quotation marks.
    rows = csv.writer(content, lineterminator="\n", quoting=csv.QUOTE_ALL)
    rows.writerows([["uri"], *([uri] for uri in sorted(set(uris)))])
    data = content.getvalue().encode()
    name = hashlib.sha256(data).hexdigest()[:16]
    path = (home_folder() / "files" / f"{name}.csv").absolute()
    write_whole(path, data)
    return path


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
    return Collection(name, source, known.settings, follows)
