"""The checks of the photo map: what has to hold of each asset's value.

A check reads the values and, where it can, computes a metric again instead of trusting the asset.
"""

import dagster as dg
import numpy as np
import pandas as pd

from assets.methods.common.shown_text import printable, printable_uri
from assets.methods.layout.assignment import CERTIFIED_GAP, EXACT_PHOTOS
from assets.methods.layout.mosaic import MosaicSettings, compare_tiles, plan_mosaic, read_mosaic
from assets.methods.layout.quality import layout_quality
from assets.methods.photos.catalogue import Catalogue
from assets.methods.photos.near_duplicates import duplicates_table
from assets.resources.photos import Photos
from assets.values import Embeddings, GridAssignment, Mosaic

MANY_REJECTS = 0.05
MOST_REJECTS = 0.5
MOST_CONFLICTS_NAMED = 20
# The gap that is promised where a proof was asked for above the exact solvers' range.
NEAR_GAP = 1e-4
UNIT_LENGTH_TOLERANCE = 1e-4
# The DPQ16 of two random placements differ by less than this.
CLEARLY_ABOVE = 0.05
# Among fewer photos chance alone can win.
FEWEST_COMPARED = 25


@dg.asset_check(asset="raw_images")
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
    )


@dg.asset_check(asset="raw_images")
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
        metadata={"reasons": raw_images.rejects.reason.value_counts().to_dict()},
    )


@dg.asset_check(asset="raw_images")
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
            "copies": [
                f"{_named(row.uri, row.label)}, {_named(row.shown_uri, row.shown_label)}"
                for row in exact.head(MOST_CONFLICTS_NAMED).itertuples()
            ]
        },
    )


def _named(uri: object, label: object) -> str:
    return f"{printable_uri(str(uri))} ({printable(str(label))})"


@dg.asset_check(asset="embeddings", additional_ins={"raw_images": dg.AssetIn()})
def vectors_are_sound(raw_images: Catalogue, embeddings: Embeddings) -> dg.AssetCheckResult:
    """One vector an image, finite and of unit length."""
    ids = embeddings.image_ids
    one_each = sorted(ids) == sorted(raw_images.images.image_id.unique())
    lengths = np.linalg.norm(embeddings.vectors.astype(np.float64), axis=1)
    # A comparison with NaN is false, so this finds what is not finite as well.
    unsound = int((~(np.abs(lengths - 1) <= UNIT_LENGTH_TOLERANCE)).sum())
    return dg.AssetCheckResult(
        passed=one_each and unsound == 0,
        description=f"{len(ids):,} vectors, {unsound:,} not of unit length, "
        f"{'one' if one_each else 'not one'} for each image",
    )


@dg.asset_check(asset="tsne_2d", additional_ins={"embeddings": dg.AssetIn()})
def coordinates_are_finite(embeddings: Embeddings, tsne_2d: pd.DataFrame) -> dg.AssetCheckResult:
    """Each vector has its point in the plane."""
    finite = np.isfinite(tsne_2d[["x", "y"]].to_numpy()).all(axis=1)
    same = set(tsne_2d.image_id) == set(embeddings.image_ids)
    return dg.AssetCheckResult(
        passed=bool(finite.all()) and same and len(tsne_2d) == len(embeddings.image_ids),
        description=f"{int((~finite).sum()):,} of {len(tsne_2d):,} points are not finite",
    )


@dg.asset_check(asset="grid_assignment", additional_ins={"raw_images": dg.AssetIn()}, blocking=True)
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
        f"{int(shared.sum()):,} in a cell that is taken",
    )


@dg.asset_check(asset="grid_assignment")
def gap_is_within_its_promise(grid_assignment: GridAssignment) -> dg.AssetCheckResult:
    """Up to 10,000 photos the assignment is optimal to rounding; beyond, near its bound."""
    assignment = grid_assignment.metrics["assignment"]
    gap = assignment["gap"]
    if gap is None:
        return dg.AssetCheckResult(passed=True, description="no bound was asked for")
    is_exact = assignment["certified"] or len(grid_assignment.table) <= EXACT_PHOTOS
    promise = CERTIFIED_GAP if is_exact else NEAR_GAP
    return dg.AssetCheckResult(
        # A bound above the cost is no bound: a negative gap breaks the promise, too.
        passed=-CERTIFIED_GAP <= gap <= promise,
        # A map that stays was assigned to other places than the points of the projection.
        description=f"gap {gap:.2g}, promised {promise:.0e}, "
        f"of the assignment to the {assignment.get('to', 'points of the projection')}",
    )


@dg.asset_check(asset="grid_assignment", additional_ins={"embeddings": dg.AssetIn()})
def layout_beats_random_placement(
    embeddings: Embeddings, grid_assignment: GridAssignment
) -> dg.AssetCheckResult:
    """Photos that look alike lie nearer each other than in a shuffled grid."""
    table = grid_assignment.table
    if len(table) < FEWEST_COMPARED:
        return dg.AssetCheckResult(passed=True, description="too few photos to compare")
    quality = layout_quality(
        table.row.to_numpy(), table.col.to_numpy(), embeddings.of(list(table.image_id))
    )
    if quality.dpq16 is None or quality.random_dpq16 is None:
        return dg.AssetCheckResult(passed=True, description="the photos are all alike")
    return dg.AssetCheckResult(
        passed=quality.dpq16 > quality.random_dpq16 + CLEARLY_ABOVE,
        description=f"DPQ16 {quality.dpq16:.3f}, at random {quality.random_dpq16:.3f}",
    )


@dg.asset_check(asset="mosaic", additional_ins={"grid_assignment": dg.AssetIn()})
def tiles_are_the_photos_of_the_layout(
    grid_assignment: GridAssignment, mosaic: Mosaic, photos: Photos
) -> dg.AssetCheckResult:
    """A sample of the tiles, drawn anew, is what the picture shows at their cells."""
    settings = MosaicSettings(**mosaic.settings)
    tiles = compare_tiles(
        read_mosaic(mosaic.mosaic.data, settings),
        grid_assignment.table,
        plan_mosaic(grid_assignment.columns, grid_assignment.rows, settings),
        photos.store.open_working_copy,
    )
    wrong = tiles[~tiles.right]
    return dg.AssetCheckResult(
        passed=wrong.empty,
        description=f"{len(wrong):,} of {len(tiles):,} sampled tiles show another photo",
        metadata={"cells": [f"{row}, {col}" for row, col in wrong[["row", "col"]].values]},
    )
