"""Animations: how many frames a file has, which of them are scored, and which one a map shows.

GIF, WebP, AVIF and PNG files can be animations. The pages of a TIFF are none, nor are the images of
a HEIC.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from assets.methods.common.errors import UserError
from assets.methods.photos.file_formats import gif_frames

ANIMATED_FORMATS = {"GIF", "WEBP", "PNG", "AVIF"}
DEFAULT_FRAMES = 8
ALL_FRAMES = "all"

# Frames are decoded in their order, as most of them are drawn on the one before. This many pixels
# bound the time; a small frame takes as long as one of `_LEAST_PIXELS`.
MOST_PIXELS = 1_000_000_000
_LEAST_PIXELS = 40_000

# Between the darkest and the lightest of 255 levels, when the extreme pixels are left out.
_UNIFORM_LEVELS = 8
_UNIFORM_SHARE = 0.01


@dataclass(frozen=True)
class Frame:
    """The number of a frame, from 0, and when it is shown; None if the file does not say it."""

    number: int
    seconds: float | None


@dataclass(frozen=True)
class Animation:
    """An animation of ``n_frames`` frames, of which the first ``n_read`` could be read.

    ``shown`` is the number of the frame that a map shows, ``kept`` are the frames that are stored.
    """

    n_frames: int
    n_read: int
    shown: int
    kept: tuple[Frame, ...]

    def chosen(self, wanted: int | None) -> list[Frame]:
        """Return the stored frames that are scored when ``wanted`` are; None wants all."""
        numbers = scored_numbers(self.n_read, wanted, self.shown)
        return [frame for frame in self.kept if frame.number in numbers]

    def has(self, wanted: int | None) -> bool:
        """Whether all frames are stored that are scored when ``wanted`` are."""
        return len(self.chosen(wanted)) == len(scored_numbers(self.n_read, wanted, self.shown))

    @property
    def note(self) -> str | None:
        """A sentence on the frames that could not be scored, if there are any."""
        if self.n_read >= self.n_frames:
            return None
        return f"Only the first {self.n_read:,} of {self.n_frames:,} frames could be read."


def parse_frames(text: str) -> int | None:
    """Return the number of frames to score, None for all. Raises UserError."""
    if text == ALL_FRAMES:
        return None
    if text.isascii() and text.isdecimal() and int(text) >= 1:
        return int(text)
    raise UserError(f"The number of frames is {text!r}: it has to be at least 1, or all.")


def frame_id(image_id: str, number: int) -> str:
    """Return the id under which what is computed of a frame is stored."""
    return f"{image_id}-{number}"


def frame_of(stored_id: str) -> int:
    """Return the number of the frame whose ``frame_id`` this is."""
    return int(stored_id.rpartition("-")[2])


def spread(n: int, wanted: int | None) -> list[int]:
    """Return ``wanted`` of the numbers from 0 to n - 1, evenly spread, with the first and last.

    None wants all of them.
    """
    if wanted is None or wanted >= n:
        return list(range(n))
    if wanted == 1:
        return [0]
    return [round(place * (n - 1) / (wanted - 1)) for place in range(wanted)]


def scored_numbers(n_read: int, wanted: int | None, shown: int) -> set[int]:
    """Return the numbers of the frames to score, among them the frame that the map shows."""
    return {*(spread(n_read, wanted) if wanted != 1 else ()), shown}


def count_frames(image: Image.Image, data: bytes) -> int:
    """Return how many frames a file says it has; 1 for what is no animation.

    The still image of a PNG that is not part of its animation counts as frame 0.
    """
    if isinstance(image, GifImageFile):
        # Pillow takes minutes to count the frames of a file that has millions.
        return max(1, gif_frames(data))
    if isinstance(image, PngImageFile | WebPImageFile | AvifImageFile):
        return image.n_frames
    return 1


def reachable_frames(n_frames: int, size: tuple[int, int], most_pixels: int) -> int:
    """Return how many of the frames, each of ``size`` in px, the limit of pixels allows."""
    return min(n_frames, max(1, most_pixels // max(_LEAST_PIXELS, size[0] * size[1])))


def first_frame(image: ImageFile) -> int:
    """Return the number of the first frame that a browser shows."""
    return int(isinstance(image, PngImageFile) and bool(image.default_image))


def walk_frames(
    image: ImageFile, n_frames: int, damage: tuple[type[Exception], ...]
) -> Iterator[Frame]:
    """Load the first ``n_frames`` frames of an opened animation one after another.

    Each is yielded when ``image`` holds its pixels. The walk ends early before a frame that raises
    one of ``damage``.
    """
    begins = 0.0
    still = first_frame(image)
    for number in range(n_frames):
        try:
            image.seek(number)
            image.load()
        except damage:
            return
        seconds = None if number < still else _seconds(image, begins)
        yield Frame(number, seconds)
        if seconds is not None:
            begins += float(image.info.get("duration", 0)) / 1000


def is_uniform(image: Image.Image) -> bool:
    """Whether an RGB image shows nothing but one colour, apart from noise and a few pixels."""
    counts = np.array(image.histogram()).reshape(3, 256)
    shares = counts.cumsum(axis=1) / counts.sum(axis=1, keepdims=True)
    darkest = (shares > _UNIFORM_SHARE).argmax(axis=1)
    lightest = (shares >= 1 - _UNIFORM_SHARE).argmax(axis=1)
    return int((lightest - darkest).max()) <= _UNIFORM_LEVELS


def _seconds(image: ImageFile, begins: float) -> float | None:
    """Return when the loaded frame is shown; ``begins`` is the sum of the durations before it."""
    if "timestamp" in image.info:
        return float(image.info["timestamp"]) / 1000
    return round(begins, 3) if "duration" in image.info else None
