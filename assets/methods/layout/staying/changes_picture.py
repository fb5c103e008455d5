"""A small picture of what has changed on a map: new photos framed, the places of removed ones."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from assets.methods.layout.mosaic import MosaicPlan, tile_box
from assets.methods.plotting.foot import with_foot

LARGEST_SIDE = 1_400  # px
_NEW, _GONE, _MOVED = "#ffb000", "#ff5d5d", "#9fd0ff"
_DIMMED = 0.5  # of the brightness of photos that were there before


def draw_changes(
    mosaic: Image.Image,
    plan: MosaicPlan,
    new: NDArray[np.integer],
    gone: NDArray[np.integer],
    moves: NDArray[np.integer],
    lines: Sequence[str] = (),
) -> Image.Image:
    """Draw the mosaic small and dimmed, and what has changed on it in full colour.

    Args:
        mosaic: RGB, of the plan's size.
        plan: with which it was drawn.
        new: (a, 2), rows and columns of new photos, which get a frame.
        gone: (b, 2), rows and columns where removed photos were, which get a cross; those outside
            of the grid are left out.
        moves: (c, 4), row and column before and now of photos that moved, which get a line with a
            dot where the photo is now.
        lines: sentences for the foot.

    Returns:
        RGB, its longer side at most ``LARGEST_SIDE`` px without the foot.
    """
    scale = min(1.0, LARGEST_SIDE / max(mosaic.size))
    width, height = (max(1, round(side * scale)) for side in mosaic.size)
    small = mosaic.resize((width, height), Image.Resampling.BOX)
    picture = small.convert("L").point(lambda level: level * _DIMMED).convert("RGB")
    draw = ImageDraw.Draw(picture)
    thick = max(1, round(plan.tile * scale / 12))
    for row, col, row_now, col_now in moves.tolist():
        start, end = (_middle(plan, scale, *cell) for cell in ((row, col), (row_now, col_now)))
        draw.line((*start, *end), fill=_MOVED, width=max(1, thick // 2))
        draw.circle(end, thick, fill=_MOVED)
    for row, col in gone.tolist():
        left, upper, right, lower = _scaled(tile_box(plan, row, col), scale)
        draw.line((left, upper, right, lower), fill=_GONE, width=thick)
        draw.line((left, lower, right, upper), fill=_GONE, width=thick)
    for row, col in new.tolist():
        box = _scaled(tile_box(plan, row, col), scale)
        picture.paste(small.crop(box), box)
        left, upper, right, lower = box
        frame = (left, upper, max(left, right - 1), max(upper, lower - 1))
        draw.rectangle(frame, outline=_NEW, width=thick)
    return with_foot(picture, lines)


def _scaled(box: tuple[int, int, int, int], scale: float) -> tuple[int, int, int, int]:
    left, upper, right, lower = (round(side * scale) for side in box)
    return left, upper, max(right, left + 1), max(lower, upper + 1)


def _middle(plan: MosaicPlan, scale: float, row: int, col: int) -> tuple[float, float]:
    left, upper, right, lower = tile_box(plan, row, col)
    return scale * (left + right) / 2, scale * (upper + lower) / 2
