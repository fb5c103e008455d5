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
from assets.methods.attribution.heat_map import HeatMap, HeatMapSettings, scaled_photo, smoothed
from assets.methods.plotting.sheet import LARGE, MEDIUM, FigureSheet, Size, centred, fitted
from assets.methods.plotting.text import PALE, fitting, format_values, in_lines

# Lengths in px.
_WIDTH = 1800
_MARGIN = 40
_GAP = 40
_TITLE = 44
_SUBTITLE_LINE = 26
_HEADING = 84
_BELOW = 72
_PANEL = (546, 546)
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

# The font of small words, in px.
_SMALL = 16

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
) -> Image.Image:
    """Draw all that ``deconvnet_map`` found.

    Args:
        image: the photograph, of the size of the maps.
        found: by ``deconvnet_map``.
        name: the photograph's.
        model: the classifier's name for people.
        notes: sentences to draw under the title.

    Returns:
        An RGB picture, 1,800 px wide, the same for the same arguments.

    Raises:
        ValueError: the maps are not of the image's size, or not finite.
    """
    photo = image.convert("RGB")
    if found.reconstruction.shape[:2] != (photo.height, photo.width):
        raise ValueError(f"the maps are {found.reconstruction.shape}, the image {photo.size}")
    panel = fitted(photo.size, _PANEL)
    change = _change_sizes(photo.size)
    told = [
        line
        for note in notes
        for line in in_lines(note.split(" "), " ", _WIDTH - 2 * _MARGIN, _SMALL)
    ]
    sheet = _Sheet(name, [*_lines(found, model), *told], panel[1], change)
    # Each by itself: together, equal scores would be written with all digits that differ.
    score, of_square = (format_values([one])[0] for one in (found.score, found.square_score))
    score = f"P({{}}) = {score}; padded to a square {of_square}."
    score = fitting(score, found.class_name, _PANEL[0], _SMALL)
    sheet.panel(0, scaled_photo(photo, panel), "the photograph", score)
    sheet.panel(
        1,
        scaled_photo(signed_image(found.reconstruction), panel),
        "the reconstruction",
        _reconstruction_words(found),
    )
    sheet.panel(
        2,
        HeatMap(
            scaled_photo(photo, panel), _smoothed_at(found.relevance, panel), _RELEVANCE
        ).blended(panel),
        "where it is strong",
        "Its size summed over colours, smoothed.",
    )
    sheet.top(found)
    sheet.change(photo, found)
    return sheet.image()


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
        self, name: str, subtitle: list[str], panel_height: int, change: "_ChangeSizes"
    ) -> None:
        self._change = change
        self._panels = _MARGIN + _TITLE + len(subtitle) * _SUBTITLE_LINE + _HEADING
        self._lower = self._panels + panel_height + _BELOW + _HEADING - _GAP
        rows = 3 * (_TILE + _CAPTION)
        height = self._lower + max(rows, change.height) + _MARGIN // 2
        super().__init__(_WIDTH, height, _SMALL)
        title = fitting("{}", name, _WIDTH - 2 * _MARGIN, LARGE, "bold")
        self.write(_MARGIN, _MARGIN + LARGE, title, font=LARGE, weight="bold")
        for line, text in enumerate(subtitle):
            self.write(_MARGIN, _MARGIN + _TITLE + line * _SUBTITLE_LINE + _SMALL, text, color=PALE)

    def panel(self, place: int, picture: Image.Image, heading: str, hint: str) -> None:
        """Draw one of the three pictures above."""
        left = _MARGIN + place * (_PANEL[0] + _GAP + 1)
        self._head(left, self._panels, heading, hint)
        self.paste(picture, left, self._panels)

    def top(self, found: DeconvnetMap) -> None:
        """Draw the activations that add most, each beside its part of the photograph."""
        heading = fitting("what adds most to {}", found.class_name, _TOP_WIDTH, MEDIUM, "bold")
        hint = fitting(
            "Activations of {}, the strongest of a channel each.",
            found.top_layer,
            _TOP_WIDTH,
            _SMALL,
        )
        self._head(_MARGIN, self._lower, heading, hint)
        if not found.top:
            self.write(_MARGIN, self._lower + _SMALL, "No activation adds to it.")
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
        changed = found.changed_score > found.square_score
        before, after = format_values([found.square_score, found.changed_score])
        hint = fitting(
            f"P({{}}) of the square from {before} to {after} by a small step"
            if changed
            else "No small step raises P({}).",
            found.class_name,
            _CHANGE_WIDTH,
            _SMALL,
        )
        self._head(_CHANGE_LEFT, self._lower, heading, hint)
        size = self._change.picture
        pictures = (
            (_brighter_and_darker(photo, found.change, size), "orange: brighter, violet: darker"),
            (scaled_photo(found.changed, size), "after the step"),
        )
        for (left, upper), (picture, caption) in zip(self._change.places, pictures, strict=True):
            self.paste(picture, _CHANGE_LEFT + left, self._lower + upper)
            baseline = self._lower + upper + size[1] + 22
            self.write(_CHANGE_LEFT + left, baseline, caption, color=PALE)

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
    beside = fitted(size, ((_CHANGE_WIDTH - _CHANGE_GAP) // 2, tallest - _CHANGE_CAPTION))
    below = fitted(size, (_CHANGE_WIDTH, tallest // 2 - _CHANGE_CAPTION))
    if beside[0] >= below[0]:
        right = (_CHANGE_WIDTH + _CHANGE_GAP) // 2
        return _ChangeSizes(beside, ((0, 0), (right, 0)), beside[1] + _CHANGE_CAPTION)
    second = below[1] + _CHANGE_CAPTION
    return _ChangeSizes(below, ((0, 0), (0, second)), 2 * second)


def _tile(image: Image.Image) -> Image.Image:
    """Return an image on a square tile."""
    size = fitted(image.size, (_TILE, _TILE))
    return centred(scaled_photo(image, size), _TILE, "#f1f1f1")


def _brighter_and_darker(
    photo: Image.Image, change: NDArray[np.float32], size: Size
) -> Image.Image:
    """Tint a pale photograph where the change makes it brighter or darker."""
    brightness = _smoothed_at(change.mean(axis=2), size)
    largest = _largest_shown(brightness)
    share = (brightness / largest).clip(-1, 1) if largest else np.zeros_like(brightness)
    grey = np.asarray(scaled_photo(photo, size).convert("L"), dtype=np.float32)[..., None]
    pale = 150 + 0.4 * grey
    tint = np.where(share[..., None] > 0, _BRIGHTER, _DARKER)
    opacity = np.abs(share)[..., None]
    return Image.fromarray(np.rint((1 - opacity) * pale + opacity * tint).astype(np.uint8))


def _largest_shown(values: NDArray[np.float32]) -> float:
    sizes = np.abs(values[values != 0])
    return float(np.percentile(sizes, _LARGEST_SHOWN)) if sizes.size else 0.0


def _smoothed_at(values: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """Scale a map to a size in px, and smooth it there."""
    scaled = Image.fromarray(np.ascontiguousarray(values)).resize(size, Image.Resampling.BILINEAR)
    return smoothed(np.asarray(scaled), _SMOOTHING)


def _reconstruction_words(found: DeconvnetMap) -> str:
    if found.has_switches:
        return "Mid-grey is none, as where the network does not read."
    if found.start is None:
        return "No max-pools: it is the same for every photograph."
    return "No max-pools: only its place comes from the photograph."


def _lines(found: DeconvnetMap, model: str) -> list[str]:
    """Write how the figure was made."""
    room = _WIDTH - 2 * _MARGIN
    method = fitting("deconvnet   ·   model {}", model, room, _SMALL)
    if found.start is None:
        start = fitting("start: the logit of {}", found.class_name, room, _SMALL)
    else:
        one = found.start
        place = f"channel {one.channel:,}, row {one.row:,}, column {one.column:,}"
        value = format_values([one.value])[0]
        words = f"start: layer {{}}, {place}, activation {value}"
        start = fitting(words, one.layer, room, _SMALL)
    return in_lines([method, start], "   ·   ", room, _SMALL)
