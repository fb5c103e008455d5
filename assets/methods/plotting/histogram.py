"""A histogram of a metric over the photos."""

import numpy as np
from PIL import Image

from assets.methods.plotting.sheet import rasterised


def draw_histogram(values: np.ndarray, title: str, xlabel: str) -> Image.Image:
    """Draw a histogram of the finite ``values``, of any shape, and mark their median.

    Returns:
        An RGB image of 800 x 500 px, the same for the same values.
    """
    from matplotlib.figure import Figure

    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    figure = Figure(figsize=(8, 5), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(f"{title} ({finite.size:,})", loc="left", fontsize=14, weight="bold", pad=12)
    axes.set_xlabel(xlabel)
    axes.set_ylabel("count")
    axes.spines[["top", "right"]].set_visible(False)
    if finite.size:
        axes.hist(finite, bins=_n_bins(finite.size), color="#4c78a8", edgecolor="white")
        median = float(np.median(finite))
        axes.axvline(median, color="#e45756", linewidth=2, label=f"median {median:.4g}")
        axes.legend(frameon=False)
    return rasterised(figure)


def _n_bins(n: int) -> int:
    # The square-root rule; more than 60 bars cannot be told apart.
    return int(np.clip(np.sqrt(n), 1, 60))
