"""Photos made on the spot, in every format and every kind of damage."""

import io
import struct
import zlib

import numpy as np
import pillow_heif
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF")


def scene(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    """A picture with features, another one for every seed."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, size=(6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    """The image as a file's bytes; HEIF through pillow-heif, which is not registered."""
    out = io.BytesIO()
    if image_format == "HEIF":
        pillow_heif.from_pillow(image).save(out, quality=90, **options)
    else:
        image.save(out, image_format, **options)
    return out.getvalue()


def photo(image_format: str = "PNG", seed: int = 0, width: int = 64, height: int = 48) -> bytes:
    return encoded(scene(width, height, seed), image_format)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def deep_png(grey: np.ndarray, mode: str) -> bytes:
    """A PNG of 16 bits a channel, which Pillow cannot write: all colours are ``grey``, (h, w)."""
    kinds = {"LA": (4, 1), "RGB": (2, 3), "RGBA": (6, 3)}
    kind, n_colours = kinds[mode]
    opaque = [np.full_like(grey, 65535)] * mode.endswith("A")
    rows = np.stack([grey] * n_colours + opaque, axis=2).astype(">u2").reshape(len(grey), -1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 16, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(lines))
        + png_chunk(b"IEND", b"")
    )


def png_bomb(width: int, height: int) -> bytes:
    """A PNG that declares width x height pixels in a few bytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + png_chunk(b"IEND", b"")
    )


def bombs(side: int = 60_000) -> dict[str, bytes]:
    """A tiny file of every format that declares about side x side pixels."""
    found = {"PNG": png_bomb(side, side)}
    gif = bytearray(photo("GIF"))
    gif[6:10] = struct.pack("<HH", side, side)
    found["GIF"] = bytes(gif)
    bmp = bytearray(photo("BMP"))
    bmp[18:26] = struct.pack("<ii", side, side)
    found["BMP"] = bytes(bmp)
    jpeg = photo("JPEG")
    start = jpeg.index(b"\xff\xc0") + 5
    found["JPEG"] = jpeg[:start] + struct.pack(">HH", side, side) + jpeg[start + 4 :]
    tiff = photo("TIFF")
    for tag, size in ((256, 64), (257, 48)):
        for kind, pack in ((3, "<HHIHH"), (4, "<HHII")):
            old = (tag, kind, 1, size, 0)[: 4 + (kind == 3)]
            new = struct.pack("<HHII", tag, 4, 1, side)
            tiff = tiff.replace(struct.pack(pack, *old), new)
    found["TIFF"] = tiff
    # A VP8X header holds the canvas less one in 24 bits a side.
    webp = bytearray(encoded(scene().convert("RGBA"), "WEBP", lossless=True, exif=b"Exif\0\0MM\0*"))
    start = webp.index(b"VP8X") + 12
    webp[start : start + 6] = (16_382).to_bytes(3, "little") * 2
    found["WEBP"] = bytes(webp)
    for image_format in ("HEIF", "AVIF"):
        container = bytearray(photo(image_format))
        start = container.index(b"ispe") + 8
        container[start : start + 8] = struct.pack(">II", side, side)
        found[image_format] = bytes(container)
    return found


class NotedPhotos:
    """Photos by id, as ``draw`` makes them; notes the ids asked for, and fails for ``broken``."""

    def __init__(self, draw, broken=()):
        self._draw, self._broken = draw, broken
        self.loaded = []

    def __call__(self, image_id):
        if image_id in self._broken:
            raise KeyboardInterrupt
        self.loaded.append(image_id)
        return self._draw(image_id)
