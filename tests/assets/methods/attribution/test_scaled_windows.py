import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from assets.methods.attribution.occlusion import EXPERIMENTS, OcclusionSettings
from assets.methods.attribution.scaled_windows import ScaledWindowImages
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.attribution.windows import FILLS
from assets.methods.models.preprocessing import Preprocessing, preprocess, preprocess_batch
from support.devices import CARD, needs_card

STRETCHED = Preprocessing(
    64, 56, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), "bilinear", stretch=True, channels="BGR"
)
KEPT = Preprocessing(50, 48, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), "bicubic")
DEVICES = ["cpu", pytest.param(CARD, marks=needs_card)]
CHELSEA = Image.fromarray(data.chelsea())


def scaled_by_pillow(image, preprocessing):
    filter_ = Image.Resampling[preprocessing.interpolation.upper()]
    return np.asarray(image.resize(preprocessing.scaled_size(*image.size), filter_))


def assert_as_drawn(windowed, experiment, preprocessing, device, numbers):
    built = ScaledWindowImages(windowed, experiment, device, preprocessing).batch(numbers)
    assert built.dtype == torch.uint8
    for image, number in zip(built, numbers, strict=True):
        place = divmod(number, windowed.windows.shape[1])
        drawn = scaled_by_pillow(windowed.window_image(experiment, place), preprocessing)
        assert np.array_equal(image.permute(1, 2, 0).cpu().numpy(), drawn)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("preprocessing", [STRETCHED, KEPT], ids=["stretched", "kept"])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("size", [(451, 300), (90, 300), (40, 37)])
def test_they_are_what_pillow_draws_and_scales(device, preprocessing, experiment, fill, size):
    windowed = WindowedImage(CHELSEA.resize(size), OcclusionSettings(32, 7, fill))
    n = windowed.windows.count
    numbers = [0, n - 1, *np.random.default_rng(0).integers(0, n, 12).tolist()]
    assert_as_drawn(windowed, experiment, preprocessing, device, numbers)


@settings(max_examples=100)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(1, 30),
    st.booleans(),
    st.sampled_from(["bilinear", "bicubic"]),
    st.sampled_from(EXPERIMENTS),
)
def test_all_sizes_and_windows_fit(width, height, box, resize, stretch, interpolation, experiment):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    numbers = Preprocessing(resize, resize, (0.5,) * 3, (0.5,) * 3, interpolation, stretch)
    windowed = WindowedImage(image, OcclusionSettings(box, max(1, box // 2)))
    every = range(windowed.windows.count)
    assert_as_drawn(windowed, experiment, numbers, "cpu", every)


@pytest.mark.parametrize("preprocessing", [STRETCHED, KEPT], ids=["stretched", "kept"])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_network_reads_the_same_numbers_as_of_unscaled_windows(preprocessing, experiment):
    windowed = WindowedImage(CHELSEA.crop((0, 0, 200, 120)), OcclusionSettings(32, 30))
    every = range(windowed.windows.count)
    built = ScaledWindowImages(windowed, experiment, "cpu", preprocessing).batch(every)
    read = preprocess_batch(built, preprocessing)
    for numbers, place in zip(read, np.ndindex(windowed.windows.shape), strict=True):
        expected = preprocess(windowed.window_image(experiment, place), preprocessing)
        assert np.array_equal(numbers.permute(1, 2, 0).numpy(), expected)


def test_painting_a_window_leaves_the_next_batch_clean():
    windowed = WindowedImage(CHELSEA.resize((60, 40)), OcclusionSettings(16, 8))
    images = ScaledWindowImages(windowed, "hidden", "cpu", STRETCHED)
    first = images.batch([0, 3])
    images.batch([5, 6])
    assert torch.equal(first, images.batch([0, 3]))
