"""From a photo to the array that a network was trained to read."""

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects of its input: sizes in px, mean and deviation of channels in [0, 1].

    The short side is scaled to ``resize``, then a square of ``crop`` is cut from the centre.
    ``interpolation`` names one of Pillow's resampling filters in lower case, such as "bicubic".
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str


def preprocess(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """Scale, crop and normalise an image.

    The rounding is torchvision's ``Resize`` and ``CenterCrop``, with which most networks were
    evaluated.

    Args:
        image: a photo of any size and mode.
        preprocessing: the numbers of the network.

    Returns:
        (crop, crop, 3) float32, RGB.
    """
    scaled = _short_side_to(image.convert("RGB"), preprocessing.resize, preprocessing.interpolation)
    square = np.asarray(_centre(scaled, preprocessing.crop), dtype=np.float32)
    mean = np.asarray(preprocessing.mean, dtype=np.float32) * 255
    std = np.asarray(preprocessing.std, dtype=np.float32) * 255
    return (square - mean) / std


def _short_side_to(image: Image.Image, side: int, interpolation: str) -> Image.Image:
    short = min(image.size)
    if short == side:
        return image
    width, height = (int(side * length / short) for length in image.size)
    return image.resize((width, height), Image.Resampling[interpolation.upper()])


def _centre(image: Image.Image, side: int) -> Image.Image:
    left = round((image.width - side) / 2)
    upper = round((image.height - side) / 2)
    return image.crop((left, upper, left + side, upper + side))
