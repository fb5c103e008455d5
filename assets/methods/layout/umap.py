"""UMAP (McInnes, Healy and Melville, "UMAP: Uniform Manifold Approximation", 2018)."""

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.progress import Progress, silent
from assets.methods.layout.torchdr_methods import fit_torchdr


def umap(
    components: NDArray[np.float64],
    *,
    perplexity: float,
    iterations: int,
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
) -> NDArray[np.float64]:
    """Project principal components (n, c) to points (n, 2); needs 1 < perplexity <= (n - 1) / 3.

    The number of neighbours is the perplexity, rounded, and at least two.
    """
    return fit_torchdr(
        "UMAP",
        components,
        iterations=iterations,
        seed=seed,
        device=device,
        progress=progress,
        n_neighbors=max(2, round(perplexity)),
    )
