"""Caches that no recent run of any collection has used: working copies, vectors, points, windows.

What is removed too much is made anew when it is needed, and nothing else is lost.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from assets.io_managers import UNTOUCHED_SECONDS, outputs_of, pointed_at
from assets.methods.common.errors import UserError
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.catalogue import Catalogue
from assets.methods.photos.photo_store import PhotoStore
from assets.resources.collections import CollectionRegistry
from assets.resources.input_store import InputStore
from assets.resources.photos import inputs_databases
from assets.resources.recent_use import PHOTOS, POINTS, WINDOWS, RecentUse, keys_in
from orchestration.housekeeping.removals import Item, Removal, removal_of_places

# By kind of mark, the asset whose runs make it.
_ASSETS = {PHOTOS: "raw_images", POINTS: "tsne_2d", WINDOWS: "occlusion_maps"}


class _CachesInUse:
    """What of the caches the newest ``keep`` runs of each collection used.

    ``without`` is a collection that is being removed: what it alone used is in use no more.
    """

    def __init__(self, home: Path, keep: int, without: str | None = None) -> None:
        self._home = home
        self._keep = keep
        self._without = without
        self._recent = RecentUse(home)

    def keys(self, kind: str) -> set[str] | None:
        """Return the keys of one kind that are in use; None if that cannot be known.

        It cannot as long as a collection of an older home has no marks, or a mark is damaged.
        """
        marked = self._recent.collections(kind)
        names = [name for name in self._names() if self._has_value(name, kind)]
        return self._marked(kind) if marked.issuperset(names) else None

    def photos(self) -> set[str] | None:
        """Return the image_ids in use: in catalogues, in the last runs, and posted ones."""
        used = self._marked(PHOTOS)
        if used is None:
            return None
        outputs = outputs_of(self._home)
        for name in self._names():
            if not pointed_at(self._home / "outputs" / "raw_images" / name):
                continue
            try:
                catalogue = outputs.read(Catalogue, "raw_images", name)
            except UserError:
                # A damaged one: nobody knows what it held.
                return None
            used |= set(catalogue.images.image_id)
        for database in inputs_databases(self._home):
            with closing(InputStore(database.parent)) as inputs:
                used |= {photo.image_id for photo in inputs.done()}
        return used

    def _marked(self, kind: str) -> set[str] | None:
        own = self._recent.folder_of(self._without) if self._without is not None else None
        newest = self._recent.newest(kind, self._keep)
        return keys_in(mark for mark in newest if mark.parent.parent != own)

    def _names(self) -> list[str]:
        names = [one.name for one in CollectionRegistry(self._home).all()]
        return [name for name in names if name != self._without]

    def _has_value(self, name: str, kind: str) -> bool:
        return (self._home / "outputs" / _ASSETS[kind] / name / "current").exists()


def unused_caches(home: Path, keep: int, of: str | None = None) -> Iterator[Removal]:
    """Yield what none of the newest ``keep`` runs of each collection has used.

    ``of`` a collection that is being removed, only what it has used and no other.
    """
    in_use = _CachesInUse(home, keep, without=of)
    photos = in_use.photos()
    if photos is not None:
        yield from _photos(home, photos, of)
    for kind, folder, suffix in ((POINTS, "points", ".npy"), (WINDOWS, "windows", ".f32")):
        used = in_use.keys(kind)
        if used is None:
            continue
        limit = None if of is None else _keys_of(home, of, kind)
        files = [
            file
            for file in sorted((home / folder).glob(f"[!.]*{suffix}"))
            if file.stem not in used and (limit is None or file.stem in limit)
        ]
        yield removal_of_places(f"cached {kind}", home, files)


def old_marks(home: Path, keep: int) -> Removal:
    """Return the marks beyond the newest ``keep``, which go last: by them the rest is found."""
    recent = RecentUse(home)
    marks = [mark for kind in _ASSETS for mark in recent.older(kind, keep)]
    return removal_of_places("mark of use", home, marks)


def _photos(home: Path, used: set[str], of: str | None) -> Iterator[Removal]:
    store = PhotoStore(home / "photos")
    stored = store.image_ids()
    limit = stored if of is None else _keys_of(home, of, PHOTOS)
    # By any run, as far as the marks can be read.
    noted = keys_in(RecentUse(home).older(PHOTOS, keep=0)) or set()
    # One that no run has ever used may just have been posted to the HTTP service.
    since = time.time() - UNTOUCHED_SECONDS

    def is_old(image_id: str) -> bool:
        return all(place.stat().st_mtime < since for place in store.places(image_id))

    unused = sorted(
        one for one in (stored & limit) - used if one in noted or of is not None or is_old(one)
    )
    items = tuple(Item(one, tuple(store.places(one))) for one in unused)
    yield Removal("cached photo", items, partial(store.forget, unused))
    # What is computed of a frame of an animation has the number of the frame behind the image_id.
    kept = used | (stored - set(unused))

    def is_used(key: str) -> bool:
        image_id = key.partition("-")[0]
        return image_id in kept or (image_id not in limit and of is not None)

    for kind in ("vectors", "probabilities"):
        shards = list(VectorStore(home / kind).unused(is_used))
        yield removal_of_places(f"cached {kind}", home, shards)


def _keys_of(home: Path, name: str, kind: str) -> set[str]:
    """Return what a collection has used, by its marks and its catalogue."""
    keys = keys_in((RecentUse(home).folder_of(name) / kind).glob("[!.]*")) or set()
    if kind == PHOTOS:
        outputs = outputs_of(home)
        try:
            keys |= set(outputs.read(Catalogue, "raw_images", name).images.image_id)
        except UserError:
            return keys
    return keys
