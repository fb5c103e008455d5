import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torchvision.transforms import v2

from assets.methods.common.errors import UserError
from assets.methods.models import preprocessing
from assets.methods.models.preprocessing import (
    Preprocessing,
    normalisation,
    preprocess,
    preprocess_batch,
    square_of,
    to_pillow,
)

PLAIN = Preprocessing(2, 2, (0.0,) * 3, (1.0,) * 3, "bicubic")
STRETCHED = Preprocessing(
    64, 56, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), "bilinear", stretch=True, channels="BGR"
)
KEPT = replace(STRETCHED, interpolation="bicubic", stretch=False, channels="RGB")


def tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def crops():
    """Return photographs of different shapes, as windows are."""
    chelsea = Image.fromarray(data.chelsea())
    return [
        chelsea.crop((20, 30, 20 + width, 30 + height))
        for width, height in (
            (64, 64),
            (300, 200),
            (40, 190),
            (1, 3),
            (431, 270),
            (90, 270),
            (150, 269),
        )
    ]


def test_normalises_each_channel():
    image = Image.new("RGB", (2, 2), (0, 51, 255))
    numbers = Preprocessing(2, 2, (0.5, 0.0, 0.5), (0.5, 0.1, 0.25), "bicubic")
    assert preprocess(image, numbers)[0, 0].tolist() == pytest.approx([-1, 2, 2])


def test_cuts_the_centre_out_of_the_long_side():
    columns = np.repeat(np.array([[10, 20, 30, 40]], dtype=np.uint8), 2, axis=0)
    image = Image.fromarray(columns).convert("RGB")
    assert (preprocess(image, PLAIN)[0, :, 0] * 255).tolist() == pytest.approx([20, 30])


@pytest.mark.parametrize("numbers", [STRETCHED, KEPT])
def test_squares_that_are_normalised_in_a_batch_are_what_is_preprocessed_alone(numbers):
    squares = np.stack([square_of(image, numbers) for image in crops()])
    assert squares.dtype == np.uint8
    batch = normalisation(numbers, "cpu")(squares)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    expected = np.stack([preprocess(image, numbers) for image in crops()])
    assert batch.permute(0, 2, 3, 1).numpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_reads_every_mode(mode):
    assert preprocess(Image.new("RGB", (3, 5)).convert(mode), PLAIN).shape == (2, 2, 3)


@pytest.mark.parametrize(("width", "height"), [(451, 300), (300, 451), (256, 400), (97, 64)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_is_what_torchvision_does(width, height, interpolation):
    image = Image.fromarray(data.chelsea()).resize((width, height))
    numbers = Preprocessing(256, 224, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), interpolation)
    transform = v2.Compose(
        [
            v2.Resize(256, interpolation=v2.InterpolationMode(interpolation)),
            v2.CenterCrop(224),
            v2.PILToTensor(),
            v2.Lambda(lambda pixels: pixels / 255),
            v2.Normalize(numbers.mean, numbers.std),
        ]
    )
    expected = transform(image).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(preprocess(image, numbers), expected, atol=1e-5)


def test_stretching_scales_both_sides_whatever_the_proportions():
    image = Image.new("RGB", (40, 10))
    image.paste((255, 255, 255), (20, 0, 40, 10))
    numbers = Preprocessing(4, 4, (0.0,) * 3, (1.0,) * 3, "nearest", stretch=True)
    assert preprocess(image, numbers)[:, :, 0].tolist() == 4 * [[0, 0, 1, 1]]


def test_channels_come_in_the_order_of_the_network():
    numbers = Preprocessing(2, 2, (0.0, 0.2, 0.0), (1.0,) * 3, "bicubic", channels="BGR")
    pixel = preprocess(Image.new("RGB", (2, 2), (51, 102, 255)), numbers)[0, 0]
    assert pixel.tolist() == pytest.approx([1, 0.2, 0.2])


def test_only_fields_that_differ_from_their_default_enter_a_fingerprint():
    assert "stretch" not in KEPT.as_parts()
    assert STRETCHED.as_parts()["channels"] == "BGR"
    assert len({str(one.as_parts()) for one in (KEPT, STRETCHED, replace(KEPT, stretch=True))}) == 3


@pytest.mark.parametrize("numbers", [STRETCHED, KEPT])
def test_a_batch_on_the_cpu_is_pillows_bit_for_bit(numbers):
    batch = preprocess_batch([tensor(image) for image in crops()], numbers)
    for image, found in zip(crops(), batch, strict=True):
        assert np.array_equal(found.permute(1, 2, 0).numpy(), preprocess(image, numbers))


@pytest.mark.parametrize("numbers", [STRETCHED, KEPT])
def test_an_image_is_the_same_alone_in_a_tensor_and_in_a_list(numbers):
    images = torch.stack([tensor(crops()[1]), tensor(crops()[1].rotate(180))])
    together = preprocess_batch(images, numbers)
    assert torch.equal(together, preprocess_batch(list(images), numbers))
    assert torch.equal(together[1:], preprocess_batch(images[1:], numbers))


@pytest.mark.parametrize("numbers", [STRETCHED, KEPT])
def test_other_devices_read_the_same_grey_levels(numbers):
    for image in crops():
        found = preprocessing._preprocess_tensor(tensor(image)[None], numbers)[0].permute(1, 2, 0)
        assert np.array_equal(found.numpy(), preprocess(image, numbers))


def test_other_devices_refuse_a_filter_that_torch_has_not():
    with pytest.raises(UserError, match="Only the CPU scales images with the filter lanczos"):
        preprocessing._preprocess_tensor(
            tensor(crops()[1])[None], replace(KEPT, interpolation="lanczos")
        )


def test_a_tensor_becomes_the_image_that_it_was():
    image = crops()[1]
    assert np.array_equal(np.asarray(to_pillow(tensor(image))), np.asarray(image))


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({}, "short side 256 px bicubic, centre 224 px"),
        ({"stretch": True, "channels": "BGR"}, "stretched to 256 px bicubic, centre 224 px, BGR"),
        ({"stretch": True, "resize": 224}, "stretched to 224 px bicubic"),
        ({"resize": 224}, "short side 224 px bicubic, centre 224 px"),
    ],
)
def test_what_is_read_is_told_in_words(numbers, words):
    known = Preprocessing(256, 224, (0.0,) * 3, (1.0,) * 3, "bicubic")
    assert dataclasses.replace(known, **numbers).in_words() == words
