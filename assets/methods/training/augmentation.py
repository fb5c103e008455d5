"""Small changes of a photo under which its label stays: training sees a new picture each epoch."""

import math

import numpy as np
from PIL import Image, ImageEnhance

_LEAST_CUT = 0.85  # of the side: a body part at the edge stays in most cuts
_TONE = 1.25  # brightness and contrast are multiplied or divided by up to this


def augment_lightly(square: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Cut, mirror and tone a photo.

    A square of 85 to 100 % of the side is cut out and scaled back, half of the photos are mirrored,
    brightness and contrast are multiplied by 0.8 to 1.25.

    Args:
        square: (side, side) RGB.
        generator: where the choices come from; the same state gives the same picture.

    Returns:
        (side, side) RGB.
    """
    side = square.width
    cut = side * generator.uniform(_LEAST_CUT, 1)
    left, upper = generator.uniform(0, side - cut, size=2)
    # Rounding may carry a sum a hair beyond the edge, which Pillow refuses.
    box = (left, upper, min(left + cut, side), min(upper + cut, side))
    changed = square.resize(square.size, Image.Resampling.BILINEAR, box)
    if generator.random() < 0.5:
        changed = changed.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    brightness, contrast = np.exp(generator.uniform(-math.log(_TONE), math.log(_TONE), size=2))
    changed = ImageEnhance.Brightness(changed).enhance(brightness)
    return ImageEnhance.Contrast(changed).enhance(contrast)
