"""Square windows that slide over an image, and what they are painted over with.

Scores of the windows are averaged to a value for each pixel.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageFilter

Fill = Literal["black", "mean", "blur"]
FILLS: tuple[Fill, ...] = get_args(Fill)

# A Gaussian of sigma keeps exp(-2 (pi sigma / period)^2) of a wave: at a quarter of the box, less
# than 1 % of what is finer than half the box, so that no shape inside the window is left to
# recognise, while its colours still go with what lies around it.
BLUR_SIGMA_IN_BOXES = 0.25


@dataclass(frozen=True)
class Windows:
    """A grid of windows of one size, all inside the image, together covering every pixel.

    Window (row, column) has its top left corner at (``row_starts[row]``,
    ``col_starts[column]``); starts grow, and the last window ends at the image's edge. In px.
    """

    row_starts: tuple[int, ...]
    col_starts: tuple[int, ...]
    height: int
    width: int

    @property
    def count(self) -> int:
        """The number of windows."""
        return len(self.row_starts) * len(self.col_starts)

    @property
    def box(self) -> int:
        """The longer side of a window in px: the box asked for, unless the image is smaller."""
        return max(self.height, self.width)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of windows."""
        return len(self.row_starts), len(self.col_starts)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Rows and columns of the image's pixels."""
        return self.row_starts[-1] + self.height, self.col_starts[-1] + self.width

    def rectangle(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Return (left, upper, right, lower) of a window, as Pillow's ``crop`` wants it."""
        upper, left = self.row_starts[row], self.col_starts[column]
        return left, upper, left + self.width, upper + self.height

    def average(self, scores: ArrayLike) -> NDArray[np.float32]:
        """Give each pixel the mean of the scores of those windows that cover it.

        A mean over all windows instead would darken the edges, which fewer windows cover: the map
        of a model that always answers the same would be a pyramid.

        Args:
            scores: one number a window, (rows, columns) of windows.

        Returns:
            float32 of ``image_shape``, within the range of the scores.
        """
        numbers = np.asarray(scores, dtype=np.float64)
        rows = _coverage(self.row_starts, self.height)
        columns = _coverage(self.col_starts, self.width)
        counts = np.outer(rows.sum(axis=0), columns.sum(axis=0))
        means = (rows.T @ numbers @ columns / counts).astype(np.float32)
        # Rounding alone could lift a mean above all it is the mean of.
        return means.clip(np.float32(numbers.min()), np.float32(numbers.max()))


def place_windows(height: int, width: int, box: int, stride: int) -> Windows:
    """Place windows of ``box`` px every ``stride`` px on an image.

    Starts are 0, s, 2s, ..., and one more where the far edge would be left uncovered. Where the
    image is smaller than the box, the window is as large as the image.
    """
    rows, columns = min(box, height), min(box, width)
    return Windows(
        _starts(height, rows, stride), _starts(width, columns, stride), height=rows, width=columns
    )


def fill_image(image: Image.Image, fill: Fill, box: int) -> Image.Image:
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


def _starts(size: int, window: int, stride: int) -> tuple[int, ...]:
    last = size - window
    return (*range(0, last, stride), last)


def _coverage(starts: tuple[int, ...], window: int) -> NDArray[np.float64]:
    """Return (starts, pixels): 1 where the window covers the pixel, else 0."""
    first = np.asarray(starts)[:, np.newaxis]
    pixels = np.arange(starts[-1] + window)
    return ((first <= pixels) & (pixels < first + window)).astype(np.float64)
