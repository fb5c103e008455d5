"""The projection methods of torchdr, with the same bytes for the same seed on the CPU.

UMAP: McInnes, Healy and Melville, "UMAP: Uniform Manifold Approximation", 2018. LargeVis: Tang et
al., "Visualizing large-scale and high-dimensional data", WWW 2016.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.progress import Progress, silent
from assets.methods.layout.projection.pca import initial_points
from assets.methods.layout.projection.torch_state import one_thread, seeded

# Noise on the vectors, relative to their spread: torchdr finds no bandwidth for copies.
_JITTER = 1e-3


def largevis(
    components: NDArray[np.float64], *, perplexity: float, **options: Any
) -> NDArray[np.float64]:
    """Project by LargeVis, which needs 1 < perplexity <= (n - 1) / 3; see ``fit_torchdr``."""
    return fit_torchdr("LargeVis", components, perplexity=perplexity, **options)


def umap(
    components: NDArray[np.float64], *, perplexity: float, **options: Any
) -> NDArray[np.float64]:
    """Project by UMAP; its number of neighbours is the perplexity, rounded, and at least two."""
    return fit_torchdr("UMAP", components, n_neighbors=max(2, round(perplexity)), **options)


def fit_torchdr(
    method: str,
    components: NDArray[np.float64],
    *,
    iterations: int,
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
    **options: Any,
) -> NDArray[np.float64]:
    """Fit torchdr's class ``method`` with ``options`` to principal components (n, c): (n, 2).

    The global random state of torch is left as it was. The CPU works with one thread: sums over
    several come out differently, and at a thousand photos threads make it slower.
    """
    import torch

    with warnings.catch_warnings():
        # Without the optional faiss, importing torchdr says so in an ImportWarning.
        warnings.simplefilter("ignore", ImportWarning)
        # Python 3.12 and newer warn of a docstring of torchdr's that holds a stray backslash.
        warnings.simplefilter("ignore", SyntaxWarning)
        import torchdr

    model = getattr(torchdr, method)(
        max_iter=iterations,
        init=torch.from_numpy(initial_points(components, seed)),
        device=device,
        backend=None,
        **options,
    )
    _report_steps(model, iterations, progress)
    with seeded(seed), one_thread():
        points = model.fit_transform(torch.from_numpy(_jittered(components, seed)))
    progress(iterations, iterations)
    return points.detach().cpu().numpy().astype(np.float64)


def _jittered(components: NDArray[np.float64], seed: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(size=components.shape)
    return (components + _JITTER * components.std() * noise).astype(np.float32)


def _report_steps(model: Any, iterations: int, progress: Progress) -> None:
    end_step = model.on_training_step_end

    def end_step_and_report() -> None:
        end_step()
        progress(int(model.n_iter_), iterations)

    model.on_training_step_end = end_step_and_report
