"""A sheet in px on which figures are drawn, and matplotlib's figures as images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from assets.methods.plotting.text import DARK, DPI, PALE, fitting, in_points, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Size = tuple[int, int]

# The font sizes of titles, of headings, of small words and of the foot, in px.
LARGE = 28
MEDIUM = 21
SMALL = 16
FOOT = 14

# Lengths in px of what frames a figure.
_MARGIN = 40
_LINE = 26
_BAND = "#fff3cd"
_BAND_RIM = 10
_FOOT_LINE = 20


class FigureSheet:
    """A white sheet; places on it are px from its upper left corner.

    ``font`` is the default size of texts, in px.
    """

    def __init__(self, width: int, height: int, font: float) -> None:
        from matplotlib.figure import Figure

        self.width = width
        self.height = height
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
            left / self.width,
            1 - baseline / self.height,
            text,
            fontsize=in_points(self._font if font is None else font),
            color=color,
            weight=weight,
            parse_math=False,
        )

    def write_lines(
        self,
        left: float,
        baseline: float,
        lines: Sequence[str],
        distance: float,
        font: float | None = None,
        *,
        color: str = DARK,
    ) -> None:
        """Write lines below each other, the first on ``baseline``, ``distance`` px apart."""
        for number, text in enumerate(lines):
            self.write(left, baseline + number * distance, text, font, color=color)

    def paste(self, image: Image.Image, left: int, upper: int) -> None:
        """Draw an image, pixel by pixel."""
        lower = self.height - upper - image.height
        self._figure.figimage(np.asarray(image), left, lower, origin="upper")

    def axes(self, left: float, upper: float, width: float, height: float) -> "Axes":
        """Add axes, whose style is left to what fills them."""
        lower = 1 - (upper + height) / self.height
        return self._figure.add_axes(
            (left / self.width, lower, width / self.width, height / self.height)
        )

    def image(self) -> Image.Image:
        """Return the sheet as an RGB image."""
        return rasterised(self._figure)


class FigureFrame:
    """What stands above and below the body of a figure, within margins of 40 px.

    Args:
        width: of the figure in px.
        name: the figure's title, shortened if it is too long.
        subtitle: lines that fit the width.
        notes: sentences that a reader must not miss, which get a band of their own.
        foot: lines printed small at the bottom.

    Attributes:
        upper: where the body may begin, in px from above.
    """

    def __init__(
        self,
        width: int,
        name: str,
        subtitle: Sequence[str],
        notes: Sequence[str],
        foot: Sequence[str],
    ) -> None:
        room = width - 2 * _MARGIN
        self._title = fitting("{}", name, room, LARGE, "bold")
        self._subtitle = subtitle
        self._notes = [line for one in notes for line in wrapped(one, room - 2 * _BAND_RIM, SMALL)]
        self._foot = [line for one in foot for line in wrapped(one, room, FOOT)]
        self._band = _MARGIN + LARGE + 16 + len(subtitle) * _LINE + _BAND_RIM
        notes_height = len(self._notes) * _LINE + 2 * _BAND_RIM if self._notes else 0
        self.upper = self._band + notes_height

    def height(self, body_end: float) -> int:
        """Return the figure's height in px for a body that ends at ``body_end``."""
        foot = _FOOT_LINE * (len(self._foot) + 1) if self._foot else 0
        return round(body_end) + foot + _MARGIN // 2

    def draw(self, sheet: FigureSheet) -> None:
        """Draw it on a sheet of the height that ``height`` returned."""
        sheet.write(_MARGIN, _MARGIN + LARGE, self._title, LARGE, weight="bold")
        first = _MARGIN + LARGE + 16 + SMALL
        sheet.write_lines(_MARGIN, first, self._subtitle, _LINE, SMALL, color=PALE)
        if self._notes:
            height = len(self._notes) * _LINE + _BAND_RIM
            band = Image.new("RGB", (sheet.width - 2 * _MARGIN, height), _BAND)
            sheet.paste(band, _MARGIN, self._band)
            baseline = self._band + _BAND_RIM / 2 + 0.72 * _LINE
            sheet.write_lines(_MARGIN + _BAND_RIM, baseline, self._notes, _LINE, SMALL)
        baseline = sheet.height - _MARGIN // 2 - _FOOT_LINE * (len(self._foot) - 1) - 4
        sheet.write_lines(_MARGIN, baseline, self._foot, _FOOT_LINE, FOOT, color=PALE)


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
