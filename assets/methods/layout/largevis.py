"""LargeVis (Tang et al., "Visualizing large-scale and high-dimensional data", WWW 2016)."""

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.progress import Progress, silent
from assets.methods.layout.torchdr_methods import fit_torchdr


def largevis(
    components: NDArray[np.float64],
    *,
    perplexity: float,
    iterations: int,
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
) -> NDArray[np.float64]:
    """Project principal components (n, c) to points (n, 2); needs 1 < perplexity <= (n - 1) / 3."""
    return fit_torchdr(
        "LargeVis",
        components,
        iterations=iterations,
        seed=seed,
        device=device,
        progress=progress,
        perplexity=perplexity,
    )
