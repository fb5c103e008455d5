"""The protocol of classifiers, and calls that are the same for all of them."""

import difflib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, Union, runtime_checkable

import numpy as np
from PIL import Image

from assets.methods.common.errors import UserError
from assets.methods.models.forward import unsplit_pool
from assets.methods.models.stream import Rows

if TYPE_CHECKING:
    import torch

# (n, 3, h, w) uint8 RGB, on the classifier's device; or n of (3, h, w), each of any size.
Images: TypeAlias = Union["torch.Tensor", Sequence["torch.Tensor"]]

# Rounding may carry a softmax out of [0, 1] by this much; beyond, it is no probability.
_ROUNDING = 1e-6

# When the class asked for is not there, no more classes than these are listed.
_FEW_CLASSES = 10


class Classifier(Protocol):
    """A batch of images in, probabilities by class name out."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes; no two have the same name."""

    @property
    def fingerprint(self) -> str:
        """Hex; two classifiers with the same fingerprint give the same probabilities."""

    @property
    def device(self) -> str:
        """Where batches are best built: "cpu", "cuda" or "mps"."""

    @property
    def batch_size(self) -> int:
        """The number of images that a call is best given, and that one should not exceed."""

    @property
    def workers(self) -> int:
        """The number of calls that may run at the same time, in threads of ``unsplit_pool``."""

    def classify(self, images: Images) -> dict[str, np.ndarray]:
        """Map n images to (n,) float32 probabilities by class name."""


@runtime_checkable
class PhotoClassifier(Protocol):
    """A classifier that reads photos itself, ahead of its network."""

    def classify_photos(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Map n photos to (n, classes) float32, in the order of ``class_names``."""

    def stream(self, load_image: Callable[[str], Image.Image], image_ids: Sequence[str]) -> Rows:
        """Yield the same of the photos with these ids, (some, classes) at a time, in their order.

        ``load_image`` is called from several threads.
        """


def score_function(classifier: Classifier, class_name: str) -> Callable[[Images], np.ndarray]:
    """Return a function that maps n images to (n,) float32 P(``class_name``) in [0, 1].

    Raises:
        UserError: there is no such class; or, when called, a probability is not finite or lies
            outside [0, 1] by more than rounding.
    """
    check_class(classifier.class_names, class_name)

    def score(images: Images) -> np.ndarray:
        return checked_probabilities(classifier.classify(images)[class_name], class_name)

    return score


def classify_arrays(classifier: Classifier, images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Map n images, each (h, w, 3) uint8 RGB, to (n,) float32 probabilities by class name."""
    with unsplit_pool(classifier.workers) as pool:
        return pool.submit(classifier.classify, image_tensors(classifier, images)).result()


def image_tensors(classifier: Classifier, images: Sequence[np.ndarray]) -> "list[torch.Tensor]":
    """Return images, each (h, w, 3) uint8 RGB, as ``classifier`` takes them."""
    import torch

    return [torch.from_numpy(image).permute(2, 0, 1).to(classifier.device) for image in images]


def check_class(class_names: Sequence[str], class_name: str) -> None:
    """Raise UserError, which names classes that may be meant, unless the class is there."""
    if class_name in class_names:
        return
    if len(class_names) <= _FEW_CLASSES:
        raise UserError(f"There is no class {class_name}: choose {' or '.join(class_names)}.")
    by_lower = {name.lower(): name for name in class_names}
    near = difflib.get_close_matches(class_name.lower(), by_lower, n=5)
    near = near or [lower for lower in by_lower if class_name.lower() in lower][:5]
    meant = f"did you mean {' or '.join(by_lower[lower] for lower in near)}?" if near else ""
    raise UserError(
        f"There is no class {class_name} among the {len(class_names):,} of this classifier: "
        + (meant or f"they are called {class_names[0]}, {class_names[1]} and so on.")
    )


def checked_probabilities(probabilities: np.ndarray, class_name: str) -> np.ndarray:
    """Return float32 probabilities with rounding beyond [0, 1] clipped.

    Raises:
        UserError: one is not finite, or lies outside by more than rounding.
    """
    inside = (probabilities >= -_ROUNDING) & (probabilities <= 1 + _ROUNDING)
    if not inside.all():
        raise UserError(
            f"The classifier gave {probabilities[~inside][0]} as the probability of {class_name}, "
            "which has to be a number from 0 to 1, after the softmax."
        )
    return np.clip(probabilities, 0, 1).astype(np.float32)
