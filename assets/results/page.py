"""The page of a collection's map, kept below the home and brought up to date there."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from assets.config import EmbeddingsConfig, MosaicConfig, config_of
from assets.io_managers import KEEP_TAG, outputs_of
from assets.kept_maps import KeptMaps
from assets.methods.common.errors import UserError
from assets.methods.common.progress import Progress, silent
from assets.methods.common.shown_text import shown
from assets.methods.models.backbones import backbone_fingerprint
from assets.methods.models.class_head import load_class_head
from assets.methods.models.embedding import is_key_of
from assets.methods.page.changes import MapChanges
from assets.methods.page.folder import link_newest_page, remove_page
from assets.methods.page.landmarks import Naming
from assets.methods.page.page import INDEX, PageContents, PageReport, write_page
from assets.methods.photos.catalogue import Catalogue
from assets.resources.photos import Photos
from assets.results.blurring import blur_limit, scores_for
from assets.results.explained import explained_photos
from assets.results.staying_map import anew_sentence
from assets.steps import Step
from assets.values import Embeddings, GridAssignment


def refresh_page(
    log: Step,
    photos: Photos,
    config: MosaicConfig,
    grid: GridAssignment,
    catalogue: Catalogue,
    embeddings: Embeddings,
) -> dict[str, Any] | None:
    """Write the page of a run's map, and return its report; None if there is none of this map.

    A run of the service keeps its page beside others of the collection. Otherwise the page of the
    collection is brought up to date.
    Where the scores are damaged, and nobody knows what is to be blurred, the page of before stays.
    """
    name = log.context.partition_key
    is_kept = KEEP_TAG in log.context.run.tags
    folder = photos.page_folder(name)
    if is_kept:
        folder = photos.kept_page_folder(name, log.context.run.run_id)
    if not config.page:
        remove_page(folder)
        return None
    progress = log.progress("tiles of the page")
    if is_kept and config.page:
        link_newest_page(folder)
    try:
        page = asdict(
            write_map_page(photos, name, grid, catalogue, embeddings, config, progress, folder)
        )
    except UserError as error:
        if is_kept:
            # It has none of its own to stay.
            remove_page(folder)
        log.context.log.warning(f"The page of {name} stays as it was: {shown(str(error))}")
        return None
    log.metrics({f"page_{part}": metric for part, metric in page.items()})
    index = folder.absolute() / INDEX
    log.run.tags({"page": index.as_uri()})
    log.run.describe(_way_to(name, index, is_kept))
    log.context.add_output_metadata({"page": dg.MetadataValue.path(str(folder / INDEX))})
    return page


def _way_to(name: str, index: Path, is_kept: bool) -> str:
    """Return how one comes to a page from MLflow's, as Markdown.

    It has no link: a browser follows none from a web page to a file.
    """
    command = "" if is_kept else f"run `tessera view {name}`, or "
    return (
        f"The map as a page: {command}copy this address into a browser on the machine that has the "
        f"home: `{index.as_uri()}`"
    )


def write_map_page(
    photos: Photos,
    name: str,
    grid: GridAssignment,
    catalogue: Catalogue,
    embeddings: Embeddings,
    config: MosaicConfig,
    progress: Progress = silent,
    folder: Path | None = None,
) -> PageReport:
    """Write the page of the collection called ``name``, or what of it has changed.

    It is written to ``folder``, by default that of the collection.
    It has the scores that the collection has by now, if it has been scored; UserError is raised if
    they are damaged.
    """
    scores = scores_for(outputs_of(Path(photos.home)), name, config)
    image_ids = list(grid.table.image_id)
    # Of an older grid, some photos may have no vector any more.
    has_vectors = set(image_ids) <= set(embeddings.image_ids)
    explained = (
        {}
        if scores is None
        else explained_photos(outputs_of(Path(photos.home)), name, image_ids, scores)
    )
    contents = PageContents(
        title=name,
        columns=grid.columns,
        rows=grid.rows,
        layout=grid.table,
        images=catalogue.images,
        vectors=embeddings.of(image_ids) if has_vectors else None,
        scores=None if scores is None else scores.table,
        score_name="" if scores is None else scores.class_name,
        explained=explained,
        classes=partial(named_by_network, _backbone(photos, name), embeddings.fingerprint),
        classes_of=embeddings.fingerprint,
        changes=_changes_to(photos, name, grid),
    )
    return write_page(
        folder or photos.page_folder(name),
        contents,
        photos.store.open_working_copy,
        config.page_settings(blur_limit(config)),
        progress,
    )


def _changes_to(photos: Photos, name: str, grid: GridAssignment) -> list[MapChanges] | None:
    """Return what led to the maps of a collection that are kept; None while there is only one.

    A visualization of some photos is none of them.
    """
    changes = KeptMaps(home=photos.home).changes(name)
    if grid.made_of.get("apart") or len(changes) < 2:
        return None
    return [replace(one, anew=anew_sentence(one.anew)) for one in changes]


def _backbone(photos: Photos, name: str) -> str:
    return config_of(EmbeddingsConfig, photos.registered(name).settings).backbone


def named_by_network(backbone: str, key: str, vectors: np.ndarray) -> Naming | None:
    """Return what the network takes the photos of ``vectors`` for; None if it does not say.

    ``key`` is that of the vectors (``vector_key``).
    """
    try:
        head = load_class_head(backbone)
        if head is None or not is_key_of(key, backbone_fingerprint(backbone)):
            return None
    except UserError:
        # What has made the vectors is not there any more, or is out of reach.
        return None
    return list(head.class_names), head.classes_of(vectors)
