import numpy as np
import pytest

from assets.methods.photos.file_formats import (
    declared_size,
    decoded_format,
    ends_early,
    rare_kind,
    undecoded_kind,
)
from support.photos import FORMATS, photo


@pytest.mark.parametrize("image_format", FORMATS)
def test_formats_are_told_from_their_first_bytes(image_format):
    data = photo(image_format)
    assert decoded_format(data[:64]) == image_format
    assert undecoded_kind(b"?" + data) is None


@pytest.mark.parametrize("image_format", FORMATS)
def test_missing_ends(image_format):
    data = photo(image_format, width=300, height=200)
    assert not ends_early(data, image_format)
    # A TIFF may keep its parts in any order.
    assert ends_early(data[: len(data) // 2], image_format) == (image_format != "TIFF")


@pytest.mark.parametrize("image_format", FORMATS)
def test_declared_sizes(image_format):
    # The encoder of HEIF pads to blocks of 64 px.
    expected = {"HEIF": (64, 64), "AVIF": (64, 48)}
    assert declared_size(photo(image_format), image_format) == expected.get(image_format)


@pytest.mark.parametrize(
    ("brands", "image_format", "kind"),
    [
        (b"heic\0\0\0\0mif1heic", "HEIF", None),
        (b"mif1\0\0\0\0mif1heic", "HEIF", None),
        (b"mif1\0\0\0\0mif1avif", "AVIF", None),
        (b"avis\0\0\0\0avis", "AVIF", None),
        (b"mp42\0\0\0\0isom", None, "a video"),
        (b"crx \0\0\0\1crx ", None, "a camera's raw file"),
    ],
)
def test_brands_of_containers(brands, image_format, kind):
    data = (8 + len(brands)).to_bytes(4, "big") + b"ftyp" + brands
    assert decoded_format(data) == image_format
    if kind is not None:
        assert undecoded_kind(data) == kind


def test_random_bytes_are_seldom_a_tga():
    random = np.random.default_rng(0)
    taken = [undecoded_kind(random.bytes(64)) for _ in range(20_000)]
    assert taken.count("a TGA image") == 0
    assert undecoded_kind(b"\0\0\2" + bytes(61)) is None


def test_rare_kinds_are_found_behind_other_segments():
    jpeg = photo("JPEG").replace(b"\xff\xc0", b"\xff\xc3", 1)
    comment = b"\xff\xfe\0\x06\xff\xc5\0\0"
    assert rare_kind(jpeg[:2] + comment + jpeg[2:], "JPEG") == "a lossless JPEG"
    assert rare_kind(jpeg[:20], "JPEG") is None


@pytest.mark.parametrize("image_format", FORMATS)
def test_plain_photos_are_of_no_rare_kind(image_format):
    assert rare_kind(photo(image_format), image_format) is None
