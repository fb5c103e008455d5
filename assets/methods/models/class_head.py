"""The classes that a backbone was trained on, told from its vectors."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.methods.models import efficientnet_lite0
from assets.methods.models.architectures import class_names_of, download_architecture

_BLOCK_ROWS = 4096
_TIMM = "timm:"


@dataclass(frozen=True)
class ClassHead:
    """The last layer of a network: a row of ``weights`` (k, d) for each of its k classes.

    Vectors are stored with unit length, so the layer's offsets, which belong to vectors of their
    first length, are left out: they decide next to nothing between classes.
    """

    weights: NDArray[np.float32]
    class_names: tuple[str, ...]

    def classes_of(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the place of each vector's class among ``class_names``; vectors are (n, d)."""
        found = [
            (vectors[begin : begin + _BLOCK_ROWS] @ self.weights.T).argmax(axis=1)
            for begin in range(0, len(vectors), _BLOCK_ROWS)
        ]
        return np.concatenate(found) if found else np.empty(0, np.int64)


def load_class_head(name: str) -> ClassHead | None:
    """Return the head of the backbone called ``name``; None if its weights hold none.

    Only the packaged network and timm's have one here: a file of weights may have other classes.

    Raises:
        UserError: timm does not have the network, or it cannot be had.
    """
    import torch

    if name == efficientnet_lite0.NAME:
        module = efficientnet_lite0.packaged_network()
        name = f"{_TIMM}{efficientnet_lite0.ARCHITECTURE}"
    elif name.startswith(_TIMM) and "@" not in name and not name.endswith(".safetensors"):
        module = download_architecture(name, classes=None).module
    else:
        return None
    head = module.get_classifier()  # type: ignore[operator]
    if not isinstance(head, torch.nn.Linear):
        return None
    return ClassHead(head.weight.detach().numpy(), class_names_of(name, module))
