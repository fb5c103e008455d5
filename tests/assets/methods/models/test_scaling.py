import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from assets.methods.common.errors import UserError
from assets.methods.models.scaling import scale_images, taps_of
from support.devices import CARD, needs_card

CHELSEA = Image.fromarray(data.chelsea())


def tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


def scaled_by_pillow(image, height, width, interpolation):
    return image.resize((width, height), Image.Resampling[interpolation.upper()])


SIZES = [(64, 64), (300, 451), (256, 256), (30, 17), (1, 1), (600, 500), (299, 90), (20, 451)]
DEVICES = ["cpu", pytest.param(CARD, marks=needs_card)]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("device", DEVICES)
def test_a_photo_is_scaled_as_pillow_scales_it(height, width, interpolation, device):
    found = scale_images(tensor(CHELSEA).to(device), height, width, interpolation)
    expected = scaled_by_pillow(CHELSEA, height, width, interpolation)
    assert np.array_equal(found[0].permute(1, 2, 0).cpu().numpy(), np.asarray(expected))


@settings(max_examples=150)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from(["bilinear", "bicubic"]),
    st.integers(0, 9),
)
def test_any_size_is_scaled_to_any_as_pillow_does_it(rows, columns, height, width, kind, seed):
    rng = np.random.default_rng(seed)
    # Black and white pixels alone make the sums of bicubic weights overshoot most.
    pixels = rng.choice(np.array([0, 255], np.uint8), (rows, columns, 3))
    image = Image.fromarray(pixels)
    found = scale_images(tensor(image), height, width, kind)
    expected = np.asarray(scaled_by_pillow(image, height, width, kind))
    assert np.array_equal(found[0].permute(1, 2, 0).numpy(), expected)


def test_half_the_size_is_worked_out_by_hand():
    # Pixel 0 lies at 1, and reads those within 2 of it, less the farther they are.
    taps = taps_of(4, 2, "bilinear")
    assert taps.places.tolist() == [[0, 1, 2], [1, 2, 3]]
    sevenths = 7 * taps.weights / 2**22
    np.testing.assert_allclose(sevenths, [[3, 3, 1], [1, 3, 3]], atol=1e-5)


def test_other_filters_are_refused():
    with pytest.raises(UserError, match="Only the CPU scales images with the filter lanczos"):
        scale_images(tensor(CHELSEA), 8, 8, "lanczos")
