"""A small network from vectors to the plane: what it computes, without torch.

Its first layer, the principal axes of the photos that it was trained on, is fixed; the others are
linear layers with ReLU between them (``inductive`` trains them).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from assets.methods.common.fingerprints import digest_parts, digest_weights

CODE_VERSION = 1  # raise it whenever the same weights would place a photo elsewhere
# Matrix products are computed in blocks of so many rows, the last one filled with zeros: in blocks
# of another size the last bits of a row may differ.
_BLOCK_ROWS = 64


@dataclass(frozen=True)
class ProjectionNetwork:
    """A network that maps a vector (d,) to a point in the plane.

    Attributes:
        weights: float32 arrays by name: ``mean`` (d,); ``axes`` (d, c); and for each of the layers
            i = 0, 1, ... ``i.weight`` (outputs, inputs) and ``i.bias`` (outputs,). The first layer
            has c inputs, the last one 2 outputs.
    """

    weights: Mapping[str, NDArray[np.float32]]

    def __post_init__(self) -> None:
        mean, axes, layers = self.weights["mean"], self.weights["axes"], self._layers
        widths = [axes.shape[1], *(weight.shape[0] for weight, _ in layers)]
        fits = mean.shape == axes.shape[:1] and len(layers) > 0 and widths[-1] == 2
        for width, (weight, bias) in zip(widths, layers, strict=False):
            fits = fits and weight.shape[1:] == (width,) and bias.shape == weight.shape[:1]
        if not fits or not all(np.isfinite(one).all() for one in self.weights.values()):
            raise ValueError("the weights are those of no network from vectors to the plane")

    @property
    def dimensions(self) -> int:
        """The length d of the vectors that it takes."""
        return len(self.weights["mean"])

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256, in hex, of all that decides a point beside the vector."""
        weights = digest_weights(dict(sorted(self.weights.items())))
        return digest_parts({"weights": weights, "code_version": CODE_VERSION})

    def place(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map vectors (n, d) to points (n, 2).

        The bytes of a point depend on its vector alone, not on the others, nor on the number of
        threads.
        """
        points = np.empty((len(vectors), 2))
        with threadpool_limits(limits=1):
            for start in range(0, len(vectors), _BLOCK_ROWS):
                block = vectors[start : start + _BLOCK_ROWS]
                points[start : start + _BLOCK_ROWS] = self._place_block(block)
        return points

    def _place_block(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        rows = np.zeros((_BLOCK_ROWS, self.dimensions))
        rows[: len(vectors)] = vectors
        axes, layers = self._in_double_precision
        outputs = (rows - self.weights["mean"]) @ axes
        for number, (weight, bias) in enumerate(layers):
            inputs = outputs if number == 0 else np.maximum(outputs, 0)
            outputs = inputs @ weight + bias
        return outputs[: len(vectors)]

    @cached_property
    def _in_double_precision(
        self,
    ) -> tuple[NDArray[np.float64], list[tuple[NDArray[np.float64], NDArray[np.float64]]]]:
        """The axes, and the weights (inputs, outputs) and biases of the layers."""
        layers = [
            (weight.T.astype(np.float64), bias.astype(np.float64)) for weight, bias in self._layers
        ]
        return self.weights["axes"].astype(np.float64), layers

    @property
    def _layers(self) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        n_layers = sum(name.endswith(".weight") for name in self.weights)
        return [
            (self.weights[f"{number}.weight"], self.weights[f"{number}.bias"])
            for number in range(n_layers)
        ]
