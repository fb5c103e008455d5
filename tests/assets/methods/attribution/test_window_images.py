import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from assets.methods.attribution.occlusion import OcclusionSettings, scale_down, windows_of
from assets.methods.attribution.window_images import WindowImages, window_image
from assets.methods.attribution.windows import FILLS


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(data.chelsea()).resize((60, 41))


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("experiment", ["seen", "hidden"])
@pytest.mark.parametrize("long_side", [60, 45])
@pytest.mark.parametrize("box", [16, 50])
def test_pictures_built_by_torch_are_those_that_pillow_draws(
    photo, experiment, fill, long_side, box
):
    settings = OcclusionSettings(box, 7, fill, long_side)
    scaled = scale_down(photo, long_side)
    windows = windows_of(scaled, settings)
    built = WindowImages(scaled, experiment, settings, "cpu").batch(range(windows.count))
    assert built.dtype == torch.uint8
    places = np.ndindex(windows.shape)
    for picture, place in zip(built, places, strict=True):
        drawn = window_image(photo, experiment, place, settings)
        assert np.array_equal(picture.permute(1, 2, 0).numpy(), np.asarray(drawn))


def test_a_window_seen_is_cut_out():
    image = Image.fromarray(np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3))
    batch = WindowImages(image, "seen", OcclusionSettings(2, 2), "cpu").batch(np.array([4, 0]))
    assert batch.shape == (2, 3, 2, 2)
    assert batch[0, 0].tolist() == [[42, 45], [60, 63]]
    assert batch[1, 2].tolist() == [[2, 5], [20, 23]]


def test_a_window_hidden_is_painted_over_and_the_rest_is_left():
    image = Image.new("RGB", (6, 4), (1, 2, 3))
    batch = WindowImages(image, "hidden", OcclusionSettings(2, 2), "cpu").batch([4])
    assert batch.shape == (1, 3, 4, 6)
    expected = np.full((4, 6), 3)
    expected[2:, 2:4] = 0
    assert np.array_equal(batch[0, 2], expected)


def test_painting_a_window_leaves_the_next_batch_clean():
    white = Image.new("RGB", (6, 4), "white")
    images = WindowImages(white, "hidden", OcclusionSettings(2, 2), "cpu")
    first = images.batch([0])
    images.batch([1, 2])
    assert torch.equal(first, images.batch([0]))


def test_the_picture_of_an_image_in_another_mode_is_rgb():
    drawn = window_image(Image.new("L", (8, 8), 7), "hidden", (0, 0), OcclusionSettings(4, 4))
    assert sorted(drawn.getcolors()) == [(16, (0, 0, 0)), (48, (7, 7, 7))]
