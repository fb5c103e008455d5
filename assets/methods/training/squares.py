"""Photos as the squares that a network reads, and small changes of them for training.

Each photo is decoded once as long as memory has room for its square.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageEnhance

from assets.methods.models.preprocessing import Preprocessing, preprocess

if TYPE_CHECKING:
    import torch

# For all photos together: 28,500 squares of 112 px, or 7,100 of 224 px.
MEMORY_BYTES = 2**30

_SMALLEST_CROP = 0.85  # of the side: a body part at the edge stays in most crops
_LARGEST_FACTOR = 1.25  # brightness and contrast are multiplied or divided by at most this


class SquareImages:
    """The scaled and cropped squares of n photos, found by their places.

    Args:
        load_image: returns the photo of an image_id; called from several threads.
        image_ids: the n photos.
        preprocessing: what the network reads.
        memory_bytes: how much memory the squares may take; other photos are decoded each time.
    """

    def __init__(
        self,
        load_image: Callable[[str], Image.Image],
        image_ids: Sequence[str],
        preprocessing: Preprocessing,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self.image_ids = image_ids
        self._load_image = load_image
        # This mean and deviation leave the grey levels as they are.
        self._scaling = replace(preprocessing, mean=(0.0,) * 3, std=(1 / 255,) * 3, channels="RGB")
        self._numbers = _numbers_of_levels(preprocessing)
        self._channels = preprocessing.channels
        self._in_memory: dict[int, np.ndarray] = {}
        self._n_in_memory = memory_bytes // (3 * preprocessing.crop**2)

    def squares(self, places: Iterable[int]) -> Iterator[Image.Image]:
        """Yield the (crop, crop) RGB squares of some photos."""
        for place in map(int, places):
            yield Image.fromarray(self._square(place))

    def batch(self, squares: Iterable[Image.Image]) -> "torch.Tensor":
        """Normalise n >= 1 squares to (n, 3, crop, crop) float32, channels last in memory.

        A square without changes gives the numbers of ``preprocess``, bit for bit.
        """
        import torch

        levels = np.stack([np.asarray(square) for square in squares])
        ordered = levels if self._channels == "RGB" else levels[..., ::-1]
        # Looking the numbers up takes a third of the time of computing them.
        numbers = np.empty(levels.shape, dtype=np.float32)
        for channel, of_level in enumerate(self._numbers.T):
            numbers[..., channel] = of_level[ordered[..., channel]]
        return torch.from_numpy(numbers).permute(0, 3, 1, 2)

    def _square(self, place: int) -> np.ndarray:
        if place in self._in_memory:
            return self._in_memory[place]
        levels = preprocess(self._load_image(self.image_ids[place]), self._scaling)
        square = np.rint(levels).astype(np.uint8)
        if place < self._n_in_memory:
            self._in_memory[place] = square
        return square


def augment_lightly(square: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Change a photo in ways that keep its label, so that training sees a new one each epoch.

    A square of 85 to 100 % of the side is cropped and scaled back, half of the photos are mirrored,
    brightness and contrast are multiplied by 0.8 to 1.25.

    Args:
        square: (side, side) RGB.
        generator: the source of the choices; the same state gives the same image.

    Returns:
        (side, side) RGB.
    """
    side = square.width
    crop = side * generator.uniform(_SMALLEST_CROP, 1)
    left, upper = generator.uniform(0, side - crop, size=2)
    # A rounded sum may lie slightly beyond the edge, which Pillow refuses.
    box = (left, upper, min(left + crop, side), min(upper + crop, side))
    changed = square.resize(square.size, Image.Resampling.BILINEAR, box)
    if generator.random() < 0.5:
        changed = changed.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    logarithm = math.log(_LARGEST_FACTOR)
    brightness, contrast = np.exp(generator.uniform(-logarithm, logarithm, size=2))
    changed = ImageEnhance.Brightness(changed).enhance(brightness)
    return ImageEnhance.Contrast(changed).enhance(contrast)


def _numbers_of_levels(preprocessing: Preprocessing) -> np.ndarray:
    """Return what the network reads for each grey level of each channel: (256, 3) float32."""
    side = 256
    ramp = np.repeat(np.arange(side, dtype=np.uint8), side).reshape(side, side)
    unscaled = replace(preprocessing, resize=side, crop=side)
    return preprocess(Image.fromarray(ramp), unscaled)[:, 0]
