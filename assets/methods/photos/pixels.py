"""The pixels of an image: at another size, upright, in sRGB."""

import io
import math
from collections.abc import Iterator
from typing import Any

from PIL import Image, ImageCms

from assets.methods.photos.bit_depth import GreyScale
from assets.methods.photos.opened_file import DAMAGE

NEUTRAL_GROUND = (128, 128, 128)
# As `Image.resize` takes it. Another one gives other bytes of working copies.
REDUCING_GAP = 3.0
_BAND_PIXELS = 2_000_000
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_ORIENTATION = 0x0112


def size_within(size: tuple[int, int], most_pixels: int) -> tuple[int, int]:
    """Return the size of an image of ``size``, in px, once it is scaled down to so many pixels."""
    scale = min(1.0, math.sqrt(most_pixels / (size[0] * size[1])))
    return max(1, int(scale * size[0])), max(1, int(scale * size[1]))


def shrunk(image: Image.Image, size: tuple[int, int], grey: GreyScale | None) -> Image.Image:
    """Return a loaded image at ``size``, in its own colours and orientation.

    It gives what ``Image.resize`` gives with a ``reducing_gap``, but converts a band of rows at a
    time: the modes that have to be converted first would take several times the memory.
    """
    across, down = (
        int(side / wanted / REDUCING_GAP) or 1
        for side, wanted in zip(image.size, size, strict=True)
    )
    if across == down == 1:
        return resizable(image, grey).resize(size, Image.Resampling.LANCZOS)
    bands = [
        _averageable(resizable(band, grey)).reduce((across, down)) for band in _bands(image, down)
    ]
    reduced = Image.new(bands[0].mode, (bands[0].width, sum(band.height for band in bands)))
    top = 0
    for band in bands:
        reduced.paste(band, (0, top))
        top += band.height
    box = (0, 0, image.width / across, image.height / down)
    resized = reduced.resize(size, Image.Resampling.LANCZOS, box)
    return resized.convert({"RGBa": "RGBA", "La": "LA"}.get(resized.mode, resized.mode))


def _bands(image: Image.Image, multiple: int) -> Iterator[Image.Image]:
    """Yield an image from top to bottom, in bands whose height is a multiple of ``multiple``."""
    rows = max(1, _BAND_PIXELS // image.width // multiple) * multiple
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def _averageable(image: Image.Image) -> Image.Image:
    """Multiply colours by their alpha, so that what is transparent has no weight."""
    return image.convert({"RGBA": "RGBa", "LA": "La"}.get(image.mode, image.mode))


def resizable(image: Image.Image, grey: GreyScale | None = None) -> Image.Image:
    """Convert to a mode whose values can be averaged, 8 bits a channel."""
    if grey is not None:
        return grey.apply(image)
    if image.has_transparency_data and image.mode not in ("RGBA", "LA"):
        return image.convert("RGBA")
    if image.mode == "1":
        return image.convert("L")
    return image.convert("RGB") if image.mode in ("P", "RGBX", "YCbCr", "HSV") else image


def upright_srgb(pixels: Image.Image, file: Image.Image, orientation: int) -> Image.Image:
    """Return the pixels of a file as RGB in sRGB, on a neutral ground where they are transparent.

    ``orientation`` is EXIF's, 1 to 8.
    """
    in_srgb = _to_srgb(pixels, file.info.get("icc_profile"))
    return _upright(_on_neutral_ground(in_srgb), orientation)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to RGB or RGBA in sRGB; a broken profile, or one of another model, is ignored."""
    if image.mode in ("RGBA", "LA"):
        rgb = _to_srgb(image.convert(image.mode[:-1]), profile)
        rgb.putalpha(image.getchannel("A"))
        return rgb
    srgb = ImageCms.createProfile("sRGB")
    if image.mode == "LAB":
        return _converted(image, ImageCms.createProfile("LAB"), srgb)
    if profile:
        try:
            return _converted(image, io.BytesIO(profile), srgb)
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
            pass
    return image.convert("RGB")


def _converted(image: Image.Image, source: Any, target: Any) -> Image.Image:
    converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    assert converted is not None  # noqa: S101 - None is for conversions in place
    return converted


def _on_neutral_ground(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    ground = Image.new("RGB", image.size, NEUTRAL_GROUND)
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    transposition = _TRANSPOSITIONS.get(orientation)
    return image if transposition is None else image.transpose(transposition)


def orientation_of(image: Image.Image) -> int:
    """Return EXIF's orientation, 1 to 8; valid after loading, which turns TIFF and HEIC."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except DAMAGE:
        return 1
    return orientation if orientation in _TRANSPOSITIONS else 1
