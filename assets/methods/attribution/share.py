"""Which share of what a map attributes lies on which part of the image."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# The rounding of a mean of scores in float32. A map of rounding alone attributes nothing.
_ROUNDING = 1e-6


def attribution_shares(
    relevance: NDArray[np.floating], masks: Mapping[str, NDArray[np.bool_]]
) -> dict[str, float] | None:
    """Return the share of the sum of ``relevance`` that lies on each mask.

    Args:
        relevance: (rows, columns), finite, none below 0.
        masks: by name, of the same shape. They may overlap, and need not cover the image.

    Returns:
        A share in [0, 1] for each mask; None where the map attributes nothing to any pixel.

    Raises:
        ValueError: relevance is negative or not finite.
    """
    if not (np.isfinite(relevance).all() and (relevance >= 0).all()):
        raise ValueError("attribution has to be finite and not negative")
    total = float(relevance.sum(dtype=np.float64))
    if total == 0:
        return None
    return {
        name: float(relevance[mask].sum(dtype=np.float64)) / total for name, mask in masks.items()
    }


def score_drop(hidden: NDArray[np.floating], score: float) -> NDArray[np.float32]:
    """Return by how much covering a pixel lowers the score, 0 where it raises or keeps it.

    Args:
        hidden: the map of the experiment `hidden`, means of 1 - score over the windows of a pixel.
        score: P(class) of the whole image.
    """
    lowered = (hidden - np.float32(1 - score)).astype(np.float32)
    return np.where(lowered > _ROUNDING, lowered, np.float32(0))
