"""Which photos are drawn grey and blurred, and how: nobody should meet the worst ones unprepared.

Everything that shows photos of a collection draws them by this file: the mosaic, its page, contact
sheets and thumbnails.
"""

from collections.abc import Callable, Collection

import pandas as pd
from PIL import Image, ImageFilter, ImageOps

BLUR_ABOVE = 0.8

# A photo that is blurred keeps so many px of its shorter side, which show no more than where it is
# light.
_SHORT_SIDE = 9
# For the edges between these px, the shorter side by the radius.
_SMOOTHING = 40

LoadImage = Callable[[str], Image.Image]


def are_blurred(scores: pd.Series, above: float | None) -> pd.Series:
    """Return which of these scores are above the limit; a photo without a score is never blurred.

    None as the limit blurs none.
    """
    return scores > above if above is not None else pd.Series(False, scores.index)


def draw_blurred(photo: Image.Image, size: tuple[int, int] | None = None) -> Image.Image:
    """Draw a photo grey and blurred, RGB; cut to the shape of ``size``, its own by default."""
    size = size or photo.size
    across, down = (max(1, round(_SHORT_SIDE * length / min(size))) for length in size)
    small = ImageOps.fit(photo.convert("RGB"), (across, down), Image.Resampling.BOX)
    large = ImageOps.grayscale(small).resize(size, Image.Resampling.BICUBIC)
    return large.filter(ImageFilter.GaussianBlur(min(size) / _SMOOTHING)).convert("RGB")


def with_blurred(load_image: LoadImage, blurred: Collection[str]) -> LoadImage:
    """Return what loads photos by their image_id, those of ``blurred`` grey and blurred."""
    if not blurred:
        return load_image

    def load(image_id: str) -> Image.Image:
        photo = load_image(image_id)
        return draw_blurred(photo) if image_id in blurred else photo

    return load
