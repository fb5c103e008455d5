"""What a deconvnet finds in a photograph, on one page.

Above, the photograph, the reconstruction and where it is strong. Below, the activations of a layer
that add most to the class, each beside the part of the photograph that made it, after figure 2 of
Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014; and what would
have to change for the photograph to look more like the class.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from assets.methods.attribution.deconvnet_maps import DeconvnetMap
from assets.methods.attribution.heat_map import (
    PANORAMA,
    HeatMap,
    HeatMapSettings,
    fill_bar,
    fill_colour_bar,
    scaled_photo,
    smoothed,
)
from assets.methods.plotting.sheet import (
    MEDIUM,
    SMALL,
    FigureFrame,
    FigureSheet,
    Size,
    centred,
    fitted,
)
from assets.methods.plotting.text import PALE, fitting, format_values, in_lines

# Lengths in px.
_WIDTH = 1800
_MARGIN = 40
_GAP = 40
_HEADING = 84
_PANEL = (546, 546)
_TALL_PANEL = (546, 900)
_PANORAMA_PANEL = (_WIDTH - 2 * _MARGIN, 300)
_BAR_OFFSET = 16
_BAR = 16
_BAR_WORDS = 34
_LINE = 24
_BELOW = 30
_TILE = 148
_TILE_GAP = 4
_PAIR_GAP = 26
_CAPTION = 46
_PAIR = 2 * _TILE + _TILE_GAP
_TOP_WIDTH = 3 * _PAIR + 2 * _PAIR_GAP
_CHANGE_LEFT = _MARGIN + _TOP_WIDTH + _GAP + 16
_CHANGE_WIDTH = _WIDTH - _MARGIN - _CHANGE_LEFT
_CHANGE_GAP = 20
_CHANGE_CAPTION = 56
_NARROWEST_BAR = 300
_CHANGE_BAR = _BAR_OFFSET + _BAR + _BAR_WORDS + 2 * _LINE

# An image that is this many times as high as wide is drawn higher.
_TALL = 1.6

# With such a correlation a reconstruction is that of noise, and with such a one it is strong where
# that is. OpenNSFW's from the class have 0.90 to 0.95 of the second.
_THE_SAME = 0.999
_AS_STRONG = 0.8

# This percentile of the sizes is drawn as the largest: a few large values would dim all others.
_LARGEST_SHOWN = 99.5

# The sigma in px of the page by which maps are smoothed: their single pixels are grain.
_SMOOTHING = 6

_RELEVANCE = HeatMapSettings()

# Orange and violet, which colour-blind people tell apart too.
_BRIGHTER = np.array([235, 120, 0], dtype=np.float32)
_DARKER = np.array([95, 50, 160], dtype=np.float32)


def draw_deconvnet_figure(
    image: Image.Image,
    found: DeconvnetMap,
    name: str,
    model: str,
    *,
    notes: Sequence[str] = (),
    foot: Sequence[str] = (),
) -> Image.Image:
    """Draw all that ``deconvnet_map`` found.

    Args:
        image: the photograph, of the size of the maps.
        found: by ``deconvnet_map``.
        name: the photograph's.
        model: the classifier's name for people.
        notes: sentences that a reader must not miss, printed on a band under the title.
        foot: lines printed small at the bottom, such as where the maps come from.

    Returns:
        An RGB picture, 1,800 px wide, the same for the same arguments.

    Raises:
        ValueError: the maps are not of the image's size, or not finite.
    """
    photo = image.convert("RGB")
    if found.reconstruction.shape[:2] != (photo.height, photo.width):
        raise ValueError(f"the maps are {found.reconstruction.shape}, the image {photo.size}")
    size = fitted(photo.size, _panel_room(photo.size))
    frame = FigureFrame(
        _WIDTH, name, _subtitle(found, photo.size, model), [*notes, *_likeness(found)], foot
    )
    panels = _panels(photo, found, size)
    return _Sheet(frame, panels, photo, found).image()


def _panel_room(size: Size) -> Size:
    if size[0] > PANORAMA * size[1]:
        return _PANORAMA_PANEL
    return _TALL_PANEL if size[1] > _TALL * size[0] else _PANEL


@dataclass(frozen=True)
class _Bar:
    """The colours of a picture from its lowest value to its highest: (n, 3) from 0 to 1."""

    colours: NDArray[np.float32]
    limits: tuple[float, float]


@dataclass(frozen=True)
class _Panel:
    """One of the pictures above, with its words and its colour bar; ``hint`` is for the class."""

    picture: Image.Image
    heading: str
    hint: str
    bar: HeatMap | _Bar | None
    lines: tuple[str, ...]


def _panels(photo: Image.Image, found: DeconvnetMap, size: Size) -> list[_Panel]:
    relevance = HeatMap(scaled_photo(photo, size), _smoothed_at(found.relevance, size), _RELEVANCE)
    what = "{}" if found.start is None else "the activation"
    likeness = found.noise_likeness
    # Each by itself: together, equal scores would be written with all digits that differ.
    score, of_square = (format_values([one])[0] for one in (found.score, found.square_score))
    return [
        _Panel(
            scaled_photo(photo, size),
            "the photograph",
            f"P({{}}) = {score}; padded to a square {of_square}.",
            None,
            (),
        ),
        _Panel(
            scaled_photo(signed_image(found.reconstruction), size),
            "the reconstruction",
            f"The pixels that drive {what}, carried back through the layers.",
            _signed_bar(_largest_shown(found.reconstruction), _GREYS),
            (
                "grey levels up to a common factor; mid-grey is none, or not read",
                f"correlation with the reconstruction of noise: {likeness.pixels:.2f}",
            ),
        ),
        _Panel(
            relevance.blended(size),
            "where it is strong",
            "The size of the reconstruction over the photograph.",
            relevance,
            (
                "sum of the sizes of its colours, smoothed, in the same unit",
                f"correlation with that of noise: {likeness.strength:.2f}",
            ),
        ),
    ]


_GREYS = np.linspace(1 / 255, 1, 255, dtype=np.float32)[:, None].repeat(3, axis=1)


def _signed_bar(largest: float, colours: NDArray[np.float32]) -> _Bar:
    return _Bar(colours, (-largest, largest))


def signed_image(values: NDArray[np.float32]) -> Image.Image:
    """Draw signed values around mid-grey.

    Args:
        values: (h, w, 3) of any scale; the largest 0.5 % of those that are not zero look alike.
    """
    largest = _largest_shown(values)
    share = values / largest if largest else np.zeros_like(values)
    return Image.fromarray(np.rint(128 + 127 * share.clip(-1, 1)).astype(np.uint8))


class _Sheet(FigureSheet):
    def __init__(
        self, frame: FigureFrame, panels: list[_Panel], photo: Image.Image, found: DeconvnetMap
    ) -> None:
        self._class_name = found.class_name
        self._change = _change_sizes(photo.size)
        self._is_stacked = photo.width > PANORAMA * photo.height
        places, panels_end = self._places(panels, frame.upper + _HEADING)
        self._lower = panels_end + _BELOW + _HEADING
        body_end = self._lower + max(3 * (_TILE + _CAPTION), self._change.height)
        super().__init__(_WIDTH, frame.height(body_end), SMALL)
        frame.draw(self)
        for panel, (left, upper) in zip(panels, places, strict=True):
            self._draw_panel(panel, left, upper)
        self.top(found)
        self.change(photo, found)

    def _places(self, panels: list[_Panel], upper: int) -> tuple[list[tuple[int, int]], int]:
        """Return the left and upper px of each panel, and where the last of their words end."""
        heights = [_panel_height(panel) for panel in panels]
        if not self._is_stacked:
            lefts = [_MARGIN + place * (_PANEL[0] + _GAP + 1) for place in range(len(panels))]
            return [(left, upper) for left in lefts], upper + max(heights)
        uppers = [upper]
        for height in heights:
            uppers.append(uppers[-1] + height + _HEADING)
        return [(_MARGIN, one) for one in uppers[:-1]], uppers[-1] - _HEADING

    def _draw_panel(self, panel: _Panel, left: int, upper: int) -> None:
        """Draw one of the three pictures above."""
        room = self._panel_width
        self._head(left, upper, panel.heading, fitting(panel.hint, self._class_name, room, SMALL))
        self.paste(panel.picture, left, upper)
        if panel.bar is not None:
            self._bar(panel.bar, panel.lines, left, upper + panel.picture.height, room)

    @property
    def _panel_width(self) -> int:
        return _PANORAMA_PANEL[0] if self._is_stacked else _PANEL[0]

    def _bar(
        self, bar: HeatMap | _Bar, lines: Sequence[str], left: int, below: int, width: int
    ) -> None:
        """Draw a colour bar and its words below a picture that ends at ``below``."""
        upper = below + _BAR_OFFSET
        axes = self.axes(left, upper, width, _BAR)
        if isinstance(bar, HeatMap):
            fill_bar(axes, bar, SMALL, upright=False, n_ticks=4)
        else:
            fill_colour_bar(axes, bar.colours, bar.limits, SMALL, upright=False, n_ticks=3)
        baseline = upper + _BAR + _BAR_WORDS + 0.7 * _LINE
        self.write_lines(left, baseline, lines, _LINE)

    def top(self, found: DeconvnetMap) -> None:
        """Draw the activations that add most, each beside its part of the photograph."""
        heading = fitting("what adds most to {}", found.class_name, _TOP_WIDTH, MEDIUM, "bold")
        hint = fitting(
            "Activations of {}, one a channel, carried back (each in its range), and their parts.",
            found.top_layer,
            _TOP_WIDTH,
            SMALL,
        )
        self._head(_MARGIN, self._lower, heading, hint)
        if not found.top:
            self.write(_MARGIN, self._lower + SMALL, "No activation adds to it.")
            return
        contributions = format_values([one.activation.contribution or 0 for one in found.top])
        for place, (one, adds) in enumerate(zip(found.top, contributions, strict=True)):
            row, column = divmod(place, 3)
            left = _MARGIN + column * (_PAIR + _PAIR_GAP)
            upper = self._lower + row * (_TILE + _CAPTION)
            for offset, image in enumerate((signed_image(one.reconstruction), one.patch)):
                self.paste(_tile(image), left + offset * (_TILE + _TILE_GAP), upper)
            at = f"channel {one.activation.channel:,}, adds {adds}"
            self.write(left, upper + _TILE + 20, at, color=PALE)

    def change(self, photo: Image.Image, found: DeconvnetMap) -> None:
        """Draw what would have to change, and the photograph after a step."""
        heading = fitting("more like {}", found.class_name, _CHANGE_WIDTH, MEDIUM, "bold")
        changed = found.changed_score > found.score
        before, after = format_values([found.score, found.changed_score])
        hint = fitting(
            f"P({{}}) from {before} to {after} by a small step"
            if changed
            else "No small step raises P({}).",
            found.class_name,
            _CHANGE_WIDTH,
            SMALL,
        )
        self._head(_CHANGE_LEFT, self._lower, heading, hint)
        size = self._change.picture
        (left, upper), (right, lower) = (
            (_CHANGE_LEFT + across, self._lower + down) for across, down in self._change.places
        )
        direction, largest = _brighter_and_darker(photo, found.change, size)
        self.paste(direction, left, upper)
        words = ("log-odds per grey level, smoothed;", "orange: brighter helps, violet: darker")
        width = max(size[0], _NARROWEST_BAR)
        self._bar(_signed_bar(largest, _TINTS), words, left, upper + size[1], width)
        self.paste(scaled_photo(found.changed, size), right, lower)
        self.write(right, lower + size[1] + 22, "the photograph after the step", color=PALE)

    def _head(self, left: int, upper: int, heading: str, hint: str) -> None:
        self.write(left, upper - 40, heading, font=MEDIUM, weight="bold")
        self.write(left, upper - 14, hint, color=PALE)


@dataclass(frozen=True)
class _ChangeSizes:
    """Where the two pictures of the change lie, and the height that they take."""

    picture: Size
    places: tuple[Size, Size]
    height: int


def _change_sizes(size: Size) -> _ChangeSizes:
    """Lay the two pictures side by side or one below the other, whichever is larger."""
    tallest = 3 * (_TILE + _CAPTION)
    beside = fitted(size, ((_CHANGE_WIDTH - _CHANGE_GAP) // 2, tallest - _CHANGE_BAR))
    below = fitted(size, (_CHANGE_WIDTH, (tallest - _CHANGE_BAR - _CHANGE_CAPTION) // 2))
    if beside[0] >= below[0]:
        right = (_CHANGE_WIDTH + _CHANGE_GAP) // 2
        return _ChangeSizes(beside, ((0, 0), (right, 0)), beside[1] + _CHANGE_BAR)
    second = below[1] + _CHANGE_BAR + _CHANGE_GAP
    return _ChangeSizes(below, ((0, 0), (0, second)), second + below[1] + _CHANGE_CAPTION)


def _panel_height(panel: _Panel) -> int:
    if panel.bar is None:
        return panel.picture.height
    below = _BAR_OFFSET + _BAR + _BAR_WORDS + _LINE * len(panel.lines)
    return panel.picture.height + below


def _tile(image: Image.Image) -> Image.Image:
    """Return an image on a square tile."""
    size = fitted(image.size, (_TILE, _TILE))
    return centred(scaled_photo(image, size), _TILE, "#f1f1f1")


def _brighter_and_darker(
    photo: Image.Image, change: NDArray[np.float32], size: Size
) -> tuple[Image.Image, float]:
    """Tint a pale photograph where the change makes it brighter or darker.

    Also return the size of the change that has the full tint.
    """
    brightness = _smoothed_at(change.mean(axis=2), size)
    largest = _largest_shown(brightness)
    share = (brightness / largest).clip(-1, 1) if largest else np.zeros_like(brightness)
    grey = np.asarray(scaled_photo(photo, size).convert("L"), dtype=np.float32)[..., None]
    pale = 150 + 0.4 * grey
    tinted = _tinted(share, pale)
    return Image.fromarray(np.rint(tinted).astype(np.uint8)), largest


def _tinted(share: NDArray[np.float32], ground: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mix a tint into the colours of a ground (..., 3); shares (...) are from -1 to 1."""
    tint = np.where(share[..., None] > 0, _BRIGHTER, _DARKER)
    opacity = np.abs(share)[..., None]
    return ((1 - opacity) * ground + opacity * tint).astype(np.float32)


_TINTS = _tinted(
    np.linspace(-1, 1, 255, dtype=np.float32), np.full((1, 3), 210, np.float32)
) / np.float32(255)


def _largest_shown(values: NDArray[np.float32]) -> float:
    sizes = np.abs(values[values != 0])
    return float(np.percentile(sizes, _LARGEST_SHOWN)) if sizes.size else 0.0


def _smoothed_at(values: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """Scale a map to a size in px, and smooth it there."""
    scaled = Image.fromarray(np.ascontiguousarray(values)).resize(size, Image.Resampling.BILINEAR)
    return smoothed(np.asarray(scaled), _SMOOTHING)


def _likeness(found: DeconvnetMap) -> list[str]:
    """Say if the reconstruction tells little or nothing of the photograph."""
    likeness = found.noise_likeness
    place = "" if found.start is None else " once its place is chosen"
    if likeness.pixels >= _THE_SAME:
        return [
            f"The reconstruction is the same for every photograph{place}, for noise too: it shows "
            "the network, and not this photograph."
        ]
    if likeness.strength >= _AS_STRONG:
        return [
            f"Where the reconstruction is strong is much the same for every photograph{place}: "
            f"it correlates by {likeness.strength:.2f} with that of noise. It shows the network "
            "rather than this photograph."
        ]
    return []


def _subtitle(found: DeconvnetMap, size: Size, model: str) -> list[str]:
    """Write how the figure was made, in as many lines as it takes."""
    room = _WIDTH - 2 * _MARGIN
    method = fitting("deconvnet   ·   model {}", model, room, SMALL)
    if found.start is None:
        start = fitting("start: the logit of {}", found.class_name, room, SMALL)
    else:
        one = found.start
        place = f"channel {one.channel:,}, row {one.row:,}, column {one.column:,}"
        value = format_values([one.value])[0]
        words = f"start: layer {{}}, {place}, activation {value}"
        start = fitting(words, one.layer, room, SMALL)
    read = found.read_size
    scaled = "" if read == size else f", scaled to {read[0]:,} x {read[1]:,} px for the network"
    photo = f"photograph {size[0]:,} x {size[1]:,} px{scaled}"
    return in_lines([method, start, photo], "   ·   ", room, SMALL)
