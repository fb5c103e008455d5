"""The page of a collection's map, kept below the home and brought up to date there."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg

from assets.config import MosaicConfig
from assets.io_managers import FolderIOManager, outputs_of
from assets.methods.common.errors import UserError
from assets.methods.common.progress import Progress, silent
from assets.methods.common.shown_text import shown
from assets.methods.page.folder import remove_page
from assets.methods.page.page import INDEX, PageContents, PageReport, write_page
from assets.methods.photos.catalogue import Catalogue
from assets.resources.photos import Photos
from assets.steps import Step
from assets.values import Embeddings, GridAssignment, NsfwScores


def refresh_page(
    log: Step,
    photos: Photos,
    config: MosaicConfig,
    grid: GridAssignment,
    catalogue: Catalogue,
    embeddings: Embeddings,
) -> dict[str, Any] | None:
    """Write the page of a run's map, and return its report; None if there is none of this map.

    Where the scores are damaged, and nobody knows what is to be blurred, the page of before stays.
    """
    name = log.context.partition_key
    folder = photos.page_folder(name)
    if not config.page:
        remove_page(folder)
        return None
    progress = log.progress("tiles of the page")
    try:
        page = asdict(write_map_page(photos, name, grid, catalogue, embeddings, config, progress))
    except UserError as error:
        log.context.log.warning(f"The page of {name} stays as it was: {shown(str(error))}")
        return None
    log.metrics({f"page_{part}": metric for part, metric in page.items()})
    log.context.add_output_metadata({"page": dg.MetadataValue.path(str(folder / INDEX))})
    return page


def write_map_page(
    photos: Photos,
    name: str,
    grid: GridAssignment,
    catalogue: Catalogue,
    embeddings: Embeddings,
    config: MosaicConfig,
    progress: Progress = silent,
) -> PageReport:
    """Write the page of the collection called ``name``, or what of it has changed.

    It has the scores that the collection has by now, if it has been scored; UserError is raised if
    they are damaged.
    """
    scores = current_scores(outputs_of(Path(photos.home)), name)
    image_ids = list(grid.table.image_id)
    # Of an older grid, some photos may have no vector any more.
    has_vectors = set(image_ids) <= set(embeddings.image_ids)
    contents = PageContents(
        title=name,
        columns=grid.columns,
        rows=grid.rows,
        layout=grid.table,
        images=catalogue.images,
        vectors=embeddings.of(image_ids) if has_vectors else None,
        scores=None if scores is None else scores.table,
        score_name="" if scores is None else scores.class_name,
    )
    return write_page(
        photos.page_folder(name),
        contents,
        photos.store.open_working_copy,
        config.page_settings(),
        progress,
    )


def current_scores(outputs: FolderIOManager, name: str) -> NsfwScores | None:
    """Return the scores of a collection, None if it has none; UserError if they are damaged."""
    if not outputs.has_value("nsfw_scores", name):
        return None
    return outputs.read(NsfwScores, "nsfw_scores", name)
