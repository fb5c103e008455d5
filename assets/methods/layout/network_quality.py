"""How well a network of an inductive projection places photos, beside t-SNE."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.progress import Progress, silent
from assets.methods.layout.assignment.assignment import assign
from assets.methods.layout.grid import choose_grid, points_to_cells
from assets.methods.layout.projection.projection import ProjectionSettings, project
from assets.methods.layout.projection.projection_network import ProjectionNetwork
from assets.methods.layout.quality import layout_quality, points_trustworthiness

# Photos that are compared at most: t-SNE takes longer than the training of a network.
MOST_FITTED, MOST_HELD_OUT = 1_800, 200
FEWEST_ON_A_GRID = 25  # photos; on a smaller grid chance alone can win


def compare_with_tsne(
    network: ProjectionNetwork,
    vectors: NDArray[np.float32],
    held_out: NDArray[np.bool_],
    settings: ProjectionSettings,
    device: str = "cpu",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure a network on the photos that it was trained on, and on those that it was not.

    t-SNE has no way to place a photo that it has not seen: it is given all of them. Of more than
    ``MOST_FITTED`` and ``MOST_HELD_OUT`` photos a sample is looked at, drawn with the seed.

    Args:
        network: it.
        vectors: (n, d), of unit length.
        held_out: (n,), whether it was not trained on a photo.
        settings: the network's, of which t-SNE has those that it knows.
        device: torch's name of it.
        progress: counts the iterations of t-SNE.

    Returns:
        ``trustworthiness_fitted``, ``trustworthiness_held_out``, ``dpq16_fitted`` and
        ``dpq16_held_out`` (each on a grid of its own, not refined); the same of t-SNE, with
        ``tsne_`` before; and the number of photos, ``compared_fitted`` and ``compared_held_out``.
        None where there are too few photos.
    """
    rng = np.random.default_rng(settings.seed)
    parts = {
        "fitted": _sample(np.flatnonzero(~held_out), MOST_FITTED, rng),
        "held_out": _sample(np.flatnonzero(held_out), MOST_HELD_OUT, rng),
    }
    photos = np.sort(np.concatenate(list(parts.values())))
    compared = vectors[photos]
    by_tsne = project(compared, replace(settings, method="tsne"), device, progress)
    found: dict[str, Any] = {}
    for prefix, points in (("", network.place(compared)), ("tsne_", by_tsne)):
        for part, members in parts.items():
            rows = np.searchsorted(photos, members)
            found[f"{prefix}trustworthiness_{part}"] = points_trustworthiness(
                points, compared, rows
            )
            found[f"{prefix}dpq16_{part}"] = grid_quality(points[rows], compared[rows])
    return found | {f"compared_{part}": len(members) for part, members in parts.items()}


def grid_quality(points: NDArray[np.float64], vectors: NDArray[np.floating]) -> float | None:
    """Return DPQ16 of the grid that points (n, 2) of vectors (n, d) are assigned to.

    It is not refined; None for fewer than ``FEWEST_ON_A_GRID`` photos.
    """
    if len(points) < FEWEST_ON_A_GRID:
        return None
    grid = choose_grid(len(points))
    assigned = assign(points_to_cells(points, grid), grid)
    return layout_quality(assigned.row, assigned.col, vectors).dpq16


def _sample(numbers: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return numbers if len(numbers) <= most else np.sort(rng.choice(numbers, most, replace=False))
