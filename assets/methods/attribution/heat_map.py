"""A map of values, such as what occlusion gives, in colours over its photograph."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from assets.methods.attribution.occlusion import FLAT
from assets.methods.common.errors import UserError
from assets.methods.plotting.sheet import FigureSheet, rasterised
from assets.methods.plotting.text import (
    DARK,
    DPI,
    PALE,
    format_values,
    in_points,
    printable,
    text_length,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Colormap = Literal["inferno", "viridis", "magma", "plasma", "cividis", "jet"]
Scale = Literal["own", "fixed"]

# The longer side of a picture is brought into this range, in px.
_SMALLEST_SHOWN_SIDE = 256
_LARGEST_SHOWN_SIDE = 1_600

_SMALLEST_BAR = 180
_NARROWEST_FOOT = 480

# Colour-blind people tell its ends apart; its middle is white.
_AROUND_LEVEL = "RdBu_r"
RED, BLUE = (178, 24, 43), (33, 102, 172)

# A photograph that is this many times as wide as high has its colour bar below.
PANORAMA = 2.0


@dataclass(frozen=True)
class HeatMapSettings:
    """How a map should look over its photograph.

    ``colormap`` is that of maps from low to high; a map around a level has a scale of its own, from
    blue (below) over white to red (above). ``scale`` is what the colours span: the map's "own"
    range, or "fixed" from 0 to 1, which makes maps comparable; around a level, the largest distance
    from it, or a distance of 1. ``opacity`` is the map's share of the mix with the photograph, 0 to
    1.

    Raises:
        UserError: a setting is not one of its choices or out of its range.
    """

    # Its low end is black and its hue comes with the value: what does not matter merely dims, and
    # what matters glows. Viridis and plasma tint the whole photograph, with their low end the most.
    colormap: Colormap = "inferno"
    scale: Scale = "own"
    opacity: float = 0.6

    def __post_init__(self) -> None:
        _check_choice("colour map", self.colormap, get_args(Colormap))
        _check_choice("scale", self.scale, get_args(Scale))
        if not 0 <= self.opacity <= 1:
            raise UserError(f"The opacity is {self.opacity}: it has to be from 0 to 1.")


class HeatMap:
    """A map and its photograph, to be drawn at any size.

    Args:
        image: the photograph, RGB.
        values: (rows, columns) float32, of the photograph's size.
        settings: how the map should look.
        level: of a map whose values say something by their distance from it, such as what `hidden`
            has where covering changes nothing; it is white. None for a map from low to high.

    Raises:
        ValueError: the values are not of the photograph's size, or not finite.
    """

    def __init__(
        self,
        image: Image.Image,
        values: np.ndarray,
        settings: HeatMapSettings,
        level: float | None = None,
    ) -> None:
        if values.shape != (image.height, image.width):
            raise ValueError(f"the map is {values.shape}, the image {(image.height, image.width)}")
        self.minimum, self.maximum = float(values.min()), float(values.max())
        if not np.isfinite([self.minimum, self.maximum]).all():
            raise ValueError("the map has values that are not finite")
        self.image, self.settings, self.level = image, settings, level
        self._values = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))

    @property
    def is_flat(self) -> bool:
        """Whether the map has the same value everywhere."""
        return self.maximum - self.minimum <= FLAT

    @property
    def limits(self) -> tuple[float, float]:
        """The values at the ends of the colour bar, alike for a map of one colour of scale own.

        The level lies between them.
        """
        if self.settings.scale == "fixed":
            return 0.0, 1.0
        level = self.minimum if self.level is None else self.level
        low, high = min(self.minimum, level), max(self.maximum, level)
        return (low, high) if high - low > FLAT else (low, low)

    def range_beyond_bar(self) -> str | None:
        """Return the map's range in words if the ends of its colour bar do not show it."""
        if self.is_flat:
            return f"this map: {format_values([self.minimum])[0]} everywhere"
        if np.allclose(self.limits, (self.minimum, self.maximum), rtol=0, atol=FLAT):
            return None
        low, high = format_values([self.minimum, self.maximum])
        return f"this map: {low} to {high}"

    def level_in_words(self) -> str:
        """Return the level, as exact as the values at its colour bar."""
        return format_values([*self.limits, self.limits[0] if self.level is None else self.level])[
            2
        ]

    def blended(self, size: tuple[int, int]) -> Image.Image:
        """Return the map over the photograph, RGB, scaled to ``size`` in px (width, height)."""
        grey = np.asarray(scaled_photo(self.image, size).convert("L"), dtype=np.float32)
        colours = self.colours(np.asarray(_values_at(self._values, size)))
        opacity = self.settings.opacity
        # In grey, because a photograph's own colours would be taken for the map's.
        mixed = (1 - opacity) * grey[..., np.newaxis] + opacity * colours
        return Image.fromarray(np.rint(mixed).astype(np.uint8))

    def colours(self, values: np.ndarray) -> np.ndarray:
        """Map values of any shape to float32 colours from 0 to 255, (..., 3)."""
        low, high = self.limits
        if self.level is not None:
            # Both sides have one measure: as far from the level is as strong a colour.
            farthest = max(high - self.level, self.level - low)
            reach = 1.0 if self.settings.scale == "fixed" else farthest
            share = 0.5 + (values - self.level) / (2 * max(reach, FLAT))
        elif high > low:
            share = (values - low) / (high - low)
        else:
            # A flat map has the middle colour: its value is neither low nor high.
            share = np.full_like(values, 0.5)
        return self._palette()[np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)]

    def _palette(self) -> np.ndarray:
        """Return the (256, 3) float32 colours of the map, lowest first, from 0 to 255."""
        from matplotlib import colormaps

        name = self.settings.colormap if self.level is None else _AROUND_LEVEL
        return (colormaps[name](np.arange(256))[:, :3] * 255).astype(np.float32)


def draw_overlay(
    image: Image.Image,
    values: np.ndarray,
    settings: HeatMapSettings,
    label: str,
    level: float | None = None,
    foot: Sequence[str] = (),
) -> Image.Image:
    """Draw a map over its photograph in grey, with a colour bar to the right.

    The photograph's pixels stay as they are if its longer side is from 256 to 1,600 px. A larger
    one is scaled down to 1,600 px; of a smaller one every pixel becomes a square, of the fewest px
    a side that give 256 px. Of a panorama the bar lies below.

    Args:
        image: RGB.
        values: (rows, columns) float32, of the image's size.
        settings: how it should look.
        label: what the values are, with their unit, such as "P(nsfw), window cut out".
        level: as for ``HeatMap``, of a map of `hidden`; a line marks it on the bar.
        foot: lines printed small below all, such as where the map comes from.

    Returns:
        An RGB picture, the same for the same arguments.

    Raises:
        ValueError: the values are not of the image's size, or not finite.
    """
    shown = HeatMap(image, values, settings, level)
    picture = shown.blended(shown_size(image.size))
    font = float(np.clip(max(picture.size) / 45, 12, 26))
    words = [printable(label, 60)]
    if level is not None:
        words.append(f"line and white: {shown.level_in_words()}, the whole image")
        words.append("red: covering lowers P, blue: it raises P")
    words += filter(None, [shown.range_beyond_bar()])
    if picture.width > PANORAMA * picture.height:
        bar = _draw_level_bar(shown, words, picture.width, font)
        size, place = (picture.width, picture.height + bar.height), (0, picture.height)
    else:
        bar = _draw_upright_bar(shown, words, picture.height, font)
        size, place = (picture.width + bar.width, bar.height), (picture.width, 0)
    below = _draw_foot(foot, max(size[0], _NARROWEST_FOOT), max(12.0, 0.7 * font))
    width = max(size[0], below.width) if foot else size[0]
    canvas = Image.new("RGB", (width, size[1] + below.height), "white")
    canvas.paste(picture, (0, 0 if place[1] else (bar.height - picture.height) // 2))
    canvas.paste(bar, place)
    canvas.paste(below, (0, size[1]))
    return canvas


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size at which ``draw_overlay`` shows an image; (width, height) in px."""
    longer = max(size)
    if longer < _SMALLEST_SHOWN_SIDE:
        factor = -(-_SMALLEST_SHOWN_SIDE // longer)
        return size[0] * factor, size[1] * factor
    scale = min(1.0, _LARGEST_SHOWN_SIDE / longer)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def fill_bar(axes: "Axes", shown: HeatMap, font: float, *, upright: bool, n_ticks: int) -> None:
    """Fill ``axes`` with the colour bar of a map; a line crosses it at the map's level.

    Arguments are those of ``fill_colour_bar``.
    """
    low, high = shown.limits
    colours = shown.colours(np.linspace(low, high, 256)) / 255
    fill_colour_bar(axes, colours, (low, high), font, upright=upright, n_ticks=n_ticks)
    if shown.level is None or low == high:
        return
    # White within black is seen on any colour.
    for colour, width in (("black", 4.0), ("white", 1.5)):
        line = axes.axhline if upright else axes.axvline
        line(shown.level, color=colour, linewidth=width, clip_on=False)


def fill_colour_bar(
    axes: "Axes",
    colours: np.ndarray,
    limits: tuple[float, float],
    font: float,
    *,
    upright: bool,
    n_ticks: int,
) -> None:
    """Fill ``axes`` with a colour bar, its ends and round values between them marked.

    Args:
        axes: empty.
        colours: (n, 3) from 0 to 1, from the lower limit to the upper.
        limits: of the values; if they are alike, the bar has the middle colour and this value.
        font: in px.
        upright: whether the values go up, or to the right.
        n_ticks: at most as many values stand between the ends.
    """
    low, high = limits
    if low == high:
        colours, ends, ticks = colours[[len(colours) // 2]], (low - 0.5, low + 0.5), np.array([low])
    else:
        ends, ticks = (low, high), _ticks(low, high, n_ticks)
        length = axes.bbox.height if upright else axes.bbox.width
        ticks = _apart(ticks, length, font, upright=upright)
    axis, other = (axes.yaxis, axes.xaxis) if upright else (axes.xaxis, axes.yaxis)
    strip = colours[:, np.newaxis] if upright else colours[np.newaxis]
    extent = (0, 1, *ends) if upright else (*ends, 0, 1)
    axes.imshow(strip, origin="lower", aspect="auto", extent=extent, interpolation="nearest")
    other.set_visible(False)
    axis.set_ticks(ticks, labels=format_values(ticks))
    size = in_points(font)
    axis.set_tick_params(labelsize=size, labelcolor=DARK, color=PALE, length=0.3 * size, width=0.8)
    if upright:
        axes.yaxis.tick_right()
        axes.yaxis.set_label_position("right")
    elif len(ticks) > 1:
        axis.get_ticklabels()[0].set_horizontalalignment("left")
        axis.get_ticklabels()[-1].set_horizontalalignment("right")
    axes.spines[:].set_visible(False)


def _ticks(low: float, high: float, n_ticks: int) -> np.ndarray:
    """Return both ends and at most ``n_ticks`` round values that keep away from them."""
    from matplotlib.ticker import MaxNLocator

    locator = MaxNLocator(nbins=n_ticks + 1, steps=[1, 2, 5, 10])
    between = np.asarray(locator.tick_values(low, high))
    return np.array([low, *between[(between > low) & (between < high)], high])


def _apart(ticks: np.ndarray, length: float, font: float, *, upright: bool) -> np.ndarray:
    """Leave out ticks whose labels would touch those of the ends of a bar of ``length`` px."""
    # The labels of a bar from left to right end where it ends.
    labels = format_values(ticks)
    room = 1.3 * font if upright else 1.5 * max(text_length(one, font) for one in labels) + font
    margin = room / length * (ticks[-1] - ticks[0])
    between = ticks[(ticks > ticks[0] + margin) & (ticks < ticks[-1] - margin)]
    return np.array([ticks[0], *between, ticks[-1]])


def _draw_upright_bar(
    shown: HeatMap, words: Sequence[str], height: int, font: float
) -> Image.Image:
    """Draw an upright bar with its ticks and words; RGB, at least ``height`` px high."""
    from matplotlib.figure import Figure

    text = "\n".join(words)
    height = max(height, _SMALLEST_BAR, round(text_length(text, font) + 2 * font))
    width = round(20 * font)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    left, bottom = font / width, 0.8 * font / height
    axes = figure.add_axes((left, bottom, 1.1 * left, 1 - 2 * bottom))
    fill_bar(axes, shown, font, upright=True, n_ticks=int(np.clip(height / (5 * font), 2, 6)))
    size = in_points(font)
    axes.set_ylabel(text, fontsize=size, color=DARK, labelpad=0.6 * size, parse_math=False)
    drawn = rasterised(figure)
    inked = np.flatnonzero((np.asarray(drawn) < 255).any(axis=(0, 2)))
    return drawn.crop((0, 0, min(width, int(inked[-1] + font)), height))


def _draw_level_bar(shown: HeatMap, words: Sequence[str], width: int, font: float) -> Image.Image:
    """Draw a bar from left to right with its ticks, and its words below; RGB, ``width`` px wide."""
    room, line = width - 2 * font, 1.4 * font
    lines = [one for text in words for one in wrapped(text, room, font)]
    upper = 3.4 * font
    sheet = FigureSheet(width, round(upper + (len(lines) + 0.4) * line), font)
    n_ticks = int(np.clip(width / (6 * font), 1, 6))
    axes = sheet.axes(font, 0.6 * font, room, 1.1 * font)
    fill_bar(axes, shown, font, upright=False, n_ticks=n_ticks)
    sheet.write_lines(font, upper + font, lines, line)
    return sheet.image()


def _draw_foot(foot: Sequence[str], width: int, font: float) -> Image.Image:
    """Write lines below a picture of ``width`` px; RGB, without height if there are none."""
    lines = [one for text in foot for one in wrapped(text, width - 2 * font, font)]
    if not lines:
        return Image.new("RGB", (width, 0))
    line = 1.4 * font
    sheet = FigureSheet(width, round((len(lines) + 0.8) * line), font)
    sheet.write_lines(font, 0.3 * line + font, lines, line, color=PALE)
    return sheet.image()


def scaled_photo(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale a photograph to ``size`` in px; enlarged by much, its pixels stay squares."""
    if size[0] < image.width or size[1] < image.height:
        return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return image.resize(size, _enlarging(image.size, size, Image.Resampling.BICUBIC))


def smoothed(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Smooth a map by a Gaussian of ``sigma`` px; beyond its edge it goes on as it ends."""
    from skimage.filters import gaussian

    return gaussian(values, sigma=sigma, mode="nearest").astype(np.float32)


def _values_at(values: Image.Image, size: tuple[int, int]) -> Image.Image:
    # Neither goes beyond the values that are there.
    if size[0] < values.width or size[1] < values.height:
        return values.resize(size, Image.Resampling.BOX)
    return values.resize(size, _enlarging(values.size, size, Image.Resampling.BILINEAR))


def _enlarging(
    size: tuple[int, int], target: tuple[int, int], smooth: Image.Resampling
) -> Image.Resampling:
    """Choose squares for a whole factor and for a large one, where smoothing would only blur."""
    whole = target[0] % size[0] == 0 and target[1] % size[1] == 0
    return Image.Resampling.NEAREST if whole or max(target) > 6 * max(size) else smooth


def _check_choice(what: str, chosen: Any, choices: tuple[Any, ...]) -> None:
    if chosen not in choices:
        raise UserError(f"The {what} is {chosen!r}: choose one of {', '.join(choices)}.")
