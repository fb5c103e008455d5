"""Both occlusion experiments on one photograph in a single figure.

The maps lie side by side over the photograph, and beside them one window of each experiment as it
was fed to the network.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from assets.methods.attribution.heat_map import (
    HeatMap,
    HeatMapSettings,
    fill_bar,
    scaled_photo,
)
from assets.methods.plotting.sheet import LARGE, MEDIUM, FigureSheet, Size, fitted
from assets.methods.plotting.text import PALE, fitting, format_values, in_lines, text_length

# Lengths in px, chosen so that beside a square map two square windows end where it ends.
_MARGIN = 40
_GAP = 56
_TITLE = 44
_SUBTITLE_LINE = 26
_HEADING = 104
_MAP_SIDE = 640
_NARROWEST_MAP = 420
_BAR_OFFSET = 16
_BAR = 16
_BELOW_BAR = 84
_WINDOW_SIDE = 245
_CAPTION = 62
_WINDOW_GAP = 26

# The font of small words, in px.
_SMALL = 16

Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True)
class Panel:
    """One experiment on one photograph.

    ``values`` is the map, (rows, columns) float32 of the photograph's size. ``window_image`` is
    one of the images that were fed to the network, ``window_score`` the P(class) it got, and
    ``window_rectangle`` where its window lies: left, upper, right, lower in px of the photograph.
    """

    values: np.ndarray
    window_image: Image.Image
    window_score: float
    window_rectangle: Rectangle


@dataclass(frozen=True)
class FigureTitle:
    """How the maps of a figure were computed.

    ``name`` is the photograph's, ``score`` the P(class) of the whole photograph, ``n_windows`` the
    number of windows of each experiment; ``box`` and ``stride`` are in px, ``fill`` is what hidden
    windows are painted over with.
    """

    name: str
    class_name: str
    model: str
    score: float
    box: int
    stride: int
    fill: str
    n_windows: int


def draw_occlusion_figure(
    image: Image.Image,
    seen: Panel | None,
    hidden: Panel | None,
    settings: HeatMapSettings,
    title: FigureTitle,
) -> Image.Image:
    """Draw the maps of the experiments that were made, each with a window that was fed.

    Args:
        image: the photograph, RGB.
        seen: the experiment that scores each window cut out.
        hidden: the experiment that scores the photograph with each window painted over.
        settings: how the maps should look.
        title: what was computed.

    Returns:
        An RGB picture, at most 1,800 px wide, the same for the same arguments.

    Raises:
        ValueError: there is neither experiment, or a map is not of the image's size or not finite.
    """
    experiments = [
        (panel, words) for panel, words in ((seen, _SEEN), (hidden, _HIDDEN)) if panel is not None
    ]
    if not experiments:
        raise ValueError("there is no experiment to draw")
    sizes = [
        fitted(panel.window_image.size, (_WINDOW_SIDE, _WINDOW_SIDE)) for panel, _ in experiments
    ]
    page = _Page(fitted(image.size, (_MAP_SIDE, _MAP_SIDE)), sizes, title)
    for place, (panel, words) in enumerate(experiments):
        shown = HeatMap(image, panel.values, settings)
        uncovered = 1 - title.score if words is _HIDDEN else None
        page.draw_map(place, shown, panel.window_rectangle, words, uncovered)
        page.draw_window(place, panel, words)
    return page.image()


@dataclass(frozen=True)
class _Words:
    heading: str
    hint: str
    unit: str
    caption: str


_SEEN = _Words(
    heading="seen: each window cut out",
    hint="High where a window alone is enough.",
    unit="P({}), mean of the windows",
    caption="the outlined window, cut out",
)
_HIDDEN = _Words(
    heading="hidden: each window painted over",
    hint="Above {}, covering lowers the score.",
    unit="1 − P({}), mean of the windows",
    caption="the outlined window, painted over",
)


class _Page(FigureSheet):
    def __init__(self, map_size: Size, window_sizes: list[Size], title: FigureTitle) -> None:
        n = len(window_sizes)
        self._map_size = map_size
        self._window_sizes = window_sizes
        self._class_name = title.class_name
        self._column = max(map_size[0], _NARROWEST_MAP)
        self._windows_left = _MARGIN + n * (self._column + _GAP)
        window_column = max(_WINDOW_SIDE, math.ceil(text_length(_HIDDEN.caption, _SMALL)))
        width = self._windows_left + window_column + _MARGIN
        subtitle = _subtitle(title, n, width - 2 * _MARGIN)
        self._upper = _MARGIN + _TITLE + len(subtitle) * _SUBTITLE_LINE + _HEADING
        below_maps = self._upper + map_size[1] + _BAR_OFFSET + _BAR + _BELOW_BAR
        below_windows = self._window_upper(n) - _WINDOW_GAP
        height = max(below_maps, below_windows) + _MARGIN // 2
        super().__init__(width, height, _SMALL)
        name = fitting("{}", title.name, width - 2 * _MARGIN, LARGE, "bold")
        self.write(_MARGIN, _MARGIN + LARGE, name, LARGE, weight="bold")
        for line, text in enumerate(subtitle):
            baseline = _MARGIN + _TITLE + line * _SUBTITLE_LINE + _SMALL
            self.write(_MARGIN, baseline, text, color=PALE)
        self._head(self._windows_left, "fed to the network", "with the score it got")

    def draw_map(
        self,
        place: int,
        shown: HeatMap,
        window: Rectangle,
        words: _Words,
        uncovered: float | None,
    ) -> None:
        """Draw one map under its heading and above its colour bar, with a window outlined.

        ``uncovered`` is the value that the map would have if covering changed nothing.
        """
        left = _MARGIN + place * (self._column + _GAP)
        mark = level_on_bar(uncovered, shown)
        self._head(left, words.heading, _hint(words, uncovered, mark))
        self.paste(outlined(shown, self._map_size, window), left, self._upper)
        bar = self._upper + self._map_size[1] + _BAR_OFFSET
        axes = self.axes(left, bar, self._column, _BAR)
        fill_bar(axes, shown, _SMALL, upright=False, n_ticks=4, mark=mark)
        label = fitting(words.unit, self._class_name, self._column, _SMALL)
        beyond = shown.range_beyond_bar()
        self.write(left, bar + _BAR + 50, label)
        if beyond:
            self.write(left, bar + _BAR + 74, beyond, color=PALE)

    def draw_window(self, place: int, panel: Panel, words: _Words) -> None:
        """Draw one window that was fed to the network, with the score that it got."""
        left, upper = self._windows_left, self._window_upper(place)
        size = self._window_sizes[place]
        self.paste(scaled_photo(panel.window_image.convert("RGB"), size), left, upper)
        score = format_values([panel.window_score])[0]
        text = fitting(f"P({{}}) = {score}", self._class_name, _WINDOW_SIDE, _SMALL, "bold")
        self.write(left, upper + size[1] + 24, words.caption, color=PALE)
        self.write(left, upper + size[1] + 48, text, weight="bold")

    def _head(self, left: int, heading: str, hint: str) -> None:
        self.write(left, self._upper - 46, heading, MEDIUM, weight="bold")
        self.write(left, self._upper - 18, hint, color=PALE)

    def _window_upper(self, place: int) -> int:
        above = sum(height + _CAPTION + _WINDOW_GAP for _, height in self._window_sizes[:place])
        return self._upper + above


def outlined(shown: HeatMap, size: Size, window: Rectangle) -> Image.Image:
    """Draw a map at a size in px, and the outline of a window on it."""
    picture = shown.blended(size)
    scale = np.divide(size, shown.image.size)
    corners = np.rint(np.reshape(window, (2, 2)) * scale).astype(int)
    # On the map's edge the outline moves inwards, or its dark rim would be cut off.
    left, upper = np.maximum(corners[0] - 1, 0)
    right, lower = np.minimum(corners[1], np.array(size) - 1)
    draw = ImageDraw.Draw(picture)
    # Light between dark is seen on any ground.
    for inset, colour in enumerate(("black", "white", "black")):
        box = (left + inset, upper + inset, right - inset, lower - inset)
        if box[0] <= box[2] and box[1] <= box[3]:
            draw.rectangle(box, outline=colour)
    return picture


def level_on_bar(value: float | None, shown: HeatMap) -> float | None:
    """Return the value if a map's colour bar reaches beyond it on both sides, or None."""
    low, high = shown.limits
    return value if value is not None and low < value < high else None


def _hint(words: _Words, uncovered: float | None, mark: float | None) -> str:
    if uncovered is None:
        return words.hint
    level = format_values([uncovered])[0]
    return words.hint.format(level if mark is None else f"the mark, {level}")


def _subtitle(title: FigureTitle, n_experiments: int, room: float) -> list[str]:
    """Write how the figure was made, in as many lines as it takes."""
    windows = f"{title.n_windows:,} windows" + (" each" if n_experiments > 1 else "")
    score = format_values([title.score])[0]
    parts = [
        fitting(f"P({{}}) of the whole photograph = {score}", title.class_name, room, _SMALL),
        fitting("model {}", title.model, room, _SMALL),
        f"box {title.box:,} px, stride {title.stride:,} px, fill {title.fill}, {windows}",
    ]
    return in_lines(parts, "   ·   ", room, _SMALL)
