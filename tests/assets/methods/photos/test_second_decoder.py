import threading
import time

import numpy as np
import pytest
import pyvips
from PIL import Image

from assets.methods.photos import second_decoder
from assets.methods.photos.decode import decode, decode_image
from assets.methods.photos.opened_file import DecodeLimits
from assets.methods.photos.rejects import Reason, Rejected
from assets.methods.photos.second_decoder import Refused, SecondDecoder, TooSlow
from support.odd_files import avif_with_two_associations, sound_files, with_chunk
from support.photos import encoded, photo, png_bomb, png_chunk, scene

# What Pillow refuses, and browsers show.
REFUSED_BY_PILLOW = [
    "checksum-of-text.png",
    "no-end-marker.jpg",
    "no-end-marker-progressive.jpg",
    "two-associations.avif",
]


@pytest.mark.parametrize("name", REFUSED_BY_PILLOW)
def test_what_browsers_show_is_shown(name):
    data = sound_files()[name]
    decoded = decode(data, DecodeLimits())
    size = decoded.working_copy.size
    image = decode_image(data, DecodeLimits())
    assert (decoded.width, decoded.height) == image.size
    assert decoded.format == {"png": "PNG", "jpg": "JPEG", "avif": "AVIF"}[name.split(".")[1]]
    if name != "two-associations.avif":
        difference = np.asarray(decoded.working_copy).astype(int) - np.asarray(scene(*size))
        assert np.abs(difference).mean() < 5


def test_alpha_is_that_of_the_file():
    shown = decode_image(avif_with_two_associations(), DecodeLimits())
    upper, lower = (np.asarray(shown)[row].astype(int) for row in (0, -1))
    # Transparent at the top, where the ground is seen, and opaque at the bottom.
    assert np.abs(upper - 128).max() < 5
    assert np.abs(lower - np.asarray(scene())[-1]).mean() < 15


# AVIF's colours are of half the size, and each library has its own way to enlarge them.
@pytest.mark.parametrize(
    ("image_format", "tolerance"),
    [("JPEG", 1), ("PNG", 0), ("WEBP", 1), ("GIF", 0), ("TIFF", 0), ("AVIF", 10)],
)
def test_it_decodes_what_pillow_decodes(image_format, tolerance):
    decoded, note = SecondDecoder(photo(image_format), image_format).decode()
    expected = np.asarray(decode_image(photo(image_format), DecodeLimits())).astype(int)
    assert np.abs(np.asarray(decoded) - expected).mean() <= tolerance
    assert note is None


def test_the_orientation_and_the_time_are_those_of_the_file():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2024:05:01 12:34:56"
    data = encoded(scene(60, 40), "JPEG", exif=exif)[:-2]
    decoded = decode(data, DecodeLimits())
    assert (decoded.width, decoded.height) == decoded.working_copy.size == (40, 60)
    assert decoded.taken_at == "2024-05-01T12:34:56"
    whole = decode(data + b"\xff\xd9", DecodeLimits())
    assert decoded.phash == whole.phash


def test_missing_pixels_are_never_made_up():
    jpeg = photo("JPEG", width=300, height=200)
    for n_missing in (3, 4, 10, 100, 1000):
        with pytest.raises(Rejected) as refusal:
            decode(jpeg[:-n_missing], DecodeLimits())
        assert refusal.value.reason == Reason.TRUNCATED


def test_a_format_it_has_no_loader_for():
    with pytest.raises(Refused):
        SecondDecoder(photo("BMP"), "BMP")


def test_a_file_cannot_pass_for_another_format():
    for image_format in ("JPEG", "WEBP", "GIF", "TIFF", "HEIF", "AVIF"):
        with pytest.raises(Refused):
            SecondDecoder(photo("PNG"), image_format).decode()


def test_loaders_for_files_that_are_trusted_are_off():
    SecondDecoder(photo("PNG"), "PNG")
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    with pytest.raises(pyvips.Error, match="block"):
        pyvips.Image.svgload_buffer(drawing)


def test_pixels_are_counted_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(SecondDecoder, "decode", None)
    wrong = bytearray(png_chunk(b"tEXt", b"k\0v"))
    wrong[-1] ^= 1
    bomb = png_bomb(60_000, 60_000)
    with pytest.raises(Rejected) as refusal:
        decode(bomb[:33] + bytes(wrong) + bomb[33:], DecodeLimits())
    assert refusal.value.reason == Reason.TOO_LARGE
    assert "60,000 x 60,000 px" in refusal.value.detail


def test_a_decoder_that_hangs_holds_up_nothing(monkeypatch):
    monkeypatch.setattr(second_decoder, "SECONDS", 0.05)
    hangs = threading.Event()
    stopped = []
    second = SecondDecoder(photo("PNG"), "PNG")
    monkeypatch.setattr(second, "_image", Hanging(hangs, stopped))
    begun = time.monotonic()
    with pytest.raises(TooSlow):
        second.decode()
    assert time.monotonic() - begun < 5
    assert stopped == [True]
    hangs.set()


class Hanging:
    """Stands for an image of libvips whose decoder does not end."""

    def __init__(self, event, stopped):
        self._event, self._stopped = event, stopped

    def numpy(self):
        self._event.wait(30)

    def set_kill(self, kill):
        self._stopped.append(kill)


def test_a_photo_that_takes_too_long_is_too_large(monkeypatch):
    def slow(self):
        raise TooSlow

    monkeypatch.setattr(SecondDecoder, "decode", slow)
    with pytest.raises(Rejected) as refusal:
        decode(sound_files()["no-end-marker.jpg"], DecodeLimits())
    assert refusal.value.reason == Reason.TOO_LARGE
    assert refusal.value.detail == "Decoding this JPEG takes more than 60 s."


def test_libvips_stops_when_it_is_told_to():
    second = SecondDecoder(png_bomb_of_grey(3000), "PNG")
    second._image.set_kill(True)
    with pytest.raises(Refused):
        second.decode()


def png_bomb_of_grey(side: int) -> bytes:
    return encoded(Image.new("L", (side, side)))


def test_large_texts_and_profiles_are_no_damage():
    for name in ("text-2-mb.png", "text-2-mb-international.png", "profile-2-mb.png"):
        found = decode(sound_files()[name], DecodeLimits())
        assert found.phash == decode(photo("PNG"), DecodeLimits()).phash


def test_a_damaged_chunk_that_is_needed_is_damage():
    data = bytearray(photo("PNG"))
    data[29] ^= 255
    with pytest.raises(Rejected) as refusal:
        decode(bytes(data), DecodeLimits())
    assert refusal.value.reason == Reason.UNREADABLE
    unknown = bytearray(png_chunk(b"ABCD", b"what is this"))
    with pytest.raises(Rejected):
        decode(with_chunk(bytes(unknown)), DecodeLimits(max_pixels=10))
