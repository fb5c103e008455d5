"""What libtiff, with which Pillow decodes TIFF files, says and can decode."""

import ctypes
import ctypes.util
import io
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from typing import Any

from PIL import TiffImagePlugin

_BITS, _COMPRESSION, _CHANNELS, _SAMPLE_FORMAT = 258, 259, 277, 339
_COMPRESSIONS = {
    6: "the JPEG of old TIFF files",
    7: "JPEG",
    32766: "NeXT's method",
    34661: "JBIG",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG",
    34925: "LZMA",
    34926: "Zstandard",
    34927: "WebP",
    34933: "PNG",
    34934: "JPEG XR",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_NUMBERS = {
    1: "integers",
    2: "signed integers",
    3: "floating-point numbers",
    5: "complex integers",
    6: "complex numbers",
}
_BIG = (b"+\0", b"\0+")
# What libtiff decodes without one of its codecs.
_ALWAYS_DECODED = (1, 32771)


def silence_libtiff() -> None:
    """Keep libtiff's lines off the terminal: Pillow's exception says that a file is refused."""
    _silent_libtiff()


def undecoded_compression(data: bytes) -> str | None:
    """Return "a TIFF compressed by JBIG", or like that; None if the compression is decoded."""
    compression = _first_tags(data).get(_COMPRESSION, 1)
    if compression not in TiffImagePlugin.COMPRESSION_INFO or not _has_codec(compression):
        return f"a TIFF compressed by {_COMPRESSIONS.get(compression, f'method {compression}')}"
    return None


def kind_of_numbers(data: bytes) -> str:
    """Return "a TIFF whose 3 channels are floating-point numbers of 32 bits", or like that."""
    tags = _first_tags(data)
    bits, channels = max(tags.get(_BITS, (1,))), tags.get(_CHANNELS, 1)
    numbers = _NUMBERS.get(max(tags.get(_SAMPLE_FORMAT, (1,))), "numbers of a rare kind")
    return f"a TIFF whose {channels} channels are {numbers} of {bits} bits"


def _first_tags(data: bytes) -> Mapping[int, Any]:
    """Return the tags of the first image; none if the directory is damaged."""
    try:
        # The header has 8 bytes, or 16 if the file may be larger than 4 GB.
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[2:4] in _BIG else 8])
        file = io.BytesIO(data)
        file.seek(tags.next or 0)
        tags.load(file)
        return dict(tags)
    except Exception:
        # Bytes that are no directory make Pillow raise anything.
        return {}


def _has_codec(compression: int) -> bool:
    libtiff = _silent_libtiff()
    if libtiff is None or compression in _ALWAYS_DECODED:
        return True
    return bool(libtiff.TIFFIsCODECConfigured(compression))


@cache
def _silent_libtiff() -> ctypes.CDLL | None:
    """Return Pillow's libtiff, which writes nothing any more; None if it is not to be found.

    Pillow's wheels bring a libtiff of their own; other builds of Pillow use the system's.
    """
    try:
        brought = [file for file in files("pillow") or [] if file.name.startswith("libtiff")]
    except PackageNotFoundError:
        brought = []
    found = str(brought[0].locate()) if brought else ctypes.util.find_library("tiff")
    if found is None:
        return None
    try:
        libtiff = ctypes.CDLL(found)
        libtiff.TIFFSetErrorHandler(None)
        libtiff.TIFFSetWarningHandler(None)
    except (OSError, AttributeError):
        return None
    return libtiff
