"""The photos of a layout, drawn side by side as one image."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from PIL import Image, ImageColor, ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from assets.methods.common.devices import usable_cores
from assets.methods.common.errors import UserError
from assets.methods.common.progress import Progress, silent
from assets.methods.photos.decode import WORKING_SHORT_SIDE
from assets.methods.plotting.sheet import centred, fitted

# Browsers and image viewers give up on larger pictures.
LARGEST_SIDE = 16_384  # px

COMPARED_TILES = 64
# The side in px at which large tiles are compared, and what scaling them may change, in levels.
_COMPARED_SIDE = 64
_SCALING_LOSS = 6.0

Box = tuple[int, int, int, int]
LoadImage = Callable[[str], Image.Image]


@dataclass(frozen=True)
class MosaicSettings:
    """How the mosaic looks; ``tile`` and ``gap`` in px.

    ``background`` is anything Pillow reads as a colour: "#rrggbb" or a name. "fill" cuts the
    photo's centre square out, "fit" shows the whole photo on the background. ``quality`` is JPEG's,
    1 to 95.

    Raises:
        UserError: a setting is out of its range, or the background no colour.
    """

    tile: int = 96
    gap: int = 2
    background: str = "#16181d"
    fit: Literal["fill", "fit"] = "fill"
    format: Literal["jpeg", "png"] = "jpeg"
    quality: int = 90

    def __post_init__(self) -> None:
        if self.tile < 1:
            raise UserError(f"The tile size is {self.tile} px: it has to be at least 1.")
        if self.gap < 0:
            raise UserError(f"The gap is {self.gap} px: it has to be at least 0.")
        if not 1 <= self.quality <= 95:
            raise UserError(f"The JPEG quality is {self.quality}: it has to be from 1 to 95.")
        _rgb(self.background)


@dataclass(frozen=True)
class MosaicPlan:
    """The sizes of the mosaic, in px; ``shrunk`` says in a sentence why tiles are smaller."""

    settings: MosaicSettings
    tile: int
    gap: int
    width: int
    height: int
    shrunk: str | None


def plan_mosaic(columns: int, rows: int, settings: MosaicSettings) -> MosaicPlan:
    """Choose the sizes of a mosaic of ``columns`` x ``rows`` tiles.

    Raises:
        UserError: the grid has more cells along a side than a picture may have pixels.
    """
    longer = max(columns, rows)
    if longer > LARGEST_SIDE:
        raise UserError(
            f"A grid of {columns:,} x {rows:,} does not fit in a picture of {LARGEST_SIDE:,} px: "
            "choose a squarer grid."
        )
    tile, gap = _fitting(longer, settings.tile, settings.gap)
    shrunk = None
    if (tile, gap) != (settings.tile, settings.gap):
        shrunk = (
            f"Tiles are {tile} px with gaps of {gap} px instead of {settings.tile} and "
            f"{settings.gap}, because the picture's side may not exceed {LARGEST_SIDE:,} px."
        )
    return MosaicPlan(
        settings=settings,
        tile=tile,
        gap=gap,
        width=_side(columns, tile, gap),
        height=_side(rows, tile, gap),
        shrunk=shrunk,
    )


def tile_box(plan: MosaicPlan, row: int, col: int) -> Box:
    """Return the (left, upper, right, lower) pixels of a cell's tile."""
    left, upper = col * (plan.tile + plan.gap), row * (plan.tile + plan.gap)
    return left, upper, left + plan.tile, upper + plan.tile


def draw_mosaic(
    load_image: LoadImage,
    layout: pd.DataFrame,
    plan: MosaicPlan,
    progress: Progress = silent,
    threads: int | None = None,
) -> Image.Image:
    """Draw every photo into its cell; cells without a photo stay background.

    Args:
        load_image: returns the photo of an image_id; called from several threads.
        layout: columns image_id, row, col.
        plan: from ``plan_mosaic`` for the layout's grid.
        progress: counts the photos drawn.
        threads: that load photos; None takes one per processor.

    Returns:
        RGB, of the plan's size.
    """
    canvas = Image.new("RGB", (plan.width, plan.height), _rgb(plan.settings.background))

    def place(image_id: str, row: int, col: int) -> None:
        # Tiles do not overlap, so the threads need not wait for each other.
        canvas.paste(draw_tile(load_image(image_id), plan), tile_box(plan, row, col))

    with ThreadPoolExecutor(threads or usable_cores()) as pool:
        placed = pool.map(place, layout["image_id"], layout["row"], layout["col"])
        for done, _ in enumerate(placed, start=1):
            progress(done, len(layout))
    return canvas


def draw_tile(image: Image.Image, plan: MosaicPlan) -> Image.Image:
    """Scale one photo to a tile."""
    photo = image.convert("RGB")
    side = (plan.tile, plan.tile)
    if plan.settings.fit == "fill":
        return ImageOps.fit(photo, side, Image.Resampling.LANCZOS)
    scaled = photo.resize(fitted(photo.size, side), Image.Resampling.LANCZOS)
    return centred(scaled, plan.tile, _rgb(plan.settings.background))


def encode_mosaic(mosaic: Image.Image, settings: MosaicSettings) -> bytes:
    """Return a mosaic as a file: the same bytes for the same mosaic."""
    file = io.BytesIO()
    if settings.format == "png":
        mosaic.save(file, "PNG")
    else:
        # Colours shared between pixels, JPEG's default, would run over the edges of the tiles.
        mosaic.save(file, "JPEG", quality=settings.quality, subsampling=0)
    return file.getvalue()


def read_mosaic(data: bytes, settings: MosaicSettings) -> Image.Image:
    """Read a file of ``encode_mosaic``, however large.

    ``Image.open`` would take a large one for a decompression bomb.
    """
    readers: dict[str, type[ImageFile]] = {"png": PngImageFile, "jpeg": JpegImageFile}
    with readers[settings.format](io.BytesIO(data)) as mosaic:
        return mosaic.convert("RGB")


def compare_tiles(
    mosaic: Image.Image,
    layout: pd.DataFrame,
    plan: MosaicPlan,
    load_image: LoadImage,
) -> pd.DataFrame:
    """Draw ``COMPARED_TILES`` of the tiles anew and compare them with those of a mosaic.

    Tiles that are larger than working copies, which may come from originals, are compared at a
    smaller size.

    Args:
        mosaic: as read back from its file.
        layout: columns image_id, row, col.
        plan: with which the mosaic was drawn.
        load_image: returns the photo of an image_id.

    Returns:
        Columns image_id, row, col, difference (mean absolute over pixels and channels, 0 to 255)
        and right: whether the loss of the file format explains the difference.
    """
    chosen = layout[["image_id", "row", "col"]].sample(
        min(COMPARED_TILES, len(layout)), random_state=0
    )
    is_large = plan.tile > WORKING_SHORT_SIDE
    compared = replace(plan, tile=_COMPARED_SIDE) if is_large else plan

    def difference(image_id: str, row: int, col: int) -> float:
        tile = mosaic.crop(tile_box(plan, row, col))
        if is_large:
            tile = tile.resize((_COMPARED_SIDE, _COMPARED_SIDE), Image.Resampling.BOX)
        return _difference(tile, draw_tile(load_image(image_id), compared))

    differences = [difference(*one) for one in chosen.itertuples(index=False)]
    allowed = _format_loss(plan.settings) + is_large * _SCALING_LOSS
    return chosen.assign(
        difference=differences, right=[one <= allowed for one in differences]
    ).reset_index(drop=True)


def _fitting(cells: int, tile: int, gap: int) -> tuple[int, int]:
    """Scale tile and gap down alike until ``cells`` in a row fit; the tile keeps at least 1 px."""
    side = _side(cells, tile, gap)
    if side <= LARGEST_SIDE:
        return tile, gap
    gap = min(gap * LARGEST_SIDE // side, (LARGEST_SIDE - cells) // max(1, cells - 1))
    return min(tile, (LARGEST_SIDE - (cells - 1) * gap) // cells), gap


def _side(cells: int, tile: int, gap: int) -> int:
    return cells * tile + (cells - 1) * gap


def _rgb(colour: str) -> tuple[int, int, int]:
    try:
        red, green, blue = ImageColor.getrgb(colour)[:3]
    except ValueError as error:
        raise UserError(f"{colour!r} is not a colour: write #rrggbb or a name.") from error
    return red, green, blue


def _difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).mean())


def _format_loss(settings: MosaicSettings) -> float:
    """Return the mean absolute difference that encoding a tile may cause, in levels of 255.

    On 256 photographs, qualities 20 to 95 and tiles of 8 to 96 px, the largest difference was 0.4
    to 0.9 of it; two different photographs differed by 27 or more at 96 px.
    """
    return 0.0 if settings.format == "png" else 6 + 0.6 * (100 - settings.quality)
