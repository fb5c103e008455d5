"""The photo map, in the order in which data flows: from the files of a collection to the mosaic."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import dagster as dg
import pandas as pd

from assets.config import (
    EmbeddingsConfig,
    GridConfig,
    MosaicConfig,
    RawImagesConfig,
    TsneConfig,
)
from assets.methods.layout.layout import lay_out
from assets.methods.layout.mosaic import encode_mosaic, plan_mosaic
from assets.methods.layout.projection import project_unless_known
from assets.methods.models.embedding import embed_unseen
from assets.methods.photos.catalogue import Catalogue, catalogue_photos, noted_photos, shown_photos
from assets.methods.photos.near_duplicates import duplicates_table
from assets.resources.collections import COLLECTIONS
from assets.resources.compute import Compute
from assets.resources.photos import INPUTS, Photos
from assets.resources.progress import ProgressReporter
from assets.resources.recent_use import PHOTOS, POINTS
from assets.resources.tracking import Tracking
from assets.results.blurring import blurred_or_all
from assets.results.originals import addresses_of
from assets.results.page import refresh_page
from assets.results.photo_map import (
    catalogue_metrics,
    drawn_mosaic,
    flat,
    labels_of,
    layout_figure,
    layout_metrics,
)
from assets.results.projection import place_by_network
from assets.steps import step
from assets.values import (
    PLACE_COLUMNS,
    Embeddings,
    EncodedImage,
    GridAssignment,
    Mosaic,
    with_points,
)

SUFFIXES = {"jpeg": ".jpg", "png": ".png"}


def _asset(kinds: set[str], pool: str | None = None) -> Callable[..., dg.AssetsDefinition]:
    return dg.asset(
        partitions_def=COLLECTIONS, group_name="photo_map", code_version="1", kinds=kinds, pool=pool
    )


@_asset(kinds={"parquet"})
def raw_images(
    context: dg.AssetExecutionContext,
    config: RawImagesConfig,
    photos: Photos,
    compute: Compute,
    tracking: Tracking,
    progress: dg.ResourceParam[ProgressReporter],
) -> Catalogue:
    """Every file of the source: a photo, a reject with a reason, or a companion of photos."""
    with step(context, tracking, progress, config) as log:
        source, follow_links = config.manifest, False
        if source is None:
            collection = photos.collection(context.partition_key)
            source, follow_links = collection.source, collection.follow_links
        elif source.startswith(f"{INPUTS}/"):
            # A manifest of the photos that were posted to the service, below the home.
            source = str(Path(photos.home, source))
        settings = config.settings(compute.threads, follow_links)
        catalogue = catalogue_photos(source, photos.store, settings, log.progress("files"))
        photos.recent.note(context.partition_key, PHOTOS, catalogue.images.image_id)
        log.metrics(catalogue_metrics(catalogue) | {"listing": catalogue.listing})
        megapixels = catalogue.images.width * catalogue.images.height / 1e6
        log.histogram("sizes.png", megapixels.to_numpy(), "Sizes of the photos", "megapixels")
        log.table("rejects.csv", catalogue.rejects)
        log.table("companions.csv", catalogue.companions)
        log.table("duplicates.csv", duplicates_table(catalogue.images))
        log.table("notes.csv", noted_photos(catalogue))
    return catalogue


@_asset(kinds={"torch", "parquet"}, pool="gpu")
def embeddings(
    context: dg.AssetExecutionContext,
    config: EmbeddingsConfig,
    raw_images: Catalogue,
    photos: Photos,
    compute: Compute,
    tracking: Tracking,
    progress: dg.ResourceParam[ProgressReporter],
) -> Embeddings:
    """One vector an image, from the network's last layer before its classes."""
    with step(context, tracking, progress, config) as log:
        image_ids = sorted(raw_images.images.image_id.unique())
        shown_ids = photos.store.shown_ids(image_ids)
        found = embed_unseen(
            [shown_ids[one] for one in image_ids],
            photos.store.open_working_copy,
            config.backbone,
            photos.vectors,
            compute.settings(),
            log.progress("photos"),
        )
        log.metrics({"embedded_anew": found.n_computed, "dimensions": found.vectors.shape[1]})
    return Embeddings.from_arrays(image_ids, found.vectors, found.fingerprint, found.n_computed)


@_asset(kinds={"scikitlearn", "parquet"}, pool="gpu")
def tsne_2d(
    context: dg.AssetExecutionContext,
    config: TsneConfig,
    embeddings: Embeddings,
    photos: Photos,
    compute: Compute,
    tracking: Tracking,
    progress: dg.ResourceParam[ProgressReporter],
) -> pd.DataFrame:
    """A point in the plane for each vector: neighbours there were neighbours before.

    Where a network has placed the photos, the table names it, too.
    """
    with step(context, tracking, progress, config) as log:
        settings = config.settings()
        if settings.is_inductive:
            networks = photos.networks(context.partition_key)
            return place_by_network(log, embeddings, config, compute.device, networks, tracking)
        points, is_new = project_unless_known(
            embeddings.vectors,
            settings,
            compute.device,
            photos.points,
            log.progress("iterations"),
        )
        file = photos.points.path(embeddings.vectors, config.settings(), compute.device)
        photos.recent.note(context.partition_key, POINTS, [file.stem])
        log.metrics({"points": len(points), "projected_anew": is_new})
    return pd.DataFrame({"image_id": embeddings.image_ids, "x": points[:, 0], "y": points[:, 1]})


@_asset(kinds={"parquet"})
def grid_assignment(
    context: dg.AssetExecutionContext,
    config: GridConfig,
    raw_images: Catalogue,
    embeddings: Embeddings,
    tsne_2d: pd.DataFrame,
    tracking: Tracking,
    progress: dg.ResourceParam[ProgressReporter],
) -> GridAssignment:
    """A cell of the grid for each photo, near its point and among photos that look alike."""
    with step(context, tracking, progress, config) as log:
        shown = with_points(shown_photos(raw_images, config.show_duplicates), tsne_2d)
        points = shown[["x", "y"]].to_numpy()
        vectors = embeddings.of(list(shown.image_id))
        layout = lay_out(points, vectors, labels_of(shown), config.settings(), log.progress)
        metrics = layout_metrics(layout)
        log.metrics(flat(metrics))
        log.histogram(
            "displacement.png", layout.displacement(), "From point to cell", "distance in cells"
        )
    table = shown.assign(row=layout.row, col=layout.col)
    return GridAssignment(table, layout.grid.columns, layout.grid.rows, metrics)


@_asset(kinds={"jpeg"})
def mosaic(
    context: dg.AssetExecutionContext,
    config: MosaicConfig,
    raw_images: Catalogue,
    embeddings: Embeddings,
    grid_assignment: GridAssignment,
    photos: Photos,
    tracking: Tracking,
    progress: dg.ResourceParam[ProgressReporter],
) -> Mosaic:
    """Every photo in its cell, as one image and as a page; and how the photos came there."""
    with step(context, tracking, progress, config) as log:
        settings = config.settings()
        plan = plan_mosaic(grid_assignment.columns, grid_assignment.rows, settings)
        table = grid_assignment.table
        addresses, reading = addresses_of(table.uri, photos.registered(context.partition_key))
        blurred, unknown = blurred_or_all(log, photos, list(table.image_id), config)
        drawn, enlarged = drawn_mosaic(
            photos.store, table.assign(uri=addresses), plan, reading, log.progress("tiles"), blurred
        )
        if enlarged:
            context.log.warning(enlarged)
        encoded = EncodedImage(encode_mosaic(drawn, settings), SUFFIXES[settings.format])
        figure = layout_figure(grid_assignment, drawn)
        log.metrics({"width": plan.width, "height": plan.height, "shrunk": plan.shrunk})
        log.run.file(f"mosaic{encoded.suffix}", encoded.data)
        log.run.file_in_parent(f"mosaic{encoded.suffix}", encoded.data)
        log.thumbnail("mosaic", drawn)
        log.run.file("figure.png", figure.data)
        page = refresh_page(log, photos, config, grid_assignment, raw_images, embeddings)
    places = table[[name for name in PLACE_COLUMNS if name in table]]
    return Mosaic(
        encoded,
        figure,
        asdict(settings),
        plan.shrunk,
        enlarged,
        places,
        page,
        sorted(blurred.intersection(table.image_id)),
        unknown,
    )
