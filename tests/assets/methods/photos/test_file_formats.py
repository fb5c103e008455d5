import pytest

from assets.methods.photos.file_formats import (
    declared_size,
    decoded_format,
    ends_early,
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
