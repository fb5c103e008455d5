import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from assets.methods.models.open_nsfw import PREPROCESSING
from assets.methods.models.preprocessing import Preprocessing, preprocess
from assets.methods.training.squares import SquareImages, augment_lightly

SMALL = Preprocessing(20, 16, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25), "bicubic")


@pytest.fixture
def loads():
    return []


@pytest.fixture
def load_image(loads):
    photos = {"cat": Image.fromarray(data.chelsea()), "cup": Image.fromarray(data.coffee())}

    def load(image_id):
        loads.append(image_id)
        return photos[image_id]

    return load


@pytest.mark.parametrize("preprocessing", [SMALL, PREPROCESSING])
def test_the_numbers_are_those_of_preprocess(load_image, preprocessing):
    images = SquareImages(load_image, ["cat", "cup"], preprocessing)
    for _ in range(2):
        batch = images.batch(images.squares([1, 0]))
        assert batch.shape == (2, 3, preprocessing.crop, preprocessing.crop)
        for row, image_id in zip(batch, ["cup", "cat"], strict=True):
            expected = preprocess(load_image(image_id), preprocessing)
            np.testing.assert_array_equal(row.permute(1, 2, 0).numpy(), expected)


def test_photos_are_decoded_once_while_memory_has_room(load_image, loads):
    images = SquareImages(load_image, ["cat", "cup"], SMALL, memory_bytes=3 * 16 * 16 + 1)
    for _ in range(3):
        list(images.squares(np.array([0, 1])))
    assert loads == ["cat", "cup", "cup", "cup"]


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(data.chelsea()).crop((50, 0, 350, 300)).resize((48, 48))


class Chosen:
    """A generator whose choices are given: cut, mirrored, and the logarithms of the factors."""

    def __init__(self, cut, corner, mirrored, factors):
        self.numbers = [cut, np.array(corner), np.log(factors)]
        self.mirrored = mirrored

    def uniform(self, low, high, size=None):
        return self.numbers.pop(0)

    def random(self):
        return 0.0 if self.mirrored else 1.0


def augmented(photo, cut=1.0, corner=(0, 0), mirrored=False, factors=(1, 1)):
    return np.asarray(augment_lightly(photo, Chosen(cut, corner, mirrored, factors))).astype(int)


def test_choices_that_change_nothing_change_nothing(photo):
    np.testing.assert_array_equal(augmented(photo), np.asarray(photo))


def test_the_mirror_image_is_the_columns_turned(photo):
    np.testing.assert_array_equal(augmented(photo, mirrored=True), np.asarray(photo)[:, ::-1])


def test_brightness_is_a_factor(photo):
    expected = np.asarray(photo).astype(int) * 0.8
    np.testing.assert_allclose(augmented(photo, factors=(0.8, 1)), expected, atol=1)


def test_contrast_keeps_the_mean_grey(photo):
    flat = Image.new("RGB", (8, 8), (90, 90, 90))
    assert np.unique(augmented(flat, factors=(1, 1.25))).tolist() == [90]
    mean = np.asarray(photo.convert("L")).mean()
    expected = np.clip((np.asarray(photo) - mean) * 1.25 + mean, 0, 255)
    np.testing.assert_allclose(augmented(photo, factors=(1, 1.25)), expected, atol=2)


def test_a_cut_is_scaled_back_to_the_side():
    halves = Image.new("RGB", (40, 40))
    halves.paste((255, 255, 255), (20, 0, 40, 40))
    cut = augmented(halves, cut=0.9, corner=(4, 0))
    # Of columns 4 to 40 the first 16 are black: 16 / 36 of the side.
    assert cut[20, :, 0].sum() / 255 == pytest.approx(40 * 20 / 36, abs=0.1)


@given(seed=st.integers(0, 2**32), side=st.integers(1, 50))
def test_any_choice_gives_a_photo_of_the_same_size(seed, side):
    photo = Image.new("RGB", (side, side), (200, 100, 50))
    changed = augment_lightly(photo, np.random.default_rng(seed))
    assert changed.size == photo.size
    assert changed.mode == "RGB"
    red, green, blue = np.asarray(changed)[0, 0].astype(int)
    assert red > green > blue


def test_the_same_state_gives_the_same_photo_and_another_another(photo):
    first, again, other = (
        np.asarray(augment_lightly(photo, np.random.default_rng(key)))
        for key in ([0, 1, 2], [0, 1, 2], [0, 1, 3])
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
