"""The four steps from a cloud of points to a mosaic in one figure.

After the figure of "Image t-SNE viewer" and "RasterFairy" (Kogan, Klingemann): the points, the grid
that waits for them, where each point goes, and the photos in their places. A photo has the same
colour in the first three panels.
"""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from assets.methods.plotting.sheet import rasterised

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LARGEST_NUMBER_OF_ARROWS = 2_000
_LARGEST_LEGEND = 24
_LARGEST_LINED_GRID = 80
_PANEL_PX = 860
_DPI = 100

# Left upper, right upper, left lower, right lower: far apart in hue, alike in lightness.
_CORNERS = np.array([[214, 62, 80], [240, 165, 30], [88, 80, 200], [20, 160, 140]]) / 255


def draw_four_panels(
    points: np.ndarray,
    row: np.ndarray,
    col: np.ndarray,
    columns: int,
    rows: int,
    mosaic: Image.Image,
    labels: np.ndarray | None = None,
) -> Image.Image:
    """Draw the points, the target grid, the mapping and the result.

    Args:
        points: (n, 2) float, x and y in cells; x grows to the right as columns do and y downwards
            as rows do, and the centre of cell (row, col) is at (col, row).
        row: (n,) int, the cell's row of every point.
        col: (n,) int, the cell's column of every point.
        columns: of the grid.
        rows: of the grid.
        mosaic: the photos in their places.
        labels: (n,) any, by which to colour; without them colour follows the place in the grid.

    Returns:
        RGB, about 1,800 px wide, the same for the same arguments.
    """
    from matplotlib.figure import Figure

    cells = np.column_stack([col, row]).astype(np.float64)
    figure = Figure(figsize=(18, 19), dpi=_DPI)
    bottom = 0.02 if labels is None else 0.07
    figure.subplots_adjust(left=0.02, right=0.98, top=0.96, bottom=bottom, wspace=0.04, hspace=0.08)
    upper, lower = figure.subplots(2, 2)
    if labels is None:
        colours = _colours_by_place(cells, columns, rows)
    else:
        colours = _colours_by_label(figure, _as_text(labels))
    _draw_points(upper[0], points, colours)
    _draw_grid(upper[1], cells, colours, columns, rows)
    _draw_arrows(lower[0], points, cells, colours)
    _draw_result(lower[1], mosaic, columns, rows)
    for axes in (*upper, *lower):
        _frame(axes, points, columns, rows)
    return rasterised(figure)


def _draw_points(axes: "Axes", points: np.ndarray, colours: np.ndarray) -> None:
    _title(axes, f"1  The photos as points ({len(points):,}): alike lie near")
    axes.scatter(points[:, 0], points[:, 1], s=_dot_area(len(points)), c=colours, linewidths=0)


def _draw_grid(
    axes: "Axes", cells: np.ndarray, colours: np.ndarray, columns: int, rows: int
) -> None:
    n_empty = columns * rows - len(cells)
    empty = f", {n_empty:,} empty" if n_empty else ""
    _title(axes, f"2  The grid: {columns:,} x {rows:,} cells{empty}")
    coloured = np.full((rows, columns, 3), 0.93)
    coloured[cells[:, 1].astype(int), cells[:, 0].astype(int)] = colours
    axes.imshow(coloured, interpolation="nearest")
    if max(columns, rows) <= _LARGEST_LINED_GRID:
        axes.hlines(np.arange(rows + 1) - 0.5, -0.5, columns - 0.5, colors="white", linewidths=2)
        axes.vlines(np.arange(columns + 1) - 0.5, -0.5, rows - 0.5, colors="white", linewidths=2)


def _draw_arrows(axes: "Axes", points: np.ndarray, cells: np.ndarray, colours: np.ndarray) -> None:
    n = len(points)
    shown = np.arange(n)
    title = "3  The mapping: each point to its cell"
    if n > _LARGEST_NUMBER_OF_ARROWS:
        shown = np.random.default_rng(0).choice(n, _LARGEST_NUMBER_OF_ARROWS, replace=False)
        title += f" ({len(shown):,} of {n:,} drawn)"
    _title(axes, title)
    start, step = points[shown], cells[shown] - points[shown]
    axes.scatter(
        start[:, 0], start[:, 1], s=_dot_area(len(shown)) / 4, c=colours[shown], linewidths=0
    )
    axes.quiver(
        *start.T,
        *step.T,
        color=colours[shown],
        angles="xy",
        scale_units="xy",
        scale=1,
        units="dots",
        width=float(np.clip(40 / np.sqrt(len(shown)), 1.3, 4)),
        headwidth=4.5,
        headlength=5,
        headaxislength=4.5,
    )


def _draw_result(axes: "Axes", mosaic: Image.Image, columns: int, rows: int) -> None:
    _title(axes, "4  The result: every photo in its cell")
    scale = min(1.0, _PANEL_PX / max(mosaic.size))
    width, height = (max(1, round(length * scale)) for length in mosaic.size)
    small = mosaic.resize((width, height), Image.Resampling.BOX)
    axes.imshow(np.asarray(small), extent=(-0.5, columns - 0.5, rows - 0.5, -0.5))


def _frame(axes: "Axes", points: np.ndarray, columns: int, rows: int) -> None:
    """Give a panel the extent of the grid and the points together, y downwards."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((-0.5, -0.5), columns, rows, facecolor="#f5f5f5", zorder=-1))
    left, top = np.minimum(points.min(axis=0), -0.5)
    right, bottom = np.maximum(points.max(axis=0), [columns - 0.5, rows - 0.5])
    margin = 0.02 * max(right - left, bottom - top)
    axes.set_xlim(left - margin, right + margin)
    axes.set_ylim(bottom + margin, top - margin)
    axes.set_aspect("equal")
    axes.set_axis_off()


def _title(axes: "Axes", text: str) -> None:
    axes.set_title(text, loc="left", fontsize=19, color="#222222", pad=10)


def _dot_area(n: int) -> float:
    """Return a marker's area in points squared with which n markers fill a third of a panel."""
    panel = _PANEL_PX * 72 / _DPI
    return float(np.clip(0.2 * panel**2 / n, 0.8, 400))


def _colours_by_place(cells: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """Blend the colours of the four corners; returns (n, 3) in [0, 1]."""
    right, down = (cells / np.maximum([columns - 1, rows - 1], 1)).T[:, :, np.newaxis]
    upper = (1 - right) * _CORNERS[0] + right * _CORNERS[1]
    lower = (1 - right) * _CORNERS[2] + right * _CORNERS[3]
    return (1 - down) * upper + down * lower


def _colours_by_label(figure: "Figure", labels: np.ndarray) -> np.ndarray:
    """Give every label a colour, (n, 3) in [0, 1], and the figure a legend if they are few."""
    from matplotlib.lines import Line2D

    names, which = np.unique(labels, return_inverse=True)
    palette = _palette(len(names))
    if len(names) <= _LARGEST_LEGEND:
        entries = [
            Line2D([], [], marker="o", markersize=11, linestyle="", color=colour, label=name[:24])
            for name, colour in zip(names, palette, strict=True)
        ]
        figure.legend(
            handles=entries,
            loc="lower center",
            ncols=8,
            frameon=False,
            fontsize=14,
            borderaxespad=1,
        )
    return palette[which]


def _as_text(labels: np.ndarray) -> np.ndarray:
    return np.array([str(label) for label in labels])


def _palette(n: int) -> np.ndarray:
    """Return (n, 3) colours: hues all around, neighbours in hue apart in lightness."""
    from matplotlib.colors import hsv_to_rgb

    tones = np.array([[0.80, 0.90], [0.55, 0.60], [0.45, 0.95]])[np.arange(n) % 3]
    return hsv_to_rgb(np.column_stack([np.arange(n) / n, tones]))
