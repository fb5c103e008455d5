import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data

from assets.methods.plotting.blurring import are_blurred, draw_blurred, with_blurred


@pytest.mark.parametrize(
    ("above", "expected"),
    [
        (0.8, [False, True, False, False]),
        (0.5, [True, True, False, False]),
        (1.0, [False] * 4),
        (None, [False] * 4),
    ],
)
def test_photos_above_the_limit_are_blurred_and_those_without_a_score_are_not(above, expected):
    scores = pd.Series([0.8, 0.81, 0.2, np.nan])
    assert are_blurred(scores, above).tolist() == expected


@pytest.mark.parametrize("size", [(320, 240), (96, 96), (7, 300), (2, 1), (1, 1)])
def test_a_blurred_photo_is_grey_has_its_own_size_and_shows_no_detail(size):
    photo = Image.fromarray(data.astronaut()).resize(size)
    drawn = draw_blurred(photo)
    assert (drawn.mode, drawn.size) == ("RGB", size)
    red, green, blue = np.moveaxis(np.asarray(drawn, int), 2, 0)
    assert (red == green).all()
    assert (green == blue).all()
    if min(size) > 90:
        # What changes from a pixel to the next is gone: 9 px of the shorter side are left.
        steps = np.abs(np.diff(red.astype(float))).max()
        assert steps < 20 * 96 / min(size)


def test_a_blurred_photo_is_cut_to_a_shape_if_need_be():
    photo = Image.new("L", (40, 20), 200)
    assert draw_blurred(photo, (16, 16)).getpixel((8, 8)) == (200, 200, 200)


def test_only_photos_of_the_list_are_blurred():
    photo = Image.new("RGB", (20, 20), "red")
    load = with_blurred(lambda _: photo, {"bad"})
    assert load("good") is photo
    assert len(set(load("bad").getpixel((3, 3)))) == 1


def load_red(_: str) -> Image.Image:
    return Image.new("RGB", (20, 20), "red")


def test_without_blurred_photos_nothing_is_wrapped():
    assert with_blurred(load_red, frozenset()) is load_red
