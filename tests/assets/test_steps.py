import numpy as np
import pytest
from PIL import Image

from assets.steps import THUMBNAIL_BYTES, thumbnail


@pytest.mark.parametrize("size", [(1, 1), (3000, 40), (2000, 2000)])
def test_a_thumbnail_is_small_whatever_the_picture(size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    markdown = thumbnail(Image.fromarray(noise))
    assert markdown.startswith("![thumbnail](data:image/jpeg;base64,")
    assert len(markdown) <= THUMBNAIL_BYTES
