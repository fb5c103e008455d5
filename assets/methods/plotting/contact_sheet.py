"""A contact sheet of the photos with the highest scores."""

import math
from collections.abc import Callable

import pandas as pd
from PIL import Image, ImageDraw, ImageFilter

from assets.methods.common.errors import UserError
from assets.methods.plotting.text import DARK, format_values, sheet_font

MOST_PHOTOS = 50

# Lengths in px.
TILE = 160
_GAP = 14
_CAPTION = 30
_FONT = 15
# Shapes remain and details do not.
_BLUR_RADIUS = TILE / 14

_BACKGROUND = "white"
_GROUND = "#f1f1f1"
_PALE = "#8a8a8a"

Box = tuple[int, int, int, int]
LoadImage = Callable[[str], Image.Image]


def draw_ranking(
    load_image: LoadImage, scores: pd.DataFrame, n: int = 20, *, blur: bool = True
) -> Image.Image:
    """Draw the ``n`` photos with the highest scores, highest first, each above its rank and score.

    Photos are blurred unless they are asked for sharp: who moderates should not meet the worst
    ones unprepared.

    Args:
        load_image: returns the photo of an image_id.
        scores: columns image_id and score, in any order; equal scores follow the image_id.
        n: how many, 1 to 50; fewer if there are fewer scores.
        blur: whether to blur the photos.

    Returns:
        An RGB picture, the same for the same arguments.

    Raises:
        UserError: n is out of its range, or there are no scores.
    """
    if not 1 <= n <= MOST_PHOTOS:
        raise UserError(f"A sheet of {n} photos was asked for: choose 1 to {MOST_PHOTOS}.")
    if scores.empty:
        raise UserError("There are no scores to rank: score some photos first.")
    highest = scores.sort_values(["score", "image_id"], ascending=[False, True]).head(n)
    return draw_tiles(load_image, highest, blur=blur)


def draw_tiles(load_image: LoadImage, ranked: pd.DataFrame, *, blur: bool) -> Image.Image:
    """Draw photos in the order of their rows, columns image_id and score; one row at least."""
    sheet = Image.new("RGB", _sheet_size(len(ranked)), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = sheet_font(_FONT)
    for place, (image_id, score) in enumerate(
        zip(ranked["image_id"], ranked["score"], strict=True)
    ):
        left, upper, right, lower = tile_box(place, len(ranked))
        sheet.paste(_tile(load_image(image_id), blur=blur), (left, upper))
        baseline = lower + _FONT + 6
        draw.text((left, baseline), f"{place + 1}", fill=_PALE, font=font, anchor="ls")
        draw.text((right, baseline), format_values([score])[0], fill=DARK, font=font, anchor="rs")
    return sheet


def tile_box(place: int, n: int) -> Box:
    """Return the (left, upper, right, lower) px of a photo's tile, on a sheet of ``n`` photos."""
    row, column = divmod(place, _columns(n))
    left = _GAP + column * (TILE + _GAP)
    upper = _GAP + row * (TILE + _CAPTION + _GAP)
    return left, upper, left + TILE, upper + TILE


def _columns(n: int) -> int:
    # Twice as wide as high, as screens are.
    return min(n, math.ceil(math.sqrt(2 * n)))


def _sheet_size(n: int) -> tuple[int, int]:
    columns = _columns(n)
    _, _, right, _ = tile_box(columns - 1, n)
    _, _, _, lower = tile_box(n - 1, n)
    return right + _GAP, lower + _CAPTION + _GAP


def _tile(image: Image.Image, *, blur: bool) -> Image.Image:
    """Centre the whole photo on a tile, scaled down if it is larger."""
    photo = image.convert("RGB")
    scale = min(1.0, TILE / max(photo.size))
    width, height = (max(1, round(scale * length)) for length in photo.size)
    photo = photo.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    if blur:
        photo = photo.filter(ImageFilter.GaussianBlur(_BLUR_RADIUS))
    tile = Image.new("RGB", (TILE, TILE), _GROUND)
    tile.paste(photo, ((TILE - width) // 2, (TILE - height) // 2))
    return tile
