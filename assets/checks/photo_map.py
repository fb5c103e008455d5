"""The checks of the photo map: what has to hold of each asset's value.

A check reads the values and, where it can, computes a metric again instead of trusting the asset.
"""

import dagster as dg
import numpy as np
import pandas as pd

from assets.checks.collection_checks import check_of, finite
from assets.methods.common.shown_text import printable, printable_uri
from assets.methods.layout.assignment.assignment import CERTIFIED_GAP, promised_gap
from assets.methods.layout.assignment.dense_assignment import SUMMED
from assets.methods.layout.mosaic import MosaicSettings, compare_tiles, plan_mosaic, read_mosaic
from assets.methods.layout.quality import layout_quality
from assets.methods.photos.catalogue import Catalogue
from assets.methods.photos.near_duplicates import duplicates_table
from assets.methods.plotting.blurring import with_blurred
from assets.resources.photos import Photos
from assets.values import Embeddings, GridAssignment, Mosaic

# What Dagster takes of this file.
CHECKS: list[dg.AssetChecksDefinition] = []
MANY_REJECTS = 0.05
MOST_REJECTS = 0.5
MOST_CONFLICTS_NAMED = 20
UNIT_LENGTH_TOLERANCE = 1e-4
# The DPQ16 of two random placements differ by less than this.
CLEARLY_ABOVE = 0.05
# Among fewer photos chance alone can win.
FEWEST_COMPARED = 25


@check_of(CHECKS, "raw_images")
def every_file_is_accounted_for(raw_images: Catalogue) -> dg.AssetCheckResult:
    """Each file that was found is a photo, a reject or a companion of photos, and only one."""
    kinds = (raw_images.images, raw_images.rejects, raw_images.companions)
    uris = pd.concat([kind.uri for kind in kinds])
    twice = int(uris.duplicated().sum())
    missing = raw_images.n_found - len(uris)
    photos, rejects, companions = map(len, kinds)
    return dg.AssetCheckResult(
        passed=missing == 0 and twice == 0,
        description=f"{raw_images.n_found:,} found: {photos:,} photos, {rejects:,} rejects, "
        f"{companions:,} companions, {missing:,} in none of them, {twice:,} twice",
        metadata={
            "found": raw_images.n_found,
            "photos": photos,
            "rejects": rejects,
            "companions": companions,
            "missing": missing,
            "twice": twice,
        },
    )


@check_of(CHECKS, "raw_images")
def few_files_are_rejected(raw_images: Catalogue) -> dg.AssetCheckResult:
    """A few bad files are normal; many mean that the source is not what it was taken for.

    The share is of the files that claim to be photos: companions are no part of it.
    """
    n_claimed = raw_images.n_found - len(raw_images.companions)
    share = len(raw_images.rejects) / max(n_claimed, 1)
    return dg.AssetCheckResult(
        passed=share <= MANY_REJECTS,
        severity=dg.AssetCheckSeverity.ERROR
        if share > MOST_REJECTS
        else dg.AssetCheckSeverity.WARN,
        description=f"{share:.1%} of {n_claimed:,} files are rejected "
        f"(a few: up to {MANY_REJECTS:.0%})",
        metadata={
            "rejected": len(raw_images.rejects),
            "share": share,
            "reasons": raw_images.rejects.reason.value_counts().to_dict(),
        },
    )


@check_of(CHECKS, "raw_images")
def copies_have_one_label(raw_images: Catalogue) -> dg.AssetCheckResult:
    """A photo and its exact copies have the same label; near copies may differ by a detail."""
    duplicates = duplicates_table(raw_images.images)
    conflicts = duplicates[duplicates.labels_differ]
    exact = conflicts[conflicts.kind == "exact"]
    n_near = len(conflicts) - len(exact)
    return dg.AssetCheckResult(
        passed=exact.empty,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(exact):,} exact copies have another label than the photo shown, and "
        f"{n_near:,} near copies have",
        metadata={
            "exact_conflicts": len(exact),
            "near_conflicts": n_near,
            "copies": [
                f"{_named(row.uri, row.label)}, {_named(row.shown_uri, row.shown_label)}"
                for row in exact.head(MOST_CONFLICTS_NAMED).itertuples()
            ],
        },
    )


def _named(uri: object, label: object) -> str:
    return f"{printable_uri(str(uri))} ({printable(str(label))})"


@check_of(CHECKS, "embeddings", "raw_images")
def vectors_are_sound(raw_images: Catalogue, embeddings: Embeddings) -> dg.AssetCheckResult:
    """One vector an image, finite and of unit length."""
    ids = embeddings.image_ids
    one_each = sorted(ids) == sorted(raw_images.images.image_id.unique())
    lengths = np.linalg.norm(embeddings.vectors.astype(np.float64), axis=1)
    # A comparison with NaN is false, so this finds what is not finite as well.
    is_unsound = ~(np.abs(lengths - 1) <= UNIT_LENGTH_TOLERANCE)
    unsound, not_finite = int(is_unsound.sum()), int((~np.isfinite(lengths)).sum())
    named = ""
    if unsound:
        uris = raw_images.images.drop_duplicates("image_id").set_index("image_id").uri
        first = ids[int(is_unsound.argmax())]
        named = f" ({not_finite:,} not finite; first {printable_uri(str(uris.get(first, first)))})"
    return dg.AssetCheckResult(
        passed=one_each and unsound == 0,
        description=f"{len(ids):,} vectors, {unsound:,} not of unit length{named}, "
        f"{'one' if one_each else 'not one'} for each image",
        metadata={"vectors": len(ids), "unsound": unsound, "not_finite": not_finite},
    )


@check_of(CHECKS, "tsne_2d", "embeddings")
def coordinates_are_finite(embeddings: Embeddings, tsne_2d: pd.DataFrame) -> dg.AssetCheckResult:
    """Each vector has its point in the plane."""
    finite = np.isfinite(tsne_2d[["x", "y"]].to_numpy()).all(axis=1)
    same = sorted(tsne_2d.image_id) == sorted(embeddings.image_ids)
    n_bad = int((~finite).sum())
    return dg.AssetCheckResult(
        passed=n_bad == 0 and same,
        description=f"{n_bad:,} of {len(tsne_2d):,} points are not finite, "
        f"{'one' if same else 'not one'} for each vector",
        metadata={"points": len(tsne_2d), "not_finite": n_bad},
    )


@check_of(CHECKS, "grid_assignment", "raw_images", blocking=True)
def assignment_is_a_bijection(
    raw_images: Catalogue, grid_assignment: GridAssignment
) -> dg.AssetCheckResult:
    """Each photo of the catalogue has one cell inside the grid, and no cell has two photos."""
    missing = set(raw_images.images.image_id) - set(grid_assignment.table.image_id)
    cells = grid_assignment.table[["row", "col"]]
    outside = ~(
        cells.row.between(0, grid_assignment.rows - 1)
        & cells.col.between(0, grid_assignment.columns - 1)
    )
    shared = cells.duplicated()
    return dg.AssetCheckResult(
        passed=not missing and not outside.any() and not shared.any(),
        description=f"{len(missing):,} photos without a cell, "
        f"{int(outside.sum()):,} outside the grid, "
        f"{int(shared.sum()):,} in a cell that is taken{_first_cell(cells[outside | shared])}",
        metadata={
            "photos": len(grid_assignment.table),
            "missing": len(missing),
            "outside": int(outside.sum()),
            "shared": int(shared.sum()),
        },
    )


def _first_cell(cells: pd.DataFrame) -> str:
    return f" (first {cells.row.iloc[0]}, {cells.col.iloc[0]})" if len(cells) else ""


@check_of(CHECKS, "grid_assignment")
def gap_is_within_its_promise(grid_assignment: GridAssignment) -> dg.AssetCheckResult:
    """The cost is as near its proven lower bound as the solver promises (``promised_gap``)."""
    assignment = grid_assignment.metrics["assignment"]
    gap, cost_kind = assignment["gap"], assignment.get("cost_kind", "squared")
    if gap is None:
        return dg.AssetCheckResult(passed=True, description="no bound was asked for")
    n_photos = len(grid_assignment.table)
    promise = promised_gap(assignment["solver"], cost_kind, n_photos, assignment["cost"])
    if assignment["certified"]:
        promise = min(promise, CERTIFIED_GAP)
    return dg.AssetCheckResult(
        # A bound above the cost is no bound: a negative gap breaks the promise, too.
        passed=-CERTIFIED_GAP <= gap <= promise,
        # A map that stays was assigned to other places than the points of the projection.
        description=f"gap {gap:.2g} of the sum of {SUMMED[cost_kind]}, promised {promise:.0e}, "
        f"of the assignment to the {assignment.get('to', 'points of the projection')}",
        metadata=finite(gap=float(gap), promise=promise),
    )


@check_of(CHECKS, "grid_assignment", "embeddings")
def layout_beats_random_placement(
    embeddings: Embeddings, grid_assignment: GridAssignment
) -> dg.AssetCheckResult:
    """Photos that look alike lie nearer each other than in a shuffled grid."""
    table = grid_assignment.table
    if len(table) < FEWEST_COMPARED:
        return dg.AssetCheckResult(passed=True, description="too few photos to compare")
    vectors = embeddings.of(list(table.image_id))
    if not np.isfinite(vectors).all():
        return dg.AssetCheckResult(passed=False, description="not all vectors are finite")
    quality = layout_quality(table.row.to_numpy(), table.col.to_numpy(), vectors)
    if quality.dpq16 is None or quality.random_dpq16 is None:
        return dg.AssetCheckResult(passed=True, description="the photos are all alike")
    return dg.AssetCheckResult(
        passed=quality.dpq16 > quality.random_dpq16 + CLEARLY_ABOVE,
        description=f"DPQ16 {quality.dpq16:.3f}, at random {quality.random_dpq16:.3f}",
        metadata=finite(dpq16=quality.dpq16, random_dpq16=quality.random_dpq16),
    )


@check_of(CHECKS, "mosaic", "grid_assignment")
def tiles_are_the_photos_of_the_layout(
    grid_assignment: GridAssignment, mosaic: Mosaic, photos: Photos
) -> dg.AssetCheckResult:
    """A sample of the tiles, drawn anew, is what the picture shows at their cells."""
    settings = MosaicSettings(**mosaic.settings)
    tiles = compare_tiles(
        read_mosaic(mosaic.mosaic.data, settings),
        grid_assignment.table,
        plan_mosaic(grid_assignment.columns, grid_assignment.rows, settings),
        with_blurred(photos.store.open_working_copy, frozenset(mosaic.blurred)),
    )
    wrong = tiles[~tiles.right]
    return dg.AssetCheckResult(
        passed=wrong.empty,
        description=f"{len(wrong):,} of {len(tiles):,} sampled tiles show another photo",
        metadata={
            "compared": len(tiles),
            "wrong": len(wrong),
            "cells": [f"{row}, {col}" for row, col in wrong[["row", "col"]].values],
        },
    )
