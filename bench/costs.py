"""What differs between the sum of squared distances and the sum of distances, on the demo.

Both costs assign the same points of t-SNE. The distances from points to cells are compared, and
DPQ16 after the assignment and after the refinement.

Run: python -m bench.costs [--folder PHOTOS] [--figure FILE.jpg]
"""

from typing import TYPE_CHECKING, get_args

import numpy as np
from PIL import Image

from assets.methods.layout.assignment.dense_assignment import SUMMED, Cost
from assets.methods.layout.layout import Layout, LayoutSettings, lay_out
from assets.methods.layout.projection.projection import ProjectionSettings, project
from assets.methods.models.backbones import DEFAULT_BACKBONE
from bench.photo_vectors import asked_photos, vectors_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS: dict[Cost, str] = {"squared": "#1f6f8b", "distance": "#c2452d"}


def moved(layout: Layout) -> np.ndarray:
    """Return the distance (n,) from each point to the cell that it was assigned to, in cells."""
    assignment = layout.assignment
    return np.hypot(layout.cells[:, 0] - assignment.col, layout.cells[:, 1] - assignment.row)


def report(cost: Cost, layout: Layout) -> None:
    far = moved(layout)
    before = layout.unrefined_quality
    assert before is not None
    print(
        f"{cost:<10} {far.mean():>7.3f} {np.sqrt(np.square(far).mean()):>7.3f} {far.max():>7.2f} "
        f"{(far < 0.75).mean():>10.0%} {layout.assignment.gap:>9.1e} {before.dpq16:>9.3f} "
        f"{layout.quality.dpq16:>8.3f}",
        flush=True,
    )


def draw(layouts: dict[Cost, Layout]) -> Image.Image:
    """Draw the way of each photo by both costs, and the distances in their order."""
    from matplotlib.figure import Figure

    from assets.methods.plotting.sheet import rasterised

    figure = Figure(figsize=(15, 12.5), dpi=100)
    rows = figure.add_gridspec(2, 2, height_ratios=[2, 1.1], hspace=0.16, wspace=0.05)
    figure.subplots_adjust(left=0.06, right=0.985, top=0.955, bottom=0.06)
    farthest = max(moved(layout).max() for layout in layouts.values())
    for column, (cost, layout) in enumerate(layouts.items()):
        _draw_ways(figure.add_subplot(rows[0, column]), layout, farthest)
        far = moved(layout)
        figure.axes[-1].set_title(
            f"Least sum of {SUMMED[cost]}: mean {far.mean():.2f} cells, farthest {far.max():.1f}",
            loc="left",
            size=13,
        )
    axes = figure.add_subplot(rows[1, :])
    for cost, layout in layouts.items():
        far = np.sort(moved(layout))
        share = np.arange(1, len(far) + 1) / len(far)
        axes.plot(share, far, color=COLOURS[cost], linewidth=2.5, label=f"sum of {SUMMED[cost]}")
    axes.set_xlim(0, 1)
    axes.set_ylim(0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("share of the photos")
    axes.set_ylabel("distance from point to cell, in cells")
    axes.grid(color="#ddd")
    axes.legend(frameon=False, fontsize=12, loc="upper left")
    axes.set_title("So far, at most, does this share of the photos move", loc="left", size=13)
    return rasterised(figure)


def _draw_ways(axes: "Axes", layout: Layout, farthest: float) -> None:
    from matplotlib.collections import LineCollection

    assignment, far = layout.assignment, moved(layout)
    ends = np.stack([assignment.col, assignment.row], axis=1)
    order = np.argsort(far)
    lines = list(np.stack([layout.cells, ends], axis=1)[order])
    ways = LineCollection(lines, cmap="plasma_r", linewidths=1.3)
    ways.set_array(far[order])
    ways.set_clim(0, farthest)
    axes.add_collection(ways)
    axes.scatter(layout.cells[:, 0], layout.cells[:, 1], s=5, color="#222", linewidths=0, zorder=3)
    axes.set_xlim(-0.8, layout.grid.columns - 0.2)
    axes.set_ylim(layout.grid.rows - 0.2, -0.8)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])


def main() -> None:
    photos, figure = asked_photos(__doc__)
    vectors = vectors_of(photos.images, DEFAULT_BACKBONE)
    points = project(vectors, ProjectionSettings())
    print(f"{len(vectors):,} photos; distances from points to cells, in cells")
    print(f"{'cost':<10} {'mean':>7} {'rms':>7} {'max':>7} {'below 0.75':>10} {'gap':>9} ", end="")
    print(f"{'assigned':>9} {'refined':>8}   (DPQ16)")
    layouts: dict[Cost, Layout] = {}
    for cost in get_args(Cost):
        layouts[cost] = lay_out(points, vectors, settings=LayoutSettings(cost=cost))
        report(cost, layouts[cost])
    if figure:
        draw(layouts).save(figure, quality=85, optimize=True)


if __name__ == "__main__":
    main()
