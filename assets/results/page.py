"""The page of a collection's map, kept below the home and brought up to date there."""

from pathlib import Path

from assets.config import MosaicConfig
from assets.io_managers import FolderIOManager
from assets.methods.common.errors import UserError
from assets.methods.common.progress import Progress, silent
from assets.methods.page.page import PageContents, PageReport, write_page
from assets.methods.photos.catalogue import Catalogue
from assets.resources.photos import Photos
from assets.values import Embeddings, GridAssignment, NsfwScores


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

    It has the scores that the collection has by now, if it has been scored.
    """
    scores = current_scores(outputs_of(photos), name)
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


def outputs_of(photos: Photos) -> FolderIOManager:
    """Return what reads the values of the home that the photos are in."""
    return FolderIOManager(base_folder=str(Path(photos.home) / "outputs"))


def current_scores(outputs: FolderIOManager, name: str) -> NsfwScores | None:
    """Return the scores of a collection; None if it has none that can be read."""
    try:
        return outputs.read(NsfwScores, "nsfw_scores", name)
    except UserError:
        return None
