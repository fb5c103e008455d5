"""The kind of a file by its first bytes, and whether it ends too early."""

import re
import struct
from collections.abc import Callable

# How files of the decoded formats begin, and Pillow's names of the formats.
_DECODED = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)

_NOT_DECODED = (
    (b"%PDF-", "a PDF document"),
    (b"8BPS", "a Photoshop document"),
    (b"%!PS", "a PostScript drawing"),
    (b"\xc5\xd0\xd3\xc6", "an EPS drawing"),
    (b"\0\0\1\0", "an icon"),
    (b"icns", "an icon"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"II\xbc", "a JPEG XR image"),
    (b"FUJIFILMCCD-RAW", "a camera's raw file"),
    (b"IIU\0", "a camera's raw file"),
    (b"IIRO", "a camera's raw file"),
    (b"MMOR", "a camera's raw file"),
    (b"FOVb", "a camera's raw file"),
    (b"gimp xcf", "a GIMP document"),
    (b"DDS ", "a DirectDraw texture"),
    (b"v/1\1", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance image"),
    (b"qoif", "a QOI image"),
    (b"BPG\xfb", "a BPG image"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"FLV\1", "a video"),
    (b"\0\0\1\xba", "a video"),
    (b"\0\0\1\xb3", "a video"),
    (b"SIMPLE  =", "a FITS image"),
    (b"SDPX", "a DPX image"),
    (b"XPDS", "a DPX image"),
    (b"\x80\x2a\x5f\xd7", "a Cineon image"),
    (b"\x01\xda\0", "an SGI image"),
    (b"\x01\xda\1", "an SGI image"),
    (b"\x59\xa6\x6a\x95", "a Sun raster image"),
    (b"/* XPM */", "an XPM image"),
    (b"\x8aMNG\r\n\x1a\n", "an MNG animation"),
    (b"\x8bJNG\r\n\x1a\n", "a JNG image"),
    (b"FLIF", "a FLIF image"),
    (b"BLP1", "a BLP texture"),
    (b"BLP2", "a BLP texture"),
    (b"\xabKTX", "a KTX texture"),
    (b"AT&TFORM", "a DjVu document"),
    (b"Paint Shop Pro Image File", "a Paint Shop Pro document"),
    (b"PF\n", "a PFM image"),
    (b"Pf\n", "a PFM image"),
)

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS = {b"avif", b"avis"}
_GENERIC_IMAGE_BRANDS = {b"mif1", b"msf1", b"miaf", b"MiHE", b"MiHB", b"1pic"}


def decoded_format(data: bytes) -> str | None:
    """Return Pillow's name of a format that is decoded; None for everything else."""
    for magic, name in _DECODED:
        if data.startswith(magic) and not _is_canon_raw(data):
            return name
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    brands = _iso_brands(data)
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIF" if brands & (_HEIF_BRANDS | _GENERIC_IMAGE_BRANDS) else None


def undecoded_kind(data: bytes) -> str | None:
    """Return the kind of a known file that is not decoded ("a PDF document"), or None."""
    for magic, kind in _NOT_DECODED:
        if data.startswith(magic):
            return kind
    if _is_canon_raw(data) or b"crx " in _iso_brands(data):
        return "a camera's raw file"
    if data[4:8] in (b"ftyp", b"moov", b"mdat"):
        return "a video"
    if data.startswith(b"RIFF") and data[8:12] == b"AVI ":
        return "a video"
    if data[:1] == b"P" and data[1:2] in b"1234567" and data[2:3].isspace():
        return "a Netpbm image"
    if data[128:132] == b"DICM":
        return "a DICOM image"
    if data.startswith(b"RIFF") and data[8:12] == b"ACON":
        return "a mouse cursor"
    if data.startswith(b"FORM") and data[8:12] in (b"ILBM", b"PBM ", b"ACBM"):
        return "an IFF image"
    if data[4:6] in (b"\x11\xaf", b"\x12\xaf") and data[:4] != bytes(4):
        return "a FLI animation"
    if data.startswith(b"\1\0\0\0") and data[40:44] == b" EMF":
        return "a Windows metafile"
    if re.match(rb"#define\s+\w+_width\s+\d+", data):
        return "an XBM image"
    if data.startswith(b"\n") and data[1:2] in b"\0\2\3\4\5" and data[2:3] == b"\1":
        return "a PCX image" if data[3:4] in b"\1\2\4\10" else None
    if data.startswith(b"\0\0\2\0") and data[4:6] not in (b"", b"\0\0") and data[9:10] == b"\0":
        return "a mouse cursor"
    if _is_tga(data):
        return "a TGA image"
    return "an SVG drawing" if _is_svg(data) else None


def declared_size(data: bytes, image_format: str) -> tuple[int, int] | None:
    """Return the largest width and height (px) that a HEIF or AVIF file declares, else None.

    Padding to whole blocks is included. The decoders of HEIF and AVIF have limits of their own, and
    do not name the size when they refuse a file.
    """
    if image_format not in ("HEIF", "AVIF"):
        return None
    sizes = [struct.unpack_from(">II", data, box.end()) for box in _SIZE_BOX.finditer(data)]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def rare_kind(data: bytes, image_format: str) -> str | None:
    """Return the kind of a file of a decoded format that is not decoded ("a lossless JPEG").

    It looks at what the header declares. None says nothing: the kind may be decoded or not.
    """
    name = _RARE_KINDS.get(image_format)
    return name(data) if name is not None else None


def ends_early(data: bytes, image_format: str) -> bool:
    """Return whether bytes are missing at the end, by the structure of the file."""
    check = _ENDS_EARLY.get(image_format)
    return check is not None and check(data)


def gif_frames(data: bytes) -> int:
    """Return how many frames a GIF has, by its structure."""
    if len(data) < 13:
        return 0
    position, count = 13 + _gif_palette_bytes(data[10]), 0
    while position < len(data):
        kind = data[position]
        if kind == 0x2C and position + 10 <= len(data):
            count += 1
            # The image's place and size, its palette, and the first size of its codes.
            position += 11 + _gif_palette_bytes(data[position + 9])
        elif kind == 0x21:
            position += 2
        else:
            # The end, or bytes between the blocks, which Pillow passes over.
            if kind == 0x3B:
                break
            position += 1
            continue
        position = _after_gif_blocks(data, position)
    return count


# How the pixels of a JPEG are coded, by the marker of its frame.
_RARE_JPEGS = {
    0xC3: "a lossless JPEG",
    0xC5: "a hierarchical JPEG",
    0xC6: "a hierarchical JPEG",
    0xC7: "a lossless JPEG",
    0xCB: "a lossless JPEG",
    0xCD: "a hierarchical JPEG",
    0xCE: "a hierarchical JPEG",
    0xCF: "a lossless JPEG",
    0xF7: "a JPEG-LS image",
}
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)

# An ImageSpatialExtents box: its length, its name, version and flags; then width and height.
_SIZE_BOX = re.compile(rb"\0\0\0\x14ispe\0\0\0\0(?=.{8})", re.DOTALL)


def _is_canon_raw(data: bytes) -> bool:
    return data[:4] == b"II*\0" and data[8:10] == b"CR"


def _is_tga(data: bytes) -> bool:
    """Return whether a header is possible: TGA has no first bytes of its own."""
    if data[-18:] == b"TRUEVISION-XFILE.\0":
        return True
    if len(data) < 18:
        return False
    has_palette, kind, n_colours, colour_bits, width, height, bits = struct.unpack_from(
        "<xBBxxHB4xHHB", data
    )
    if not (width and height):
        return False
    if kind in (1, 9):
        return has_palette == 1 and n_colours > 0 and colour_bits in (15, 16, 24, 32) and bits == 8
    return has_palette == 0 and (
        (kind in (2, 10) and bits in (15, 16, 24, 32)) or (kind in (3, 11) and bits in (8, 16))
    )


def _is_svg(data: bytes) -> bool:
    head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return head.startswith(b"<svg") or (head.startswith(b"<?xml") and b"<svg" in head)


def _iso_brands(data: bytes) -> set[bytes]:
    """Return the brands of a file in the ISO base media format; empty for other files."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 512, len(data))
    return {data[8:12]} | {data[start : start + 4] for start in range(16, end - 3, 4)}


def _rare_jpeg(data: bytes) -> str | None:
    position = 2
    # Segments up to the one that says how the image is coded.
    while position + 5 <= len(data) and data[position] == 0xFF:
        marker, length, bits = struct.unpack_from(">xBHB", data, position)
        if marker in _RARE_JPEGS:
            return _RARE_JPEGS[marker]
        if marker in _JPEG_FRAMES:
            return f"a JPEG of {bits} bits a colour" if bits != 8 else None
        position += 2 + length
    return None


def _rare_bmp(data: bytes) -> str | None:
    if len(data) < 34 or int.from_bytes(data[14:18], "little") < 40:
        return None
    compressed = {4: "a BMP that holds a JPEG", 5: "a BMP that holds a PNG"}
    return compressed.get(int.from_bytes(data[30:34], "little"))


def _rare_png(data: bytes) -> str | None:
    return "a PNG in the form that only iPhones read" if data[12:16] == b"CgBI" else None


def _jpeg_ends_early(data: bytes) -> bool:
    return b"\xff\xd9" not in data[2:]


def _png_ends_early(data: bytes) -> bool:
    position = 8
    while position + 12 <= len(data):
        length, chunk = struct.unpack(">I4s", data[position : position + 8])
        if chunk == b"IEND":
            return False
        position += 12 + length
    return True


def _riff_ends_early(data: bytes) -> bool:
    return len(data) < 12 or len(data) < 8 + int.from_bytes(data[4:8], "little")


def _iso_ends_early(data: bytes) -> bool:
    position = 0
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if length == 0:
            return False
        if length == 1:
            length = int.from_bytes(data[position + 8 : position + 16], "big")
        if length < 8:
            return False
        position += length
    return position != len(data)


def _bmp_ends_early(data: bytes) -> bool:
    return len(data) < int.from_bytes(data[2:6], "little")


def _gif_palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_gif_blocks(data: bytes, position: int) -> int:
    """Return the place after blocks, each with its length before it and an empty one at the end."""
    while position < len(data) and data[position]:
        position += 1 + data[position]
    return position + 1


def _gif_ends_early(data: bytes) -> bool:
    return b";" not in data[-32:]


_ENDS_EARLY: dict[str, Callable[[bytes], bool]] = {
    "JPEG": _jpeg_ends_early,
    "PNG": _png_ends_early,
    "WEBP": _riff_ends_early,
    "HEIF": _iso_ends_early,
    "AVIF": _iso_ends_early,
    "BMP": _bmp_ends_early,
    "GIF": _gif_ends_early,
}

_RARE_KINDS: dict[str, Callable[[bytes], str | None]] = {
    "JPEG": _rare_jpeg,
    "PNG": _rare_png,
    "BMP": _rare_bmp,
}
