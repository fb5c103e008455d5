"""How words and numbers are written on figures, and how long they are."""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from PIL import ImageFont

DARK = "#222222"
PALE = "#666666"
CHANCE = "#a0a0a0"
GRID = "#ececec"
DPI = 100

# Of what is compared, in its order.
COLOURS = ("#4c78a8", "#e45756", "#54a24b", "#b279a2", "#f58518", "#439894", "#9d755d", "#79706e")

_LONGEST_NAME = 60


def format_values(values: "np.ndarray | list[float]") -> list[str]:
    """Write values with as many digits as tell a twentieth of their range, and two at least."""
    largest, span = float(np.max(np.abs(values))), float(np.ptp(values))
    if span == 0:
        return [f"{value:.4g}" for value in values]
    decade = int(np.floor(np.log10(span)))
    if largest < 1e-3:
        digits = max(1, int(np.floor(np.log10(largest))) - decade + 1)
        return ["0" if value == 0 else f"{value:.{digits}e}" for value in values]
    return [f"{value:.{max(2, 1 - decade)}f}" for value in values]


def printable(text: str, longest: int) -> str:
    """Return a name as the figures can write it: one line, at most ``longest`` characters.

    What the font lacks, or what turns the direction of writing, becomes a question mark. Of a long
    name the middle is left out: it is the beginning and the ending that tell it from others.
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font

    known = get_font(findfont(FontProperties())).get_charmap()
    words = " ".join(text.split())
    line = "".join(one if one.isprintable() and ord(one) in known else "?" for one in words)
    if len(line) <= longest:
        return line
    head = (longest - 1) // 2
    return f"{line[:head]}…{line[len(line) - (longest - 1 - head) :]}"


def fitting(pattern: str, name: str, room: float, font: float, weight: str = "normal") -> str:
    """Write a name into a pattern, shortened until the text is no longer than ``room`` px.

    Of a name that fits nowhere one character is left. ``font`` is in px.
    """

    def text(longest: int) -> str:
        return pattern.format(printable(name, longest))

    def length(longest: int) -> float:
        return text_length(text(longest), font, weight)

    # The whole name first: it may be shorter than one with a wide ellipsis instead of two letters.
    if length(_LONGEST_NAME) <= room:
        return text(_LONGEST_NAME)
    return text(max(1, bisect_right(range(1, _LONGEST_NAME), room, key=length)))


def in_lines(parts: Sequence[str], between: str, room: float, font: float) -> list[str]:
    """Join parts, one at least, into lines that are no longer than ``room`` px if parts are not.

    ``font`` is in px.
    """
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f"{lines[-1]}{between}{part}"
        if text_length(longer, font) <= room:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def text_length(text: str, font: float, weight: str = "normal") -> float:
    """Return how long the longest line of a text is, in px; ``font`` is in px."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(dpi=DPI)
    drawn = figure.text(0, 0, text, fontsize=in_points(font), weight=weight, parse_math=False)
    return float(drawn.get_window_extent(FigureCanvasAgg(figure).get_renderer()).width)


def in_points(font: float) -> float:
    """Return matplotlib's size of a font of so many px."""
    return font * 72 / DPI


def sheet_font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font of a sheet's words, ``size`` px high."""
    from matplotlib.font_manager import findfont

    # The basic layout is the same whether or not Raqm is installed.
    return ImageFont.truetype(findfont("DejaVu Sans"), size, layout_engine=ImageFont.Layout.BASIC)
