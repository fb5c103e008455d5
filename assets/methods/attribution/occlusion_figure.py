"""Both occlusion experiments on one photograph in a single figure.

The maps lie side by side over the photograph, of a panorama below each other, and beside them what
was fed to the network: the photograph, and one window of each experiment.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from assets.methods.attribution.heat_map import (
    BLUE,
    PANORAMA,
    RED,
    HeatMap,
    HeatMapSettings,
    fill_bar,
    scaled_photo,
)
from assets.methods.attribution.occlusion import FLAT
from assets.methods.plotting.sheet import (
    MEDIUM,
    SMALL,
    FigureFrame,
    FigureSheet,
    Size,
    fitted,
)
from assets.methods.plotting.text import PALE, fitting, format_values, in_lines, text_length

# Lengths in px, chosen so that beside a square map three windows end near where it ends.
_MARGIN = 40
_GAP = 56
_HEADING = 84
_MAP_ROOM = (640, 640)
_TALL_ROOM = (640, 1000)
_PANORAMA_ROOM = (1720, 480)
_NARROWEST_MAP = 420
_BAR_OFFSET = 16
_BAR = 16
_BAR_WORDS = 34
_LINE = 24
_SWATCH = 14
_FED_SIDE = 200
_FED_ROOM = (470, 200)
_CAPTION = 62
_FED_GAP = 26

# An image that is this many times as high as wide has narrow columns.
_TALL = 1.6

Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True)
class Panel:
    """One experiment on one photograph.

    ``values`` is the map, (rows, columns) float32 of the photograph's size. ``window_image`` is
    one of the images as the network read it, ``window_score`` the P(class) it got, and
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
    number of windows of each experiment; ``fill`` is what hidden windows are painted over with.
    ``read_size`` is the size (width, height) in px to which the photograph was scaled before
    windows were placed on it, None for its own size; ``box`` and ``stride`` are in px of that.
    ``read_score`` is the P(class) of the pixels on which windows lie, where these are others than
    those that have the score.
    """

    name: str
    class_name: str
    model: str
    score: float
    box: int
    stride: int
    fill: str
    n_windows: int
    read_size: Size | None = None
    read_score: float | None = None

    @property
    def uncovered(self) -> float:
        """The value that `hidden` has where covering changes nothing."""
        return 1 - (self.score if self.read_score is None else self.read_score)


def draw_occlusion_figure(
    image: Image.Image,
    seen: Panel | None,
    hidden: Panel | None,
    settings: HeatMapSettings,
    title: FigureTitle,
    *,
    whole: Image.Image | None = None,
    notes: Sequence[str] = (),
    foot: Sequence[str] = (),
) -> Image.Image:
    """Draw the maps of the experiments that were made, each with a window that was fed.

    Args:
        image: the photograph, RGB.
        seen: the experiment that scores each window cut out.
        hidden: the experiment that scores the photograph with each window painted over.
        settings: how the maps should look.
        title: what was computed.
        whole: the photograph, of the size on which windows lie, as the network read it.
        notes: sentences that a reader must not miss, printed on a band under the title.
        foot: lines printed small at the bottom, such as where the maps come from.

    Returns:
        An RGB picture, at most 1,800 px wide, the same for the same arguments.

    Raises:
        ValueError: there is neither experiment, or a map is not of the image's size or not finite.
    """
    maps = []
    if seen is not None:
        shown = HeatMap(image, seen.values, settings)
        hint = "High where a part by itself gets a high P({})."
        maps.append(_Map(shown, seen.window_rectangle, _SEEN_HEADING, hint, "P({})"))
    if hidden is not None:
        shown = HeatMap(image, hidden.values, settings, title.uncovered)
        hint = f"White (the mark, {shown.level_in_words()}): covering changes nothing."
        maps.append(_Map(shown, hidden.window_rectangle, _HIDDEN_HEADING, hint, "1 − P({})"))
    if not maps:
        raise ValueError("there is no experiment to draw")
    fed = [] if whole is None else [_Fed(whole, "the whole photograph", 1 - title.uncovered)]
    for panel, words in ((seen, "cut out"), (hidden, "painted over")):
        if panel is not None:
            caption = f"the outlined window, {words}"
            fed.append(_Fed(panel.window_image, caption, panel.window_score))
    if title.n_windows == 1:
        notes = [*notes, _ONE_WINDOW]
    return _Page(image.size, maps, fed, title, notes, foot).image()


_SEEN_HEADING = "seen: each window cut out"
_HIDDEN_HEADING = "hidden: each window painted over"
_ONE_WINDOW = (
    "The window is as large as the image, so that a map has one value: a smaller box would tell "
    "its parts apart."
)


@dataclass(frozen=True)
class _Map:
    """A map, the outlined window, and words; ``hint`` and ``unit`` are patterns for the class."""

    shown: HeatMap
    window: Rectangle
    heading: str
    hint: str
    unit: str

    def lines(self) -> list[tuple[tuple[int, int, int] | None, str]]:
        """Return what is written below the bar, patterns for the class, each with its colour."""
        found: list[tuple[tuple[int, int, int] | None, str]] = [
            (None, f"{self.unit}, mean of the windows")
        ]
        level = self.shown.level
        if level is not None:
            found += [
                (RED, _change("lowers", self.shown.maximum - level)),
                (BLUE, _change("raises", level - self.shown.minimum)),
            ]
        beyond = self.shown.range_beyond_bar()
        return [*found, (None, beyond)] if beyond else found


def _change(verb: str, change: float) -> str:
    if change <= FLAT:
        return f"covering {verb} P({{}}): nowhere"
    return f"covering {verb} P({{}}), by up to {change:.2g}"


@dataclass(frozen=True)
class _Fed:
    """An image as the network read it, and the score that it got."""

    image: Image.Image
    caption: str
    score: float


class _Page(FigureSheet):
    def __init__(
        self,
        size: Size,
        maps: list[_Map],
        fed: list[_Fed],
        title: FigureTitle,
        notes: Sequence[str],
        foot: Sequence[str],
    ) -> None:
        self._class_name = title.class_name
        self._is_panorama = size[0] > PANORAMA * size[1]
        self._map_size = fitted(size, self._room(size))
        self._column = max(self._map_size[0], _NARROWEST_MAP)
        self._fed_sizes = [fitted(one.image.size, self._fed_room) for one in fed]
        n_across = 1 if self._is_panorama else len(maps)
        right = _MARGIN + n_across * (self._column + _GAP)
        self._fed_column = max(_FED_SIDE, math.ceil(text_length(_LONGEST_CAPTION, SMALL)))
        width = right + self._fed_column + _MARGIN
        if self._is_panorama:
            n_fed = len(fed)
            width = 2 * _MARGIN + max(self._column, n_fed * self._fed_room[0] + (n_fed - 1) * _GAP)
        room = width - 2 * _MARGIN
        frame = FigureFrame(width, title.name, _subtitle(title, size, len(maps), room), notes, foot)
        upper = frame.upper + _HEADING
        places, maps_end = self._places(maps, upper)
        if self._is_panorama:
            fed_places = [
                (_MARGIN + place * (self._fed_room[0] + _GAP), maps_end + _HEADING)
                for place in range(len(fed))
            ]
        else:
            fed_places = self._fed_places_beside(right, upper)
        fed_end = max(
            one + height + _CAPTION
            for (_, one), (_, height) in zip(fed_places, self._fed_sizes, strict=True)
        )
        super().__init__(width, frame.height(max(maps_end, fed_end)), SMALL)
        frame.draw(self)
        for one, (left, upper) in zip(maps, places, strict=True):
            self._draw_map(one, left, upper)
        self._draw_fed(fed, fed_places)

    @property
    def _fed_room(self) -> Size:
        return _FED_ROOM if self._is_panorama else (_FED_SIDE, _FED_SIDE)

    def _room(self, size: Size) -> Size:
        if self._is_panorama:
            return _PANORAMA_ROOM
        return _TALL_ROOM if size[1] > _TALL * size[0] else _MAP_ROOM

    def _places(self, maps: list[_Map], upper: int) -> tuple[list[tuple[int, int]], int]:
        """Return the left and upper px of each map, and where the last of their words end."""
        heights = [
            self._map_size[1] + _BAR_OFFSET + _BAR + _BAR_WORDS + _LINE * len(one.lines())
            for one in maps
        ]
        if not self._is_panorama:
            lefts = [_MARGIN + place * (self._column + _GAP) for place in range(len(maps))]
            return [(left, upper) for left in lefts], upper + max(heights)
        uppers = [upper]
        for height in heights:
            uppers.append(uppers[-1] + height + _HEADING)
        return [(_MARGIN, one) for one in uppers[:-1]], uppers[-1] - _HEADING

    def _fed_places_beside(self, left: int, upper: int) -> list[tuple[int, int]]:
        places = []
        for _, height in self._fed_sizes:
            places.append((left, upper))
            upper += height + _CAPTION + _FED_GAP
        return places

    def _draw_map(self, one: _Map, left: int, upper: int) -> None:
        """Draw a map under its heading and above its colour bar, with a window outlined."""
        self._head(left, upper, one.heading, one.hint)
        self.paste(outlined(one.shown, self._map_size, one.window), left, upper)
        bar = upper + self._map_size[1] + _BAR_OFFSET
        axes = self.axes(left, bar, self._column, _BAR)
        fill_bar(axes, one.shown, SMALL, upright=False, n_ticks=4)
        for number, (colour, pattern) in enumerate(one.lines()):
            baseline = bar + _BAR + _BAR_WORDS + (number + 0.7) * _LINE
            indent = 0 if colour is None else _SWATCH + 8
            text = fitting(pattern, self._class_name, self._column - indent, SMALL)
            self.write(left + indent, baseline, text)
            if colour is not None:
                swatch = Image.new("RGB", (_SWATCH, _SWATCH), colour)
                self.paste(swatch, left, round(baseline) - _SWATCH + 1)

    def _draw_fed(self, fed: list[_Fed], places: list[tuple[int, int]]) -> None:
        """Draw what was fed to the network, each with the score that it got."""
        sizes = {one.image.size for one in fed}
        # Only networks read all of it in one size.
        seen = _in_px(sizes.pop()) if len(sizes) == 1 else "it is"
        self._head(*places[0], "fed to the network", f"as {seen}, and its score")
        for one, size, (left, upper) in zip(fed, self._fed_sizes, places, strict=True):
            self.paste(scaled_photo(one.image.convert("RGB"), size), left, upper)
            score = f"P({{}}) = {format_values([one.score])[0]}"
            text = fitting(score, self._class_name, self._fed_column, SMALL, "bold")
            self.write(left, upper + size[1] + 24, one.caption, color=PALE)
            self.write(left, upper + size[1] + 48, text, weight="bold")

    def _head(self, left: int, upper: int, heading: str, hint: str) -> None:
        self.write(left, upper - 46, heading, MEDIUM, weight="bold")
        text = fitting(hint, self._class_name, self._column, SMALL)
        self.write(left, upper - 18, text, color=PALE)


_LONGEST_CAPTION = "the outlined window, painted over"


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


def _subtitle(title: FigureTitle, size: Size, n_experiments: int, room: float) -> list[str]:
    """Write how the figure was made, in as many lines as it takes."""
    windows = _count(title.n_windows, "window") + (" each" if n_experiments > 1 else "")
    score = format_values([title.score])[0]
    read = title.read_size or size
    scaled = "" if read == size else f", scaled to {_in_px(read)} for the network"
    parts = [
        fitting(f"P({{}}) of the whole photograph = {score}", title.class_name, room, SMALL),
        fitting("model {}", title.model, room, SMALL),
        f"photograph {_in_px(size)}{scaled}",
        f"{_lengths(title, size[0] / read[0])}, fill {title.fill}, {windows}",
    ]
    return in_lines(parts, "   ·   ", room, SMALL)


def _lengths(title: FigureTitle, scale: float) -> str:
    """Write box and stride, of a scaled photograph in px of both."""
    if scale == 1:
        return f"box {title.box:,} px, stride {title.stride:,} px"
    box, stride = round(scale * title.box), round(scale * title.stride)
    return (
        f"box {title.box:,} px of that ({box:,} px of the photograph), "
        f"stride {title.stride:,} px ({stride:,} px)"
    )


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _in_px(size: Size) -> str:
    return f"{size[0]:,} x {size[1]:,} px"
