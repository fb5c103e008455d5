import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from assets.methods.attribution.occlusion import PRESETS, OcclusionSettings
from assets.methods.attribution.window_images import WindowedImage, WindowImages
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
    windowed = WindowedImage(photo, OcclusionSettings(box, 7, fill, long_side))
    built = WindowImages(windowed, experiment, "cpu").batch(range(windowed.windows.count))
    assert built.dtype == torch.uint8
    places = np.ndindex(windowed.windows.shape)
    for picture, place in zip(built, places, strict=True):
        drawn = windowed.window_image(experiment, place)
        assert np.array_equal(picture.permute(1, 2, 0).numpy(), np.asarray(drawn))


def test_a_window_seen_is_cut_out():
    image = Image.fromarray(np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3))
    windowed = WindowedImage(image, OcclusionSettings(2, 2))
    batch = WindowImages(windowed, "seen", "cpu").batch(np.array([4, 0]))
    assert batch.shape == (2, 3, 2, 2)
    assert batch[0, 0].tolist() == [[42, 45], [60, 63]]
    assert batch[1, 2].tolist() == [[2, 5], [20, 23]]


def test_a_window_hidden_is_painted_over_and_the_rest_is_left():
    windowed = WindowedImage(Image.new("RGB", (6, 4), (1, 2, 3)), OcclusionSettings(2, 2))
    batch = WindowImages(windowed, "hidden", "cpu").batch([4])
    assert batch.shape == (1, 3, 4, 6)
    expected = np.full((4, 6), 3)
    expected[2:, 2:4] = 0
    assert np.array_equal(batch[0, 2], expected)


def test_painting_a_window_leaves_the_next_batch_clean():
    white = WindowedImage(Image.new("RGB", (6, 4), "white"), OcclusionSettings(2, 2))
    images = WindowImages(white, "hidden", "cpu")
    first = images.batch([0])
    images.batch([1, 2])
    assert torch.equal(first, images.batch([0]))


def test_the_windows_lie_on_the_image_scaled_down_and_maps_have_the_size_asked_for():
    image = Image.new("L", (200, 100))
    windowed = WindowedImage(image, OcclusionSettings(8, 8, long_side=50))
    assert (windowed.map_size, windowed.scaled.mode) == ((200, 100), "RGB")
    assert windowed.scaled.size == windowed.windows.image_shape[::-1] == (50, 25)
    windowed = WindowedImage(image, OcclusionSettings(8, 8), (600, 300))
    assert (windowed.map_size, windowed.scaled.size) == ((600, 300), (200, 100))


def test_the_figure_preset_takes_as_many_windows_as_the_facts_say():
    windowed = WindowedImage(Image.new("RGB", (512, 512)), OcclusionSettings(*PRESETS["figure"]))
    assert windowed.windows.count == 151**2


def test_the_picture_of_an_image_in_another_mode_is_rgb():
    windowed = WindowedImage(Image.new("L", (8, 8), 7), OcclusionSettings(4, 4))
    drawn = windowed.window_image("hidden", (0, 0))
    assert sorted(drawn.getcolors()) == [(16, (0, 0, 0)), (48, (7, 7, 7))]
