import numpy as np
import pytest
from PIL import Image
from skimage import data

from assets.methods.models.open_nsfw import PREPROCESSING
from assets.methods.models.preprocessing import Preprocessing, preprocess
from assets.methods.training.square_images import SquareImages

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
    images = SquareImages(load_image, ["cat", "cup"], SMALL, kept_bytes=3 * 16 * 16 + 1)
    for _ in range(3):
        list(images.squares(np.array([0, 1])))
    assert loads == ["cat", "cup", "cup", "cup"]
