"""The photos of collections, and what has been computed of them."""

from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import dagster as dg

from assets.methods.common.errors import UserError
from assets.methods.layout.network_store import NetworkStore
from assets.methods.layout.projection.projection import ProjectionStore
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.photo_store import PhotoStore
from assets.resources.collections import (
    DEMO_SOURCE,
    INPUTS_SOURCE,
    Collection,
    CollectionRegistry,
    check_manifest,
)
from assets.resources.input_store import DATABASE, InputStore
from assets.resources.recent_use import RecentUse

# The folder below the home of the photos that were posted to the service.
INPUTS = "inputs"
# Those of trained models, of pages of maps, of pages that are kept with the maps of the service, of
# the networks of inductive projections, and of maps that are kept. Each collection has a folder of
# its own in them, which goes when the collection is removed.
TRAININGS, PAGES, KEPT_PAGES, PROJECTIONS, MAPS = FOLDERS_OF_COLLECTIONS = (
    "trainings",
    "pages",
    "kept_pages",
    "projections",
    "maps",
)


def inputs_folder(home: Path, name: str) -> Path:
    """Return the folder of the photos that were posted to an app."""
    return home / INPUTS / name


def inputs_databases(home: Path) -> list[Path]:
    """Return the databases of the photos that were posted, one for each app."""
    return sorted((home / INPUTS).glob(f"*/{DATABASE}"))


class Photos(dg.ConfigurableResource):
    """The collections, and the stores of their photos, below the home."""

    home: str

    def registered(self, name: str) -> Collection:
        """Return the collection called ``name`` as it was added; UserError if there is none."""
        return CollectionRegistry(Path(self.home)).get(name)

    def collection(self, name: str) -> Collection:
        """Return the collection called ``name``, with a source that can be listed.

        The source ``demo:`` stands for the tiles of the demo, which are made on first use, and
        ``inputs:`` for the photos that were posted, of which a new manifest is made each time.
        Raises UserError when there is no such collection, its list of photos is damaged, or no
        photo was posted.
        """
        collection = self.registered(name)
        check_manifest(collection.source, Path(self.home))
        if collection.source == DEMO_SOURCE:
            from assets.methods.photos.demo import write_demo_collection

            return replace(collection, source=str(write_demo_collection(Path(self.home) / "demo")))
        if collection.source == INPUTS_SOURCE:
            return replace(collection, source=str(self._write_manifest_of_inputs(name)))
        return collection

    def page_folder(self, name: str) -> Path:
        """Return the folder of the page of a collection's map."""
        return Path(self.home) / PAGES / name

    def kept_page_folder(self, name: str, run_id: str) -> Path:
        """Return the folder of the page that a run keeps beside others of the collection."""
        return Path(self.home) / KEPT_PAGES / name / run_id

    @cached_property
    def store(self) -> PhotoStore:
        """The store of the photos that have been decoded."""
        return PhotoStore(Path(self.home) / "photos")

    @cached_property
    def vectors(self) -> VectorStore:
        """The store of the vectors that have been computed."""
        return VectorStore(Path(self.home) / "vectors")

    @cached_property
    def points(self) -> ProjectionStore:
        """The store of the projections that have been computed."""
        return ProjectionStore(Path(self.home) / "points")

    @cached_property
    def recent(self) -> RecentUse:
        """What the last runs of each collection used of these stores."""
        return RecentUse(Path(self.home))

    def networks(self, name: str) -> NetworkStore:
        """Return the store of the networks of inductive projections of a collection."""
        return NetworkStore(Path(self.home) / PROJECTIONS / name)

    def _write_manifest_of_inputs(self, name: str) -> Path:
        folder = inputs_folder(Path(self.home), name)
        manifest = folder / "manifest.csv"
        with closing(InputStore(folder)) as store:
            if not store.write_manifest(manifest):
                raise UserError(f"The collection {name} has no photos: post some to /v2/inputs.")
        return manifest.absolute()
