"""A sheet in px on which figures are drawn, and matplotlib's figures as images."""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from assets.methods.plotting.text import DARK, DPI, in_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Size = tuple[int, int]

# The font sizes of titles and of headings, in px.
LARGE = 28
MEDIUM = 21


class FigureSheet:
    """A white sheet; places on it are px from its upper left corner.

    ``font`` is the default size of texts, in px.
    """

    def __init__(self, width: int, height: int, font: float) -> None:
        from matplotlib.figure import Figure

        self._width = width
        self._height = height
        self._font = font
        self._figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)

    def write(
        self,
        left: float,
        baseline: float,
        text: str,
        font: float | None = None,
        *,
        color: str = DARK,
        weight: str = "normal",
    ) -> None:
        """Write a text that begins at ``left`` and stands on ``baseline``."""
        self._figure.text(
            left / self._width,
            1 - baseline / self._height,
            text,
            fontsize=in_points(self._font if font is None else font),
            color=color,
            weight=weight,
            parse_math=False,
        )

    def paste(self, image: Image.Image, left: int, upper: int) -> None:
        """Draw an image, pixel by pixel."""
        lower = self._height - upper - image.height
        self._figure.figimage(np.asarray(image), left, lower, origin="upper")

    def axes(self, left: float, upper: float, width: float, height: float) -> "Axes":
        """Add axes, whose style is left to what fills them."""
        lower = 1 - (upper + height) / self._height
        return self._figure.add_axes(
            (left / self._width, lower, width / self._width, height / self._height)
        )

    def image(self) -> Image.Image:
        """Return the sheet as an RGB image."""
        return rasterised(self._figure)


def rasterised(figure: "Figure") -> Image.Image:
    """Return a figure as an RGB image, the same for the same figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def centred(image: Image.Image, side: int, ground: str | tuple[int, int, int]) -> Image.Image:
    """Return a square RGB image of a colour with an image, at most as large, in its middle."""
    square = Image.new("RGB", (side, side), ground)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def fitted(size: Size, room: Size) -> Size:
    """Return the largest size of the same shape that fits into ``room``, at least 1 px a side."""
    scale = min(room[0] / size[0], room[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
