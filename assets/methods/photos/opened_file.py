"""A photo's file, opened by Pillow, or by libvips where Pillow refuses it.

Limits and damage are rejects.
"""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pillow_heif
from PIL import Image, ImageFile, PngImagePlugin
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from assets.methods.common.devices import usable_cores
from assets.methods.common.parallel import Room
from assets.methods.photos.file_formats import (
    declared_size,
    decoded_format,
    ends_early,
    rare_kind,
    undecoded_kind,
)
from assets.methods.photos.rejects import Reason, Rejected
from assets.methods.photos.second_decoder import SECONDS, Refused, SecondDecoder, TooSlow
from assets.methods.photos.tiff import kind_of_numbers, silence_libtiff, undecoded_compression

_T = TypeVar("_T")

# The highest 8 of 16 bits, if the values have 14.
_HIGHEST_OF_14_BITS = 63

# What decoding takes at its peak, in bytes a pixel, as measured by bench/photo_memory.py.
_BYTES_A_PIXEL = {"HEIF": 7, "AVIF": 9, "WEBP": 15, "TIFF": 7}
_BYTES_A_PIXEL_ELSE = 5
_BYTES_A_PIXEL_LIBVIPS = 10
# Each core can decode a photo of 24 megapixels from a phone, which is HEIF, at the same time.
_room = Room(168_000_000 * usable_cores())

# Pillow's own bound is a megabyte, and programs write more, such as the history of an edit.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 64 * 2**20

# The plugins are used directly: Image.open would try other formats too, and its limit of pixels
# holds for the whole process.
_PLUGINS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
    "HEIF": pillow_heif.HeifImageFile,
    "AVIF": AvifImageFile,
}

# Pillow and its plugins raise these for damaged data.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
)

# Parts of the messages that Pillow and its plugins give for data beyond a limit.
_TOO_MUCH = re.compile("limit|too large for|too much memory", re.IGNORECASE)
# Parts of the messages that Pillow gives for sound data which it cannot decode.
_RARE_KIND = re.compile("unsupported|not supported|unknown pixel mode|cannot handle", re.IGNORECASE)
_PILLOW_MODULES = re.compile(r"(PIL|pillow_heif)\.")
_TIFF_SUBFILE_TYPE = 254
_TIFF_TILE_WIDTH = 322
_TIFF_TILE_HEIGHT = 323
_TIFF_SUB_FOLDERS = 330
_TIFF_DNG_VERSION = 50706


@dataclass(frozen=True)
class DecodeLimits:
    """Photos of at most ``max_pixels`` pixels and at least ``min_side`` px a side are decoded.

    By default the largest photos of phones, which have 200 megapixels, are decoded too.
    """

    max_pixels: int = 200_000_000
    min_side: int = 8


def by_either_decoder(
    data: bytes, limits: DecodeLimits, use: Callable[[Image.Image, str, str | None], _T]
) -> _T:
    """Return what ``use`` makes of a photo, which libvips decodes if Pillow refuses it.

    ``use`` takes the photo, whose pixels Pillow has not decoded yet, the name of its format, and a
    note. Raises Rejected.
    """
    image_format = format_of(data)
    try:
        with opened(data, image_format, limits) as image:
            return use(image, image_format, None)
    except _RefusedByPillow as rejected:
        if image_format == "TIFF" and not isinstance(rejected, _LosesDepth):
            # The same library decodes TIFF for both, and what is a raw file is not known here.
            raise
        try:
            second = SecondDecoder(data, image_format)
            _check_limits(second.size, limits)
            with _damage_as_reject(data, image_format, limits):
                with _room.for_bytes(_BYTES_A_PIXEL_LIBVIPS * _pixels(second.size)):
                    decoded, note = second.decode()
                return use(decoded, image_format, note)
        except TooSlow as slow:
            raise Rejected(
                Reason.TOO_LARGE, f"Decoding this {image_format} takes more than {SECONDS:.0f} s."
            ) from slow
        except Refused:
            raise rejected from None


def load_pixels(image: Image.Image, image_format: str) -> None:
    """Decode the pixels.

    Raises _LosesDepth for colours of fewer than 16 bits in 16: Pillow keeps the highest 8,
    and hardly anything is left of 12.
    """
    is_deep = isinstance(image, ImageFile.ImageFile) and any(
        ";16" in str(tile.args) for tile in image.tile
    )
    image.load()
    if is_deep and image.mode in ("RGB", "RGBA", "LA"):
        colours = image.getextrema()[: 1 if image.mode == "LA" else 3]
        if 0 < np.max(colours) <= _HIGHEST_OF_14_BITS:
            raise _LosesDepth(
                Reason.UNSUPPORTED,
                f"The file is a {image_format} whose colours have 16 bits and use fewer, which is"
                " not decoded here.",
            )


def room_to_decode(image: Image.Image, size: tuple[int, int]) -> AbstractContextManager[None]:
    """Return a context that waits until there is memory to decode a photo of ``size``, in px."""
    if image.format == "JPEG" and not image.info.get("progressive"):
        size = image.size
    bytes_a_pixel = _BYTES_A_PIXEL.get(image.format or "", _BYTES_A_PIXEL_ELSE)
    return _room.for_bytes(bytes_a_pixel * _pixels(size))


@contextmanager
def opened(data: bytes, image_format: str, limits: DecodeLimits) -> Iterator[ImageFile.ImageFile]:
    """Yield a photo whose pixels are not decoded yet; damage found in the body is Rejected."""
    _ignore_pillow_warnings()
    silence_libtiff()
    _raise_pillow_limit(limits.max_pixels)
    with _damage_as_reject(data, image_format, limits):
        image = _PLUGINS[image_format](io.BytesIO(data), "")
        _check_limits(image.size, limits)
        if isinstance(image, TiffImageFile):
            _check_tiff(image, limits)
        yield image


def format_of(data: bytes) -> str:
    """Return the format that a file begins like; raises Rejected for one that is not decoded."""
    if not data:
        raise Rejected(Reason.EMPTY, "The file holds no bytes.")
    image_format = decoded_format(data)
    if image_format is not None:
        return image_format
    kind = undecoded_kind(data)
    if kind is not None:
        raise Rejected(Reason.UNSUPPORTED, f"The file is {kind}, which is not decoded here.")
    raise Rejected(Reason.NOT_AN_IMAGE, "The file does not begin like any kind of image.")


def _ignore_pillow_warnings() -> None:
    """Keep Pillow's warnings of odd metadata off the terminal.

    ``warnings.catch_warnings`` cannot be used here, because it is not safe among threads.
    """
    wanted = ("ignore", None, Warning, _PILLOW_MODULES, 0)
    if not warnings.filters or warnings.filters[0] != wanted:
        warnings.filterwarnings("ignore", category=Warning, module=_PILLOW_MODULES.pattern)


def _raise_pillow_limit(max_pixels: int) -> None:
    """Let Pillow decode as much as we do: it has a limit of its own, for the whole process.

    It refuses images of more than twice its limit.
    """
    if Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, (max_pixels + 1) // 2)


@contextmanager
def _damage_as_reject(data: bytes, image_format: str, limits: DecodeLimits) -> Iterator[None]:
    try:
        yield
    except Image.DecompressionBombError as error:
        raise Rejected(
            Reason.TOO_LARGE, f"The file says {image_format} and declares too many pixels."
        ) from error
    except MemoryError as error:
        raise Rejected(
            Reason.TOO_LARGE, f"Decoding this {image_format} takes more memory than there is."
        ) from error
    except DAMAGE as error:
        declared = declared_size(data, image_format)
        if declared is not None:
            _check_pixels(declared, limits)
        raise _verdict(data, image_format, str(error)) from error


class _RefusedByPillow(Rejected):
    """A verdict on a file that another decoder may find sound."""


class _LosesDepth(_RefusedByPillow):
    """Pillow reads the file, and hardly anything of its colours is left."""


def _verdict(data: bytes, image_format: str, message: str) -> Rejected:
    if _TOO_MUCH.search(message):
        return Rejected(
            Reason.TOO_LARGE, f"The file says {image_format} and asks for more than can be decoded."
        )
    if "truncated" in message.lower() or ends_early(data, image_format):
        return _RefusedByPillow(
            Reason.TRUNCATED,
            f"The file says {image_format} but ends after {len(data):,} bytes, before the picture"
            " is complete.",
        )
    is_tiff = image_format == "TIFF"
    kind = undecoded_compression(data) if is_tiff else rare_kind(data, image_format)
    if kind is None and _RARE_KIND.search(message):
        kind = kind_of_numbers(data) if is_tiff else f"a rare kind of {image_format}"
    if kind is not None:
        return _RefusedByPillow(
            Reason.UNSUPPORTED, f"The file is {kind}, which is not decoded here."
        )
    return _RefusedByPillow(
        Reason.UNREADABLE, f"The file says {image_format} but its data is damaged."
    )


def _check_tiff(image: TiffImageFile, limits: DecodeLimits) -> None:
    tags: Any = image.tag_v2
    # The first image of a raw file that looks like a TIFF is only a thumbnail.
    is_preview = tags.get(_TIFF_SUBFILE_TYPE) == 1 and _TIFF_SUB_FOLDERS in tags
    if is_preview or _TIFF_DNG_VERSION in tags:
        raise Rejected(
            Reason.UNSUPPORTED, "The file is a camera's raw file, which is not decoded here."
        )
    # Tiles are decoded whole, even if they are larger than the image.
    _check_pixels((tags.get(_TIFF_TILE_WIDTH, 1), tags.get(_TIFF_TILE_HEIGHT, 1)), limits)


def _check_limits(size: tuple[int, int], limits: DecodeLimits) -> None:
    _check_pixels(size, limits)
    if min(size) < limits.min_side:
        raise Rejected(
            Reason.TOO_SMALL,
            f"The photo is {size[0]:,} x {size[1]:,} px; each side needs at least"
            f" {limits.min_side} px.",
        )


def _check_pixels(size: tuple[int, int], limits: DecodeLimits) -> None:
    if _pixels(size) > limits.max_pixels:
        raise Rejected(
            Reason.TOO_LARGE,
            f"The photo is {size[0]:,} x {size[1]:,} px; at most {limits.max_pixels:,} pixels are"
            " decoded.",
        )


def _pixels(size: tuple[int, int]) -> int:
    return size[0] * size[1]
