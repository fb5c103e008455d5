"""Pillow's scaling of images, bit for bit, on any device.

Pillow computes with integers: weights are multiples of 2^-22, and sums of weighted pixels are
rounded to grey levels. Sums of integers do not depend on their order, so that a card gives what the
CPU gives, and a part of a scaled image what the whole one has there.

Source: Pillow, src/libImaging/Resample.c.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.errors import UserError

if TYPE_CHECKING:
    import torch

# A grey level of 8 bits, times a weight, and a sum of them that overshoots, fit into 32 bits.
_PRECISION_BITS = 22


@dataclass(frozen=True)
class Taps:
    """Which pixels of a line are added up for each pixel of the scaled line.

    Attributes:
        places: (pixels of the scaled line, taps) int64, in the line.
        weights: of the same shape, int32, multiples of 2^-22; 0 for taps that are not needed.
    """

    places: NDArray[np.int64]
    weights: NDArray[np.int32]


def scale_images(
    images: "torch.Tensor", height: int, width: int, interpolation: str
) -> "torch.Tensor":
    """Scale images as Pillow does, where they are.

    Args:
        images: (n, c, h, w) uint8.
        height: of the result, in px.
        width: of the result.
        interpolation: one of ``INTERPOLATIONS``.

    Returns:
        (n, c, height, width) uint8.

    Raises:
        UserError: the interpolation is another one.
    """
    import torch

    for axis in order_of_axes(images.shape[2], images.shape[3], height, width):
        length, size = images.shape[2 + axis], (height, width)[axis]
        if length == size:
            continue
        taps = taps_of(length, size, interpolation)
        places, weights = (
            torch.from_numpy(one)[None].to(images.device) for one in (taps.places, taps.weights)
        )
        images = scale_along(images, axis, places, weights)
    return images


def scale_along(
    images: "torch.Tensor", axis: int, places: "torch.Tensor", weights: "torch.Tensor"
) -> "torch.Tensor":
    """Scale images along their height (axis 0) or their width (axis 1).

    Args:
        images: (n, c, h, w) uint8.
        axis: 0 or 1.
        places: (n or 1, pixels, taps) int64, along the axis: taps of each image, or of all.
        weights: of the same shape, int32, as in ``Taps``.

    Returns:
        (n, c, pixels, w) or (n, c, h, pixels) uint8.
    """
    import torch

    m, size, n_taps = places.shape
    shape = list(images.shape)
    shape[2 + axis] = size
    column = (m, 1, size, 1) if axis == 0 else (m, 1, 1, size)
    total = torch.full(shape, 1 << (_PRECISION_BITS - 1), dtype=torch.int32, device=images.device)
    for tap in range(n_taps):
        pixels = images.gather(2 + axis, places[:, :, tap].reshape(column).expand(shape))
        total += pixels.int() * weights[:, :, tap].reshape(column)
    return (total >> _PRECISION_BITS).clamp_(0, 255).to(torch.uint8)


def order_of_axes(rows: int, columns: int, height: int, width: int) -> tuple[int, int]:
    """Return in which order an image is scaled: 0 is along its height, 1 along its width.

    Pillow 13 begins with the height where it loses more than twice the pixels that the width loses.
    """
    return (0, 1) if rows - height > max(0, 2 * (columns - width)) else (1, 0)


@lru_cache(maxsize=64)
def taps_of(length: int, scaled: int, interpolation: str) -> Taps:
    """Return the taps that scale a line of ``length`` px to ``scaled`` px.

    Raises:
        UserError: the interpolation is neither bilinear nor bicubic.
    """
    if interpolation not in _FILTERS:
        raise UserError(
            f"Only the CPU scales images with the filter {interpolation}: compute there."
        )
    radius, weigh = _FILTERS[interpolation]
    scale = length / scaled
    # Where a line is enlarged, the filter keeps its size.
    stretch = max(scale, 1.0)
    support = radius * stretch
    centres = (np.arange(scaled) + 0.5) * scale
    first = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    end = np.minimum((centres + support + 0.5).astype(np.int64), length)
    places = first[:, np.newaxis] + np.arange(int((end - first).max()))
    distances = (places - centres[:, np.newaxis] + 0.5) * (1 / stretch)
    weights = np.where(places < end[:, np.newaxis], weigh(np.abs(distances)), 0.0)
    # One after the other, as Pillow adds them up.
    weights /= np.add.accumulate(weights, axis=1)[:, -1:]
    rounded = np.trunc(weights * (1 << _PRECISION_BITS) + np.copysign(0.5, weights))
    return Taps(np.minimum(places, length - 1), rounded.astype(np.int32))


def _bilinear(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(distances < 1, 1 - distances, 0.0)


def _bicubic(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys, "Cubic convolution interpolation", 1981, with a = -0.5."""
    x, a = distances, -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


_FILTERS: dict[str, tuple[float, Callable[[NDArray[np.float64]], NDArray[np.float64]]]] = {
    "bilinear": (1.0, _bilinear),
    "bicubic": (2.0, _bicubic),
}

INTERPOLATIONS = tuple(_FILTERS)
