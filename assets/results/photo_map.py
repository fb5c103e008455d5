"""What is shown of the photo map: metrics, for Dagster, MLflow and report.json, and its figure."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from assets.methods.common.progress import Progress
from assets.methods.layout.assignment.assignment import Assignment, cost_of
from assets.methods.layout.four_panels import draw_four_panels
from assets.methods.layout.grid import GridShape, points_to_cells
from assets.methods.layout.layout import Layout
from assets.methods.layout.mosaic import MosaicPlan, draw_mosaic, draw_tile
from assets.methods.layout.refinement import Refinement
from assets.methods.photos.catalogue import Catalogue, CatalogueSettings
from assets.methods.photos.decode import WORKING_SHORT_SIDE
from assets.methods.photos.labels import is_identifier
from assets.methods.photos.large_tiles import READERS, LargeTiles
from assets.methods.photos.near_duplicates import duplicates_table
from assets.methods.photos.photo_store import PhotoStore
from assets.methods.plotting.blurring import with_blurred
from assets.methods.plotting.png import png_bytes
from assets.values import EncodedImage, GridAssignment


def catalogue_metrics(catalogue: Catalogue) -> dict[str, Any]:
    """Return how many files were found, and what became of them."""
    images = catalogue.images
    duplicates = duplicates_table(images)
    is_exact = duplicates.kind == "exact"
    reasons = catalogue.rejects.reason.value_counts()
    return {
        "found": catalogue.n_found,
        "photos": len(images),
        "decoded_anew": catalogue.n_decoded,
        "exact_duplicates": int(is_exact.sum()),
        "near_duplicates": int((~is_exact).sum()),
        "label_conflicts": int(duplicates.labels_differ.sum()),
        "companions": len(catalogue.companions),
        "rejected": len(catalogue.rejects),
        **{f"rejected_{str(reason).replace(' ', '_')}": int(n) for reason, n in reasons.items()},
    }


def labels_of(photos: pd.DataFrame) -> np.ndarray:
    """Return the label of each photo, None where it has none; all None if labels are identifiers.

    Where each photo has a label of its own, neighbours with the same label would say nothing.
    """
    labels = photos.label.astype(object)
    is_label = photos.label.notna() & (not is_identifier(photos.label))
    return labels.where(is_label, None).to_numpy()


def layout_metrics(layout: Layout) -> dict[str, Any]:
    """Return the metrics of the solver, of the refinement (None when off), and of the result."""
    refinement = None
    if layout.refinement is not None:
        before = layout.unrefined_quality
        refinement = {
            **_without_cells(layout.refinement),
            "dpq16_before": None if before is None else before.dpq16,
            "dpq16_after": layout.quality.dpq16,
            "cost_before": layout.assignment.cost,
            "cost_after": cost_of(
                layout.cells, layout.row, layout.col, layout.assignment.cost_kind
            ),
        }
    # The gap is that of the problem that was solved, which on a map that stays is another one.
    stays = layout.stay is not None and not layout.stay.anew
    return {
        "assignment": {
            **_without_cells(layout.assignment),
            "to": "cells of the last map" if stays else "points of the projection",
        },
        "refinement": refinement,
        "quality": asdict(layout.quality),
    }


def flat(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return nested metrics as one level, ``assignment.cost``, as MLflow wants them."""
    return {
        f"{part}.{name}": metric
        for part, metrics_of_part in metrics.items()
        for name, metric in (metrics_of_part or {}).items()
    }


def drawn_mosaic(
    store: PhotoStore,
    table: pd.DataFrame,
    plan: MosaicPlan,
    reading: CatalogueSettings,
    progress: Progress,
    blurred: Collection[str] = (),
) -> tuple[Image.Image, str | None]:
    """Draw the photos of ``table`` (image_id, uri or address, row, col) in their cells.

    Those of ``blurred``, by their image_id, are drawn grey and blurred.
    Tiles that are larger than working copies are read from originals, as ``reading`` says. Returns
    the mosaic and a sentence on the originals that could not be read.
    """
    if plan.tile <= WORKING_SHORT_SIDE:
        load_image = with_blurred(store.open_working_copy, blurred)
        return draw_mosaic(load_image, table, plan, progress), None
    photos = zip(table.image_id, table.uri, strict=True)
    tiles = LargeTiles(
        store,
        photos,
        reading,
        plan.tile,
        whole=plan.settings.fit == "fit",
        finish=partial(draw_tile, plan=plan),
    )
    mosaic = draw_mosaic(with_blurred(tiles, blurred), table, plan, progress, READERS)
    return mosaic, tiles.note(len(table))


def layout_figure(grid: GridAssignment, mosaic: Image.Image) -> EncodedImage:
    """Draw the four panels from the points of a layout to its mosaic."""
    table = grid.table
    cells = points_to_cells(table[["x", "y"]].to_numpy(), GridShape(grid.columns, grid.rows))
    labels = labels_of(table)
    figure = draw_four_panels(
        cells,
        table.row.to_numpy(),
        table.col.to_numpy(),
        grid.columns,
        grid.rows,
        mosaic,
        None if None in labels else labels,
    )
    return png(figure)


def png(image: Image.Image, about: Mapping[str, Any] = MappingProxyType({})) -> EncodedImage:
    """Return an image as PNG, with text chunks ``about`` its origin."""
    return EncodedImage(png_bytes(image, about), ".png")


def _without_cells(value: Assignment | Refinement) -> dict[str, Any]:
    return {name: item for name, item in vars(value).items() if name not in ("row", "col")}
