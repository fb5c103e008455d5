"""libvips, which is asked when Pillow refuses a raster file that browsers show."""

import logging
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from assets.methods.common.parallel import in_thread
from assets.methods.photos.bit_depth import bits_for, range_note
from assets.methods.photos.file_formats import ends_early

_T = TypeVar("_T")

# A file that takes longer is given up. 200 megapixels take about 20 seconds.
SECONDS = 60.0

# Each format has its own loader. If libvips chose one, a file could pass for another format.
_LOADERS = {
    "JPEG": "jpegload_buffer",
    "PNG": "pngload_buffer",
    "WEBP": "webpload_buffer",
    "GIF": "gifload_buffer",
    "TIFF": "tiffload_buffer",
    "HEIF": "heifload_buffer",
    "AVIF": "heifload_buffer",
}
_TURNED_BY_LOADER = ("HEIF", "AVIF")
_JPEG_END = b"\xff\xd9"
_EXIF_ORIENTATION = 0x0112


class Refused(Exception):  # noqa: N818 - a verdict on a photo, not an error of the program
    """libvips cannot decode the file, or not to something that we show."""


class TooSlow(Refused):
    """Decoding took longer than `SECONDS`."""


class SecondDecoder:
    """A file whose header libvips could read; ``size`` is width and height as stored, in px.

    Raises Refused for a file, or a format, that libvips does not read.
    """

    def __init__(self, data: bytes, image_format: str) -> None:
        if image_format not in _LOADERS:
            raise Refused(image_format)
        self._format = image_format
        # Some cameras and programs leave out the end marker. With it, libvips warns of nothing but
        # missing pixels.
        lacks_end = image_format == "JPEG" and ends_early(data, image_format)
        complete = data + _JPEG_END if lacks_end else data
        load = getattr(_libvips().Image, _LOADERS[image_format])
        self._image = _or_refused(
            lambda: load(complete, access="sequential", fail_on="warning"), lambda: None
        )
        self.size: tuple[int, int] = (self._image.width, self._image.height)

    def decode(self) -> tuple[Image.Image, str | None]:
        """Return the first frame with its profile and EXIF data, and a note on its colours or None.

        The mode is L, LA, RGB, RGBA, CMYK or I;16. Colours of 16 bits get 8, by the rule of
        `bit_depth`. Raises Refused, and TooSlow
        after `SECONDS`.
        """
        values = _or_refused(self._image.numpy, lambda: self._image.set_kill(True))
        image, note = _image(np.atleast_3d(values), self._image.interpretation)
        for ours, theirs in (("icc_profile", "icc-profile-data"), ("exif", "exif-data")):
            if self._has(theirs):
                image.info[ours] = self._image.get(theirs)
        image.getexif()[_EXIF_ORIENTATION] = self._orientation()
        return image, note

    def _has(self, field: str) -> bool:
        return bool(self._image.get_typeof(field))

    def _orientation(self) -> int:
        if self._format in _TURNED_BY_LOADER or not self._has("orientation"):
            return 1
        return int(self._image.get("orientation"))


@cache
def _libvips() -> ModuleType:
    import pyvips

    # What it warns of is in its error too, if it refuses a file.
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)
    # Loaders that are not meant for files of strangers, such as those of PDF and SVG.
    pyvips.block_untrusted_set(True)
    # No photo is decoded twice in a row, and the cache would keep their pixels.
    pyvips.cache_set_max(0)
    # The callers are threads already.
    pyvips.concurrency_set(1)
    return pyvips


def _or_refused(work: Callable[[], _T], stop: Callable[[], object]) -> _T:
    """Return what ``work`` returns, or give it up after `SECONDS`, which calls ``stop``."""
    outcome = in_thread(work, "libvips")
    try:
        return outcome.result(SECONDS)
    except TimeoutError as error:
        stop()
        raise TooSlow from error
    except (_libvips().Error, ValueError) as error:
        raise Refused(str(error)) from error


def _image(values: np.ndarray[Any, Any], interpretation: str) -> tuple[Image.Image, str | None]:
    """Return (height, width, channels) values as an image, and a note if their range is a guess."""
    channels = values.shape[2]
    modes = {1: "L", 2: "LA", 3: "RGB", 4: "CMYK" if interpretation == "cmyk" else "RGBA"}
    if channels not in modes or values.dtype not in (np.uint8, np.uint16):
        raise Refused(f"{channels} channels of {values.dtype} as {interpretation}")
    if values.dtype == np.uint16 and channels == 1:
        return Image.fromarray(values[..., 0]), None
    note = None
    if values.dtype == np.uint16:
        values, note = _of_8_bits(values, modes[channels])
    size = (values.shape[1], values.shape[0])
    return Image.frombytes(modes[channels], size, np.ascontiguousarray(values).tobytes()), note


def _of_8_bits(values: np.ndarray[Any, Any], mode: str) -> tuple[np.ndarray[Any, Any], str | None]:
    """Return the highest 8 of the bits that the colours use, and of alpha's 16."""
    n_colours = {"LA": 1, "CMYK": 4}.get(mode, 3)
    low, high = float(values[..., :n_colours].min()), float(values[..., :n_colours].max())
    bits = max(8, 16 if mode == "CMYK" else bits_for(high))
    shifts = [bits - 8] * n_colours + [8] * (values.shape[2] - n_colours)
    note = range_note(low, high, 0, bits) if bits < 16 else None
    return (values >> np.array(shifts, np.uint16)).astype(np.uint8), note
