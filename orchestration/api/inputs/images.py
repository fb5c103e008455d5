"""The images of requests: from base64 or a URL to the bytes of a file, or to a working copy."""

import base64
import binascii
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from PIL import Image

from assets.methods.photos.animation import Frame
from assets.methods.photos.decode import decode, decode_frames, decode_image, frames_in
from assets.methods.photos.download import FetchLimits, fetch, too_large
from assets.methods.photos.opened_file import DecodeLimits
from assets.methods.photos.photo_store import as_stored
from assets.methods.photos.rejects import Rejected
from orchestration.api.contract import ApiError, Code, Crop, ImageData
from orchestration.api.settings import ServeSettings

# A working copy has at most a quarter of them, but what is sent as one need not come from us: this
# bounds the memory of a batch.
_JUDGED = DecodeLimits(min_side=1, max_pixels=4_194_304)
# Images that are not stored may be small. Stored ones have the limits of their collection.
_ANY_SIDE = DecodeLimits(min_side=1)
# Of all frames of an animation. Others wait for the model, and a small file may have many pixels.
_MOST_FRAME_PIXELS = 250_000_000


class ImageError(Exception):
    """An image cannot be read; ``detail`` is a sentence for the client."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def fetch_limits(settings: ServeSettings) -> FetchLimits:
    """Return the limits of one image of a request, given as base64 or as a URL."""
    return FetchLimits(
        max_bytes=int(settings.image_megabytes * 2**20),
        timeout_seconds=settings.download_seconds,
        allow_private_addresses=settings.allow_private_addresses,
    )


def check_sources(images: Sequence[ImageData], code: Code = Code.INVALID_REQUEST) -> None:
    """Raise ApiError with this code if an image has no source, or two."""
    for number, image in enumerate(images, start=1):
        if (image.base64 is None) == (image.url is None):
            raise ApiError(
                code, f"Image {number} of {len(images)} needs either base64 or url, and only one."
            )


def read_image(image: ImageData, limits: FetchLimits) -> bytes:
    """Return the bytes of an image: the file itself, or the part that was cropped from it, as PNG.

    The part of an animation is cropped from the frame that a map shows. Raises as ``read_file``.
    """
    data = read_file(image, limits)
    return data if image.crop is None else cropped(data, image.crop)


def read_file(image: ImageData, limits: FetchLimits) -> bytes:
    """Return the bytes of the file of an image, whatever is cropped from it.

    ``limits.max_bytes`` limits base64 as well. Raises ImageError, and ApiError for an image without
    a source or with two.
    """
    check_sources([image])
    if image.url is not None:
        return _downloaded(image.url, limits)
    return _from_base64(image.base64 or "", limits.max_bytes)


def working_copy(data: bytes) -> Image.Image:
    """Return the working copy of an image of any size, as `PhotoStore` makes it: RGB.

    Raises ImageError.
    """
    with _rejects_as_errors():
        return as_stored(decode(data, _ANY_SIDE).working_copy)


def judged_image(data: bytes, crop: Crop | None) -> Image.Image:
    """Return an image that is a working copy already, or a part of one, with its pixels: RGB.

    Raises ImageError.
    """
    with _rejects_as_errors():
        image = decode_image(data, _JUDGED)
    return image if crop is None else _cut(image, crop)


def scored_frames(
    data: bytes, crop: Crop | None, wanted: int
) -> tuple[list[Image.Image], list[Frame], str | None]:
    """Return the working copies that a score looks at, RGB: of an animation ``wanted`` frames.

    Returns the images, their frames (none for what is no animation), and a note if not all of the
    animation could be read. Raises ImageError.
    """
    if frames_in(data, _ANY_SIDE) == 1:
        return [working_copy(data if crop is None else cropped(data, crop))], [], None
    kept: dict[int, Image.Image] = {}

    def keep(frame: Frame, copy: Image.Image) -> None:
        kept[frame.number] = as_stored(copy)

    part = None if crop is None else partial(_cut, crop=crop)
    with _rejects_as_errors():
        animation = decode_frames(
            data, _ANY_SIDE, wanted, keep, part=part, most_pixels=_MOST_FRAME_PIXELS
        )
    frames = animation.chosen(wanted)
    return [kept[frame.number] for frame in frames], frames, animation.note


@contextmanager
def _rejects_as_errors() -> Iterator[None]:
    try:
        yield
    except Rejected as rejected:
        raise ImageError(Code.INPUT_UNSUPPORTED, rejected.detail) from rejected


def _downloaded(url: str, limits: FetchLimits) -> bytes:
    try:
        return fetch(url, limits).data or b""
    except Rejected as rejected:
        raise ImageError(Code.INPUT_DOWNLOAD_FAILED, rejected.detail) from rejected


def _from_base64(text: str, max_bytes: int) -> bytes:
    packed = "".join(text.split())
    n_bytes = len(packed) * 3 // 4 - packed[-2:].count("=")
    if n_bytes > max_bytes:
        raise ImageError(Code.INPUT_UNSUPPORTED, too_large(n_bytes, max_bytes).detail)
    try:
        return base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(Code.INPUT_UNSUPPORTED, "The image is not valid base64.") from error


def cropped(data: bytes, crop: Crop) -> bytes:
    """Return a part of an image as the bytes of a PNG; raises ImageError."""
    with _rejects_as_errors():
        image = decode_image(data, _ANY_SIDE)
    png = io.BytesIO()
    # Higher levels take many times as long, and save a few per cent.
    _cut(image, crop).save(png, "PNG", compress_level=1)
    return png.getvalue()


def _cut(image: Image.Image, crop: Crop) -> Image.Image:
    top, left, bottom, right = crop
    upper, lower = _pixels(top, bottom, image.height)
    first, last = _pixels(left, right, image.width)
    return image.crop((first, upper, last, lower))


def _pixels(start: float, end: float, n: int) -> tuple[int, int]:
    """Return the first pixel, and the one after the last, of a range in shares of ``n``."""
    first = min(round(start * n), n - 1)
    return first, max(round(end * n), first + 1)
