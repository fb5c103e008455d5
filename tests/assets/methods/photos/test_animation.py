import io
import struct
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from assets.methods.common.errors import UserError
from assets.methods.photos.animation import (
    Animation,
    Frame,
    is_uniform,
    parse_frames,
    scored_numbers,
    spread,
)
from assets.methods.photos.decode import decode, decode_frames, decode_image, frames_in
from assets.methods.photos.opened_file import DecodeLimits
from assets.methods.photos.rejects import Reason, Rejected
from support.photos import encoded, png_chunk, scene

LIMITS = DecodeLimits()
WHITE = Image.new("RGB", (64, 48), "white")
# Of each format, options that keep frames apart and say when they are shown.
ANIMATED = {
    "GIF": {"duration": 100},
    "WEBP": {"duration": 100, "lossless": True},
    "PNG": {"duration": 100},
    "AVIF": {"duration": 100},
}


def animated(frames: list[Image.Image], image_format: str = "GIF", **options: object) -> bytes:
    return encoded(
        frames[0],
        image_format,
        save_all=True,
        append_images=frames[1:],
        **ANIMATED[image_format],
        **options,
    )


def scenes(n: int) -> list[Image.Image]:
    return [scene(seed=seed) for seed in range(n)]


def frames_of(
    data: bytes, wanted: int | None = 8, **limits: Any
) -> tuple[Animation, dict[int, Image.Image]]:
    kept: dict[int, Image.Image] = {}
    found = decode_frames(
        data, LIMITS, wanted, lambda frame, copy: kept.update({frame.number: copy}), **limits
    )
    assert list(kept) == sorted(kept) or found.n_read < found.n_frames
    return found, kept


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).mean())


@pytest.mark.parametrize("image_format", ANIMATED)
def test_a_blank_first_frame_is_not_what_stands_for_the_animation(image_format):
    decoded = decode(animated([WHITE, WHITE.copy(), *scenes(3)], image_format), LIMITS)
    # Encoders join frames that are alike.
    assert decoded.n_frames == (5 if image_format == "AVIF" else 4)
    assert decoded.shown == decoded.n_frames - 3
    assert difference(decoded.working_copy, scene(seed=0)) < 12
    assert (decoded.width, decoded.height) == (64, 48)


@pytest.mark.parametrize("image_format", ANIMATED)
def test_frames_are_spread_over_the_whole_length(image_format):
    pictures = scenes(20)
    found, kept = frames_of(animated(pictures, image_format))
    # 19 intervals in 7 steps.
    assert list(kept) == [0, 3, 5, 8, 11, 14, 16, 19]
    assert [frame.seconds for frame in found.kept] == [
        pytest.approx(number / 10) for number in kept
    ]
    assert (found.n_frames, found.n_read, found.note) == (20, 20, None)
    for number, copy in kept.items():
        assert difference(copy, pictures[number]) < 12
        others = [difference(copy, picture) for picture in pictures]
        assert int(np.argmin(others)) == number


@pytest.mark.parametrize("image_format", ANIMATED)
def test_a_frame_that_is_read_alone_has_the_pixels_that_it_has_among_others(image_format):
    data = animated([WHITE, *scenes(5)], image_format)
    for number, copy in frames_of(data, None)[1].items():
        alone = decode(data, LIMITS, number)
        assert alone.shown == number
        assert alone.working_copy.tobytes() == copy.tobytes()


def test_the_frame_that_a_map_shows_is_scored_as_well():
    found, kept = frames_of(animated([WHITE, *scenes(9)]), 2)
    assert found.shown == 1
    assert list(kept) == [0, 1, 9]


def test_all_frames_and_one():
    data = animated([WHITE, *scenes(12)])
    assert list(frames_of(data, None)[1]) == list(range(13))
    assert list(frames_of(data, 1)[1]) == [1]


def test_a_still_photo_of_each_format_has_one_frame():
    for image_format in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF"):
        data = encoded(scene(), image_format)
        assert frames_in(data, LIMITS) == decode(data, LIMITS).n_frames == 1
    assert frames_in(b"not an image", LIMITS) == 1


def test_pages_and_the_images_of_a_heic_are_no_animation():
    pages = encoded(WHITE, "TIFF", save_all=True, append_images=scenes(2))
    heic = io.BytesIO()
    burst = pillow_heif.from_pillow(WHITE)
    burst.add_from_pillow(scene())
    burst.save(heic, quality=90)
    for data in (pages, heic.getvalue()):
        decoded = decode(data, LIMITS)
        assert (decoded.n_frames, decoded.shown) == (1, 0)
        assert is_uniform(decoded.working_copy)


def test_faint_noise_and_a_few_pixels_are_still_uniform():
    random = np.random.default_rng(0)
    noise = 250 + random.integers(-4, 5, (48, 64, 3))
    noise[:2, :5] = 0
    assert is_uniform(Image.fromarray(noise.astype(np.uint8)))
    noise[:24] -= 40
    assert not is_uniform(Image.fromarray(noise.astype(np.uint8)))
    data = animated([Image.fromarray(noise.astype(np.uint8)), *scenes(2)], "PNG")
    assert decode(data, LIMITS).shown == 0


def test_when_every_frame_is_uniform_the_first_is_shown():
    data = animated([Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")])
    decoded = decode(data, LIMITS)
    assert decoded.shown == 0
    assert decoded.working_copy.getpixel((8, 8)) == (255, 0, 0)


def test_the_still_image_of_a_png_is_scored_and_not_shown():
    pictures = scenes(3)
    data = encoded(
        WHITE, "PNG", save_all=True, append_images=pictures, default_image=True, duration=200
    )
    decoded = decode(data, LIMITS)
    assert (decoded.n_frames, decoded.shown) == (4, 1)
    assert difference(decoded.working_copy, pictures[0]) == 0
    found, kept = frames_of(data)
    assert difference(kept[0], WHITE) == 0
    assert [frame.seconds for frame in found.kept] == [None, 0.0, 0.2, 0.4]
    # All is uniform, but the still image is no frame that a browser shows.
    colours = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    blank = encoded(colours[0], "PNG", save_all=True, append_images=colours[1:], default_image=True)
    assert decode(blank, LIMITS).working_copy.getpixel((8, 8)) == (0, 0, 255)


def gif(size: tuple[int, int], *frames: tuple[tuple[int, int, int, int], int, int]) -> bytes:
    """A GIF of the colours 0 transparent, 1 red, 2 lime, 3 blue; frames: box, colour, disposal."""
    data = b"GIF89a" + struct.pack("<HHBBB", *size, 0x81, 0, 0)
    data += bytes([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    for (left, upper, right, lower), colour, disposal in frames:
        data += b"\x21\xf9\x04" + struct.pack("<BHBB", disposal << 2 | 1, 10, 0, 0)
        image = Image.new("P", (right - left, lower - upper), colour)
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
        one = encoded(image, "GIF", optimize=False)
        start = one.index(b"\x2c", 13 + (3 << ((one[10] & 7) + 1)))
        box = struct.pack("<HHHHB", left, upper, right - left, lower - upper, 0)
        data += b"\x2c" + box + one[start + 10 : -1]
    return data + b";"


def test_frames_of_a_gif_are_drawn_on_what_the_one_before_left():
    whole, left, right = (0, 0, 16, 8), (0, 0, 8, 8), (8, 0, 16, 8)
    keep, clear, restore = 1, 2, 3
    data = gif((16, 8), (whole, 1, keep), (left, 2, clear), (right, 3, restore), (left, 0, keep))
    _, kept = frames_of(data, None)
    corners = {
        number: (copy.getpixel((2, 4)), copy.getpixel((13, 4))) for number, copy in kept.items()
    }
    red, lime, blue, ground = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)
    assert corners == {
        0: (red, red),
        1: (lime, red),
        # The second frame is cleared to nothing, which lies on neutral grey.
        2: (ground, blue),
        # The third is undone, and the fourth is transparent.
        3: (ground, red),
    }


def test_a_frame_that_is_larger_than_its_gif_is_cut():
    data = gif((16, 8), ((0, 0, 16, 8), 1, 1), ((0, 0, 8, 8), 2, 1), ((0, 0, 64, 64), 3, 1))
    found, kept = frames_of(data, None)
    assert {copy.size for copy in kept.values()} == {(16, 8)}
    assert found.n_read == 3
    assert decode_image(data, LIMITS, frame=2).size == (16, 8)


@pytest.mark.parametrize("image_format", ["GIF", "PNG"])
def test_frames_before_the_damage_are_read_and_the_rest_is_told(image_format):
    data = animated(scenes(20), image_format)
    found, kept = frames_of(data[: int(len(data) * 0.6)])
    assert 10 < found.n_read < 13
    # The frames are spread over what could be read, with its last frame.
    assert set(spread(found.n_read, 8)) <= set(kept)
    assert max(kept) == found.n_read - 1
    assert found.has(8)
    assert found.note == (
        f"Only the first {found.n_read} of {found.n_frames} frames could be read."
    )


def test_a_png_that_declares_more_frames_than_it_has_is_read_to_its_end():
    data = animated(scenes(4), "PNG")
    declared = struct.pack(">II", 4, 0)
    at = data.index(b"acTL")
    assert data[at + 4 : at + 12] == declared
    lying = data[: at - 4] + png_chunk(b"acTL", struct.pack(">II", 5000, 0)) + data[at + 16 :]
    found, kept = frames_of(lying)
    assert (found.n_frames, found.n_read, sorted(kept)) == (5000, 4, [0, 1, 2, 3])


def test_an_animation_whose_first_frame_is_damaged_is_refused():
    data = animated(scenes(3), "PNG")
    broken = data[: data.index(b"IDAT") + 20]
    for read in (decode, lambda data, limits: frames_of(data)):
        with pytest.raises(Rejected) as caught:
            read(broken, LIMITS)
        assert caught.value.reason is Reason.TRUNCATED


def test_pixels_of_all_frames_are_limited():
    data = animated([WHITE, *(Image.new("RGB", (64, 48), (n, 0, 0)) for n in range(29))], "PNG")
    found, kept = frames_of(data, most_pixels=400_000)
    # Each frame counts as 40,000 pixels at least.
    assert (found.n_frames, found.n_read, max(kept)) == (30, 10, 9)
    assert decode(data, LIMITS).shown == 0


def test_the_frames_of_a_gif_are_counted_without_decoding_them():
    one = gif((8, 8), ((0, 0, 8, 8), 1, 1))
    start = one.index(b"\x21\xf9")
    many = one[:start] + one[start:-1] * 40_000 + b";"
    assert frames_in(many, LIMITS) == 40_000
    # A comment, an unknown extension, and bytes between the blocks.
    odd = one[:start] + b"\x21\xfe\x02ab\0" + b"\x21\x77\x01a\0\0\0" + one[start:]
    assert frames_in(odd, LIMITS) == 1


def test_an_image_of_a_given_frame_has_its_own_size():
    pictures = [scene(400, 300, seed) for seed in range(3)]
    data = animated([Image.new("RGB", (400, 300)), *pictures], "PNG")
    assert difference(decode_image(data, LIMITS), pictures[0]) == 0
    assert difference(decode_image(data, LIMITS, frame=3), pictures[2]) == 0
    assert is_uniform(decode_image(data, LIMITS, frame=0))


def test_numbers():
    assert spread(100, 2) == [0, 99]
    assert spread(3, 8) == [0, 1, 2]
    assert spread(5, 3) == [0, 2, 4]
    assert spread(3, None) == [0, 1, 2]
    assert scored_numbers(5, 1, 3) == {3}
    kept = tuple(Frame(number, None) for number in (0, 2, 4))
    found = Animation(5, 5, 2, kept)
    assert found.has(3)
    assert found.has(1)
    assert not found.has(None)
    assert [frame.number for frame in found.chosen(2)] == [0, 2, 4]


def test_the_setting_is_a_number_or_all():
    assert parse_frames("all") is None
    assert parse_frames("12") == 12
    for wrong in ("0", "-1", "eight", "1.5", "²"):
        with pytest.raises(UserError, match="at least 1, or all"):
            parse_frames(wrong)
