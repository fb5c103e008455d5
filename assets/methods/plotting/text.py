"""Texts and numbers on figures: their format, length and font."""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from PIL import ImageFont

DARK = "#222222"
PALE = "#666666"
CHANCE = "#a0a0a0"
GRID = "#ececec"
DPI = 100

# For the items that a figure compares, in their order.
COLOURS = ("#4c78a8", "#e45756", "#54a24b", "#b279a2", "#f58518", "#439894", "#9d755d", "#79706e")

_LONGEST_NAME = 60


def format_values(values: "np.ndarray | list[float]") -> list[str]:
    """Format values with at least two decimals, and enough to show a twentieth of their range."""
    largest, span = float(np.max(np.abs(values))), float(np.ptp(values))
    if span == 0:
        return [f"{value:.4g}" for value in values]
    decade = int(np.floor(np.log10(span)))
    if largest < 1e-3:
        digits = max(1, int(np.floor(np.log10(largest))) - decade + 1)
        return ["0" if value == 0 else f"{value:.{digits}e}" for value in values]
    return [f"{value:.{max(2, 1 - decade)}f}" for value in values]


def printable(text: str, longest: int) -> str:
    """Return a name that figures can show: one line of at most ``longest`` characters.

    Characters that the font lacks, or that change the direction of writing, become question marks.
    The middle of a long name is left out, as the beginning and the end identify it best.
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
    """Write a name into a pattern, shortened until the text is at most ``room`` px long.

    At least one character of the name is left. ``font`` is in px.
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
    """Join parts, one at least, into lines of at most ``room`` px; longer parts get their own line.

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


def wrapped(text: str, room: float, font: float) -> list[str]:
    """Break a text into lines of at most ``room`` px, between words where that is possible.

    Characters that figures cannot show become question marks; ``font`` is in px.
    """
    words, lines = printable(text, len(text)).split(), []
    while words:
        # How many words the line holds, one at least.
        n = _longest([" ".join(words[: end + 1]) for end in range(len(words))], room, font)
        line, words = " ".join(words[:n]), words[n:]
        while len(line) > 1 and text_length(line, font) > room:
            end = _longest([line[: end + 1] for end in range(len(line))], room, font)
            lines.append(line[:end])
            line = line[end:]
        lines.append(line)
    return lines


def _longest(texts: Sequence[str], room: float, font: float) -> int:
    """Return how many of texts, each longer than the one before, fit the room; at least 1."""
    return max(1, bisect_right(texts, room, key=lambda text: text_length(text, font)))


def text_length(text: str, font: float, weight: str = "normal") -> float:
    """Return the length of the longest line of a text, in px; ``font`` is in px."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(dpi=DPI)
    drawn = figure.text(0, 0, text, fontsize=in_points(font), weight=weight, parse_math=False)
    return float(drawn.get_window_extent(FigureCanvasAgg(figure).get_renderer()).width)


def in_points(font: float) -> float:
    """Return the size in points, as matplotlib takes it, of a font size in px."""
    return font * 72 / DPI


def sheet_font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font of texts on sheets, ``size`` px high."""
    from matplotlib.font_manager import findfont

    # The basic layout is the same whether or not Raqm is installed.
    return ImageFont.truetype(findfont("DejaVu Sans"), size, layout_engine=ImageFont.Layout.BASIC)
