import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage import data

from assets.methods.attribution.fill import FILLS, fill_picture


def test_black_is_black():
    assert fill_picture(Image.new("RGB", (3, 2), "white"), "black", 2).getcolors() == [
        (6, (0, 0, 0))
    ]


def test_the_mean_is_rounded_channel_by_channel():
    pixels = np.array([[[0, 10, 255], [1, 11, 255], [1, 10, 255]]], dtype=np.uint8)
    filled = fill_picture(Image.fromarray(pixels), "mean", 2)
    assert filled.size == (3, 1)
    assert filled.getcolors() == [(3, (1, 10, 255))]


@pytest.mark.parametrize("box", [8, 64])
def test_the_blur_is_a_gaussian_of_a_quarter_of_the_box(box):
    astronaut = data.astronaut()
    blurred = np.asarray(fill_picture(Image.fromarray(astronaut), "blur", box), dtype=np.float64)
    sigma = (box / 4, box / 4, 0)
    expected = gaussian_filter(astronaut.astype(np.float64), sigma, mode="nearest")
    # Pillow makes its Gaussian of three box filters, which differ from it most along the edges.
    assert np.abs(blurred - expected).mean() < 1
    assert np.abs(blurred - expected)[box:-box, box:-box].max() < 8


def test_no_shape_finer_than_half_the_box_is_left_by_the_blur():
    stripes = np.zeros((64, 256, 3), dtype=np.uint8)
    stripes[:, np.arange(256) % 32 < 16] = 255
    middle = np.asarray(fill_picture(Image.fromarray(stripes), "blur", 64))[:, 64:-64]
    assert np.ptp(middle.astype(int)) <= 0.02 * 255


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("size", [(1, 1), (7, 3)])
def test_an_image_smaller_than_the_box_is_filled_too(fill, size):
    filled = fill_picture(Image.new("RGB", size, (10, 20, 30)), fill, 64)
    assert filled.size == size
    assert filled.getpixel((0, 0)) == ((0, 0, 0) if fill == "black" else (10, 20, 30))
