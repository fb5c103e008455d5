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
from assets.kept_maps import KeptMaps
from assets.methods.layout.mosaic import plan_mosaic
from assets.methods.layout.projection.projection import project_unless_known
from assets.methods.models.embedding import embed_unseen
from assets.methods.photos.catalogue import Catalogue, catalogue_photos, noted_photos, shown_photos
from assets.methods.photos.near_duplicates import duplicates_table
from assets.resources.compute import Compute
from assets.resources.partitions import COLLECTIONS
from assets.resources.photos import INPUTS, Photos
from assets.resources.progress import ProgressReporter
from assets.resources.recent_use import PHOTOS, POINTS
from assets.resources.tracking import Tracking
from assets.results.blurring import blurred_or_all
from assets.results.map_pictures import map_pictures
from assets.results.page import refresh_page
from assets.results.photo_map import catalogue_metrics, flat
from assets.results.projection import place_by_network
from assets.results.staying_map import fresh_quality, last_points, make_grid
from assets.steps import step
from assets.values import (
    PLACE_COLUMNS,
    Embeddings,
    GridAssignment,
    Mosaic,
    points_table,
    projection_of,
    with_points,
)


def _asset(
    kinds: set[str], pool: str | None = None, group: str = "photo_map"
) -> Callable[..., dg.AssetsDefinition]:
    return dg.asset(
        partitions_def=COLLECTIONS, group_name=group, code_version="1", kinds=kinds, pool=pool
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
    maps: KeptMaps,
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
        last = last_points(maps.last(context, config), embeddings, config)
        points, is_new = project_unless_known(
            embeddings.vectors,
            settings,
            compute.device,
            photos.points,
            log.progress("iterations"),
            last,
        )
        file = photos.points.path(embeddings.vectors, settings, compute.device, last)
        photos.recent.note(context.partition_key, POINTS, [file.stem])
        log.metrics({"points": len(points), "projected_anew": is_new})
    return points_table(embeddings.image_ids, points, config.as_text())


@_asset(kinds={"parquet"})
def grid_assignment(
    context: dg.AssetExecutionContext,
    config: GridConfig,
    raw_images: Catalogue,
    embeddings: Embeddings,
    tsne_2d: pd.DataFrame,
    maps: KeptMaps,
    tracking: Tracking,
    progress: dg.ResourceParam[ProgressReporter],
) -> GridAssignment:
    """A cell for each photo: where it was on the last map, or near its point, among its like."""
    with step(context, tracking, progress, config) as log:
        shown = with_points(shown_photos(raw_images, config.show_duplicates), tsne_2d)
        last = maps.last(context, config)
        grid, displacement = make_grid(
            shown, embeddings, projection_of(tsne_2d), config, last, log.progress
        )
        log.metrics(flat(grid.metrics))
        log.histogram(
            "displacement.png", displacement, "From assigned place to cell", "distance in cells"
        )
        log.table("changes.csv", grid.changes)
    return grid


# Of another group, so that nobody makes two maps who materialises all of this one.
@_asset(kinds=set(), group="operation")
def fresh_map(
    context: dg.AssetExecutionContext,
    embeddings: Embeddings,
    grid_assignment: GridAssignment,
    tracking: Tracking,
    progress: dg.ResourceParam[ProgressReporter],
) -> None:
    """What a map made anew would be worth beside the one that is shown; nobody sees it."""
    with step(context, tracking, progress, is_stored=False) as log:
        log.metrics(fresh_quality(grid_assignment, embeddings, log.progress))


@_asset(kinds={"jpeg"})
def mosaic(
    context: dg.AssetExecutionContext,
    config: MosaicConfig,
    raw_images: Catalogue,
    embeddings: Embeddings,
    grid_assignment: GridAssignment,
    photos: Photos,
    maps: KeptMaps,
    tracking: Tracking,
    progress: dg.ResourceParam[ProgressReporter],
) -> Mosaic:
    """Every photo in its cell, as one image and as a page; and how the photos came there."""
    with step(context, tracking, progress, config) as log:
        settings = config.settings()
        plan = plan_mosaic(grid_assignment.columns, grid_assignment.rows, settings)
        table, name = grid_assignment.table, context.partition_key
        blurred, unknown = blurred_or_all(log, photos, list(table.image_id), config)
        drawn = map_pictures(
            grid_assignment, settings, photos, name, blurred, log.progress("tiles")
        )
        if drawn.enlarged:
            context.log.warning(drawn.enlarged)
        number = maps.keep(name, grid_assignment, config.kept_maps)
        size = {"width": plan.width, "height": plan.height, "shrunk": plan.shrunk}
        log.metrics({**size, "map_number": number})
        log.run.file(f"mosaic{drawn.mosaic.suffix}", drawn.mosaic.data)
        log.run.file_in_parent(f"mosaic{drawn.mosaic.suffix}", drawn.mosaic.data)
        log.thumbnail("mosaic", drawn.image)
        for title, image in {"figure": drawn.figure, **drawn.more}.items():
            log.run.file(f"{title}{image.suffix}", image.data)
        page = refresh_page(log, photos, config, grid_assignment, raw_images, embeddings)
    return Mosaic(
        drawn.mosaic,
        drawn.figure,
        asdict(settings),
        plan.shrunk,
        drawn.enlarged,
        more=drawn.more,
        number=number,
        places=table[[name for name in PLACE_COLUMNS if name in table]],
        page=page,
        blurred=sorted(blurred.intersection(table.image_id)),
        all_blurred=unknown,
        drawn_of=drawn.drawn_of,
    )
