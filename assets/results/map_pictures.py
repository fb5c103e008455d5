"""The pictures of a map, drawn again only if what they show has changed."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from PIL import Image

from assets.io_managers import outputs_of
from assets.methods.common.errors import UserError
from assets.methods.common.progress import Progress
from assets.methods.layout.mosaic import (
    MosaicPlan,
    MosaicSettings,
    encode_mosaic,
    plan_mosaic,
    read_mosaic,
)
from assets.methods.photos.decode import DECODE_VERSION, WORKING_SHORT_SIDE
from assets.resources.photos import Photos
from assets.results.originals import addresses_of
from assets.results.photo_map import drawn_mosaic, layout_figure
from assets.results.staying_map import changes_picture
from assets.values import EncodedImage, GridAssignment, Mosaic

SUFFIXES = {"jpeg": ".jpg", "png": ".png"}
# Raise it whenever other pictures are drawn of the same map.
_DRAW_VERSION = 1
_DRAWN_BY = ("pillow", "matplotlib", "numpy")


@dataclass(frozen=True)
class MapPictures:
    """Fields of a `Mosaic`, and ``image``, which returns the mosaic as pixels."""

    mosaic: EncodedImage
    figure: EncodedImage
    more: dict[str, EncodedImage]
    enlarged: str | None
    drawn_of: str
    image: Callable[[], Image.Image]


def map_pictures(
    grid: GridAssignment,
    settings: MosaicSettings,
    photos: Photos,
    name: str,
    blurred: frozenset[str],
    progress: Progress,
) -> MapPictures:
    """Return the pictures of a map of the collection called ``name``.

    They are those of its last mosaic, if that shows the same. Tiles that are larger than working
    copies are drawn in any case: whether their originals are there is known then.
    """
    plan = plan_mosaic(grid.columns, grid.rows, settings)
    drawn_of = _drawn_of(grid, settings, blurred)
    last = _last(photos, name) if plan.tile <= WORKING_SHORT_SIDE else None
    if last is not None and last.drawn_of == drawn_of:
        data = last.mosaic.data
        return MapPictures(
            last.mosaic,
            last.figure,
            last.more,
            last.enlarged,
            drawn_of,
            lambda: read_mosaic(data, settings),
        )
    return _drawn(grid, plan, photos, name, blurred, drawn_of, progress)


def _drawn(
    grid: GridAssignment,
    plan: MosaicPlan,
    photos: Photos,
    name: str,
    blurred: frozenset[str],
    drawn_of: str,
    progress: Progress,
) -> MapPictures:
    addresses, reading = addresses_of(grid.table.uri, photos.registered(name))
    table = grid.table.assign(uri=addresses)
    drawn, enlarged = drawn_mosaic(photos.store, table, plan, reading, progress, blurred)
    return MapPictures(
        EncodedImage(encode_mosaic(drawn, plan.settings), SUFFIXES[plan.settings.format]),
        layout_figure(grid, drawn),
        changes_picture(grid, drawn, plan),
        enlarged,
        drawn_of,
        lambda: drawn,
    )


def _last(photos: Photos, name: str) -> Mosaic | None:
    try:
        return outputs_of(Path(photos.home)).read(Mosaic, "mosaic", name)
    except UserError:
        # There is none yet, or it is damaged: it is made again.
        return None


def _drawn_of(grid: GridAssignment, settings: MosaicSettings, blurred: frozenset[str]) -> str:
    of_map = [grid.columns, grid.rows, grid.metrics.get("stay"), asdict(settings)]
    of_photos = sorted(blurred.intersection(grid.table.image_id))
    by = [_DRAW_VERSION, DECODE_VERSION, [version(one) for one in _DRAWN_BY]]
    digest = hashlib.sha256(json.dumps([of_map, of_photos, by], sort_keys=True).encode())
    for table in (grid.table, grid.changes):
        digest.update(repr(list(table.columns)).encode())
        digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    return digest.hexdigest()
