import numpy as np
import pytest
from PIL import Image
from skimage import data
from torchvision.transforms import v2

from assets.methods.preprocessing import Preprocessing, preprocess

PLAIN = Preprocessing(2, 2, (0.0,) * 3, (1.0,) * 3, "bicubic")


def test_normalises_each_channel():
    image = Image.new("RGB", (2, 2), (0, 51, 255))
    numbers = Preprocessing(2, 2, (0.5, 0.0, 0.5), (0.5, 0.1, 0.25), "bicubic")
    assert preprocess(image, numbers)[0, 0].tolist() == pytest.approx([-1, 2, 2])


def test_cuts_the_centre_out_of_the_long_side():
    columns = np.repeat(np.array([[10, 20, 30, 40]], dtype=np.uint8), 2, axis=0)
    image = Image.fromarray(columns).convert("RGB")
    assert (preprocess(image, PLAIN)[0, :, 0] * 255).tolist() == pytest.approx([20, 30])


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
