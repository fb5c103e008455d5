"""What a window is painted over with."""

from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageFilter

Fill = Literal["black", "mean", "blur"]
FILLS: tuple[Fill, ...] = get_args(Fill)

# A Gaussian of sigma keeps exp(-2 (pi sigma / period)^2) of a wave: at a quarter of the box, less
# than 1 % of what is finer than half the box, so that no shape inside the window is left to
# recognise, while its colours still go with what lies around it.
BLUR_SIGMA_IN_BOXES = 0.25


def fill_picture(image: Image.Image, fill: Fill, box: int) -> Image.Image:
    """Return what shows where a window of ``image`` (RGB) is painted over, at the image's size.

    ``black`` is 0, ``mean`` the rounded mean of each channel over the image, ``blur`` the image
    through a Gaussian whose sigma is a quarter of ``box`` px.
    """
    if fill == "blur":
        return image.filter(ImageFilter.GaussianBlur(BLUR_SIGMA_IN_BOXES * box))
    colour = np.zeros(3)
    if fill == "mean":
        colour = np.asarray(image).mean(axis=(0, 1))
    red, green, blue = (round(channel) for channel in colour.tolist())
    return Image.new("RGB", image.size, (red, green, blue))
