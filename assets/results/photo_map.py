"""The metrics of each asset, as Dagster, MLflow and report.json show them."""

import io
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image

from assets.methods.layout.four_panels import draw_four_panels
from assets.methods.layout.grid import GridShape, points_to_cells
from assets.methods.layout.layout import Layout
from assets.methods.models.scoring import ScoringResult
from assets.methods.photos.catalogue import Catalogue
from assets.values import EncodedImage, GridAssignment

ARRAYS = ("row", "col")


def catalogue_metrics(catalogue: Catalogue) -> dict[str, Any]:
    """Return how many files were found, and what became of them."""
    images = catalogue.images
    exact = images.duplicate_of == images.image_id
    reasons = catalogue.rejects.reason.value_counts()
    return {
        "found": catalogue.n_found,
        "photos": len(images),
        "decoded_anew": catalogue.n_decoded,
        "exact_duplicates": int(exact.sum()),
        "near_duplicates": int((images.duplicate_of.notna() & ~exact.fillna(False)).sum()),
        "rejected": len(catalogue.rejects),
        **{f"rejected_{str(reason).replace(' ', '_')}": int(n) for reason, n in reasons.items()},
    }


def layout_metrics(layout: Layout) -> dict[str, Any]:
    """Return the metrics of the solver, of the refinement (None when off), and of the result."""
    return {
        "assignment": _without_arrays(layout.assignment),
        "refinement": _refinement_metrics(layout),
        "quality": asdict(layout.quality),
    }


def _refinement_metrics(layout: Layout) -> dict[str, Any] | None:
    if layout.refinement is None or layout.unrefined_quality is None:
        return None
    return {
        **_without_arrays(layout.refinement),
        "dpq16_before": layout.unrefined_quality.dpq16,
        "dpq16_after": layout.quality.dpq16,
        "cost_before": layout.assignment.cost,
        "cost_after": float(np.square(layout.displacement()).sum()),
    }


def score_metrics(scores: ScoringResult) -> dict[str, Any]:
    """Return how many images were scored, and how their scores are spread."""
    return {
        "images": len(scores.scores),
        "scored_anew": scores.n_computed,
        "highest_score": float(scores.scores.max()),
        "median": float(np.median(scores.scores)),
        "share_above_half": float((scores.scores > 0.5).mean()),
    }


def flat(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return nested metrics as one level, ``assignment.cost``, as MLflow wants them."""
    return {
        f"{part}.{name}": metric
        for part, metrics_of_part in metrics.items()
        for name, metric in (metrics_of_part or {}).items()
    }


def layout_figure(grid: GridAssignment, mosaic: Image.Image) -> EncodedImage:
    """Draw the four-panel figure of a layout."""
    table = grid.table
    cells = points_to_cells(table[["x", "y"]].to_numpy(), GridShape(grid.columns, grid.rows))
    labels = table.label.to_numpy() if table.label.notna().all() else None
    figure = draw_four_panels(
        cells, table.row.to_numpy(), table.col.to_numpy(), grid.columns, grid.rows, mosaic, labels
    )
    return png(figure)


def png(picture: Image.Image) -> EncodedImage:
    """Return a picture as PNG."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return EncodedImage(file.getvalue(), ".png")


def _without_arrays(value: Any) -> dict[str, Any]:
    return {name: item for name, item in vars(value).items() if name not in ARRAYS}
