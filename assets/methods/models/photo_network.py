"""A network that reads photos: each is scaled and cropped by Pillow, wherever the network runs."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from assets.methods.common.devices import ComputePlan
from assets.methods.models.batch_size import with_batch_size
from assets.methods.models.forward import Network
from assets.methods.models.preprocessing import Preprocessing, normalisation, square_of
from assets.methods.models.stream import Rows, stream_rows

if TYPE_CHECKING:
    import torch


class PhotoNetwork:
    """A module on its device, and what it reads of a photo.

    ``plan`` is the plan that it was made with, and the batch size that was measured.

    Args:
        module: maps (n, 3, crop, crop) float32 to (n, d); moved to the plan's device.
        preprocessing: what the module expects.
        plan: where to compute, and how much at a time.
    """

    def __init__(
        self, module: "torch.nn.Module", preprocessing: Preprocessing, plan: ComputePlan
    ) -> None:
        self.plan = with_batch_size(plan, module, preprocessing.crop)
        self._preprocessing = preprocessing
        self._network = Network(module, self.plan, normalisation(preprocessing, plan.device))

    def __call__(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Map n >= 1 photos to (n, d) float32; to be called in the threads of ``unsplit_pool``.

        Raises:
            UserError: memory does not suffice even for one photo.
        """
        return self._network(np.stack([square_of(one, self._preprocessing) for one in images]))

    def stream(self, load_image: Callable[[str], Image.Image], image_ids: Sequence[str]) -> Rows:
        """Yield the rows of n photos, (some, d) float32 at a time, in their order.

        Args:
            load_image: returns the photo of an image_id; called from several threads, or pickled
                for several processes.
            image_ids: the photos.

        Raises:
            UserError: as for a call, and a process that reads photos was ended from outside.
        """
        read = partial(_read_square, load_image, self._preprocessing)
        return stream_rows(self._network, read, image_ids, self._preprocessing.crop, self.plan)


def _read_square(
    load_image: Callable[[str], Image.Image], preprocessing: Preprocessing, image_id: str
) -> np.ndarray:
    return square_of(load_image(image_id), preprocessing)
