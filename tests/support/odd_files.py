"""Odd files that people have: sound ones that are seldom seen, and files of other kinds.

`python -m support.odd_files FOLDER`, in tests/, writes them and prints what becomes of each.
"""

import io
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from assets.methods.photos.decode import decode
from assets.methods.photos.opened_file import DecodeLimits
from assets.methods.photos.rejects import Rejected
from support.photos import FORMATS, deep_png, encoded, photo, png_chunk, scene

_PNG_HEADER_END = 33
GREY_OF_12_BITS = np.arange(4096, dtype=np.uint16).reshape(64, 64)


@cache
def sound_files() -> dict[str, bytes]:
    """Files that a browser, or the program that wrote them, shows."""
    text, jpeg = zlib.compress(b"a" * 2_000_000), photo("JPEG", width=300, height=200)
    wrong = bytearray(png_chunk(b"tEXt", b"Comment\0of a bad transfer"))
    wrong[-1] ^= 255
    progressive = encoded(scene(300, 200), "JPEG", progressive=True)
    grey = Image.fromarray(GREY_OF_12_BITS)
    return {
        "text-2-mb.png": with_chunk(png_chunk(b"zTXt", b"k\0\0" + text)),
        "text-2-mb-international.png": with_chunk(png_chunk(b"iTXt", b"k\0\1\0\0\0" + text)),
        "profile-2-mb.png": with_chunk(png_chunk(b"iCCP", b"k\0\0" + text)),
        "checksum-of-text.png": with_chunk(bytes(wrong)),
        "no-end.png": photo("PNG")[:-12],
        "no-end-marker.jpg": jpeg[:-2],
        "no-end-marker-progressive.jpg": progressive[:-2],
        "bytes-after-the-end.jpg": jpeg + bytes(1000),
        "two-associations.avif": avif_with_two_associations(),
        "no-trailer.gif": photo("GIF")[:-1],
        "grey-12-bits.png": encoded(grey),
        "grey-12-bits.tif": encoded(grey, "TIFF"),
        "colours-12-bits.png": deep_png(GREY_OF_12_BITS, "RGB"),
        "grey-signed.tif": tiff(GREY_OF_12_BITS.astype(np.int16) - 1024),
        "grey-32-bits.tif": tiff(GREY_OF_12_BITS.astype(np.uint32)),
        "grey-floating-point.tif": tiff(GREY_OF_12_BITS / np.float32(4095)),
    }


@cache
def refused_files() -> dict[str, tuple[bytes, str]]:
    """Files that are not decoded, each with the words that say what it is."""
    image = scene()
    written = {
        "tga": "a TGA image",
        "sgi": "an SGI image",
        "pcx": "a PCX image",
        "ppm": "a Netpbm image",
        "ico": "an icon",
        "jp2": "a JPEG 2000 image",
        "dds": "a DirectDraw texture",
        "eps": "a PostScript drawing",
        "pdf": "a PDF document",
        "qoi": "a QOI image",
    }
    found = {f"picture.{end}": (_saved(image, end), kind) for end, kind in written.items()}
    rle = {"compression": "tga_rle"}
    found |= {
        "run-lengths.tga": (_saved(image, "tga", **rle), "a TGA image"),
        "grey.tga": (_saved(image.convert("L"), "tga"), "a TGA image"),
        "palette.tga": (without_tga_footer(image.quantize(16)), "a TGA image"),
        "no-footer.tga": (without_tga_footer(image), "a TGA image"),
        "bilevel.pcx": (_saved(image.convert("1"), "pcx"), "a PCX image"),
        "picture.xbm": (_saved(image.convert("1"), "xbm"), "an XBM image"),
        "picture.xpm": (b"/* XPM */\nstatic char * picture[] = {", "an XPM image"),
        "picture.ras": (b"\x59\xa6\x6a\x95" + bytes(28), "a Sun raster image"),
        "pointer.cur": (cursor(), "a mouse cursor"),
        "pointer.ani": (b"RIFF\0\0\0\0ACONanih", "a mouse cursor"),
        "12-bits.jpg": (jpeg_of_12_bits(), "a JPEG of 12 bits a colour"),
        "lossless.jpg": (jpeg_with_frame(0xC3), "a lossless JPEG"),
        "jpeg-ls.jpg": (jpeg_with_frame(0xF7), "a JPEG-LS image"),
        "holds-a-jpeg.bmp": (bmp_that_holds_a_jpeg(), "a BMP that holds a JPEG"),
        "jbig.tif": (tiff_compressed_by(34661), "a TIFF compressed by JBIG"),
        "jpeg-2000.tif": (tiff_compressed_by(34712), "a TIFF compressed by JPEG 2000"),
        "webp.tif": (tiff_compressed_by(50001), "a TIFF compressed by WebP"),
        "unknown.tif": (tiff_compressed_by(12345), "a TIFF compressed by method 12345"),
        "floating-point-colours.tif": (
            tiff(np.zeros((16, 16, 3), np.float32), photometric="rgb"),
            "a TIFF whose 3 channels are floating-point numbers of 32 bits",
        ),
    }
    return found


@cache
def damaged_files() -> dict[str, bytes]:
    """Files whose pixels are damaged or missing, whatever they may say of themselves."""
    png = bytearray(photo("PNG", width=300, height=200))
    png[2000:2200] = bytes(200)
    jpeg = photo("JPEG", width=300, height=200)
    return {
        "overwritten.png": bytes(png),
        "overwritten.tif": tiff(np.zeros((16, 16), np.uint8), compression="zlib")[:-8] + bytes(8),
        "last-bytes-missing.jpg": jpeg[:-6],
        **{f"half.{name.lower()}": photo(name, width=300, height=200)[:3000] for name in FORMATS},
    }


def with_chunk(chunk: bytes) -> bytes:
    """A PNG with one more chunk after its header."""
    png = photo("PNG")
    return png[:_PNG_HEADER_END] + chunk + png[_PNG_HEADER_END:]


def tiff(array: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, array, **options)
    return out.getvalue()


def tiff_compressed_by(method: int) -> bytes:
    """A TIFF that names another compression than its own."""
    plain = tiff(np.asarray(scene()), photometric="rgb")
    fields = struct.pack("<HHI", 259, 3, 1)
    return plain.replace(fields + struct.pack("<I", 1), fields + struct.pack("<I", method))


def avif_with_two_associations() -> bytes:
    """An AVIF with alpha whose properties are listed in two boxes, one for each of its images.

    Encoders before 2022 wrote it so. Browsers show it, and libavif says that it cannot be parsed.
    """
    image = scene().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    data = encoded(image, "AVIF")
    start = data.index(b"ipma") - 4
    length = int.from_bytes(data[start : start + 4], "big")
    version, first, second = data[start + 8 : start + 12], *_associations(data[start + 16 :])
    box = b"".join(
        struct.pack(">I4s4sI", 16 + len(one), b"ipma", version, 1) + one for one in (first, second)
    )
    grown = bytearray(data[:start] + box + data[start + length :])
    growth = len(box) - length
    for outer in (b"meta", b"iprp"):
        _add(grown, grown.index(outer) - 4, growth)
    # Two items of one extent each, after a header of 16 bytes: 6 bytes, an offset and a length.
    for item in range(2):
        _add(grown, grown.index(b"iloc") + 18 + 14 * item, growth)
    return bytes(grown)


def _associations(entries: bytes) -> tuple[bytes, bytes]:
    first = 3 + entries[2]
    return entries[:first], entries[first : first + 3 + entries[first + 2]]


def _add(data: bytearray, position: int, number: int) -> None:
    old = struct.unpack_from(">I", data, position)[0]
    struct.pack_into(">I", data, position, old + number)


def cursor() -> bytes:
    """A mouse cursor: an icon of another type, with a hot spot."""
    icon = bytearray(_saved(scene().resize((32, 32)), "ico"))
    icon[2] = 2
    return bytes(icon)


def without_tga_footer(image: Image.Image) -> bytes:
    """A TGA as older programs wrote it, with no name of the format in it."""
    return _saved(image, "tga")[:-26]


def jpeg_with_frame(marker: int) -> bytes:
    """A JPEG that says to be coded in another way."""
    return photo("JPEG").replace(b"\xff\xc0", bytes([0xFF, marker]), 1)


def jpeg_of_12_bits() -> bytes:
    jpeg = bytearray(photo("JPEG"))
    jpeg[jpeg.index(b"\xff\xc0") + 4] = 12
    return bytes(jpeg)


def bmp_that_holds_a_jpeg() -> bytes:
    bmp = bytearray(photo("BMP"))
    bmp[30] = 4
    return bytes(bmp)


def _saved(image: Image.Image, end: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, Image.registered_extensions()[f".{end}"], **options)
    return out.getvalue()


def all_files() -> dict[str, bytes]:
    """Every odd file, and a plain one of each format, by its name."""
    plain = {f"plain.{name.lower()}": photo(name) for name in FORMATS}
    refused = {name: data for name, (data, _) in refused_files().items()}
    return plain | sound_files() | refused | damaged_files()


def outcome(data: bytes) -> tuple[str, str]:
    """Return "photo" or why the file is refused, and the sentence that goes with it."""
    try:
        decoded = decode(data, DecodeLimits())
    except Rejected as rejected:
        return rejected.reason.value, rejected.detail
    return "photo", decoded.note or ""


def main(arguments: Sequence[str]) -> None:
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    print("| file | what became of it | |\n|---|---|---|")
    for name, data in sorted(all_files().items()):
        (folder / name).write_bytes(data)
        reason, detail = outcome(data)
        counts[reason] += 1
        print(f"| {name} | {reason} | {detail} |")
    print(f"\n{len(all_files())} files: {dict(counts.most_common())}")


if __name__ == "__main__":
    main(sys.argv[1:])
