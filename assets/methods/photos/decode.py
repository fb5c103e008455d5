"""From a file's bytes to an image, upright and sRGB: the working copy, or at its own size."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from PIL import Image, ImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile

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
from assets.methods.photos.bit_depth import grey_scale
from assets.methods.photos.opened_file import (
    DAMAGE,
    DecodeLimits,
    by_either_decoder,
    format_of,
    load_pixels,
    opened,
    room_to_decode,
)
from assets.methods.photos.pixels import (
    REDUCING_GAP,
    orientation_of,
    resizable,
    shrunk,
    size_within,
    upright_srgb,
)
from assets.methods.photos.rejects import Rejected

# Increase it when the same bytes give another working copy or perceptual hash.
DECODE_VERSION = 1
# Increase it when a file that was refused may be decoded, or be refused for another reason.
VERDICT_VERSION = 1
WORKING_SHORT_SIDE = 256
# Bounds the working copy of a panorama; a JPEG holds at most 65,535 px a side.
WORKING_LONG_SIDE = 4096
_EXIF_FOLDER = 0x8769
_EXIF_TAKEN_AT = 0x9003
_EXIF_TAKEN_AT_OFFSET = 0x9011


@dataclass(frozen=True)
class DecodedPhoto:
    """A photo that was decoded.

    ``working_copy`` is RGB; ``width`` and ``height`` are the original's, upright, in px;
    ``taken_at`` is ISO 8601, with an offset where the camera noted one; ``phash`` is the 64-bit
    perceptual hash in 16 hex digits; ``note`` is a sentence on what had to be guessed, if anything.
    ``n_frames`` is 1 for a photo that is no animation, and ``shown`` the number, from 0, of the
    frame that all of this is about, by default the first that is not uniform.
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


def decode(data: bytes, limits: DecodeLimits, frame: int | None = None) -> DecodedPhoto:
    """Decode a photo; of an animation, the first frame that is not uniform.

    ``frame`` is the number, from 0, of another frame to take. Raises Rejected. Limits are checked
    against the header, before any pixel is decoded.
    """
    return by_either_decoder(data, limits, partial(_decoded_photo, data, limits, frame))


def decode_image(
    data: bytes, limits: DecodeLimits, frame: int | None = None, most_pixels: int | None = None
) -> Image.Image:
    """Decode a photo at its own size: RGB, without the file's metadata.

    ``frame`` is the number, from 0, of an animation's frame; without it, it is the one that
    ``decode`` takes. A photo of more than ``most_pixels`` is scaled down to ``size_within`` them.
    Raises Rejected, for the same reasons as ``decode``.
    """
    decoded = partial(_decoded_image, data, limits, frame, most_pixels)
    return by_either_decoder(data, limits, decoded)


def _decoded_photo(
    data: bytes,
    limits: DecodeLimits,
    frame: int | None,
    image: Image.Image,
    image_format: str,
    note: str | None,
) -> DecodedPhoto:
    width, height = image.size
    size = working_size(image.size)
    if isinstance(image, JpegImageFile):
        # A JPEG decodes faster to a fraction of its size. Twice the pixels a side are kept for the
        # final resize to average.
        image.draft(None, (2 * size[0], 2 * size[1]))
    with room_to_decode(image, (width, height)):
        shown = _go_to(frame, image, data, limits)
        load_pixels(image, image_format)
        grey = grey_scale(image)
        small = shrunk(_cut(image, (width, height)), size, grey)
    orientation = orientation_of(image)
    working_copy = upright_srgb(small, image, orientation)
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
    most_pixels: int | None,
    image: Image.Image,
    image_format: str,
    _note: str | None,
) -> Image.Image:
    size = image.size
    wanted = size if most_pixels is None else size_within(size, most_pixels)
    if wanted != size and isinstance(image, JpegImageFile):
        image.draft(None, wanted)
    with room_to_decode(image, size):
        _go_to(frame, image, data, limits)
        load_pixels(image, image_format)
        whole, grey = _cut(image, size), grey_scale(image)
        pixels = resizable(whole, grey) if wanted == size else shrunk(whole, wanted, grey)
        decoded = upright_srgb(pixels, image, orientation_of(image))
    # If it is saved with the file's profile, readers convert the colours a second time.
    decoded.info.clear()
    return decoded


def has_transparent_parts(data: bytes, limits: DecodeLimits, frame: int | None = None) -> bool:
    """Return whether a photo has pixels that are not opaque, which decoding puts on neutral grey.

    ``frame`` is as for ``decode_image``. Raises Rejected, for the same reasons as ``decode``.
    """

    def is_seen_through(image: Image.Image, image_format: str, _note: str | None) -> bool:
        # Most photos cannot be transparent, and need not be decoded again to know it.
        if not image.has_transparency_data and count_frames(image, data) == 1:
            return False
        with room_to_decode(image, image.size):
            _go_to(frame, image, data, limits)
            load_pixels(image, image_format)
            pixels = resizable(image, grey_scale(image))
            return "A" in pixels.getbands() and pixels.getchannel("A").getextrema() != (255, 255)

    return by_either_decoder(data, limits, is_seen_through)


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
        with room_to_decode(image, size):
            _go_to(None, image, data, limits)
            load_pixels(image, image_format)
            small = _small_frame(image, size, wanted)
        return upright_srgb(small, image, orientation_of(image))

    return by_either_decoder(data, limits, scaled)


def frames_in(data: bytes, limits: DecodeLimits) -> int:
    """Return how many frames a file says it has; 1 for what is no animation."""
    try:
        with opened(data, format_of(data), limits) as image:
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
    image_format = format_of(data)
    kept: dict[int, Frame] = {}
    with (
        opened(data, image_format, limits) as image,
        room_to_decode(image, image.size),
    ):
        size, n_frames = image.size, count_frames(image, data)
        shown = _find_shown(data, limits, most_pixels) if shown is None else shown
        n_read = reachable_frames(n_frames, size, most_pixels)
        while missing := scored_numbers(n_read, wanted, shown) - kept.keys():
            n_walked = 0
            # Pillow cannot go back in every PNG, so each walk begins with the file.
            with opened(data, image_format, limits) as walked:
                for frame in walk_frames(walked, max(missing) + 1, DAMAGE):
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


def working_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return (width, height) in px of the working copy of an image of ``size``."""
    scale = min(1.0, WORKING_SHORT_SIDE / min(size), WORKING_LONG_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


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
    with opened(data, format_of(data), limits) as image:
        n_frames, size, first = count_frames(image, data), image.size, first_frame(image)
        n_walked, n_reachable = 0, reachable_frames(n_frames, size, most_pixels)
        for frame in walk_frames(image, n_reachable, DAMAGE):
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
        small = _small_frame(image, size, working_size(size))
        return upright_srgb(small, image, orientation_of(image))
    whole = upright_srgb(
        resizable(_cut(image, size), grey_scale(image)), image, orientation_of(image)
    )
    cut = part(whole)
    return cut.resize(working_size(cut.size), Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP)


def _small_frame(image: Image.Image, size: tuple[int, int], wanted: tuple[int, int]) -> Image.Image:
    """Return an image of ``size``, at its present frame, at the size ``wanted`` (both in px)."""
    image.load()
    return shrunk(_cut(image, size), wanted, grey_scale(image))


def _cut(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Cut an image to ``size``: Pillow enlarges a GIF for frames that are larger than the GIF."""
    return image.crop((0, 0, *size)) if isinstance(image, GifImageFile) else image


def _taken_at(image: Image.Image) -> str | None:
    try:
        tags = image.getexif().get_ifd(_EXIF_FOLDER)
        moment = datetime.strptime(str(tags[_EXIF_TAKEN_AT]).strip("\0 "), "%Y:%m:%d %H:%M:%S")
    except DAMAGE:
        return None
    return moment.isoformat() + _utc_offset(str(tags.get(_EXIF_TAKEN_AT_OFFSET, "")))


def _utc_offset(text: str) -> str:
    match = re.match(r"[+-]\d\d:\d\d", text)
    return match.group() if match else ""


def _perceptual_hash(image: Image.Image) -> str:
    import imagehash

    return str(imagehash.phash(image))
