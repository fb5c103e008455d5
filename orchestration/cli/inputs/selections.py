"""Maps of selections: which collection the photos are of, and the collection of their own."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from assets.config import ASSETS, MosaicConfig, RawImagesConfig
from assets.io_managers import FolderIOManager, outputs_of
from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import without_secrets
from assets.methods.photos.catalogue import Catalogue
from assets.methods.photos.selection import Selection, read_selection
from assets.resources.collections import INPUTS_SOURCE, Collection, CollectionRegistry
from assets.resources.home import home_folder
from assets.resources.photos import Photos
from orchestration.cli.common.collection_runs import name_for
from orchestration.cli.common.options import Options
from orchestration.jobs import PHOTO_MAP

_PARENT_IN_NAME = 16


@dataclass(frozen=True)
class SelectedPhotos:
    """Photos of ``source`` that are mapped by themselves.

    ``name`` is made for their collection. ``parent`` is the collection of the home that has them,
    if there is one, whose settings count if ``source`` was not given.
    """

    selection: Selection
    source: str
    name: str
    parent: Collection | None
    settings: dict[str, dict[str, Any]]

    def options(self, options: Options) -> Options:
        """Return options that keep to the selection, beside those that were given."""
        given: dict[type[BaseModel], dict[str, Any]] = dict(options.given)
        for kind, asset in ASSETS.items():
            if asset in PHOTO_MAP and asset in self.settings:
                given[kind] = {**self.settings[asset], **given.get(kind, {})}
        if self.parent is not None:
            given[MosaicConfig] = {**given.get(MosaicConfig, {}), "scores_of": self.parent.name}
        only = {"only": self.selection.location}
        given[RawImagesConfig] = {**given.get(RawImagesConfig, {}), **only}
        return replace(options, given=given)

    def in_words(self, catalogue: Catalogue, name: str) -> list[str]:
        """Return sentences on what was mapped, as the collection called ``name``."""
        n_chosen = len(self.selection.labels)
        n_found = catalogue.images.image_id.isin(list(self.selection.labels)).sum()
        n_absent = n_chosen - catalogue.images.image_id.nunique()
        origin = self.parent.name if self.parent is not None else without_secrets(self.source)
        told = [
            f"These {n_found:,} files of {origin} are a collection of their own, {name}: the map "
            f"of {origin} has not changed."
        ]
        if n_absent > 0:
            told.append(
                f"{n_absent:,} of the {n_chosen:,} photos of the selection are not in {origin}."
            )
        return told


def selected_photos(file: str, source: str | None) -> SelectedPhotos:
    """Return what the selection in ``file`` is of.

    Without a ``source``, it is the collection that has most of its photos, and was mapped last of
    those that have as many.

    Raises:
        UserError: the selection cannot be read, or no collection has any of its photos.
    """
    selection = read_selection(file)
    photos = Photos(home=str(home_folder()))
    parent = _collection_with(selection, photos, source)
    if source is not None:
        settings = {}
    elif parent is not None:
        source, settings = parent.source, parent.settings
        if source == INPUTS_SOURCE:
            source = photos.collection(parent.name).source
    else:
        raise UserError(
            f"No collection that was mapped has a photo of the selection {file}: name the folder, "
            "URL or manifest that has them as SOURCE."
        )
    if parent is None:
        name = name_for(f"{source}/{file}")
    else:
        name = f"{parent.name[:_PARENT_IN_NAME]}-{name_for(f'{parent.name}/{file}')}"
    return SelectedPhotos(selection, source, name, parent, settings)


def check_own_name(name: str) -> None:
    """Refuse to replace the map of a whole collection by that of a selection."""
    known = CollectionRegistry(home_folder()).find(name)
    if known is not None and not _is_selection(known):
        raise UserError(
            f"{name} is a collection of its own, whose map would be replaced: give another --name, "
            "or none to have one made."
        )


def _collection_with(selection: Selection, photos: Photos, source: str | None) -> Collection | None:
    """Return the collection that has most of the photos.

    Of those that have as many, mapped ones come before those that were only scored or evaluated,
    whole ones before selections, and the last ones first.
    """
    outputs = outputs_of(Path(photos.home))
    found = []
    for one in CollectionRegistry(Path(photos.home)).all():
        if source is None or one.source == source:
            n_photos = _photos_of(outputs, one.name, selection)
            if n_photos:
                is_mapped = outputs.has_value("grid_assignment", one.name)
                read_at = outputs.origin("raw_images", one.name).written_at
                rank = (n_photos, is_mapped, not _is_selection(one), read_at, one.name)
                found.append((*rank, one))
    return max(found, key=lambda one: one[:-1])[-1] if found else None


def _photos_of(outputs: FolderIOManager, name: str, selection: Selection) -> int:
    """Return how many photos of a selection a collection has; 0 for one that cannot be read."""
    if not outputs.has_value("raw_images", name):
        return 0
    try:
        images = outputs.read(Catalogue, "raw_images", name).images
    except UserError:
        return 0
    return len(selection.labels.keys() & set(images.image_id))


def _is_selection(collection: Collection) -> bool:
    return bool(collection.settings.get(ASSETS[RawImagesConfig], {}).get("only"))
