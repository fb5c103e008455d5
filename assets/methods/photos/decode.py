"""From a file's bytes to an image, upright and sRGB: the working copy, or at its own size."""

import hashlib
import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pillow_heif
from PIL import Image, ImageCms, ImageFile, PngImagePlugin
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from assets.methods.common.devices import usable_cores
from assets.methods.common.parallel import Room
from assets.methods.photos.animation import (
    MOST_PIXELS,
    Animation,
    Frame,
    count_frames,
    first_frame,
    is_uniform,
    reachable_frames,
    scored_numbers,
    walk_frames,
)
from assets.methods.photos.bit_depth import GreyScale, grey_scale
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

# Increase it when the same bytes give another working copy or perceptual hash.
DECODE_VERSION = 1
# Increase it when a file that was refused may be decoded, or be refused for another reason.
VERDICT_VERSION = 1

WORKING_SHORT_SIDE = 256
# Bounds the working copy of a panorama; a JPEG holds at most 65,535 px a side.
WORKING_LONG_SIDE = 4096
NEUTRAL_GROUND = (128, 128, 128)

# The highest 8 of 16 bits, if the values have 14.
_HIGHEST_OF_14_BITS = 63

# As `Image.resize` takes it. Another one gives other bytes of working copies.
_REDUCING_GAP = 3.0
_BAND_PIXELS = 2_000_000

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
_DAMAGE = (
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
_EXIF_FOLDER = 0x8769
_EXIF_TAKEN_AT = 0x9003
_EXIF_TAKEN_AT_OFFSET = 0x9011
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


@dataclass(frozen=True)
class DecodedPhoto:
    """A photo that was decoded.

    ``working_copy`` is RGB; ``width`` and ``height`` are the original's, upright, in px;
    ``taken_at`` is ISO 8601, with an offset where the camera noted one; ``phash`` is the 64-bit
    perceptual hash in 16 hex digits; ``note`` is a sentence on what had to be guessed, if anything.
    ``n_frames`` is 1 for a photo that is no animation, and ``shown`` the number, from 0, of the
    frame that all of this is about.
    """

    working_copy: Image.Image
    width: int
    height: int
    format: str
    taken_at: str | None
    phash: str
    note: str | None = None
    n_frames: int = 1
    shown: int = 0


def image_id(data: bytes) -> str:
    """Return the SHA-256 of the file's bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def decode(data: bytes, limits: DecodeLimits) -> DecodedPhoto:
    """Decode a photo; of an animation, the first frame that is not uniform.

    Raises Rejected. Limits are checked against the header, before any pixel is decoded.
    """
    return _by_either_decoder(data, limits, partial(_decoded_photo, data, limits))


def decode_image(data: bytes, limits: DecodeLimits, frame: int | None = None) -> Image.Image:
    """Decode a photo at its own size: RGB, without the file's metadata.

    ``frame`` is the number, from 0, of an animation's frame; without it, it is the one that
    ``decode`` takes. Raises Rejected, for the same reasons as ``decode``.
    """
    return _by_either_decoder(data, limits, partial(_decoded_image, data, limits, frame))


def _by_either_decoder(
    data: bytes, limits: DecodeLimits, use: Callable[[Image.Image, str, str | None], _T]
) -> _T:
    """Return what ``use`` makes of a photo, which libvips decodes if Pillow refuses it.

    ``use`` takes the photo, whose pixels Pillow has not decoded yet, the name of its format, and a
    note. Raises Rejected.
    """
    image_format = _format_of(data)
    try:
        with _opened(data, image_format, limits) as image:
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


def _decoded_photo(
    data: bytes, limits: DecodeLimits, image: Image.Image, image_format: str, note: str | None
) -> DecodedPhoto:
    width, height = image.size
    size = _working_size(image.size)
    if isinstance(image, JpegImageFile):
        # A JPEG decodes faster to a fraction of its size. Twice the pixels a side are kept for the
        # final resize to average.
        image.draft(None, (2 * size[0], 2 * size[1]))
    with _room.for_bytes(_decoded_bytes(image, (width, height))):
        shown = _go_to(None, image, data, limits)
        _load(image, image_format)
        grey = grey_scale(image)
        small = _shrunk(_cut(image, (width, height)), size, grey)
    orientation = _orientation(image)
    working_copy = _upright_srgb(small, image, orientation)
    return DecodedPhoto(
        working_copy=working_copy,
        width=width if orientation < 5 else height,
        height=height if orientation < 5 else width,
        format=image_format,
        taken_at=_taken_at(image),
        phash=_perceptual_hash(working_copy),
        note=note if grey is None else grey.note,
        n_frames=count_frames(image, data),
        shown=shown,
    )


def _decoded_image(
    data: bytes,
    limits: DecodeLimits,
    frame: int | None,
    image: Image.Image,
    image_format: str,
    _note: str | None,
) -> Image.Image:
    size = image.size
    with _room.for_bytes(_decoded_bytes(image, size)):
        _go_to(frame, image, data, limits)
        _load(image, image_format)
        pixels = _resizable(_cut(image, size), grey_scale(image))
        decoded = _upright_srgb(pixels, image, _orientation(image))
    # If it is saved with the file's profile, readers convert the colours a second time.
    decoded.info.clear()
    return decoded


def _load(image: Image.Image, image_format: str) -> None:
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


def _decoded_bytes(image: Image.Image, size: tuple[int, int]) -> int:
    """Return about how many bytes decoding takes; ``size`` is the photo's, in px."""
    if image.format == "JPEG" and not image.info.get("progressive"):
        size = image.size
    return _BYTES_A_PIXEL.get(image.format or "", _BYTES_A_PIXEL_ELSE) * _pixels(size)


def decode_scaled(
    data: bytes, limits: DecodeLimits, side: int, *, longer: bool = False
) -> Image.Image:
    """Decode a photo, or the frame that ``decode`` takes, so that its shorter side has ``side`` px.

    With ``longer`` it is the longer side. A photo with fewer pixels is not enlarged. It is RGB.
    Raises Rejected, for the same reasons as ``decode``.
    """

    def scaled(image: Image.Image, image_format: str, _note: str | None) -> Image.Image:
        size = image.size
        scale = min(1.0, side / (max(size) if longer else min(size)))
        wanted = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
        if isinstance(image, JpegImageFile):
            image.draft(None, wanted)
        with _room.for_bytes(_decoded_bytes(image, size)):
            _go_to(None, image, data, limits)
            _load(image, image_format)
            small = _small_frame(image, size, wanted)
        return _upright_srgb(small, image, _orientation(image))

    return _by_either_decoder(data, limits, scaled)


def frames_in(data: bytes, limits: DecodeLimits) -> int:
    """Return how many frames a file says it has; 1 for what is no animation."""
    try:
        with _opened(data, _format_of(data), limits) as image:
            return count_frames(image, data)
    except Rejected:
        # What another decoder reads all the same is taken for a still image.
        return 1


def decode_frames(
    data: bytes,
    limits: DecodeLimits,
    wanted: int | None,
    keep: Callable[[Frame, Image.Image], None],
    shown: int | None = None,
    part: Callable[[Image.Image], Image.Image] | None = None,
    most_pixels: int = MOST_PIXELS,
) -> Animation:
    """Decode frames of an animation, one at a time, and return which they are.

    Frames are read in their order. If a limit or damage ends the reading early, the frames that
    were read are what ``wanted`` is spread over.

    Args:
        data: the file.
        limits: those of ``decode``.
        wanted: how many frames, spread over the whole length; None for all.
        keep: takes each of them once, RGB and of the size of a working copy.
        shown: the frame that ``decode`` has shown, which is kept as well; None looks for it.
        part: cuts the part out of a frame at its own size, upright, that is kept; None keeps all.
        most_pixels: of all frames that are read, together.

    Raises:
        Rejected: the file cannot be opened, or not even its first frame can be read.
    """
    image_format = _format_of(data)
    kept: dict[int, Frame] = {}
    with (
        _opened(data, image_format, limits) as image,
        _room.for_bytes(_decoded_bytes(image, image.size)),
    ):
        size, n_frames = image.size, count_frames(image, data)
        shown = _find_shown(data, limits, most_pixels) if shown is None else shown
        n_read = reachable_frames(n_frames, size, most_pixels)
        while missing := scored_numbers(n_read, wanted, shown) - kept.keys():
            n_walked = 0
            # Pillow cannot go back in every PNG, so each walk begins with the file.
            with _opened(data, image_format, limits) as walked:
                for frame in walk_frames(walked, max(missing) + 1, _DAMAGE):
                    n_walked = frame.number + 1
                    if frame.number in missing:
                        kept[frame.number] = frame
                        keep(frame, _working_frame(walked, size, part))
            if n_walked <= max(missing):
                n_read = n_walked
            if shown >= n_read:
                # Not even the first frame can be read: this raises why.
                image.load()
                break
    return Animation(n_frames, n_read, shown, tuple(kept[number] for number in sorted(kept)))


def _go_to(frame: int | None, image: Image.Image, data: bytes, limits: DecodeLimits) -> int:
    """Go to a frame of a photo that was just opened, None for the one that is shown; return it."""
    if frame is None:
        frame = _find_shown(data, limits) if count_frames(image, data) > 1 else 0
    # The images of a HEIC can be sought, too, and the one that is shown need not be the first.
    if frame:
        image.seek(frame)
    return frame


def _find_shown(data: bytes, limits: DecodeLimits, most_pixels: int = MOST_PIXELS) -> int:
    """Return the number of the first frame that is not uniform, or of the first if all are."""
    with _opened(data, _format_of(data), limits) as image:
        n_frames, size, first = count_frames(image, data), image.size, first_frame(image)
        n_walked, n_reachable = 0, reachable_frames(n_frames, size, most_pixels)
        for frame in walk_frames(image, n_reachable, _DAMAGE):
            n_walked = frame.number + 1
            if frame.number >= first and not is_uniform(_working_frame(image, size)):
                return frame.number
    return first if first < n_walked else 0


def _working_frame(
    image: ImageFile.ImageFile,
    size: tuple[int, int],
    part: Callable[[Image.Image], Image.Image] | None = None,
) -> Image.Image:
    """Return the frame that is loaded as a working copy; ``size`` is the animation's, in px."""
    if part is None:
        small = _small_frame(image, size, _working_size(size))
        return _upright_srgb(small, image, _orientation(image))
    whole = _upright_srgb(
        _resizable(_cut(image, size), grey_scale(image)), image, _orientation(image)
    )
    cut = part(whole)
    return cut.resize(_working_size(cut.size), Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP)


def _small_frame(image: Image.Image, size: tuple[int, int], wanted: tuple[int, int]) -> Image.Image:
    """Return an image of ``size``, at its present frame, at the size ``wanted`` (both in px)."""
    image.load()
    return _shrunk(_cut(image, size), wanted, grey_scale(image))


def _cut(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Cut an image to ``size``: Pillow enlarges a GIF for frames that are larger than the GIF."""
    return image.crop((0, 0, *size)) if isinstance(image, GifImageFile) else image


@contextmanager
def _opened(data: bytes, image_format: str, limits: DecodeLimits) -> Iterator[ImageFile.ImageFile]:
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


def _format_of(data: bytes) -> str:
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
    except _DAMAGE as error:
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


def _shrunk(image: Image.Image, size: tuple[int, int], grey: GreyScale | None) -> Image.Image:
    """Return a loaded image at ``size``, in its own colours and orientation.

    It gives what ``Image.resize`` gives with a ``reducing_gap``, but converts a band of rows at a
    time: the modes that have to be converted first would take several times the memory.
    """
    across, down = (
        int(side / wanted / _REDUCING_GAP) or 1
        for side, wanted in zip(image.size, size, strict=True)
    )
    if across == down == 1:
        return _resizable(image, grey).resize(size, Image.Resampling.LANCZOS)
    bands = [
        _averageable(_resizable(band, grey)).reduce((across, down)) for band in _bands(image, down)
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


def _working_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, WORKING_SHORT_SIDE / min(size), WORKING_LONG_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _resizable(image: Image.Image, grey: GreyScale | None = None) -> Image.Image:
    """Convert to a mode whose values can be averaged, 8 bits a channel."""
    if grey is not None:
        return grey.apply(image)
    if image.has_transparency_data and image.mode not in ("RGBA", "LA"):
        return image.convert("RGBA")
    if image.mode == "1":
        return image.convert("L")
    return image.convert("RGB") if image.mode in ("P", "RGBX", "YCbCr", "HSV") else image


def _upright_srgb(pixels: Image.Image, file: Image.Image, orientation: int) -> Image.Image:
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


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation, 1 to 8; valid after loading, which turns TIFF and HEIC."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except _DAMAGE:
        return 1
    return orientation if orientation in _TRANSPOSITIONS else 1


def _taken_at(image: Image.Image) -> str | None:
    try:
        tags = image.getexif().get_ifd(_EXIF_FOLDER)
        moment = datetime.strptime(str(tags[_EXIF_TAKEN_AT]).strip("\0 "), "%Y:%m:%d %H:%M:%S")
    except _DAMAGE:
        return None
    return moment.isoformat() + _utc_offset(str(tags.get(_EXIF_TAKEN_AT_OFFSET, "")))


def _utc_offset(text: str) -> str:
    match = re.match(r"[+-]\d\d:\d\d", text)
    return match.group() if match else ""


def _perceptual_hash(image: Image.Image) -> str:
    import imagehash

    return str(imagehash.phash(image))
