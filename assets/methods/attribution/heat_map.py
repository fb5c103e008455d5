"""A map of values, such as what occlusion gives, in colours over its photograph."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from assets.methods.common.errors import UserError
from assets.methods.plotting.foot import with_foot
from assets.methods.plotting.sheet import rasterised
from assets.methods.plotting.text import (
    DARK,
    DPI,
    PALE,
    format_values,
    in_points,
    printable,
    text_length,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Colormap = Literal["inferno", "viridis", "magma", "plasma", "cividis", "jet"]
Scale = Literal["own", "fixed"]

# The longer side of a picture is brought into this range, in px.
_SMALLEST_SHOWN_SIDE = 256
_LARGEST_SHOWN_SIDE = 1_600

# Scores are exact to about 1e-6: a map that spans less is flat, and its grain is rounding.
_FLAT = 1e-6
_SMALLEST_BAR = 180


@dataclass(frozen=True)
class HeatMapSettings:
    """How a map should look over its photograph.

    ``scale`` is what the colours span: the map's "own" range, or "fixed" from 0 to 1, which makes
    maps comparable. ``opacity`` is the map's share of the mix with the photograph, 0 to 1.

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

    Raises:
        ValueError: the values are not of the photograph's size, or not finite.
    """

    def __init__(self, image: Image.Image, values: np.ndarray, settings: HeatMapSettings) -> None:
        if values.shape != (image.height, image.width):
            raise ValueError(f"the map is {values.shape}, the image {(image.height, image.width)}")
        self.minimum, self.maximum = float(values.min()), float(values.max())
        if not np.isfinite([self.minimum, self.maximum]).all():
            raise ValueError("the map has values that are not finite")
        self.image, self.settings = image, settings
        self._values = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))

    @property
    def is_flat(self) -> bool:
        """Whether the map has the same value everywhere."""
        return self.maximum - self.minimum <= _FLAT

    @property
    def limits(self) -> tuple[float, float]:
        """The values of the lowest and the highest colour, alike for a flat map of scale own."""
        if self.settings.scale == "fixed":
            return 0.0, 1.0
        return (self.minimum, self.minimum) if self.is_flat else (self.minimum, self.maximum)

    def range_beyond_bar(self) -> str | None:
        """Return the map's range in words if the ends of its colour bar do not show it."""
        if self.is_flat:
            return f"this map: {format_values([self.minimum])[0]} everywhere"
        if self.settings.scale == "own":
            return None
        low, high = format_values([self.minimum, self.maximum])
        return f"this map: {low} to {high}"

    def blended(self, size: tuple[int, int]) -> Image.Image:
        """Return the map over the photograph, RGB, scaled to ``size`` in px (width, height)."""
        grey = np.asarray(scaled_photo(self.image, size).convert("L"), dtype=np.float32)
        colours = self._colours(np.asarray(_values_at(self._values, size)))
        opacity = self.settings.opacity
        # In grey, because a photograph's own colours would be taken for the map's.
        mixed = (1 - opacity) * grey[..., np.newaxis] + opacity * colours
        return Image.fromarray(np.rint(mixed).astype(np.uint8))

    def _colours(self, values: np.ndarray) -> np.ndarray:
        """Map (rows, columns) values to (rows, columns, 3) float32 colours from 0 to 255."""
        low, high = self.limits
        # A flat map has the middle colour: its value is neither low nor high.
        share = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
        return _palette(self.settings)[np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)]


def draw_overlay(
    image: Image.Image,
    values: np.ndarray,
    settings: HeatMapSettings,
    label: str,
    foot: Sequence[str] = (),
) -> Image.Image:
    """Draw a map over its photograph in grey, with a colour bar to the right.

    The photograph's pixels stay as they are if its longer side is from 256 to 1,600 px. A larger
    one is scaled down to 1,600 px; of a smaller one every pixel becomes a square, of the fewest px
    a side that give 256 px.

    Args:
        image: RGB.
        values: (rows, columns) float32, of the image's size.
        settings: how it should look.
        label: what the values are, with their unit, such as "P(nsfw), window cut out".
        foot: lines below all.

    Returns:
        An RGB picture, the same for the same arguments.

    Raises:
        ValueError: the values are not of the image's size, or not finite.
    """
    shown = HeatMap(image, values, settings)
    picture = shown.blended(shown_size(image.size))
    font = float(np.clip(max(picture.size) / 45, 12, 26))
    bar = _draw_bar(shown, label, picture.height, font)
    canvas = Image.new("RGB", (picture.width + bar.width, bar.height), "white")
    canvas.paste(picture, (0, (bar.height - picture.height) // 2))
    canvas.paste(bar, (picture.width, 0))
    return with_foot(canvas, foot)


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size at which ``draw_overlay`` shows an image; (width, height) in px."""
    longer = max(size)
    if longer < _SMALLEST_SHOWN_SIDE:
        factor = -(-_SMALLEST_SHOWN_SIDE // longer)
        return size[0] * factor, size[1] * factor
    scale = min(1.0, _LARGEST_SHOWN_SIDE / longer)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _palette(settings: HeatMapSettings) -> np.ndarray:
    """Return the (256, 3) float32 colours of the map, lowest first, from 0 to 255."""
    from matplotlib import colormaps

    return (colormaps[settings.colormap](np.arange(256))[:, :3] * 255).astype(np.float32)


def fill_bar(
    axes: "Axes",
    shown: HeatMap,
    font: float,
    *,
    upright: bool,
    n_ticks: int,
    mark: float | None = None,
) -> None:
    """Fill ``axes`` with the colour bar of a map, its ends and round values between them marked.

    ``font`` is in px; there are at most ``n_ticks`` values between the ends. A line crosses the
    bar at the value ``mark``.
    """
    low, high = shown.limits
    colours = _palette(shown.settings) / 255
    if low == high:
        colours, ends, ticks = colours[[128]], (low - 0.5, low + 0.5), np.array([low])
    else:
        ends, ticks = (low, high), _ticks(low, high, n_ticks)
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
    if mark is not None:
        # White within black is seen on any colour.
        for colour, width in (("black", 4.0), ("white", 1.5)):
            line = axes.axhline if upright else axes.axvline
            line(mark, color=colour, linewidth=width)


def _ticks(low: float, high: float, n_ticks: int) -> np.ndarray:
    """Return both ends and at most ``n_ticks`` round values that keep away from them."""
    from matplotlib.ticker import MaxNLocator

    locator = MaxNLocator(nbins=n_ticks + 1, steps=[1, 2, 5, 10])
    between = np.asarray(locator.tick_values(low, high))
    margin = 0.6 * (high - low) / (n_ticks + 1)
    between = between[(between > low + margin) & (between < high - margin)]
    return np.array([low, *between, high])


def _draw_bar(shown: HeatMap, label: str, height: int, font: float) -> Image.Image:
    """Draw an upright bar with its ticks and label; RGB, at least ``height`` px high."""
    from matplotlib.figure import Figure

    text = "\n".join([printable(label, 60), *filter(None, [shown.range_beyond_bar()])])
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
