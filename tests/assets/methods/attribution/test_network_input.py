import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from assets.methods.attribution.network_input import (
    LONG_SIDE,
    SquarePadding,
    network_input,
    pad_to_square,
)
from assets.methods.models import open_nsfw
from assets.methods.models.preprocessing import Preprocessing, preprocess
from assets.methods.models.reference_images import reference_images

PLAIN = Preprocessing(16, 16, (0.25, 0.5, 0.75), (0.1, 0.2, 0.5), "bilinear")
CROPPED = Preprocessing(16, 12, (0.25, 0.5, 0.75), (0.1, 0.2, 0.5), "bilinear", channels="BGR")


def test_a_square_image_is_preprocessed_as_ever():
    image = Image.fromarray(reference_images()["astronaut"])
    read = network_input(image, open_nsfw.PREPROCESSING)
    expected = preprocess(image, open_nsfw.PREPROCESSING)
    assert np.array_equal(read.values[0].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("preprocessing", [PLAIN, CROPPED])
def test_the_padding_is_zero_to_the_network(preprocessing):
    read = network_input(Image.new("RGB", (16, 4), "white"), preprocessing)
    padding = np.abs(read.values[0, :, :3].numpy())
    largest_rounding = 0.5 / 255 / np.array(preprocessing.std)
    assert (padding.max(axis=(1, 2)) <= largest_rounding + 1e-6).all()
    middle = preprocessing.crop // 2
    assert read.values[0, :, middle].min() > 0.4


def test_a_large_image_is_scaled_down():
    read = network_input(Image.new("RGB", (30_000, 30)), PLAIN)
    assert read.scaled.size == (LONG_SIDE, 1)
    assert read.values.shape == (1, 3, 16, 16)


def test_a_picture_is_brought_to_grey_levels_and_a_gradient_to_its_inverse():
    read = network_input(Image.new("RGB", (16, 16)), PLAIN)
    ones = np.ones((3, 16, 16), dtype=np.float32)
    np.testing.assert_allclose(read.grey_levels(ones, (16, 16))[5, 5], [25.5, 51, 127.5], rtol=1e-6)
    gradient = read.per_grey_level(ones, (16, 16))[5, 5]
    np.testing.assert_allclose(gradient, [1 / 25.5, 1 / 51, 1 / 127.5], rtol=1e-6)


def test_channels_come_back_in_rgb():
    read = network_input(Image.new("RGB", (16, 16)), CROPPED)
    blue = np.zeros((3, 12, 12), dtype=np.float32)
    blue[0] = 1
    np.testing.assert_allclose(read.grey_levels(blue, (16, 16))[8, 8], [0, 0, 25.5], rtol=1e-6)


def test_the_border_that_is_not_read_gets_zero():
    read = network_input(Image.new("RGB", (16, 16)), CROPPED)
    back = read.grey_levels(np.ones((3, 12, 12), dtype=np.float32), (16, 16))
    expected = np.zeros((16, 16), dtype=bool)
    expected[2:14, 2:14] = True
    assert np.array_equal(back[:, :, 0] != 0, expected)


@pytest.mark.parametrize("size", [(16, 4), (4, 16), (1, 1), (1, 16), (50, 7), (3000, 11)])
def test_a_picture_has_the_size_asked_for(size):
    read = network_input(Image.new("RGB", size), PLAIN)
    back = read.grey_levels(np.ones((3, 16, 16), dtype=np.float32), size)
    assert back.shape == (size[1], size[0], 3)
    np.testing.assert_allclose(back[..., 0], 25.5, rtol=1e-6)


def test_a_point_comes_back_where_it_was():
    pixels = np.zeros((4, 16, 3), dtype=np.uint8)
    pixels[2, 11] = 255
    read = network_input(Image.fromarray(pixels), PLAIN)
    back = read.grey_levels(read.values[0].numpy(), (16, 4))
    assert np.unravel_index(back[..., 0].argmax(), (4, 16)) == (2, 11)


GREEN = (0, 255, 0)


def image_of(width, height):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@given(width=st.integers(1, 40), height=st.integers(1, 40))
def test_an_image_comes_back_as_it_was(width, height):
    image = image_of(width, height)
    square, padding = pad_to_square(image, GREEN)
    assert square.size == (max(width, height),) * 2
    back = padding.remove(np.asarray(square, dtype=np.float32), image.size)
    assert np.array_equal(back, np.asarray(image))


@pytest.mark.parametrize(
    ("size", "place"),
    [((4, 2), (0, 1)), ((2, 4), (1, 0)), ((4, 1), (0, 1)), ((5, 5), (0, 0)), ((1, 1), (0, 0))],
)
def test_the_image_lies_in_the_middle_and_the_rest_is_the_colour(size, place):
    square, padding = pad_to_square(image_of(*size), GREEN)
    assert (padding.left, padding.upper) == place
    pixels = np.asarray(square)
    rows, columns = slice(place[1], place[1] + size[1]), slice(place[0], place[0] + size[0])
    assert np.array_equal(pixels[rows, columns], np.asarray(image_of(*size)))
    outside = np.ones(pixels.shape[:2], dtype=bool)
    outside[rows, columns] = False
    assert (pixels[outside] == GREEN).all()


def test_a_grey_image_becomes_rgb():
    square, _ = pad_to_square(Image.new("L", (3, 2), 7), GREEN)
    assert square.getpixel((0, 0)) == (7, 7, 7)


@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    n=st.integers(2, 64),
    factor=st.sampled_from([1, 3]),
)
def test_a_flat_map_of_any_resolution_stays_flat(width, height, n, factor):
    padding = SquarePadding(width, height)
    size = (factor * width, factor * height)
    back = padding.remove(np.full((n, n, 2), 3.0, dtype=np.float32), size)
    assert back.shape == (size[1], size[0], 2)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, 3, rtol=1e-6)


def test_a_map_of_half_the_resolution_is_stretched():
    # Of an image of 8 x 4 px the middle rows of a map of 4 x 4 are seen.
    rows = np.repeat(np.array([9, 1, 2, 9], dtype=np.float32)[:, None, None], 4, axis=1)
    back = SquarePadding(8, 4).remove(rows, (8, 4))
    assert (back[:, :, 0] == [[9 / 4 + 3 / 4], [5 / 4], [7 / 4], [3 / 2 + 9 / 4]]).all()


def test_a_long_image_needs_no_square_of_its_own_size():
    back = SquarePadding(30_000, 2).remove(np.ones((8, 8, 1), dtype=np.float32), (30_000, 2))
    assert back.shape == (2, 30_000, 1)


def test_a_map_that_is_no_square_is_refused():
    with pytest.raises(ValueError, match="no square"):
        SquarePadding(4, 2).remove(np.ones((4, 2, 3), dtype=np.float32), (4, 2))
