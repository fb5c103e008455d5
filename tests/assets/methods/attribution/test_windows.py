import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage import data as pictures

from assets.methods.attribution.windows import FILLS, Windows, fill_image, place_windows


@st.composite
def placed(draw):
    box = draw(st.integers(1, 12))
    stride = draw(st.integers(1, box))
    return place_windows(draw(st.integers(1, 40)), draw(st.integers(1, 40)), box, stride)


def average_in_loops(windows, scores):
    sums, counts = np.zeros((2, *windows.image_shape))
    for row, upper in enumerate(windows.row_starts):
        for column, left in enumerate(windows.col_starts):
            for y in range(upper, upper + windows.height):
                for x in range(left, left + windows.width):
                    sums[y, x] += scores[row, column]
                    counts[y, x] += 1
    return sums / counts


@pytest.mark.parametrize(
    ("size", "box", "stride", "starts"),
    [
        (10, 4, 3, (0, 3, 6)),
        (11, 4, 3, (0, 3, 6, 7)),
        (12, 4, 3, (0, 3, 6, 8)),
        (4, 4, 3, (0,)),
        (5, 4, 4, (0, 1)),
        (8, 4, 4, (0, 4)),
        (3, 4, 3, (0,)),
        (1, 4, 1, (0,)),
        (1, 1, 1, (0,)),
    ],
)
def test_the_last_window_ends_at_the_far_edge(size, box, stride, starts):
    window = min(size, box)
    assert place_windows(size, 20, box, stride).row_starts == starts
    assert place_windows(20, size, box, stride).col_starts == starts
    assert starts[-1] + window == size


def test_a_box_larger_than_the_image_is_clamped_on_each_axis_by_itself():
    windows = place_windows(height=5, width=20, box=8, stride=4)
    assert windows == Windows((0,), (0, 4, 8, 12), height=5, width=8)
    assert windows.shape == (1, 4)
    assert windows.count == 4
    assert windows.image_shape == (5, 20)


def test_a_rectangle_is_what_pillow_crops():
    assert place_windows(30, 20, 10, 4).rectangle(2, 1) == (4, 8, 14, 18)


@given(placed(), st.data())
def test_the_average_is_that_of_the_windows_over_a_pixel(windows, data):
    unit = st.floats(0, 1, width=32)
    scores = data.draw(arrays.arrays(np.float32, windows.shape, elements=unit))
    means = windows.average(scores)
    assert means.dtype == np.float32
    assert means.shape == windows.image_shape
    np.testing.assert_allclose(means, average_in_loops(windows, scores), atol=1e-6)
    assert scores.min() <= means.min()
    assert means.max() <= scores.max()


@given(placed(), st.floats(0, 1, width=32))
def test_equal_scores_give_a_flat_map_corners_included(windows, score):
    means = windows.average(np.full(windows.shape, score, dtype=np.float32))
    assert (means == np.float32(score)).all()


def test_a_map_worked_out_by_hand():
    windows = place_windows(1, 5, box=3, stride=2)
    assert windows.average([[1.0, 0.0]]).tolist() == [[1, 1, 0.5, 0, 0]]


def test_black_is_black():
    assert fill_image(Image.new("RGB", (3, 2), "white"), "black", 2).getcolors() == [(6, (0, 0, 0))]


def test_the_mean_is_rounded_channel_by_channel():
    pixels = np.array([[[0, 10, 255], [1, 11, 255], [1, 10, 255]]], dtype=np.uint8)
    filled = fill_image(Image.fromarray(pixels), "mean", 2)
    assert filled.size == (3, 1)
    assert filled.getcolors() == [(3, (1, 10, 255))]


@pytest.mark.parametrize("box", [8, 64])
def test_the_blur_is_a_gaussian_of_a_quarter_of_the_box(box):
    astronaut = pictures.astronaut()
    blurred = np.asarray(fill_image(Image.fromarray(astronaut), "blur", box), dtype=np.float64)
    sigma = (box / 4, box / 4, 0)
    expected = gaussian_filter(astronaut.astype(np.float64), sigma, mode="nearest")
    # Pillow makes its Gaussian of three box filters, which differ from it most along the edges.
    assert np.abs(blurred - expected).mean() < 1
    assert np.abs(blurred - expected)[box:-box, box:-box].max() < 8


def test_no_shape_finer_than_half_the_box_is_left_by_the_blur():
    stripes = np.zeros((64, 256, 3), dtype=np.uint8)
    stripes[:, np.arange(256) % 32 < 16] = 255
    middle = np.asarray(fill_image(Image.fromarray(stripes), "blur", 64))[:, 64:-64]
    assert np.ptp(middle.astype(int)) <= 0.02 * 255


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("size", [(1, 1), (7, 3)])
def test_an_image_smaller_than_the_box_is_filled_too(fill, size):
    filled = fill_image(Image.new("RGB", size, (10, 20, 30)), fill, 64)
    assert filled.size == size
    assert filled.getpixel((0, 0)) == ((0, 0, 0) if fill == "black" else (10, 20, 30))
