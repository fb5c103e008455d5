import io
import multiprocessing
import resource
import struct
import warnings
import zlib
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile

from assets.methods.photos.decode import (
    DecodedPhoto,
    decode,
    decode_image,
    has_transparent_parts,
    image_id,
)
from assets.methods.photos.opened_file import DecodeLimits
from assets.methods.photos.rejects import Reason, Rejected
from support.odd_files import damaged_files, refused_files, sound_files, tiff
from support.photos import FORMATS, bombs, deep_png, encoded, photo, png_bomb, png_chunk, scene

LIMITS = DecodeLimits()


def reject(data: bytes, limits: DecodeLimits = LIMITS) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decode(data, limits)
    detail = caught.value.detail
    assert detail.endswith(".")
    assert "Traceback" not in detail
    assert "<" not in detail
    return caught.value


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode(data, LIMITS).working_copy).astype(int)


def test_image_id_is_the_sha256_of_the_bytes():
    assert image_id(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_format(image_format):
    decoded = decode(photo(image_format), LIMITS)
    assert (decoded.width, decoded.height, decoded.format) == (64, 48, image_format)
    assert decoded.working_copy.mode == "RGB"
    difference = np.abs(np.asarray(decoded.working_copy).astype(int) - np.asarray(scene()))
    assert difference.mean() < 15


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.97])
def test_cut_short(image_format, share):
    data = photo(image_format, width=300, height=200)
    rejected = reject(data[: int(len(data) * share)])
    assert rejected.reason == Reason.TRUNCATED
    assert "ends after" in rejected.detail


def test_a_tiff_cut_in_its_directory_is_refused():
    data = photo("TIFF")
    assert reject(data[:9]).reason in (Reason.TRUNCATED, Reason.UNREADABLE)


def test_first_frame_of_animations():
    red, blue = Image.new("RGB", (16, 16), (255, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 255))
    for image_format in ("GIF", "PNG", "WEBP"):
        data = encoded(red, image_format, save_all=True, append_images=[blue])
        assert pixels(data)[8, 8] == pytest.approx([255, 0, 0], abs=3)


def test_first_page_of_a_tiff():
    pages = [Image.new("L", (16, 16), value) for value in (200, 10)]
    assert pixels(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])).mean() == 200


# Modes


def test_sixteen_bit_grey_keeps_its_scale():
    grey = np.full((16, 16), 128 * 257, dtype=np.uint16)
    grey[:8] = 3 * 257
    for data in (
        encoded(Image.fromarray(grey), "PNG"),
        encoded(Image.fromarray(grey), "TIFF"),
        tiff(grey.astype(">u2"), byteorder=">"),
    ):
        assert (pixels(data)[:8] == 3).all()
        assert (pixels(data)[8:] == 128).all()


def test_sixteen_bit_colour_keeps_its_scale():
    colour = np.broadcast_to(np.array([10, 100, 250], np.uint16) * 257, (16, 16, 3))
    assert (pixels(tiff(colour, photometric="rgb")) == [10, 100, 250]).all()
    planes = np.moveaxis(colour, 2, 0)
    planar = tiff(planes, photometric="rgb", planarconfig="separate")
    assert (pixels(planar) == [10, 100, 250]).all()


GREY = np.arange(4096, dtype=np.uint16).reshape(64, 64)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_grey_of_few_bits_in_16(bits, image_format):
    grey = np.linspace(0, 2**bits - 1, 256).astype(np.uint16).reshape(16, 16)
    decoded = decode(encoded(Image.fromarray(grey), image_format), LIMITS)
    assert (np.asarray(decoded.working_copy)[..., 0] == grey >> (bits - 8)).all()
    assert (decoded.note is None) == (bits == 16)


@pytest.mark.parametrize("dtype", [np.int16, np.uint32, np.int32, np.float32])
def test_grey_of_any_kind_follows_one_rule(dtype):
    decoded = decode(tiff(GREY.astype(dtype)), LIMITS)
    assert (np.asarray(decoded.working_copy)[..., 0] == GREY >> 4).all()
    assert decoded.note == (
        "The file does not say which value is white; its values are from 0 to 4,095, and 0 is shown"
        " as black and 4,095 as white."
    )


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_the_lowest_negative_value_is_black(dtype):
    decoded = decode(tiff(GREY.astype(dtype) - 1024), LIMITS)
    assert (np.asarray(decoded.working_copy)[..., 0] == GREY >> 4).all()
    assert "-1,024 is shown as black and 3,071 as white" in str(decoded.note)


def test_signed_grey_of_8_bits():
    grey = np.arange(-128, 128, dtype=np.int8).reshape(16, 16)
    assert (pixels(tiff(grey))[..., 0] == np.arange(256).reshape(16, 16)).all()


def test_large_unsigned_grey_of_32_bits():
    grey = np.linspace(0, 2**32 - 1, 256).astype(np.uint32).reshape(16, 16)
    assert (pixels(tiff(grey))[..., 0] == grey >> 24).all()


def test_grey_that_a_tiff_says_to_have_12_bits():
    values = np.arange(512, dtype=np.uint16).reshape(16, 32)
    first, second = values.ravel()[::2], values.ravel()[1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1)
    data = tiff(packed.astype(np.uint8).reshape(16, 48))
    for tag, old, new in ((258, 8, 12), (256, 48, 32)):
        for kind, pack in ((3, "<HHIHH"), (4, "<HHII")):
            fields = struct.pack(pack, tag, kind, 1, old, *[0] * (kind == 3))
            data = data.replace(fields, struct.pack(pack, tag, kind, 1, new, *[0] * (kind == 3)))
    decoded = decode(data, LIMITS)
    assert (np.asarray(decoded.working_copy)[..., 0] == values >> 4).all()
    assert decoded.note is None


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colours_of_12_bits_in_16(mode):
    data = deep_png(GREY, mode)
    decoded = decode(data, LIMITS)
    assert (np.asarray(decoded.working_copy) == (GREY >> 4)[..., None]).all()
    assert "4,095 as white" in str(decoded.note)
    assert (np.asarray(picture(data)) == (GREY >> 4)[..., None]).all()


def test_colours_of_12_bits_in_a_tiff():
    decoded = decode(tiff(np.stack([GREY] * 3, axis=2), photometric="rgb"), LIMITS)
    assert (np.asarray(decoded.working_copy) == (GREY >> 4)[..., None]).all()
    assert "4,095 as white" in str(decoded.note)


def test_black_colours_of_16_bits_are_black():
    decoded = decode(deep_png(GREY * 0, "RGB"), LIMITS)
    assert (np.asarray(decoded.working_copy) == 0).all()
    assert decoded.note is None


def test_float_tiff():
    unit = np.linspace(0.2, 0.6, 256, dtype=np.float32).reshape(16, 16)
    decoded = decode(tiff(unit), LIMITS)
    assert (np.asarray(decoded.working_copy)[..., 0] == np.rint(unit * 255)).all()
    assert decoded.note is None
    bright = np.linspace(0, 3, 256, dtype=np.float32).reshape(16, 16)
    bright[0, 0] = np.nan
    bright[0, 1] = np.inf
    expected = np.rint(bright * 85)
    expected[0, :2] = 0
    assert (pixels(tiff(bright))[..., 0] == expected).all()


def test_palette_bilevel_and_cmyk():
    image = Image.new("RGB", (16, 16), (200, 30, 60))
    for image_format in ("PNG", "TIFF", "GIF"):
        assert (pixels(encoded(image.quantize(8), image_format)) == [200, 30, 60]).all()
    assert (pixels(encoded(Image.new("1", (16, 16), 1), "TIFF")) == 255).all()
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for image_format in ("TIFF", "JPEG"):
        assert pixels(encoded(cmyk, image_format))[8, 8] == pytest.approx([255, 0, 0], abs=3)


def test_lab():
    lab = Image.merge("LAB", [Image.new("L", (16, 16), value) for value in (136, 128, 128)])
    red, green, blue = pixels(encoded(lab, "TIFF"))[8, 8]
    assert max(red, green, blue) - min(red, green, blue) <= 3


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
def test_alpha_over_a_neutral_ground(image_format):
    image = Image.new("RGBA", (32, 16), (255, 0, 0, 255))
    image.paste((255, 0, 0, 0), (16, 0, 32, 16))
    result = pixels(
        encoded(image, image_format, **{"lossless": True} if image_format == "WEBP" else {})
    )
    assert (result[8, 2] == [255, 0, 0]).all()
    assert (result[8, 30] == [128, 128, 128]).all()


def test_half_transparent_pixels():
    half = Image.new("RGBA", (16, 16), (255, 0, 0, 128))
    assert pixels(encoded(half))[8, 8] == pytest.approx([192, 64, 64], abs=1)
    grey = Image.new("LA", (16, 16), (255, 128))
    assert pixels(encoded(grey))[8, 8] == pytest.approx([192, 192, 192], abs=1)


def test_transparent_palette_entries():
    image = Image.new("P", (16, 16), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    for image_format in ("PNG", "GIF"):
        assert (pixels(encoded(image, image_format, transparency=0)) == 128).all()


# Upright


def corners(array: np.ndarray) -> list[str]:
    names = {
        (255, 0, 0): "red",
        (0, 255, 0): "green",
        (0, 0, 255): "blue",
        (255, 255, 255): "white",
    }
    spots = [array[2, 2], array[2, -3], array[-3, -3], array[-3, 2]]
    return [names[tuple(np.where(spot > 127, 255, 0).tolist())] for spot in spots]


# The stored corners, from the top left clockwise, of what is seen as red, green, blue, white.
STORED = {
    1: "red green blue white",
    2: "green red white blue",
    3: "blue white red green",
    4: "white blue green red",
    5: "red white blue green",
    6: "green blue white red",
    7: "blue green red white",
    8: "white red green blue",
}


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(image_format, orientation):
    size = (48, 32) if orientation < 5 else (32, 48)
    stored = Image.new("RGB", size)
    boxes = [(0, 0), (size[0] // 2, 0), (size[0] // 2, size[1] // 2), (0, size[1] // 2)]
    for name, corner in zip(STORED[orientation].split(), boxes, strict=True):
        colour = {"green": (0, 255, 0)}.get(name, name)
        stored.paste(colour, (*corner, corner[0] + size[0] // 2, corner[1] + size[1] // 2))
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encoded(stored, image_format, exif=exif), LIMITS)
    assert (decoded.width, decoded.height) == (48, 32)
    assert decoded.working_copy.size == (48, 32)
    assert corners(np.asarray(decoded.working_copy)) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("image_format", ["HEIF", "AVIF"])
def test_orientation_of_containers(image_format):
    stored = Image.new("RGB", (64, 32), "white")
    stored.paste("red", (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode(encoded(stored, image_format, exif=exif.tobytes()), LIMITS)
    assert (decoded.width, decoded.height) == (32, 64)
    result = np.asarray(decoded.working_copy).astype(int)
    assert result[8, 16] == pytest.approx([255, 0, 0], abs=30)
    assert result[56, 16] == pytest.approx([255, 255, 255], abs=30)


def test_broken_exif_is_no_reason_to_refuse_a_photo():
    data = encoded(scene(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert decode(data, LIMITS).taken_at is None


@pytest.mark.parametrize(
    ("moment", "offset", "expected"),
    [
        ("2024:05:01 12:34:56", None, "2024-05-01T12:34:56"),
        ("2024:05:01 12:34:56", "+02:00", "2024-05-01T12:34:56+02:00"),
        ("0000:00:00 00:00:00", None, None),
        ("yesterday", None, None),
    ],
)
def test_taken_at(moment, offset, expected):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = moment
    if offset:
        exif.get_ifd(0x8769)[0x9011] = offset
    assert decode(encoded(scene(), "JPEG", exif=exif), LIMITS).taken_at == expected


# Colours


def gamma_profile() -> bytes:
    """A profile with sRGB's colours but a linear scale, so that 50 % grey becomes 188."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", profile, 128)[0]
    for entry in range(count):
        tag, start, _ = struct.unpack_from(">4sII", profile, 132 + 12 * entry)
        if tag in (b"rTRC", b"gTRC", b"bTRC"):
            # A curve without points is the identity.
            profile[start : start + 12] = b"curv" + bytes(8)
    return bytes(profile)


def test_icc_profile_to_srgb():
    image = Image.new("RGB", (16, 16), (128, 0, 255))
    result = pixels(encoded(image, "PNG", icc_profile=gamma_profile()))
    assert result[8, 8] == pytest.approx([188, 0, 255], abs=2)


def test_icc_profile_under_alpha():
    image = Image.new("RGBA", (16, 16), (128, 128, 128, 255))
    result = pixels(encoded(image, "PNG", icc_profile=gamma_profile()))
    assert result[8, 8] == pytest.approx([188, 188, 188], abs=2)


@pytest.mark.parametrize("profile", [b"no profile at all", gamma_profile()[:200]])
def test_broken_profile_is_ignored(profile):
    image = Image.new("RGB", (16, 16), (128, 0, 255))
    assert (pixels(encoded(image, "PNG", icc_profile=profile))[8, 8] == [128, 0, 255]).all()


def test_profile_of_another_colour_model_is_ignored():
    data = encoded(Image.new("L", (16, 16), 90), "PNG", icc_profile=gamma_profile())
    assert (pixels(data) == 90).all()


# Sizes


@pytest.mark.parametrize(
    ("size", "working"),
    [
        ((1024, 512), (512, 256)),
        ((100, 300), (100, 300)),
        ((300, 256), (300, 256)),
        ((3000, 2000), (384, 256)),
        ((20_000, 300), (4096, 61)),
    ],
)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_working_copy_size(size, working, image_format):
    decoded = decode(encoded(Image.new("RGB", size, "teal"), image_format), LIMITS)
    assert decoded.working_copy.size == working
    assert (decoded.width, decoded.height) == size


def test_the_drafted_jpeg_is_what_full_decoding_gives():
    large = scene(3000, 2000)
    decoded = decode(encoded(large, "JPEG", quality=95), LIMITS)
    expected = np.asarray(large.resize((384, 256), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(np.asarray(decoded.working_copy) - expected).mean() < 2


def tile_bomb() -> bytes:
    """A small TIFF in tiles that are much larger than the picture."""
    tiled = tiff(np.zeros((64, 64), np.uint8), tile=(16, 16), compression="zlib")
    for kind, pack in ((3, "<HHIHH"), (4, "<HHII")):
        old = struct.pack(pack, 322, kind, 1, 16, *[0] * (kind == 3))
        tiled = tiled.replace(old, struct.pack("<HHII", 322, 4, 1, 2**24))
    return tiled


ALL_BOMBS = {**bombs(), "TIFF tile": tile_bomb()}


@pytest.mark.parametrize("name", ALL_BOMBS)
def test_bombs_are_too_large(name):
    assert reject(ALL_BOMBS[name]).reason == Reason.TOO_LARGE


def decode_and_measure(files: list[bytes]) -> int:
    """The memory in kilobytes that refusing the files takes at most."""
    reject(files[0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for data in files:
        reject(data)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


@pytest.mark.process
def test_bombs_cost_no_memory():
    # In a process of its own, because the measure is the most that a process has ever used.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        assert pool.submit(decode_and_measure, list(ALL_BOMBS.values())).result() < 20_000


def test_the_pixel_limit_is_told():
    rejected = reject(photo(width=100, height=100), DecodeLimits(max_pixels=9_999))
    assert rejected.reason == Reason.TOO_LARGE
    assert rejected.detail == "The photo is 100 x 100 px; at most 9,999 pixels are decoded."


def test_pillows_own_limit_is_no_limit_of_ours(monkeypatch):
    # As for a TIFF of 200 megapixels, beyond the 179 of Pillow.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for image_format in ("TIFF", "GIF", "PNG"):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
        lzw = {"compression": "tiff_lzw"} if image_format == "TIFF" else {}
        data = encoded(scene(60, 50), image_format, **lzw)
        assert decode(data, DecodeLimits(max_pixels=3000)).width == 60


def test_between_pillows_warning_and_the_limit_nothing_is_said():
    # 100 megapixels: Pillow would warn at 89 and refuse at 179; the data is missing.
    assert reject(png_bomb(10_000, 10_000)).reason != Reason.TOO_LARGE


def test_too_small():
    assert reject(photo(width=7, height=100)).reason == Reason.TOO_SMALL
    assert reject(photo(width=8, height=8), DecodeLimits(min_side=9)).reason == Reason.TOO_SMALL
    assert isinstance(decode(photo(width=8, height=8), LIMITS), DecodedPhoto)


# Other refusals


def test_empty():
    assert reject(b"").reason == Reason.EMPTY


@pytest.mark.parametrize("data", [b"hello\n", b"\0" * 1000, b"PK\3\4 a zip", b"<html>", b"P"])
def test_not_an_image(data):
    assert reject(data).reason == Reason.NOT_AN_IMAGE


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"%PDF-1.7\n", "PDF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"\xef\xbb\xbf<SVG>", "SVG"),
        (b"8BPS\0\1", "Photoshop"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "video"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "raw"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(20), "raw"),
        (b"RIFF\0\0\0\0AVI LIST", "video"),
        (b"\x1aE\xdf\xa3", "video"),
        (b"\0\0\1\0\1\0", "icon"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"P6\n8 8\n255\n" + bytes(192), "Netpbm"),
        (bytes(128) + b"DICM", "DICOM"),
    ],
)
def test_unsupported(data, kind):
    rejected = reject(data)
    assert rejected.reason == Reason.UNSUPPORTED
    assert kind in rejected.detail


def test_raw_files_in_a_tiffs_clothes():
    grey = np.zeros((16, 16), np.uint8)
    dng = tiff(grey, extratags=[(50706, "B", 4, (1, 4, 0, 0), True)])
    preview = io.BytesIO()
    with tifffile.TiffWriter(preview) as writer:
        writer.write(grey, subfiletype=1, subifds=1)
        writer.write(grey)
    for data in (dng, preview.getvalue()):
        assert "raw file" in reject(data).detail


@pytest.mark.parametrize("name", refused_files())
def test_unsupported_says_what_the_file_is(name):
    data, kind = refused_files()[name]
    rejected = reject(data)
    assert rejected.reason == Reason.UNSUPPORTED
    assert rejected.detail == f"The file is {kind}, which is not decoded here."


@pytest.mark.parametrize("name", sound_files())
def test_sound_files_are_shown(name):
    assert np.ptp(pixels(sound_files()[name])) > 100


@pytest.mark.parametrize("name", damaged_files())
def test_only_damage_is_called_damage(name):
    assert reject(damaged_files()[name]).reason in (Reason.TRUNCATED, Reason.UNREADABLE)


def test_damaged_grey_of_32_bits_is_damaged():
    data = bytearray(tiff(np.zeros((64, 64), np.float32), compression="zlib"))
    start = data.index(zlib.compress(bytes(64 * 64 * 4))[:4])
    data[start : start + 8] = bytes(8)
    assert reject(bytes(data)).reason == Reason.UNREADABLE


def test_damage_in_the_middle():
    data = bytearray(photo("PNG", width=300, height=200))
    data[2000:2200] = bytes(200)
    assert reject(bytes(data)).reason == Reason.UNREADABLE


def test_a_text_chunk_bomb_is_refused():
    text = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(64 * 2**20 + 1)))
    data = photo()
    assert reject(data[:33] + text + data[33:]).reason == Reason.TOO_LARGE


def test_a_photo_that_takes_more_memory_than_there_is_is_refused(monkeypatch):
    def exhausted(self: Image.Image, *args: object, **kwargs: object) -> None:
        raise MemoryError

    data = photo()
    monkeypatch.setattr(ImageFile.ImageFile, "load", exhausted)
    with pytest.raises(Rejected) as refusal:
        decode(data, LIMITS)
    assert refusal.value.reason == Reason.TOO_LARGE
    assert "more memory than there is" in refusal.value.detail


def test_pillows_warnings_are_not_shown():
    # A tag that should hold one value and holds two makes Pillow warn.
    odd = tiff(np.zeros((16, 16), np.uint8), extratags=[(282, "I", 2, (1, 2), True)])
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        decode(odd, LIMITS)
    assert not shown


def test_threads_decode_the_same():
    data = [photo(image_format, seed) for image_format in FORMATS for seed in range(3)]
    alone = [decode(one, LIMITS).working_copy.tobytes() for one in data]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda one: decode(one, LIMITS).working_copy.tobytes(), data))
    assert alone == together


def test_perceptual_hash_survives_another_encoding():
    hashes = [decode(photo(image_format), LIMITS).phash for image_format in FORMATS]
    assert all(len(text) == 16 for text in hashes)
    assert all((int(text, 16) ^ int(hashes[0], 16)).bit_count() <= 4 for text in hashes)


# The picture at its own size


def picture(data: bytes, limits: DecodeLimits = LIMITS) -> Image.Image:
    decoded = decode_image(data, limits)
    assert decoded.mode == "RGB"
    return decoded


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_photo_that_needs_no_shrinking_is_its_working_copy(image_format):
    data = photo(image_format)
    assert picture(data).tobytes() == decode(data, LIMITS).working_copy.tobytes()


def test_a_large_picture_keeps_its_pixels():
    large = scene(1500, 1000)
    assert picture(encoded(large, "PNG")).tobytes() == large.tobytes()
    jpeg = encoded(large, "JPEG", quality=95)
    with Image.open(io.BytesIO(jpeg)) as expected:
        assert picture(jpeg).tobytes() == expected.convert("RGB").tobytes()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_picture_is_upright(image_format, orientation):
    upright = Image.new("RGB", (600, 400), "white")
    for colour, corner in (("red", (0, 0)), ((0, 255, 0), (300, 0)), ("blue", (300, 200))):
        upright.paste(colour, (*corner, corner[0] + 300, corner[1] + 200))
    undo = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    undo |= {2: Image.Transpose.FLIP_LEFT_RIGHT, 4: Image.Transpose.FLIP_TOP_BOTTOM}
    undo |= {3: Image.Transpose.ROTATE_180, 5: Image.Transpose.TRANSPOSE}
    undo |= {7: Image.Transpose.TRANSVERSE}
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = picture(encoded(stored, image_format, exif=exif))
    assert decoded.size == (600, 400)
    assert corners(np.asarray(decoded)) == ["red", "green", "blue", "white"]


def test_modes_of_a_large_picture():
    size = (400, 300)
    half = Image.new("RGBA", size, (255, 0, 0, 128))
    grey = np.full(size[::-1], 100 * 257, np.uint16)
    cmyk = Image.new("CMYK", size, (0, 255, 255, 0))
    for data, expected in (
        (encoded(half), [192, 64, 64]),
        (encoded(Image.fromarray(grey)), [100, 100, 100]),
        (encoded(cmyk, "JPEG"), [255, 0, 0]),
        (encoded(Image.new("L", size, 90)), [90, 90, 90]),
    ):
        decoded = picture(data)
        assert decoded.size == size
        assert decoded.getpixel((200, 150)) == pytest.approx(expected, abs=3)


def test_a_picture_in_srgb_does_not_carry_the_profile_on():
    image = Image.new("RGB", (300, 300), (128, 0, 255))
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    data = encoded(image, "PNG", icc_profile=gamma_profile(), exif=exif)
    decoded = picture(data)
    assert decoded.getpixel((8, 8)) == pytest.approx([188, 0, 255], abs=2)
    again = encoded(decoded, "PNG")
    assert decode(again, LIMITS).working_copy.getpixel((8, 8)) == decoded.getpixel((8, 8))
    assert b"iCCP" not in again
    assert b"where I live" not in again


def truncated() -> bytes:
    data = photo("JPEG", width=300, height=200)
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"hello\n", Reason.NOT_AN_IMAGE),
        (b"%PDF-1.7\n", Reason.UNSUPPORTED),
        (truncated(), Reason.TRUNCATED),
        (photo(width=7, height=100), Reason.TOO_SMALL),
        *((bomb, Reason.TOO_LARGE) for bomb in ALL_BOMBS.values()),
    ],
    ids=lambda value: value.name if isinstance(value, Reason) else "",
)
def test_a_picture_is_refused_as_a_working_copy_is(data, reason):
    with pytest.raises(Rejected) as caught:
        decode_image(data, LIMITS)
    assert caught.value.reason == reason
    assert caught.value.detail == reject(data).detail


def test_a_picture_of_one_pixel_where_the_limits_allow_it():
    assert picture(photo(width=1, height=1), DecodeLimits(min_side=1)).size == (1, 1)


def test_the_pixel_limit_of_a_picture_is_checked_before_decoding():
    with pytest.raises(Rejected) as caught:
        decode_image(png_bomb(100, 100), DecodeLimits(max_pixels=9_999))
    assert caught.value.reason == Reason.TOO_LARGE


# Anything at all


def only_rejects(data: bytes) -> None:
    with suppress(Rejected):
        decode(data, DecodeLimits(max_pixels=1_000_000))
    with suppress(Rejected):
        decode_image(data, DecodeLimits(max_pixels=1_000_000))


@settings(max_examples=100)
@given(st.binary(max_size=200), st.sampled_from(FORMATS))
def test_random_bytes_never_raise_anything_else(tail, image_format):
    only_rejects(tail)
    only_rejects(photo(image_format)[:16] + tail)


@pytest.mark.parametrize("image_format", FORMATS)
@settings(max_examples=60)
@given(changes=st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=8))))
def test_changed_photos_never_raise_anything_else(image_format, changes):
    data = bytearray(photo(image_format))
    for position, patch in changes:
        start = position % len(data)
        data[start : start + len(patch)] = patch
    only_rejects(bytes(data))


def transparent(mode: str, image_format: str, alpha: int) -> bytes:
    """An image of which one pixel has ``alpha``, and all others are opaque."""
    image = scene().convert("RGBA")
    image.putpixel((5, 5), (9, 9, 9, alpha))
    return encoded(image.convert(mode), image_format)


@pytest.mark.parametrize(
    ("mode", "image_format"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF")]
)
def test_transparent_parts_are_found_where_a_pixel_is_not_opaque(mode, image_format):
    assert has_transparent_parts(transparent(mode, image_format, 200), LIMITS)
    assert not has_transparent_parts(transparent(mode, image_format, 255), LIMITS)


def test_a_transparent_entry_of_a_palette_counts_where_it_is_used():
    for level, expected in ((3, True), (200, False)):
        image = Image.new("P", (20, 20), 3)
        image.putpalette([number for number in range(256) for _ in range(3)])
        assert has_transparent_parts(encoded(image, "PNG", transparency=level), LIMITS) is expected


def test_a_frame_of_an_animation_may_be_transparent_alone():
    frames = [Image.new("RGBA", (20, 20), (9, 90, 200, alpha)) for alpha in (255, 0)]
    data = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert [has_transparent_parts(data, LIMITS, frame) for frame in (0, 1)] == [False, True]


@pytest.mark.parametrize("image_format", FORMATS)
def test_photos_without_alpha_are_not_transparent(image_format):
    assert not has_transparent_parts(photo(image_format), LIMITS)
