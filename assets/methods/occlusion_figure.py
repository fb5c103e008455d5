"""Both occlusion experiments on one photograph in a single figure.

The maps lie side by side over the photograph, and beside them one window of each experiment as it
was fed to the network. To cover parts of a photograph and watch the score is from "Visualizing and
Understanding Convolutional Networks" (Zeiler and Fergus, ECCV 2014).
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from assets.methods.figure_text import (
    DARK,
    DPI,
    PALE,
    fitting,
    format_values,
    in_points,
    text_length,
)
from assets.methods.heat_map import HeatMap, HeatMapSettings, fill_bar, heat_map, scaled_photo

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

# Fonts, in px.
_LARGE = 28
_MEDIUM = 21
_SMALL = 16

Size = tuple[int, int]
Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True)
class Panel:
    """One experiment on one photograph.

    ``values`` is the map, (rows, columns) float32 of the photograph's size. ``window_picture`` is
    one of the pictures that were fed to the network, ``window_score`` the P(class) it got, and
    ``window_rectangle`` where its window lies: left, upper, right, lower in px of the photograph.
    """

    values: np.ndarray
    window_picture: Image.Image
    window_score: float
    window_rectangle: Rectangle


@dataclass(frozen=True)
class FigureTitle:
    """What the figure says of how it was made.

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
    sizes = [_fitted(panel.window_picture.size, _WINDOW_SIDE) for panel, _ in experiments]
    page = _Page(_fitted(image.size, _MAP_SIDE), sizes, title)
    for place, (panel, words) in enumerate(experiments):
        shown = heat_map(image, panel.values, settings)
        uncovered = 1 - title.score if words is _HIDDEN else None
        page.draw_map(place, shown, panel.window_rectangle, words, uncovered)
        page.draw_window(place, panel, words)
    return page.picture()


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


class _Page:
    """The figure's sheet, on which places are px from its upper left corner."""

    def __init__(self, map_size: Size, window_sizes: list[Size], title: FigureTitle) -> None:
        from matplotlib.figure import Figure

        n = len(window_sizes)
        self._map_size = map_size
        self._window_sizes = window_sizes
        self._class_name = title.class_name
        self._column = max(map_size[0], _NARROWEST_MAP)
        self._windows_left = _MARGIN + n * (self._column + _GAP)
        window_column = max(_WINDOW_SIDE, math.ceil(text_length(_HIDDEN.caption, _SMALL)))
        self._width = self._windows_left + window_column + _MARGIN
        subtitle = _subtitle(title, n, self._width - 2 * _MARGIN)
        self._upper = _MARGIN + _TITLE + len(subtitle) * _SUBTITLE_LINE + _HEADING
        below_maps = self._upper + map_size[1] + _BAR_OFFSET + _BAR + _BELOW_BAR
        below_windows = self._window_upper(n) - _WINDOW_GAP
        self._height = max(below_maps, below_windows) + _MARGIN // 2
        self._figure = Figure(figsize=(self._width / DPI, self._height / DPI), dpi=DPI)
        name = fitting("{}", title.name, self._width - 2 * _MARGIN, _LARGE, "bold")
        self._write(_MARGIN, _MARGIN + _LARGE, name, _LARGE, weight="bold")
        for line, text in enumerate(subtitle):
            baseline = _MARGIN + _TITLE + line * _SUBTITLE_LINE + _SMALL
            self._write(_MARGIN, baseline, text, _SMALL, color=PALE)
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
        mark = _on_the_bar(uncovered, shown)
        self._head(left, words.heading, _hint(words, uncovered, mark))
        self._paste(_outlined(shown, self._map_size, window), left, self._upper)
        bar = self._upper + self._map_size[1] + _BAR_OFFSET
        axes = self._figure.add_axes(self._fractions(left, bar, self._column, _BAR))
        fill_bar(axes, shown, _SMALL, upright=False, n_ticks=4, mark=mark)
        label = fitting(words.unit, self._class_name, self._column, _SMALL)
        beyond = shown.range_beyond_bar()
        self._write(left, bar + _BAR + 50, label, _SMALL)
        if beyond:
            self._write(left, bar + _BAR + 74, beyond, _SMALL, color=PALE)

    def draw_window(self, place: int, panel: Panel, words: _Words) -> None:
        """Draw one window that was fed to the network, with the score that it got."""
        left, upper = self._windows_left, self._window_upper(place)
        size = self._window_sizes[place]
        self._paste(scaled_photo(panel.window_picture.convert("RGB"), size), left, upper)
        score = format_values([panel.window_score])[0]
        text = fitting(f"P({{}}) = {score}", self._class_name, _WINDOW_SIDE, _SMALL, "bold")
        self._write(left, upper + size[1] + 24, words.caption, _SMALL, color=PALE)
        self._write(left, upper + size[1] + 48, text, _SMALL, weight="bold")

    def picture(self) -> Image.Image:
        """Return the sheet as an RGB picture."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(self._figure)
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")

    def _head(self, left: int, heading: str, hint: str) -> None:
        self._write(left, self._upper - 46, heading, _MEDIUM, weight="bold")
        self._write(left, self._upper - 18, hint, _SMALL, color=PALE)

    def _window_upper(self, place: int) -> int:
        above = sum(height + _CAPTION + _WINDOW_GAP for _, height in self._window_sizes[:place])
        return self._upper + above

    def _write(
        self,
        left: int,
        baseline: int,
        text: str,
        font: float,
        *,
        color: str = DARK,
        weight: str = "normal",
    ) -> None:
        self._figure.text(
            left / self._width,
            1 - baseline / self._height,
            text,
            fontsize=in_points(font),
            color=color,
            weight=weight,
            parse_math=False,
        )

    def _paste(self, picture: Image.Image, left: int, upper: int) -> None:
        lower = self._height - upper - picture.height
        self._figure.figimage(np.asarray(picture), left, lower, origin="upper")

    def _fractions(self, left: float, upper: float, width: float, height: float) -> Rectangle:
        lower = self._height - upper - height
        return (
            left / self._width,
            lower / self._height,
            width / self._width,
            height / self._height,
        )


def _outlined(shown: HeatMap, size: Size, window: Rectangle) -> Image.Image:
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


def _on_the_bar(value: float | None, shown: HeatMap) -> float | None:
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
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f"{lines[-1]}   ·   {part}"
        if text_length(longer, _SMALL) <= room:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def _fitted(size: Size, side: int) -> Size:
    """Return a size of the same shape whose longer side is ``side``."""
    scale = side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
