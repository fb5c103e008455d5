"""A square around an image of any shape, and the way back from maps of the square to the image.

Networks read squares. Stretched to one, an image loses its proportions; cropped to one, its ends;
padded, it keeps both.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class SquarePadding:
    """Where an image of ``width`` x ``height`` px lies in the smallest square that holds it."""

    width: int
    height: int

    @property
    def side(self) -> int:
        """The length of the square's side in px."""
        return max(self.width, self.height)

    @property
    def left(self) -> int:
        """The columns of padding left of the image; right of it there may be one more."""
        return (self.side - self.width) // 2

    @property
    def upper(self) -> int:
        """The rows of padding above the image; below it there may be one more."""
        return (self.side - self.height) // 2

    def remove(self, square: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """Cut the image's part out of a map of the square, and bring it to a size.

        Args:
            square: (n, n, channels), the square at any resolution.
            size: (width, height) in px of the result, which is scaled bilinearly.

        Returns:
            (height, width, channels) float32.

        Raises:
            ValueError: the map is no square.
        """
        n = len(square)
        if square.shape[1] != n:
            raise ValueError(f"a map of {square.shape} is no square")
        left, upper, right, lower = (
            edge * n / self.side
            for edge in (self.left, self.upper, self.left + self.width, self.upper + self.height)
        )
        edges = (left, upper, right, lower)
        # In one step: the square of a long image at its own size would not fit into memory.
        channels = [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(channel, dtype=np.float32)).resize(
                    size, Image.Resampling.BILINEAR, edges
                )
            )
            for channel in np.moveaxis(square, 2, 0)
        ]
        return np.stack(channels, axis=2)


def pad_to_square(
    image: Image.Image, colour: tuple[int, int, int]
) -> tuple[Image.Image, SquarePadding]:
    """Centre an image on the smallest square that holds it.

    Args:
        image: of any size; taken as RGB.
        colour: of the padding, RGB from 0 to 255. A network's mean, which it reads as zeros, says
            least to it.

    Returns:
        The square, RGB, and where the image lies in it.
    """
    padding = SquarePadding(image.width, image.height)
    square = Image.new("RGB", (padding.side, padding.side), colour)
    square.paste(image.convert("RGB"), (padding.left, padding.upper))
    return square, padding
