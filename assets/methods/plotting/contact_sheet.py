"""Contact sheets: photos in rows, each above its rank and its score."""

import math

import pandas as pd
from PIL import Image, ImageDraw, ImageFilter

from assets.methods.plotting.blurring import LoadImage
from assets.methods.plotting.sheet import centred
from assets.methods.plotting.text import DARK, format_values, sheet_font

N_RANKED = 20
MOST_PHOTOS = 50

# Lengths in px.
TILE = 160
_GAP = 14
_CAPTION = 30
_FONT = 15
# Wide enough to hide details, and small enough to leave shapes.
_BLUR_RADIUS = TILE / 14

_BACKGROUND = "white"
_GROUND = "#f1f1f1"
_PALE = "#8a8a8a"

Box = tuple[int, int, int, int]


def draw_ranking(load_image: LoadImage, scores: pd.DataFrame, *, blur: bool = True) -> Image.Image:
    """Draw the 20 photos with the highest scores, highest first, each above its rank and score.

    By default the photos are blurred: a moderator should not meet the worst ones unprepared.

    Args:
        load_image: returns the photo of an image_id.
        scores: columns image_id and score, one row at least, in any order; equal scores follow the
            image_id.
        blur: whether to blur the photos.

    Returns:
        An RGB image, the same for the same arguments.
    """
    highest = scores.sort_values(["score", "image_id"], ascending=[False, True]).head(N_RANKED)
    return draw_tiles(load_image, highest, blur=blur)


def draw_tiles(load_image: LoadImage, ranked: pd.DataFrame, *, blur: bool) -> Image.Image:
    """Draw photos in the order of their rows, columns image_id and score; one row at least."""
    n = len(ranked)
    _, _, width, _ = tile_box(_columns(n) - 1, n)
    _, _, _, height = tile_box(n - 1, n)
    sheet = Image.new("RGB", (width + _GAP, height + _CAPTION + _GAP), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = sheet_font(_FONT)
    pairs = zip(ranked["image_id"], ranked["score"], strict=True)
    for place, (image_id, score) in enumerate(pairs):
        left, upper, right, lower = tile_box(place, n)
        sheet.paste(photo_tile(load_image(image_id), TILE, _BLUR_RADIUS * blur), (left, upper))
        baseline = lower + _FONT + 6
        draw.text((left, baseline), f"{place + 1}", fill=_PALE, font=font, anchor="ls")
        draw.text((right, baseline), format_values([score])[0], fill=DARK, font=font, anchor="rs")
    return sheet


def tile_box(place: int, n: int) -> Box:
    """Return left, upper, right, lower (px) of a photo's tile, on a sheet of ``n`` photos."""
    row, column = divmod(place, _columns(n))
    left = _GAP + column * (TILE + _GAP)
    upper = _GAP + row * (TILE + _CAPTION + _GAP)
    return left, upper, left + TILE, upper + TILE


def _columns(n: int) -> int:
    # The sheet is about twice as wide as high, to fit a screen.
    return min(n, math.ceil(math.sqrt(2 * n)))


def photo_tile(image: Image.Image, side: int, blur_radius: float) -> Image.Image:
    """Return a square of ``side`` px, RGB, with the whole photo in its middle.

    The photo is scaled down if need be, and blurred by ``blur_radius`` px, if that is not 0.
    """
    photo = image.convert("RGB")
    scale = min(1.0, side / max(photo.size))
    width, height = (max(1, round(scale * length)) for length in photo.size)
    photo = photo.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    if blur_radius:
        photo = photo.filter(ImageFilter.GaussianBlur(blur_radius))
    return centred(photo, side, _GROUND)
