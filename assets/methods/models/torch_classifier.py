"""A network of torch as a classifier."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from assets.methods.common.devices import ComputePlan, Precision
from assets.methods.common.errors import UserError
from assets.methods.common.fingerprints import digest_parts
from assets.methods.models.classifier import Images
from assets.methods.models.forward import Network
from assets.methods.models.photo_network import PhotoNetwork
from assets.methods.models.preprocessing import Preprocessing, preprocess_batch
from assets.methods.models.stream import Rows

if TYPE_CHECKING:
    import torch

# For a worker of one thread: OpenNSFW takes 30-34 ms an image in batches of four, 36-38 ms one at
# a time and 35-38 ms in batches of eight (two cores).
CPU_BATCH_SIZE = 4


class TorchClassifier:
    """A network whose softmax gives the probabilities.

    On the CPU an image's probabilities are the same bits whichever images it is classified with.

    Args:
        module: maps (n, 3, crop, crop) float32 to logits (n, classes); moved to the plan's device.
        preprocessing: what the module expects.
        class_names: in the order of the logits.
        fingerprint: hex, of architecture, weights, class names and preprocessing.
        plan: where to compute, and how much at a time.

    Raises:
        UserError: two classes have one name.
    """

    def __init__(
        self,
        module: "torch.nn.Module",
        preprocessing: Preprocessing,
        class_names: Sequence[str],
        fingerprint: str,
        plan: ComputePlan,
    ) -> None:
        if len(set(class_names)) < len(class_names):
            raise UserError("Two classes of the classifier have one name: give each its own.")
        self.module = module
        self.preprocessing = preprocessing
        self.class_names = tuple(class_names)
        self.fingerprint = fingerprint_at(fingerprint, plan.precision)
        self._photo_network = PhotoNetwork(module, preprocessing, plan)
        plan = self._photo_network.plan
        self.device = plan.device
        self.batch_size = plan.batch_size
        self.workers = plan.threads
        self._network = Network(
            module, plan, lambda images: preprocess_batch(images, preprocessing)
        )

    def classify(self, images: Images) -> dict[str, np.ndarray]:
        """Map n images to (n,) float32 probabilities by class name.

        Raises:
            UserError: the module gives another number of logits than there are classes.
        """
        if not len(images):
            return {name: np.empty(0, dtype=np.float32) for name in self.class_names}
        probabilities = self._probabilities(self._network(images))
        return dict(zip(self.class_names, probabilities.T, strict=True))

    def classify_photos(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Map n >= 1 photos to (n, classes) float32, scaled by Pillow on every device.

        Raises:
            UserError: as for ``classify``.
        """
        return self._probabilities(self._photo_network(images))

    def stream(self, load_image: Callable[[str], Image.Image], image_ids: Sequence[str]) -> Rows:
        """Yield the same of the photos with these ids, (some, classes) at a time, in their order.

        Raises:
            UserError: as for ``classify``.
        """
        with closing(self._photo_network.stream(load_image, image_ids)) as stream:
            yield from map(self._probabilities, stream)

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        if logits.shape[1:] != (len(self.class_names),):
            raise UserError(
                f"The network answers with {logits.shape[1]} numbers for an image, but "
                f"{len(self.class_names)} class names are given."
            )
        return _softmax(logits)


def fingerprint_at(fingerprint: str, precision: Precision) -> str:
    """Return the fingerprint that a classifier has when it computes with ``precision``.

    Half precision gives other probabilities, which must not be taken for those of float32.
    """
    if precision == "float32":
        return fingerprint
    return digest_parts({"fingerprint": fingerprint, "precision": precision})


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)
