"""Files of models that nothing refers to: networks of projections, and downloads from MLflow.

A network that is registered is fetched from MLflow if it is needed again, as a download is.
"""

import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from assets.generations import is_generation
from assets.io_managers import UNTOUCHED_SECONDS
from assets.methods.layout.network_store import NetworkStore
from assets.resources.collections import CollectionRegistry
from assets.resources.models import Models
from assets.resources.photos import PROJECTIONS
from assets.resources.tracking import Tracking
from assets.values import NETWORK_COLUMN
from orchestration.housekeeping.removals import Removal, removal_of_places


def unused_networks(home: Path, removed: Container[Path]) -> Removal:
    """Return the networks that have placed none of the stored photos.

    ``removed`` has the folders of the values that are about to go.
    """
    files = list[Path]()
    for folder in sorted((home / PROJECTIONS).glob("*/")):
        used = _networks_of(home, folder.name, removed)
        if used is not None:
            files += filter(_is_old, NetworkStore(folder).but(used))
    return removal_of_places("network", home, files)


def unused_downloads(home: Path, tracking: Tracking) -> Removal:
    """Return the downloads of models of MLflow that no collection has in its settings."""
    uris = {
        text
        for collection in CollectionRegistry(home).all()
        for text in _texts(collection.settings)
        if text.startswith(("models:/", "runs:/"))
    }
    unused = Models(home, tracking).registry.downloads_but(uris)
    return removal_of_places("downloaded model", home, filter(_is_old, unused))


def _networks_of(home: Path, name: str, removed: Container[Path]) -> set[str] | None:
    """Return the fingerprints that the values of a collection name; None if one is damaged."""
    found = set[str]()
    for generation in (home / "outputs").glob(f"*/{name}/*/"):
        if not is_generation(generation.name) or generation in removed:
            continue
        for table in generation.rglob("[!.]*.parquet"):
            try:
                if NETWORK_COLUMN in pq.read_schema(table).names:
                    column = pq.read_table(table, columns=[NETWORK_COLUMN])[NETWORK_COLUMN]
                    found |= {*column.unique().to_pylist()} - {None}
            except (OSError, pa.ArrowException):
                return None
    return found


def _is_old(place: Path) -> bool:
    """Whether no command that is at work can have made or used it."""
    return place.stat().st_mtime < time.time() - UNTOUCHED_SECONDS


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)
