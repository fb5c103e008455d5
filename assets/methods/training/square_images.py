"""Photos as the squares that a network reads, decoded once as long as memory has room for them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from assets.methods.models.preprocessing import Preprocessing, preprocess

if TYPE_CHECKING:
    import torch

# Of all photos together: 28,500 squares of 112 px, or 7,100 of 224 px.
KEPT_BYTES = 2**30


class SquareImages:
    """The scaled and cropped squares of n photos, found by their places.

    Args:
        load_image: returns the photo of an image_id; called from several threads.
        image_ids: the n photos.
        preprocessing: what the network reads.
        kept_bytes: what the squares kept may take; photos beyond are decoded each time.
    """

    def __init__(
        self,
        load_image: Callable[[str], Image.Image],
        image_ids: Sequence[str],
        preprocessing: Preprocessing,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self._load_image = load_image
        self._image_ids = image_ids
        # Neither moves nor turns the colours, so that what comes out are the grey levels.
        self._scaling = replace(preprocessing, mean=(0.0,) * 3, std=(1 / 255,) * 3, channels="RGB")
        self._numbers = _numbers_of_levels(preprocessing)
        self._channels = preprocessing.channels
        self._kept: dict[int, np.ndarray] = {}
        self._n_kept = kept_bytes // (3 * preprocessing.crop**2)

    def squares(self, places: Sequence[int] | np.ndarray) -> Iterator[Image.Image]:
        """Yield the (crop, crop) RGB squares of some photos."""
        for place in map(int, places):
            yield Image.fromarray(self._square(place))

    def batch(self, squares: Iterable[Image.Image]) -> "torch.Tensor":
        """Normalise n >= 1 squares to (n, 3, crop, crop) float32, channels last in memory.

        Squares that nothing changed give the numbers of ``preprocess``, bit for bit.
        """
        import torch

        levels = np.stack([np.asarray(square) for square in squares])
        ordered = levels if self._channels == "RGB" else levels[..., ::-1]
        # Looked up, which takes a third of the time of computing them.
        numbers = np.empty(levels.shape, dtype=np.float32)
        for channel, of_level in enumerate(self._numbers.T):
            numbers[..., channel] = of_level[ordered[..., channel]]
        return torch.from_numpy(numbers).permute(0, 3, 1, 2)

    def _square(self, place: int) -> np.ndarray:
        kept = self._kept.get(place)
        if kept is not None:
            return kept
        levels = preprocess(self._load_image(self._image_ids[place]), self._scaling)
        square = np.rint(levels).astype(np.uint8)
        if place < self._n_kept:
            self._kept[place] = square
        return square


def _numbers_of_levels(preprocessing: Preprocessing) -> np.ndarray:
    """Return what the network reads for each grey level of each channel: (256, 3) float32."""
    side = 256
    ramp = np.repeat(np.arange(side, dtype=np.uint8), side).reshape(side, side)
    unscaled = replace(preprocessing, resize=side, crop=side)
    return preprocess(Image.fromarray(ramp), unscaled)[:, 0]
