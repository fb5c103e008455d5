"""Axes with a heading, for figures that matplotlib lays out."""

from typing import TYPE_CHECKING, Literal

from assets.methods.plotting.text import GRID, PALE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def style_panel(
    axes: "Axes", heading: str = "", hint: str = "", grid: Literal["both", "x", "y"] = "both"
) -> None:
    """Draw a pale grid and no frame; write a heading above the axes, and how to read them."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color=GRID)
    axes.set_axisbelow(True)
    if heading:
        axes.set_title(heading, loc="left", size="x-large", weight="bold", pad=24)
        # A hint may be longer than its axes, which matplotlib would make room for.
        axes.annotate(
            hint,
            (0, 1),
            (0, 8),
            xycoords="axes fraction",
            textcoords="offset points",
            color=PALE,
            in_layout=False,
        )
