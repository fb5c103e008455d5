"""What a network reads of a photograph padded to a square, and the way back to the photograph.

Networks read squares. Stretched to one, an image loses its proportions; cropped to one, its ends;
padded, it keeps both.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from assets.methods.attribution.occlusion import scale_down
from assets.methods.models.preprocessing import Preprocessing, preprocess

if TYPE_CHECKING:
    import torch

# No network reads more of a photograph; its square would grow with the square of its long side.
LONG_SIDE = 1024


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


@dataclass(frozen=True)
class NetworkInput:
    """A photograph as the network reads it.

    Attributes:
        scaled: the photograph, RGB, at most ``LONG_SIDE`` px a side.
        values: (1, 3, crop, crop) float32 of ``scaled``, padded to a square.
    """

    scaled: Image.Image
    values: "torch.Tensor"
    preprocessing: Preprocessing
    padding: SquarePadding

    @property
    def border(self) -> int:
        """How many px of the scaled square the network does not read on the left and above."""
        return round((self.preprocessing.resize - self.preprocessing.crop) / 2)

    def grey_levels(
        self, values: NDArray[np.float32], size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Bring signed values of the input to the photograph, in grey levels.

        Args:
            values: (3, crop, crop) in the units and channels of the input.
            size: (width, height) in px of the result.

        Returns:
            (height, width, 3) float32, RGB; zero in the border that the network does not read.
        """
        return self._bring_back(values * self._deviations(), size)

    def per_grey_level(
        self, values: NDArray[np.float32], size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Bring a gradient by the input to the photograph; arguments as for ``grey_levels``.

        The scaling to the network's size is undone bilinearly, which is nearly its transpose.
        """
        return self._bring_back(values / self._deviations(), size)

    def _deviations(self) -> NDArray[np.float32]:
        return np.asarray(self.preprocessing.std, dtype=np.float32)[:, None, None] * 255

    def _bring_back(
        self, values: NDArray[np.float32], size: tuple[int, int]
    ) -> NDArray[np.float32]:
        in_order = values if self.preprocessing.channels == "RGB" else values[::-1]
        unread = self.preprocessing.resize - self.preprocessing.crop
        border = (self.border, unread - self.border)
        square = np.pad(np.moveaxis(in_order, 0, 2), (border, border, (0, 0)))
        return self.padding.remove(square, size)


def network_input(image: Image.Image, preprocessing: Preprocessing) -> NetworkInput:
    """Scale a photograph down if it is large, pad it with the network's mean and preprocess it.

    Args:
        image: of any size, shape and mode.
        preprocessing: what the network expects.
    """
    import torch

    scaled = scale_down(image, LONG_SIDE)
    in_order = preprocessing.mean if preprocessing.channels == "RGB" else preprocessing.mean[::-1]
    red, green, blue = (min(max(round(255 * level), 0), 255) for level in in_order)
    square, padding = pad_to_square(scaled, (red, green, blue))
    # With the channels last in memory, as convolutions of few images like them.
    values = torch.from_numpy(preprocess(square, preprocessing)).permute(2, 0, 1)[None]
    return NetworkInput(scaled, values, preprocessing, padding)


def pad_to_square(
    image: Image.Image, colour: tuple[int, int, int]
) -> tuple[Image.Image, SquarePadding]:
    """Centre an image on the smallest square that holds it.

    Args:
        image: of any size; taken as RGB.
        colour: of the padding, RGB from 0 to 255. The network's mean, which it reads as zeros,
            disturbs it least.

    Returns:
        The square, RGB, and where the image lies in it.
    """
    padding = SquarePadding(image.width, image.height)
    square = Image.new("RGB", (padding.side, padding.side), colour)
    square.paste(image.convert("RGB"), (padding.left, padding.upper))
    return square, padding
